"""The built wheel, installed with only what it asks for: `make test-wheel` gives its program in TASK_HELPER.

All tests pass with the checkout. The wheel has the same files, so these few show the rest.
"""

import json
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.helper.process.program import PATIENCE, PROGRAM

ROOT = Path(__file__).parents[2]
PYTHON = PROGRAM.with_name("python")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def ask(program: str) -> object:
    """What a program prints as JSON under the Python that the wheel is installed for, outside the checkout."""
    done = subprocess.run(
        [PYTHON, "-I", "-c", program], capture_output=True, text=True, timeout=PATIENCE, cwd=PROGRAM.parent, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def site() -> Path:
    """The folder that it is installed into."""
    found = ask("import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))")
    assert isinstance(found, str) and not Path(found).is_relative_to(ROOT / "src")
    return Path(found)


@pytest.mark.parametrize("package", ["task_helper", "task_helper_taskdef"])
def test_files_are_those_of_the_checkout(site: Path, package: str) -> None:
    """Each file of the package, data included, is in the wheel as it is in the checkout, and no other is."""

    def files(folder: Path) -> dict[str, bytes]:
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }

    assert files(ROOT / "src" / package) == files(site / package)


def test_nothing_else_is_in_it(site: Path) -> None:
    """It installs the two packages and the program, and nothing else into anybody's site-packages."""
    (record,) = site.glob("ecs_task_helper-*.dist-info/RECORD")
    tops = {line.partition("/")[0] for line in record.read_text().splitlines()}

    assert {"task_helper", "task_helper_taskdef", record.parent.name, ".."} == tops


def test_metadata() -> None:
    """Its version, its Pythons, its dependencies and its extra are the project's."""
    found = ask(
        "import json; from importlib.metadata import metadata as m; found = m('ecs-task-helper');"
        "print(json.dumps({k: found.get_all(k) for k in ('Version', 'Requires-Python', 'Provides-Extra',"
        "'Requires-Dist', 'License-File')}))"
    )
    assert isinstance(found, dict)
    required = {line.partition(";")[0].split()[0] for line in found["Requires-Dist"]}
    asked = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["taskdef"]]

    assert [PROJECT["version"]] == found["Version"]
    assert set(PROJECT["requires-python"].split(",")) == set(found["Requires-Python"][0].split(","))
    assert list(PROJECT["optional-dependencies"]) == found["Provides-Extra"]
    assert {each.split()[0] for each in asked} == required
    assert ["LICENSE"] == found["License-File"]


def test_needs_nothing_else() -> None:
    """With its own dependencies alone, and none of the extra, every module but those for YAML can be imported."""
    missing = ask(
        "import importlib, json, pkgutil, task_helper, task_helper_taskdef as linter\n"
        "missing = []\n"
        "for package in (task_helper, linter):\n"
        "    for each in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        if each.name.endswith('__main__'):\n"
        "            continue\n"
        "        try:\n"
        "            importlib.import_module(each.name)\n"
        "        except ModuleNotFoundError as error:\n"
        "            missing.append(error.name)\n"
        "print(json.dumps(sorted(set(missing))))"
    )

    assert missing in ([], ["yaml"])


def check(file: Path) -> subprocess.CompletedProcess[str]:
    command = [str(PROGRAM), "taskdef", "check", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=PROGRAM.parent)


def test_linter_checks_json() -> None:
    """The linter of the wheel finds nothing in an example."""
    done = check(ROOT / "examples" / "task-definition" / "mesh.json")

    assert 0 == done.returncode, done.stdout + done.stderr


def test_linter_names_the_extra_for_yaml() -> None:
    """Without the extra a YAML file is refused with the name of what to install."""
    done = check(ROOT / "examples" / "cloudformation" / "mesh.yaml")

    assert 0 != done.returncode
    assert "taskdef" in done.stdout + done.stderr
