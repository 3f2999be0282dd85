"""The page about the linter's command line has what the command line has."""

import argparse
from pathlib import Path

import msgspec
import pytest

from task_helper_taskdef.cli import FORMATS, register, register_plan
from task_helper_taskdef.config import Configuration
from task_helper_taskdef.console import ExitCode
from tests.docs.test_docs import rows

PAGE = (Path(__file__).parents[2] / "docs/use/taskdef.md").read_text(encoding="utf-8")


def first_column(heading: str) -> list[str]:
    """The first cells of the first table below `heading`, without the marks of code."""
    return [row[0].replace("`", "") for row in rows(PAGE, f"\n## {heading}\n")]


def commands() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command of the page, by the command's heading."""
    top = argparse.ArgumentParser().add_subparsers()
    register(top)
    (taskdef,) = (
        action for action in top.choices["taskdef"]._actions if isinstance(action, argparse._SubParsersAction)
    )
    plan = top.add_parser("plan")
    register_plan(plan)
    found = {f"task-helper taskdef {name}": parser for name, parser in taskdef.choices.items()}
    return {**found, "task-helper plan": plan}


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The options of `parser`, and its arguments by their names."""
    named = {string for action in parser._actions for string in action.option_strings}
    arguments = {str(action.metavar) for action in parser._actions if not action.option_strings}
    return named - {"-h", "--help"} | arguments


@pytest.mark.parametrize("command", commands())
def test_options(command: str) -> None:
    """The table of a command has every option of the command, and no other."""
    page = {each.partition(" ")[0] for cell in first_column(command) for each in cell.split(", ")}

    # the program itself adds --version to `plan`
    assert options(commands()[command]) | {"--version"} == page


def test_exit_codes() -> None:
    """The page has every exit code."""
    assert [str(int(code)) for code in ExitCode] == first_column("Exit codes of the linter")


def test_keys_of_the_configuration_file() -> None:
    """The page has every key of the configuration file; `folder` is no key that a file may have."""
    keys = {field.encode_name for field in msgspec.structs.fields(Configuration)} - {"folder"}

    assert keys == set(first_column("Configuration file"))


def test_formats() -> None:
    """The page has every output format."""
    assert set(FORMATS) == set(first_column("Output formats"))
