"""What each command does: it reads files, calls the core, prints, writes files, and returns its exit code."""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final, TextIO

import msgspec

from task_helper_taskdef.add import add as add_helper
from task_helper_taskdef.add.stop_timeouts import BadStopTimeout
from task_helper_taskdef.check import Checked, Options
from task_helper_taskdef.check import check as check_source
from task_helper_taskdef.config import BadConfiguration, Configuration, read_configuration
from task_helper_taskdef.definition import read_source, read_virtual_node
from task_helper_taskdef.files import read_file, read_files, unreadable
from task_helper_taskdef.findings import Skipped, Unreadable
from task_helper_taskdef.fix import fix
from task_helper_taskdef.formats import Source, load, parse
from task_helper_taskdef.formats.aws_shapes import registrable
from task_helper_taskdef.formats.editing import NotEditable, indent_of
from task_helper_taskdef.formats.tree import NotATaskDefinition
from task_helper_taskdef.plan import plan as draw_plan
from task_helper_taskdef.reports import Report, as_json
from task_helper_taskdef.reports.github import as_github
from task_helper_taskdef.reports.sarif import as_sarif
from task_helper_taskdef.reports.text import as_text
from task_helper_taskdef.roles import BadName, assign_roles
from task_helper_taskdef.rule_pages import markdown, names, section
from task_helper_taskdef.writer import NotWritten, encoded, replace_file

STDIN: Final = "-"
# so many of the files that were not read for the same reason are named
_SHOWN: Final = 10


class ExitCode(IntEnum):
    """The exit codes of all commands; the last are those of sysexits.h: EX_DATAERR, EX_NOINPUT and EX_CANTCREAT."""

    PASSED = 0
    FAILED = 1
    BAD_OPTION = 2
    NOTHING_READ = 3
    NOT_A_TASK_DEFINITION = 65
    NOT_OPENED = 66
    NOT_WRITTEN = 73


class BadCommandLine(ValueError):
    """What the options ask for cannot be done."""


class Unusable(Exception):
    """A file that a command needs cannot be used."""

    def __init__(self, file: Unreadable, kind: str = "task definition") -> None:
        super().__init__(_line(file, kind))
        self.code = _code_of(file)


def _line(file: Unreadable, kind: str = "task definition") -> str:
    """One line that says what is wrong with a file."""
    return f"{file.file} is no {kind}: {file.reason}" if file.opened else f"{file.file}: {file.reason}"


def _code_of(file: Unreadable) -> ExitCode:
    return ExitCode.NOT_A_TASK_DEFINITION if file.opened else ExitCode.NOT_OPENED


def _with_errors_printed(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """`command`, which prints an error of its input as one line on standard error, and returns the code for it."""

    def run(arguments: argparse.Namespace) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # a definition may hold text that the terminal's encoding has not
                stream.reconfigure(errors="backslashreplace")
        try:
            code = command(arguments)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # the reader has closed the pipe, as `head` does; so that Python's own flush at the exit does not complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.FAILED
        except Unusable as error:
            code, reason = error.code, str(error)
        except NotEditable as error:
            code, reason = ExitCode.NOT_A_TASK_DEFINITION, str(error)
        except (BadName, BadConfiguration, BadCommandLine, BadStopTimeout) as error:
            code, reason = ExitCode.BAD_OPTION, str(error)
        except NotWritten as error:
            code, reason = ExitCode.NOT_WRITTEN, str(error)
        except OSError as error:
            if error.filename is None:
                # so that Python's own flush at the exit does not fail as well
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                code, reason = ExitCode.NOT_WRITTEN, f"standard output cannot be written: {error.strerror}"
            else:
                code, reason = ExitCode.NOT_OPENED, f"{error.filename}: {error.strerror}"
        print(f"task-helper: {reason}", file=sys.stderr)
        return code

    return run


@_with_errors_printed
def check(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef check`"""
    if arguments.fix and STDIN in arguments.files:
        raise BadCommandLine("standard input cannot be mended; give a file")
    configuration = read_configuration(arguments.config, names())
    options, node = _options(arguments, configuration)
    report = Report([], [], node, [])
    for read in read_files(arguments.files, configuration.exclude):
        if isinstance(read, Skipped):
            report.skipped.append(read)
            continue
        result = read if isinstance(read, Unreadable) else _check_file(read, options, configuration, arguments.fix)
        if isinstance(result, Unreadable):
            report.unreadable.append(result)
        else:
            report.checked.extend(result)
    _refuse_unused_names(arguments, report.checked)
    _print_skipped(report)
    _print_report(report, arguments.format)
    if report.nothing_read and not report.unreadable and not arguments.allow_none:
        print("task-helper: no task definition was read; --allow-none permits that", file=sys.stderr)
        return ExitCode.NOTHING_READ
    return _exit_code(report, arguments.fail_on or configuration.fail_on)


def _options(arguments: argparse.Namespace, configuration: Configuration) -> tuple[Options, Source | None]:
    """How to check: by the command line, and where that says nothing by the configuration; the virtual node's file."""
    ignored = [rule for option in arguments.ignore or [] for rule in option.split(",") if rule]
    for rule in ignored:
        _refuse_unknown_rule(rule)
    node = _virtual_node(arguments.virtual_node) if arguments.virtual_node else None
    options = Options(
        helper=arguments.helper or configuration.helper,
        envoy=arguments.envoy or configuration.envoy,
        mesh=arguments.mesh or configuration.mesh,
        spot=arguments.spot or configuration.spot,
        virtual_node=read_virtual_node(node.document) if node else None,
        ignore=frozenset(ignored),
    )
    return options, node


def _virtual_node(name: str) -> Source:
    try:
        tree = parse(name, Path(name).read_bytes())
        read_virtual_node(tree.value)
    except NotATaskDefinition as error:
        raise Unusable(Unreadable(name, str(error)), "virtual node") from None
    return Source(name, tree, tree.value)


def _check_file(
    sources: list[Source], options: Options, configuration: Configuration, repair: bool
) -> list[Checked] | Unreadable:
    """The findings of each definition of a file, which is repaired first if `repair`."""
    file, text = sources[0].file, sources[0].text
    options = msgspec.structs.replace(options, ignore=options.ignore | configuration.ignored_in(file))
    try:
        checked = [check_source(source, options) for source in sources]
        if repair:
            text, rules, refused = fix(sources, options)
            for reason in refused:
                print(f"task-helper: {file}: not mended: {reason}", file=sys.stderr)
            if rules:
                replace_file(file, text, sources[0].tree)
                print(f"task-helper: {file}: mended {', '.join(dict.fromkeys(rules))}", file=sys.stderr)
                checked = [check_source(source, options) for source in load(file, text)]
        return checked
    except NotATaskDefinition as error:
        return unreadable(file, error, text)


def _refuse_unused_names(arguments: argparse.Namespace, checked: list[Checked]) -> None:
    """Raise BadName for the name of a container that none of the definitions has."""
    for name in filter(None, (arguments.helper, arguments.envoy)):
        containers = [container for each in checked for container in each.task.definition.by_name]
        if checked and name not in containers:
            raise BadName(f"no container is named {name!r}; there are {', '.join(dict.fromkeys(containers))}")


def _print_skipped(report: Report) -> None:
    """What was found and not read, a line for each reason."""
    reasons: dict[str, list[str]] = {}
    for each in report.skipped:
        reasons.setdefault(each.reason, []).append(each.file)
    for reason, files in reasons.items():
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        print(f"task-helper: not read: {', '.join(files[:_SHOWN])}{more}: {reason}", file=sys.stderr)


def _print_report(report: Report, format_: str) -> None:
    if format_ == "text":
        for each in report.unreadable:
            print(f"task-helper: {_line(each)}", file=sys.stderr)
        if report.checked or not report.unreadable:
            print(as_text(report, _columns(), _in_colour(sys.stdout)))
    elif written := {"json": as_json, "sarif": as_sarif, "github": as_github}[format_](report):
        print(written)


def _exit_code(report: Report, fail_on: str) -> int:
    if report.unreadable:
        return max(map(_code_of, report.unreadable))
    failing = {"error"} if fail_on == "error" else {"error", "warning"}
    failed = any(finding.severity in failing for each in report.checked for finding in each.findings)
    return ExitCode.FAILED if failed else ExitCode.PASSED


@_with_errors_printed
def add(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef add`"""
    source = _only_definition(arguments.file)
    tree = source.tree
    with _usable(source):
        source = add_helper(
            source,
            image=arguments.image,
            name=arguments.name,
            envoy=arguments.envoy,
            spot=arguments.spot,
            mesh=arguments.mesh,
            stop_timeout=arguments.stop_timeout,
        )
        text = _registrable(source) if arguments.registrable else source.text
        if arguments.in_place and arguments.file != STDIN:
            replace_file(arguments.file, text, tree)
        else:
            sys.stdout.buffer.write(encoded(text, tree))
            sys.stdout.flush()
        checked = check_source(source, Options(envoy=arguments.envoy, mesh=arguments.mesh, spot=arguments.spot))
    report = Report([checked], [])
    if any(finding.severity != "note" for finding in checked.findings):
        print(as_text(report, _columns(), _in_colour(sys.stderr)), file=sys.stderr)
    return _exit_code(report, "error")


def _registrable(source: Source) -> str:
    """The text of `source` as register-task-definition takes it."""
    if source.spelling == "cloudformation":
        raise NotEditable(f"{source.file}: CloudFormation registers what is in its template itself")
    document = registrable(source.tree.value if source.spelling == "api" else source.document)
    return json.dumps(document, indent=indent_of(source.text), ensure_ascii=False) + "\n"


@_with_errors_printed
def plan(arguments: argparse.Namespace) -> int:
    """`task-helper plan --taskdef FILE`; reads the attributes taskdef, helper, envoy and spot."""
    source = _only_definition(arguments.taskdef)
    with _usable(source):
        print(draw_plan(source, _columns(), arguments.helper, arguments.envoy, arguments.spot))
    return ExitCode.PASSED


@_with_errors_printed
def rules(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef rules`"""
    if arguments.rule:
        _refuse_unknown_rule(arguments.rule)
    print(section(arguments.rule) if arguments.rule else markdown(), end="")
    return ExitCode.PASSED


def _refuse_unknown_rule(name: str) -> None:
    if name not in names():
        raise BadName(f"no rule is named {name!r}; there are {', '.join(names())}")


def _only_definition(name: str) -> Source:
    """The one task definition in the file `name`, or of several the only one with an Envoy; raises Unusable."""
    sources = read_file(name)
    if isinstance(sources, Unreadable):
        raise Unusable(sources)
    if len(sources) == 1:
        return sources[0]
    with_envoy = list(filter(_has_envoy, sources))
    if len(with_envoy) != 1:
        labels = ", ".join(source.label for source in sources)
        reason = f"{len(sources)} task definitions are in it ({labels}), and not just one of them has an Envoy"
        raise Unusable(Unreadable(sources[0].file, reason))
    return with_envoy[0]


def _has_envoy(source: Source) -> bool:
    try:
        return bool(assign_roles(read_source(source)).envoys)
    except NotATaskDefinition:
        return False


@contextmanager
def _usable(source: Source) -> Iterator[None]:
    """Raises Unusable, with the place in the file, for a NotATaskDefinition about `source`."""
    try:
        yield
    except NotATaskDefinition as error:
        raise Unusable(unreadable(source.file, error, source.text)) from None


def _in_colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user has not switched colours off (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _columns() -> int:
    return min(shutil.get_terminal_size().columns, 120)
