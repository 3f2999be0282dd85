"""The command line of `task-helper taskdef`, and of `task-helper plan --taskdef`.

This module only declares arguments. All commands except `run` and `healthcheck` import it, so it imports `commands`
only when one of its commands runs.
"""

from __future__ import annotations

import argparse
from typing import Any, Final, NoReturn

# report formats: for people, one line per finding, for programs, code scanning, pull requests, and test reports
FORMATS: Final = ("text", "line", "json", "sarif", "github", "junit")
EXITS = """\
Exit codes: 0 no errors (there may be warnings, see --fail-on), 1 errors, 2 wrong command line or configuration.
3 no task definition read (see --allow-none), 65 a file is not a task definition, 66 a file cannot be read.
73 a file cannot be written"""
ADD_EXITS = """\
Exit codes: 0 no errors (there may be warnings), 1 errors, 2 wrong command line. 65 the file is not a task definition,
66 the file cannot be read, 73 the file cannot be written"""
READS = """\
It reads JSON and YAML: the input of register-task-definition, the output of describe-task-definition, `cdk synth` or
`terraform show -json`, a list of containers, or a CloudFormation template"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `taskdef` to the program's."""
    taskdef = commands.add_parser("taskdef", help="check task definitions, and add the helper to them")
    subcommands = taskdef.add_subparsers(title="commands", metavar="COMMAND", required=True)

    check = subcommands.add_parser(
        "check",
        help="find mistakes that break the start or the stop of a task",
        description=f"Find mistakes in task definitions that break the start or the stop of a task. {READS}.",
        epilog=EXITS,
    )
    check.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        help="a file, a directory or a pattern such as 'tasks/**/*.json'; - for stdin (default: this directory)",
    )
    add_definition(check)
    add_roles(check)
    add_mesh(check)
    check.add_argument("--virtual-node", metavar="FILE", help="the App Mesh virtual node, for its health check")
    check.add_argument("--spot", action="store_true", help="the task runs on Spot: its whole stop may take two minutes")
    several = "repeat, separate with commas, or give a pattern such as 'helper-*'"
    check.add_argument("--select", metavar="RULE", action="append", default=[], help=f"check only this rule; {several}")
    check.add_argument("--ignore", metavar="RULE", action="append", default=[], help=f"skip this rule; {several}")
    check.add_argument(
        "--exclude",
        metavar="PATTERN",
        action="append",
        default=[],
        help="skip files that match; a FILE on the command line is always checked",
    )
    check.add_argument("--baseline", metavar="FILE", help="report only findings that are not in this file")
    check.add_argument(
        "--write-baseline", metavar="FILE", help="write the current findings to this file, and exit with 0"
    )
    check.add_argument(
        "--fail-on", choices=("error", "warning"), help="the lowest severity that gives exit code 1 (default: error)"
    )
    check.add_argument("--fix", action="store_true", help="repair in the files what needs no decision, then check them")
    add_change(check, "the changes of --fix", "the files that --fix would change")
    check.add_argument("--allow-none", action="store_true", help="exit with 0 even if no task definition was read")
    check.add_argument(
        "--format",
        metavar="FORMAT[=FILE]",
        type=_format,
        action="append",
        help=f"{', '.join(FORMATS)}; repeat with files for several; line is FILE:LINE:COLUMN: LEVEL RULE: MESSAGE",
    )
    check.add_argument(
        "-o", "--output", metavar="FILE", help="write the report to this file instead of standard output"
    )
    check.add_argument(
        "--list-rules", action="store_true", help="print all rules with their severities; with --format json as JSON"
    )
    add_common(check)
    check.set_defaults(main=_check)

    add = subcommands.add_parser(
        "add",
        help="add a helper container with the right wiring to a task definition",
        description="Write the file with a helper container, with the wiring and the settings for the mesh. Everything"
        " else is unchanged, except with --registrable, which writes the text again. An existing helper gets the image"
        " and missing settings. The command changes all definitions with an Envoy, or those of --definition. It"
        " prints the findings of check, notes too, on standard error.",
        epilog=ADD_EXITS,
    )
    add.add_argument(
        "file", metavar="FILE", help="the task definition, or a template that contains one; - for standard input"
    )
    add.add_argument("--image", required=True, help="the helper's image, with its tag or digest")
    add.add_argument("--name", default="task-helper", help="the name of the helper's container (default: %(default)s)")
    add_definition(add)
    add_roles(add)
    add_mesh(add)
    add.add_argument("--virtual-node", metavar="FILE", help="the App Mesh virtual node, for its health check")
    add.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a setting of the helper, such as APP_HEALTH_URL=http://127.0.0.1:8080/health; repeat for several",
    )
    times = add.add_mutually_exclusive_group()
    times.add_argument("--spot", action="store_true", help="use times that fit all containers into Spot's two minutes")
    times.add_argument(
        "--stop-timeout",
        metavar="SECONDS",
        type=int,
        help="total seconds to keep the task running; above 120 on Fargate a second helper is added",
    )
    add.add_argument(
        "--registrable", action="store_true", help="remove keys that register-task-definition does not accept"
    )
    add.add_argument("--in-place", action="store_true", help="write to FILE instead of standard output")
    add_change(add, "the changes", "the files that would change")
    add_common(add)
    add.set_defaults(main=_add)

    rules = subcommands.add_parser("rules", help="print the rules of check and their reasons, as Markdown")
    rules.add_argument("rule", metavar="RULE", nargs="?", help="only this rule, or the rules of a pattern")
    rules.add_argument("--list", action="store_true", help="print names, severities and titles of all rules")
    rules.add_argument("--json", action="store_true", help="print the same as JSON")
    for parser in (taskdef, rules):
        add_version(parser)
    rules.set_defaults(main=_rules)


def register_plan(plan: argparse.ArgumentParser) -> None:
    """Add to the command `plan` the options that draw a whole task instead of the helper's own settings."""
    plan.add_argument("--taskdef", metavar="FILE", help="draw the stop of a whole task of this definition; - for stdin")
    add_definition(plan)
    add_roles(plan)
    plan.add_argument(
        "--config",
        metavar="FILE",
        help="with --taskdef: the configuration file (default: the nearest .task-helper.toml)",
    )
    plan.add_argument(
        "--spot", action="store_true", help="with --taskdef: show which containers Spot kills after two minutes"
    )
    plan.set_defaults(plan_of_task=_plan)


def add_mesh(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the mesh."""
    meshes = ("app-mesh", "consul", "kuma", "static-dns", "alb", "nlb")
    parser.add_argument("--mesh", choices=meshes, help="the mesh, if it cannot be detected")


def add_definition(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses among the definitions of a file."""
    parser.add_argument(
        "--definition",
        metavar="NAME",
        action="append",
        default=[],
        help="only this definition of the file: its logical ID, family or number (from 1); repeat for several",
    )


def add_change(parser: argparse.ArgumentParser, changes: str, files: str) -> None:
    """Add the options that write no file."""
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--diff", action="store_true", help=f"print {changes} as a diff, and write nothing")
    change.add_argument("--dry-run", action="store_true", help=f"print the names of {files}, and write nothing")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of all commands that read files."""
    parser.add_argument(
        "--config", metavar="FILE", help="the configuration file (default: the .task-helper.toml nearest to the file)"
    )
    parser.add_argument(
        "--stdin-filename", metavar="NAME", default="standard input", help="the name of the file - in reports"
    )
    parser.add_argument("--quiet", action="store_true", help="print findings and errors only")
    parser.add_argument("--no-color", action="store_true", help="print no colours on a terminal, as with NO_COLOR=1")
    add_version(parser)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the option that prints the program's version."""
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")


class _Version(argparse.Action):
    """Reads the version only when the option is given, because importlib.metadata is slow to import."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"task-helper {version('ecs-task-helper')}")
        parser.exit()


def _format(text: str) -> str:
    if text.partition("=")[0] not in FORMATS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a format; expected one of {', '.join(FORMATS)}, such as --format sarif=results.sarif"
        )
    return text


def add_roles(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the helper and Envoy."""
    parser.add_argument("--helper", metavar="NAME", help="the container that is the helper, if it cannot be detected")
    parser.add_argument("--envoy", metavar="NAME", help="the container that is Envoy, if it cannot be detected")


def _check(arguments: argparse.Namespace) -> int:
    from task_helper_taskdef.commands import check

    return check(arguments)


def _add(arguments: argparse.Namespace) -> int:
    from task_helper_taskdef.commands import add

    return add(arguments)


def _plan(arguments: argparse.Namespace) -> int:
    from task_helper_taskdef.commands import plan

    return plan(arguments)


def _rules(arguments: argparse.Namespace) -> int:
    from task_helper_taskdef.commands import rules

    return rules(arguments)
