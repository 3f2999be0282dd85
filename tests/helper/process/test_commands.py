"""The other commands, as a person at a terminal meets them."""

import tomllib
from pathlib import Path

from task_helper.settings import SETTINGS
from tests.helper.process.program import command

PROJECT = Path(__file__).parents[3] / "pyproject.toml"


def test_help() -> None:
    """`--help` names every command, and `run --help` every setting."""
    everything = command("--help").stdout
    run = command("run", "--help").stdout

    assert all(name in everything for name in ("run", "healthcheck", "plan"))
    assert all(setting.name in run for setting in SETTINGS)


def test_version() -> None:
    """`--version` prints the project's version."""
    version = tomllib.loads(PROJECT.read_text())["project"]["version"]

    assert f"task-helper {version}\n" == command("--version").stdout


def test_no_command() -> None:
    """Without a command the usage is shown, and the exit code is argparse's."""
    done = command()

    assert 2 == done.returncode
    assert done.stderr.startswith("usage: task-helper")


def test_plan() -> None:
    """`plan` draws the timeline of the settings, and warns of a misspelt one."""
    done = command("plan", DRAIN_DELAY="30", DRAIN_TIMOUT="5")

    assert 0 == done.returncode
    assert " delaying 30s " in done.stdout
    assert "warning: DRAIN_TIMOUT is not a setting; did you mean DRAIN_TIMEOUT?\n" == done.stderr


def test_plan_that_does_not_fit() -> None:
    """`plan` refuses what `run` refuses, with the same words and exit code."""
    done = command("plan", DRAIN_DELAY="x", DRAIN_TIMEOUT="y")

    assert 78 == done.returncode
    assert ["DRAIN_DELAY:", "DRAIN_TIMEOUT:"] == [line.split()[0] for line in done.stderr.splitlines()]
