"""The linter's core as another program imports it: functions that print nothing, write nothing and never exit."""

from __future__ import annotations

import doctest
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import task_helper_taskdef
from task_helper_taskdef.add import add
from task_helper_taskdef.check import Options, check
from task_helper_taskdef.fix import fix
from task_helper_taskdef.formats import load
from task_helper_taskdef.formats.tree import NotATaskDefinition
from task_helper_taskdef.plan import plan

IMAGE = "registry.example/ecs-task-helper:1.0.0"
TEXT = json.dumps(
    {
        "networkMode": "awsvpc",
        "containerDefinitions": [
            {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"},
            {
                "name": "task-helper",
                "image": IMAGE,
                "essential": False,
                "dockerLabels": {"task-helper.ignore": "image"},
            },
        ],
    },
    indent=2,
)
# the modules whose functions are the core; what they import is a part of it
CORE = ("add", "check", "fix", "plan", "formats", "formats.editing")


def test_example_of_the_package_is_true() -> None:
    """The example in the package's docstring prints what stands there."""
    assert (0, 4) == tuple(doctest.testmod(task_helper_taskdef))


def test_findings_have_their_rule_and_place() -> None:
    """`check` returns the findings of one definition, and the number of those that its file suppresses."""
    (source,) = load("task.json", TEXT)
    checked = check(source, Options(ignore=frozenset({"holds-all", "ignore"})))

    assert ("stop-timeout", "$.containerDefinitions[1].stopTimeout") in [(f.rule, f.place) for f in checked.findings]
    assert not {"holds-all", "ignore"} & {finding.rule for finding in checked.findings}
    assert 1 == checked.suppressed


def test_fix_returns_the_text_and_the_rules() -> None:
    """`fix` returns the repaired text of the whole file, in which `check` finds no error any more."""
    fixed = fix(load("task.json", TEXT))
    (source,) = load("task.json", fixed.text)

    assert {"holds-all", "stop-timeout", "essential"} < set(fixed.rules)
    assert "error" not in {finding.severity for finding in check(source).findings}
    assert (fixed.text, [], []) == tuple(fix([source]))


def test_add_returns_the_definition_and_the_text() -> None:
    """`add` returns the definition with a helper, and its `text` is that of the whole file."""
    (source,) = load("task.json", '{"containerDefinitions": [{"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}]}')
    added = add(source, IMAGE)

    assert json.loads(added.text) == added.document
    assert ["envoy", "task-helper"] == [each["name"] for each in added.document["containerDefinitions"]]


def test_plan_returns_the_drawing() -> None:
    """`plan` returns the lines of the drawing."""
    (source,) = load("task.json", TEXT)

    assert "task-helper  SIGTERM" in plan(source)


def test_error_has_the_place_of_the_file() -> None:
    """What ECS would refuse is raised with its place as the file spells it, and its offset in the text."""
    text = "ContainerDefinitions:\n- Name: app\n  Memory: much\n"
    (source,) = load("task.yaml", text)

    with pytest.raises(NotATaskDefinition, match=r"^\$\.ContainerDefinitions\[0\]\.Memory: expected a whole") as raised:
        check(source)
    assert text.index("Memory") == raised.value.offset


def test_core_imports_no_command_line_and_no_files(tmp_path: Path) -> None:
    """The core does not import the command line, or a module that reads or writes files."""
    program = f"import sys, {', '.join(f'task_helper_taskdef.{each}' for each in CORE)}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    imported = {name.removeprefix("task_helper_taskdef.") for name in done.stdout.split()}

    assert not imported & {
        "argparse",
        "cli",
        "commands",
        "console",
        "files",
        "config",
        "selection",
        "baseline",
        "reports",
        "writer",
    }


def test_package_and_its_command_line_import_nothing_heavy() -> None:
    """Every start of the program pays for the package and for `cli`, so these import nothing that reads definitions."""
    program = "import sys, task_helper_taskdef.cli; print(*sys.modules)"
    # coverage, which runs in this process too, imports a lot
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=True)
    imported = set(done.stdout.split())

    assert {"task_helper_taskdef", "task_helper_taskdef.cli"} == {n for n in imported if n.startswith("task_helper")}
    assert not imported & {"msgspec", "json"}
