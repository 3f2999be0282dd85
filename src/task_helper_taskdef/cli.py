"""The command line of `task-helper taskdef`, and of `task-helper plan --taskdef`.

Only arguments are declared here. Every start of the program but `run` and `healthcheck` imports this, so it imports
`commands` only when one of its commands runs.
"""

from __future__ import annotations

import argparse

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
        nargs="+",
        help="a file, a directory or a pattern such as 'tasks/**/*.json'; - for stdin",
    )
    add_roles(check)
    add_mesh(check)
    check.add_argument("--virtual-node", metavar="FILE", help="the mesh's virtual node, for its health check")
    check.add_argument("--spot", action="store_true", help="the task runs on Spot: its whole stop has two minutes")
    check.add_argument("--ignore", metavar="RULE", action="append", help="say nothing of this rule; several: RULE,RULE")
    check.add_argument(
        "--fail-on", choices=("error", "warning"), help="the least severe finding for exit code 1 (error)"
    )
    check.add_argument("--fix", action="store_true", help="mend what is mechanical in the files, then check them")
    check.add_argument("--allow-none", action="store_true", help="exit with 0 although no task definition was read")
    check.add_argument("--config", metavar="FILE", help="the configuration (the nearest .task-helper.toml)")
    check.add_argument(
        "--format",
        choices=("text", "json", "sarif", "github"),
        default="text",
        help="for people, for programs, for code scanning, for the annotations of a pull request",
    )
    check.set_defaults(main=_check)

    add = subcommands.add_parser(
        "add",
        help="put a well-wired helper container into a task definition",
        description="Write the file with a helper container that check passes; all else stays as it is, letter"
        " by letter. A helper that is there gets the image and what it lacks. What check still finds goes to standard"
        " error.",
        epilog=ADD_EXITS,
    )
    add.add_argument("file", metavar="FILE", help="the task definition, or a template with one; - for standard input")
    add.add_argument("--image", required=True, help="the helper's image, with its tag or digest")
    add.add_argument("--name", default="task-helper", help="the name of the helper's container (%(default)s)")
    add.add_argument("--envoy", metavar="NAME", help="the container that is Envoy, if it cannot be told")
    add_mesh(add)
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
    add.set_defaults(main=_add)

    rules = subcommands.add_parser("rules", help="print what check looks for and why, as Markdown")
    rules.add_argument("rule", metavar="RULE", nargs="?", help="this rule only")
    rules.set_defaults(main=_rules)


def register_plan(plan: argparse.ArgumentParser) -> None:
    """Add to the command `plan` what draws a whole task instead of the helper's own settings."""
    plan.add_argument("--taskdef", metavar="FILE", help="draw the stop of a whole task of this definition; - for stdin")
    add_roles(plan)
    plan.add_argument("--spot", action="store_true", help="with --taskdef: show what Spot's two minutes cut off")


def add_mesh(parser: argparse.ArgumentParser) -> None:
    """Add the option that names the mesh."""
    meshes = ("app-mesh", "consul", "kuma", "static-dns", "alb", "nlb")
    parser.add_argument("--mesh", choices=meshes, help="who tells downstreams of the task, if it cannot be told")


def add_roles(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the helper and Envoy."""
    parser.add_argument("--helper", metavar="NAME", help="the container that is the helper, if it cannot be told")
    parser.add_argument("--envoy", metavar="NAME", help="the container that is Envoy, if it cannot be told")


def _check(arguments: argparse.Namespace) -> int:
    from task_helper_taskdef.commands import check

    return check(arguments)


def _add(arguments: argparse.Namespace) -> int:
    from task_helper_taskdef.commands import add

    return add(arguments)


def _rules(arguments: argparse.Namespace) -> int:
    from task_helper_taskdef.commands import rules

    return rules(arguments)
