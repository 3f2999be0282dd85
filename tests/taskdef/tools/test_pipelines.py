"""The pre-commit hook and the GitHub Action, by running what they run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helper.process.program import finished

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
GOOD = '{"networkMode": "awsvpc", "containerDefinitions": [{"name": "batch", "image": "batch:1"}]}'
BAD = '{"networkMode": "awsvpc", "containerDefinitions": [{"name": "envoy"}, {"name": "app", "image": "shop:1"}]}'
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))


def run(command: list[str], folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", **environ}
    return finished(command, environment, folder, seconds=120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a file that passes and one that does not."""
    (tmp_path / "good.json").write_text(GOOD, encoding="utf-8")
    (tmp_path / "bad.json").write_text(BAD, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_hook_runs_as_pre_commit_runs_it(hook: dict[str, Any], folder: Path) -> None:
    """Its entry with the names of the files at its end passes what is good and fails what is not."""
    command = [*shlex.split(hook["entry"]), *hook.get("args", [])]

    assert 0 == run([*command, "good.json"], folder).returncode
    failed = run([*command, "good.json", "bad.json"], folder)
    assert (1, True) == (failed.returncode, "(helper-missing)" in failed.stdout)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_hook_is_for_files_that_can_be_task_definitions(hook: dict[str, Any]) -> None:
    """Its pattern takes the names that people give to task definitions, and leaves alone what surely is none."""
    taken = ["task-definition.json", "deploy/taskdef.yaml", "ecs/task_definitions/shop.json", "a/shop.taskdef.json.tpl"]
    left = ["package.json", "task.py", "docs/taskdef.md", "tsconfig.json"]

    assert [] == [name for name in taken if not re.search(hook["files"], name)]
    assert [] == [name for name in left if re.search(hook["files"], name)]


def test_hook_installs_the_extra_of_this_repository() -> None:
    """pre-commit installs `.` and the dependencies beside it, in the repository's clone: the extra brings YAML."""
    assert all(hook["additional_dependencies"] == [".[taskdef]"] and hook["language"] == "python" for hook in HOOKS)


def steps() -> list[dict[str, Any]]:
    """The steps of the action that run a command."""
    return [step for step in ACTION["runs"]["steps"] if "run" in step]


def run_step(step: dict[str, Any], folder: Path, inputs: dict[str, str], **environ: str) -> Any:
    """Run a step as the runner does: the expressions of its variables filled in, the script given to its shell."""
    values = {name: inputs.get(name, spec.get("default", "")) for name, spec in ACTION["inputs"].items()}

    def fill(text: str) -> str:
        text = text.replace("${{ github.action_path }}", str(ROOT))
        return re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda match: values[match[1]], text)

    assert "${{" not in step["run"], "an expression in a script lets a person who chooses its value run commands"
    variables = {name: fill(value) for name, value in step.get("env", {}).items()}
    shell = {"bash": ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c"]}[step["shell"]]
    return run([*shell, step["run"]], folder, **variables, **environ)


@pytest.mark.parametrize(
    "inputs, code, output",
    [
        ({"files": "good.json"}, 0, ""),
        ({"files": "good.json\nbad.json"}, 1, "::error file=bad.json,line=1,col=27,title=task-helper helper-missing::"),
        ({"files": "*.json", "ignore": "helper-missing"}, 0, "::warning file=bad.json"),
        ({"files": "*.json", "ignore": "helper-missing", "fail-on": "warning"}, 1, "::warning file=bad.json"),
        ({"files": "bad.json", "arguments": "--spot --ignore helper-missing"}, 0, "::warning file=bad.json"),
        ({"files": "$(touch hacked)"}, 66, "hacked"),
    ],
)
def test_action_checks_and_annotates(inputs: dict[str, str], code: int, output: str, folder: Path) -> None:
    """The action's check takes one file per line, exits as the command exits, and runs no text of its inputs."""
    *_, check = steps()
    done = run_step(check, folder, inputs)

    assert code == done.returncode, done.stderr
    assert output in done.stdout
    assert not (folder / "hacked").exists()


def test_action_writes_sarif_for_code_scanning(folder: Path) -> None:
    """With `sarif` the report is written to that file, beside the annotations."""
    *_, check = steps()
    done = run_step(check, folder, {"files": "bad.json", "sarif": "out.sarif"})

    assert 1 == done.returncode
    assert done.stdout.startswith("::error ")
    assert '"version": "2.1.0"' in (folder / "out.sarif").read_text(encoding="utf-8")


@pytest.mark.slow  # it installs the package
def test_action_installs_what_stands_in_this_repository(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The action's installation, run in an environment of its own, makes the command of this very tree."""
    # the copy that is installed is not to count for the coverage of the sources
    for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    install, *_ = steps()
    environment = tmp_path / "python"
    venv.create(environment, with_pip=True)
    # in place of a package index: the dependencies that are installed here anyway, and the build backend
    (site,) = environment.glob("lib/python*/site-packages")
    here = Path(pytest.__file__).parents[1]
    (site / "here.pth").write_text(f"import site; site.addsitedir({str(here)!r})\n", encoding="utf-8")
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    # pip reads this as: no build isolation
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_DEPS": "1", "PATH": path}
    done = run_step(install, folder, {}, **offline, VIRTUAL_ENV=str(environment))

    assert 0 == done.returncode, done.stderr
    command = environment / "bin" / "task-helper"
    assert run([str(command), "taskdef", "check", "bad.json"], folder).returncode == 1
