from collections.abc import Iterator

import pytest

from tests.image import engine as engines
from tests.image.engine import Engine, run

IMAGE = f"{engines.LABEL}/image"
RUNNER = f"{engines.LABEL}/runner"


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        with engines.at_hand() as found:
            yield found
    except engines.NoEngine as reason:
        pytest.skip(f"THE IMAGE IS NOT TESTED: {reason}")


@pytest.fixture(scope="session")
def image(engine: Engine) -> Iterator[str]:
    """The image, built by the Makefile's own step."""
    flags = " ".join(engine.build_flags)
    step = ("make", "image", f"IMAGE={IMAGE}", f"BASE={engine.base}", f"BUILD_FLAGS={flags}")
    run(*step, environ=engine.environ, seconds=600)
    yield f"{IMAGE}:latest"
    for tag in run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", IMAGE).split():
        engine.remove_image(tag)


@pytest.fixture(scope="session")
def runner(engine: Engine) -> Iterator[str]:
    """The runner image that batect builds."""
    engine.build("Dockerfile.batect", RUNNER)
    yield RUNNER
    engine.remove_image(RUNNER)


@pytest.fixture(scope="session")
def version() -> str:
    return run("sed", "-n", r's/^version = "\(.*\)"/\1/p', "pyproject.toml").strip()
