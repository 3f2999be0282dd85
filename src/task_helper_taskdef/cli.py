"""The command line of `task-helper taskdef`, and of `task-helper plan --taskdef`.

Only arguments are declared here. Every start of the program but `run` and `healthcheck` imports this, so it imports
`commands` only when one of its commands runs.
"""

from __future__ import annotations

import argparse
from typing import Any, Final, NoReturn

# of reports: for people, one line for each finding, for programs, code scanning, pull requests, and test reports
FORMATS: Final = ("text", "line", "json", "sarif", "github", "junit")
EXITS = """\
exit codes: 0 no errors (there may be warnings, see --fail-on), 1 errors, 2 a wrong command line or configuration, 3 no
task definition was read (see --allow-none), 65 an input is no task definition, 66 it cannot be read, 73 it cannot be
written"""
ADD_EXITS = """\
exit codes: 0 no errors (there may be warnings), 1 errors, 2 a wrong command line, 65 the input is no task definition,
66 it cannot be read, 73 it cannot be written"""
READS = """\
JSON or YAML: what register-task-definition takes or describe-task-definition prints, a list of containers, a
CloudFormation template, what `cdk synth` writes, what `terraform show -json` prints"""


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `taskdef` to the program's."""
    taskdef = commands.add_parser("taskdef", help="check task definitions, and put the helper into them")
    subcommands = taskdef.add_subparsers(title="commands", metavar="COMMAND", required=True)

    check = subcommands.add_parser(
        "check",
        help="find what will go wrong when the task starts or stops",
        description=f"Find what will go wrong when a task of these definitions starts or stops. {READS}.",
        epilog=EXITS,
    )
    check.add_argument(
        "files",
        metavar="FILE",
        nargs="*",
        help="a file, a directory or a pattern such as 'tasks/**/*.json'; - for stdin; without any, the directory here",
    )
    add_definition(check)
    add_roles(check)
    add_mesh(check)
    check.add_argument("--virtual-node", metavar="FILE", help="the mesh's virtual node, for its health check")
    check.add_argument("--spot", action="store_true", help="the task runs on Spot: its whole stop has two minutes")
    several = "RULE,RULE or a pattern such as 'helper-*'"
    check.add_argument("--select", metavar="RULE", action="append", default=[], help=f"only these rules: {several}")
    check.add_argument("--ignore", metavar="RULE", action="append", default=[], help=f"not these rules: {several}")
    check.add_argument(
        "--exclude", metavar="PATTERN", action="append", default=[], help="leave out files that are found, not named"
    )
    check.add_argument("--baseline", metavar="FILE", help="report only what is not in this file")
    check.add_argument("--write-baseline", metavar="FILE", help="write the findings of today to this file; exit with 0")
    check.add_argument(
        "--fail-on", choices=("error", "warning"), help="the least severe finding for exit code 1 (error)"
    )
    check.add_argument("--fix", action="store_true", help="repair what needs no decision in the files, then check them")
    add_change(check, "what --fix would change")
    check.add_argument("--allow-none", action="store_true", help="exit with 0 although no task definition was read")
    check.add_argument(
        "--format",
        metavar="FORMAT[=FILE]",
        type=_format,
        action="append",
        help=f"{', '.join(FORMATS)}; with a file also several at once; line is FILE:LINE:COLUMN: LEVEL RULE: MESSAGE",
    )
    check.add_argument("-o", "--output", metavar="FILE", help="write the report to this file, not to standard output")
    check.add_argument("--list-rules", action="store_true", help="print all rules with their severities, also as JSON")
    add_common(check)
    check.set_defaults(main=_check)

    add = subcommands.add_parser(
        "add",
        help="put a well-wired helper container into a task definition",
        description="Write the file with a helper's container, wired and set up for the mesh. The rest of the text"
        " stays as it is, except with --registrable, which writes it anew. A helper that is there gets the image and"
        " what it lacks. All definitions with an Envoy are changed, or those of --definition. What check finds"
        " afterwards, notes too, goes to standard error.",
        epilog=ADD_EXITS,
    )
    add.add_argument("file", metavar="FILE", help="the task definition, or a template with one; - for standard input")
    add.add_argument("--image", required=True, help="the helper's image, with its tag or digest")
    add.add_argument("--name", default="task-helper", help="the name of the helper's container (%(default)s)")
    add_definition(add)
    add_roles(add)
    add_mesh(add)
    add.add_argument("--virtual-node", metavar="FILE", help="the mesh's virtual node, for its health check")
    add.add_argument(
        "--set",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a setting of the helper, such as APP_HEALTH_URL=http://127.0.0.1:8080/health; several are possible",
    )
    times = add.add_mutually_exclusive_group()
    times.add_argument("--spot", action="store_true", help="with times that leave room for all in Spot's two minutes")
    times.add_argument(
        "--stop-timeout",
        metavar="SECONDS",
        type=int,
        help="hold the task for so long; on Fargate, for more than 120, with two helpers, one after the other",
    )
    add.add_argument("--registrable", action="store_true", help="leave out what register-task-definition does not take")
    add.add_argument("--in-place", action="store_true", help="write to FILE itself, not to standard output")
    add_change(add, "what would be written")
    add_common(add)
    add.set_defaults(main=_add)

    rules = subcommands.add_parser("rules", help="print what check looks for and why, as Markdown")
    rules.add_argument("rule", metavar="RULE", nargs="?", help="this rule only, or those of a pattern")
    rules.add_argument("--list", action="store_true", help="print names, severities and titles of all rules")
    rules.add_argument("--json", action="store_true", help="print that as JSON")
    for parser in (taskdef, rules):
        add_version(parser)
    rules.set_defaults(main=_rules)


def register_plan(plan: argparse.ArgumentParser) -> None:
    """Add to the command `plan` what draws a whole task instead of the helper's own settings."""
    plan.add_argument("--taskdef", metavar="FILE", help="draw the stop of a whole task of this definition; - for stdin")
    add_definition(plan)
    add_roles(plan)
    plan.add_argument(
        "--config", metavar="FILE", help="with --taskdef: the configuration (the nearest .task-helper.toml)"
    )
    plan.add_argument("--spot", action="store_true", help="with --taskdef: show what Spot's two minutes cut off")


def add_mesh(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the mesh."""
    meshes = ("app-mesh", "consul", "kuma", "static-dns", "alb", "nlb")
    parser.add_argument("--mesh", choices=meshes, help="how downstreams learn of the task, if it cannot be detected")


def add_definition(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses among the definitions of a file."""
    parser.add_argument(
        "--definition",
        metavar="NAME",
        action="append",
        default=[],
        help="only this definition of the file: its logical ID, its family or its number, from 1; several are possible",
    )


def add_change(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options that write no file."""
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--diff", action="store_true", help=f"print {what} as a diff, and write nothing")
    change.add_argument("--dry-run", action="store_true", help=f"name {what}, and write nothing")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add the options of all commands that read files."""
    parser.add_argument(
        "--config", metavar="FILE", help="the configuration (the .task-helper.toml nearest to the file)"
    )
    parser.add_argument(
        "--stdin-filename", metavar="NAME", default="standard input", help="what to call the file - in reports"
    )
    parser.add_argument("--quiet", action="store_true", help="print findings and errors only")
    parser.add_argument("--no-color", action="store_true", help="no colours on a terminal; so does NO_COLOR=1")
    add_version(parser)


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add the option that prints the program's version."""
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")


class _Version(argparse.Action):
    """Reads the version only when asked: importlib.metadata is heavy."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from importlib.metadata import version

        print(f"task-helper {version('ecs-task-helper')}")
        parser.exit()


def _format(text: str) -> str:
    if text.partition("=")[0] not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} is no format; there are {', '.join(FORMATS)}")
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


def _rules(arguments: argparse.Namespace) -> int:
    from task_helper_taskdef.commands import rules

    return rules(arguments)
