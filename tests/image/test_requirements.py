"""The requirements that the image is built from are the lock's, and can be had for both processors."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

from tests.image.engine import ROOT, run

LOCK = tomllib.loads((ROOT / "poetry.lock").read_text())
# what only an extra of the package brings is for those who ask for it
OPTIONAL = {name for names in LOCK["extras"].values() for name in names}


@pytest.mark.parametrize(
    "file, groups",
    [
        ("requirements.txt", {"main"}),
        ("requirements-dev.txt", {"main", "dev", "lab"}),
        ("requirements-pictures.txt", {"pictures"}),
        ("requirements-opinions.txt", {"opinions"}),
        ("requirements-audit.txt", {"audit"}),
        ("requirements-poetry.txt", {"poetry"}),
    ],
)
def test_exported(file: str, groups: set[str]) -> None:
    """Each package of the lock is in the requirements with its version and all its hashes, and none besides.

    `make requirements` writes them after a change.
    """
    exported = {}
    for entry in re.split(r"\n(?! )", (ROOT / file).read_text().strip()):
        name, version = re.match(r"([\w.-]+)(?:\[[^]]*\])?==([^ ]+)", entry).groups()  # type: ignore[union-attr]
        exported[name] = (version, set(re.findall(r"--hash=(\S+)", entry)))
    locked = {
        package["name"]: (package["version"], {each["hash"] for each in package["files"]})
        for package in LOCK["package"]
        if groups & (set(package["groups"]) - ({"main"} if package["name"] in OPTIONAL else set()))
    }
    assert exported == locked


@pytest.mark.parametrize("file", ["Makefile", "Dockerfile", "Dockerfile.batect"])
def test_taken_as_they_are(file: str) -> None:
    """Who installs them asks no package what it needs: `coverage[toml]`, to pip, is any release but the one listed."""
    installs = [line for line in (ROOT / file).read_text().splitlines() if "--require-hashes" in line]
    assert installs and all("--no-deps" in line for line in installs)


def test_nothing_missing() -> None:
    """What they install has all that it needs, although none was asked."""
    assert "No broken requirements" in run(sys.executable, "-m", "pip", "check")


@pytest.mark.parametrize("processor", ["x86_64", "aarch64"])
def test_both_processors(processor: str, tmp_path: Path) -> None:
    """Every requirement has a wheel for Python 3.13 on this processor, so that no image needs a compiler."""
    platforms = [f"--platform=manylinux_2_{minor}_{processor}" for minor in (17, 28)]
    run(
        *(
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
            "--dest",
            str(tmp_path),
        ),
        *("--python-version=3.13", "--implementation=cp", *platforms, "--requirement=requirements.txt"),
        seconds=300,
    )
    assert list(tmp_path.glob(f"msgspec-*{processor}.whl"))
