"""The command line: `run`, `healthcheck`, `plan`, `taskdef`. Each command imports only what it needs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn


def main(arguments: Sequence[str], early_signals: Sequence[tuple[str, float]] = ()) -> int:
    """Run one command and return its exit code.

    `early_signals` are the names and monotonic times of the signals that came before the event loop ran.
    """
    parsed = _parser(light=arguments[:1] in (["run"], ["healthcheck"])).parse_args(arguments)
    parsed.early_signals = early_signals
    code: int = parsed.main(parsed)
    return code


def _parser(light: bool) -> argparse.ArgumentParser:
    """The program's commands. If `light`, those for task definitions are left out: `run` and `healthcheck` run in every
    task.
    """
    parser = argparse.ArgumentParser(
        prog="task-helper",
        description="Drains the Envoy of an ECS task before ECS stops the task, and gates the task's start.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    run = commands.add_parser("run", help="run the helper (default command of the image)")
    run.set_defaults(main=_run)
    run.format_help = lambda: _help_of_run(run)  # type: ignore[method-assign]

    healthcheck = commands.add_parser(
        "healthcheck",
        help="exit with 0 if the task is in service, otherwise with 1",
        description="For the container's healthCheck. Exits with 0 after the task has come into service, as long as the"
        " helper runs. Otherwise prints the reason in one line and exits with 1.",
    )
    healthcheck.set_defaults(main=_healthcheck)

    plan = commands.add_parser(
        "plan",
        help="draw the timeline of a stop with these settings",
        description="Draws the stages of a stop, from SIGTERM to SIGKILL, with the settings of the environment.",
    )
    plan.set_defaults(main=_plan)
    for command in (run, healthcheck, plan):
        command.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    if not light:
        from task_helper_taskdef.cli import register, register_plan

        register(commands)
        register_plan(plan)
    return parser


class _Version(argparse.Action):
    """Reads the version only if it is needed, because importlib.metadata is heavy."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"task-helper {version('ecs-task-helper')}")
        parser.exit()


def _help_of_run(run: argparse.ArgumentParser) -> str:
    """The usual help, followed by the settings. Only this function imports the settings."""
    from task_helper.settings import described

    return f"{argparse.ArgumentParser.format_help(run)}\n{described()}\n"


def _run(parsed: argparse.Namespace) -> int:
    # Without this, asyncio loads OpenSSL, which takes 4 MB in every task. Only botocore uses TLS here, and loads it
    # itself.
    sys.modules["ssl"] = None  # type: ignore[assignment]
    import asyncio  # noqa: F401

    del sys.modules["ssl"]
    from task_helper.run import run

    return run(os.environ, parsed.early_signals)


def _healthcheck(parsed: argparse.Namespace) -> int:
    from task_helper.gate import healthcheck

    return healthcheck()


def _plan(parsed: argparse.Namespace) -> int:
    if parsed.taskdef:
        return int(parsed.plan_of_task(parsed))
    from shutil import get_terminal_size

    from task_helper.plan import draw
    from task_helper.settings import BadSettings, from_env, misspelt

    try:
        settings = from_env(os.environ)
    except BadSettings as error:
        print(*error.problems, sep="\n", file=sys.stderr)
        return 78
    print(draw(settings.plan, get_terminal_size().columns))
    for warning in misspelt(os.environ):
        print(f"warning: {warning}", file=sys.stderr)
    return 0
