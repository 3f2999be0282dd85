"""batect.yml, and each of its tasks' commands in the runner image, as batect runs them.

batect itself is not run: it takes an engine that pulls images, and its last release is from 2023. The schema beside
this file is batect's own, of 0.85 (batect/batect on GitHub, tools/schema/configSchema.json, Apache License 2.0).
"""

import json
import os
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

from tests.image.engine import ROOT, Engine, run

BATECT: dict[str, Any] = yaml.safe_load((ROOT / "batect.yml").read_text())
TASKS = {name: task["run"]["command"] for name, task in BATECT["tasks"].items()}

DOCKERFILES = ("Dockerfile", "Dockerfile.batect")

# All tests pass natively, in the same change; of the runner image they need only show that it can run some.
FEW_TESTS = "-k test_settings --cov-fail-under=0"


def test_schema() -> None:
    """batect.yml is valid by batect's own schema."""
    schema = json.loads(Path(__file__).with_name("batect-configSchema.json").read_text())
    jsonschema.Draft7Validator(schema).validate(BATECT)


def test_references() -> None:
    """Each task runs in a container that is defined, from a Dockerfile that is there."""
    for task in BATECT["tasks"].values():
        container = BATECT["containers"][task["run"]["container"]]
        assert (ROOT / container["build_directory"] / container["dockerfile"]).is_file()


def test_same_base() -> None:
    """Both images have the same base, pinned by its digest."""
    bases = {re.findall(r"^ARG BASE=(\S+@sha256:\w{64})$", (ROOT / file).read_text(), re.M)[0] for file in DOCKERFILES}
    assert len(bases) == 1


@pytest.mark.parametrize("step", ["format", "lint-python", "security-checks", "typecheck", "requirements"])
def test_make_runs_tasks(step: str) -> None:
    """With RUNNER=batect a step of the Makefile is the task of that name, and nothing else."""
    assert run("make", "--dry-run", "RUNNER=batect", step) == f"./batect {step}\n"
    assert step in TASKS


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree that the tasks may write to."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_task(engine: Engine, runner: str, checkout: Path, task: str) -> None:
    """The task's command does its work in the runner image, as the current user, and changes nothing that is tidy."""
    container = BATECT["containers"][BATECT["tasks"][task]["run"]["container"]]
    (volume,) = container["volumes"]
    home = container["run_as_current_user"]["home_directory"]
    options = (
        *("--volume", f"{checkout}:{volume['container']}", "--workdir", container["working_directory"]),
        *("--user", f"{os.getuid()}:{os.getgid()}", "--tmpfs", f"{home}:mode=1777", "--env", f"HOME={home}"),
        *("--env", f"PYTEST_ADDOPTS={FEW_TESTS}", "--network", "host", "--init", "--rm"),
    )
    before = tracked(checkout)
    engine.docker("run", *options, runner, *shlex.split(TASKS[task]), seconds=600)
    assert tracked(checkout) == before


def tracked(folder: Path) -> dict[str, bytes]:
    """The tree's files that are not a tool's cache."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(folder).parts)
    }
