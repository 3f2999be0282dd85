"""The image under `docker stop`: the helper as PID 1, with a read-only root, no capabilities and a user of its own."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.parts import envoy_process, processes
from tests.image.engine import HARDENED, Container, Engine, environment

DELAY, TIMEOUT = 1.5, 1.5

# what the container's stopTimeout would be; far longer than any stop here takes
STOP_TIMEOUT = 20


@contextlib.contextmanager
def helper(engine: Engine, image: str, admin: str, *options: str) -> Iterator[Container]:
    settings = {
        "DRAIN_DELAY": f"{DELAY}",
        "DRAIN_TIMEOUT": f"{TIMEOUT}",
        "STOP_TIMEOUT": f"{STOP_TIMEOUT}",
        "ENVOY_ADMIN_URL": admin,
    }
    with engine.container(image, options=(*HARDENED, "--user", "1337", *environment(settings), *options)) as container:
        yield container


@pytest.fixture
def options() -> envoy_process.EnvoyOptions:
    """An Envoy of one's own beside an application that gets no requests."""
    address = processes.free_address()
    return envoy_process.EnvoyOptions(address, upstream=(address, envoy_process.APPLICATION_PORT))


def url(options: envoy_process.EnvoyOptions) -> str:
    return f"http://{options.address}:{envoy_process.ADMIN_PORT}"


def test_stop_while_starting(engine: Engine, image: str, options: envoy_process.EnvoyOptions, tmp_path: Path) -> None:
    """The helper exits at once in a task that never came into service, and whose Envoy has served no request."""
    no_application = environment(
        {"APP_HEALTH_URL": f"http://{options.address}:{envoy_process.APPLICATION_PORT}/health"}
    )
    with envoy_process.running(options, tmp_path) as running:
        running.wait_until_older()
        with helper(engine, image, url(options), *no_application) as container:
            container.wait_for_event("waiting")
            assert container.stop(STOP_TIMEOUT) == 0
            summary = container.events()[-1]
            assert (summary["event"], summary["reason"]) == ("summary", "never in service")


@pytest.mark.parametrize("stage", ["in_service", "delaying", "draining"])
def test_stop(engine: Engine, image: str, options: envoy_process.EnvoyOptions, stage: str, tmp_path: Path) -> None:
    """Whenever the stop comes, or comes again, the helper delays once, drains once, and leaves in time with 0."""
    with envoy_process.running(options, tmp_path) as running, helper(engine, image, url(options)) as container:
        container.wait_for_event("in_service")
        if stage != "in_service":
            engine.docker("kill", "--signal", "TERM", container.name)
            container.wait_for_event(stage)
        assert container.stop(STOP_TIMEOUT) == 0
        state = running.admin("GET", "/server_info")[1]
        assert '"DRAINING"' in state
        events = [each["event"] for each in container.events()]
        stages = [event for event in events if event in ("sigterm", "delaying", "drain_confirmed", "draining")]
        assert stages == ["sigterm", "delaying", "drain_confirmed", "draining"]
        assert ("sigterm_repeated" in events) == (stage != "in_service")
        assert events[-1] == "summary"
        summary = container.events()[-1]
        assert summary["reason"] == "drained"
        assert DELAY <= summary["delaying_seconds"] and TIMEOUT <= summary["draining_seconds"]


def test_killed(engine: Engine, image: str, options: envoy_process.EnvoyOptions, tmp_path: Path) -> None:
    """A stopTimeout that is shorter than the plan kills the helper half way: why STOP_TIMEOUT has to equal it."""
    with envoy_process.running(options, tmp_path), helper(engine, image, url(options)) as container:
        container.wait_for_event("in_service")
        assert container.stop(1) == 137


def test_health_check(engine: Engine, image: str, options: envoy_process.EnvoyOptions, tmp_path: Path) -> None:
    """HEALTHCHECK says why it waits, and turns healthy once Envoy is live."""
    with helper(engine, image, url(options), "--health-interval", "0.5s") as container:
        container.wait_for_event("waiting")

        def unchecked() -> str | None:
            checks = container.state()["Health"]["Log"]
            return None if checks and checks[-1]["Output"] else f"{checks}"

        processes.wait_for(unchecked)
        check = container.state()["Health"]["Log"][-1]
        assert check["ExitCode"] == 1
        assert check["Output"] == "not in service yet: waiting for Envoy\n"
        with envoy_process.running(options, tmp_path):
            container.wait_for_health("healthy")


def test_bad_settings(engine: Engine, image: str) -> None:
    """Settings that can not be used are refused at once, all of them, with exit code 78."""
    with engine.container(image, options=environment({"DRAIN_DELAY": "soon", "LOG_LEVEL": "loud"})) as container:
        engine.docker("wait", container.name)
        assert container.state()["ExitCode"] == 78
        (event,) = container.events()
        assert [problem.split(":")[0] for problem in event["problems"]] == ["DRAIN_DELAY", "LOG_LEVEL"]
