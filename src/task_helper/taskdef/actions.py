"""What the commands of `commands` do: read files, judge, print.

Every command returns its exit code: 0 no errors, 1 errors, 2 a wrong name, 65 no task definition, 66 no such file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from task_helper.taskdef import add as adding
from task_helper.taskdef import report
from task_helper.taskdef.definition import NotATaskDefinition, parse, read, read_virtual_node
from task_helper.taskdef.page import markdown, section
from task_helper.taskdef.rules import RULES
from task_helper.taskdef.rules import check as findings
from task_helper.taskdef.task import BadName, cast
from task_helper.taskdef.timeline import draw

T = TypeVar("T")


def _refusing(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """`command`, with what is wrong about its input said in one line on standard error."""

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
            # who reads has had enough, as `head` has; so that Python's own flush at the exit does not complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except NotATaskDefinition as error:
            code, reason = 65, str(error)
        except BadName as error:
            code, reason = 2, str(error)
        except OSError as error:
            code, reason = 66, f"{error.filename}: {error.strerror}"
        print(f"task-helper: {reason}", file=sys.stderr)
        return code

    return run


@_refusing
def check(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef check`"""
    definition, _ = _read(arguments.file, read)
    node = _read(arguments.virtual_node, read_virtual_node, "virtual node")[0] if arguments.virtual_node else None
    task = cast(definition, arguments.helper, arguments.envoy, arguments.spot, node)
    problems = list(findings(task))
    if arguments.format == "json":
        print(report.as_json(task, problems))
    else:
        print(report.as_text(task, problems, _columns(), _colour(sys.stdout)))
    return int(any(problem.severity == "error" for problem in problems))


@_refusing
def add(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef add`"""
    completed, text = _read(
        arguments.file, lambda document: adding.add(document, arguments.image, arguments.name, arguments.envoy)
    )
    # what UTF-8 cannot hold, half a surrogate pair, becomes the very escape that JSON has for it
    written = (json.dumps(completed, indent=_indent(text), ensure_ascii=False) + "\n").encode(errors="backslashreplace")
    if arguments.in_place and arguments.file != "-":
        _replace(Path(arguments.file), written)
    else:
        sys.stdout.buffer.write(written)
        sys.stdout.flush()
    task = cast(read(completed), envoy=arguments.envoy)
    problems = list(findings(task))
    if problems:
        print(report.as_text(task, problems, _columns(), _colour(sys.stderr)), file=sys.stderr)
    return int(any(problem.severity == "error" for problem in problems))


@_refusing
def plan(arguments: argparse.Namespace) -> int:
    """`task-helper plan --taskdef FILE`; reads the attributes taskdef, helper, envoy and spot."""
    definition, _ = _read(arguments.taskdef, read)
    print(draw(definition, _columns(), arguments.helper, arguments.envoy, arguments.spot))
    return 0


@_refusing
def rules(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef rules`"""
    if arguments.rule and arguments.rule not in RULES:
        raise BadName(f"no rule is named {arguments.rule!r}; there are {', '.join(RULES)}")
    print(section(arguments.rule) if arguments.rule else markdown(), end="")
    return 0


def _read(file: str, reader: Callable[[Any], T], kind: str = "task definition") -> tuple[T, bytes]:
    """What `reader` makes of the JSON in `file` (`-` for standard input), and the text; may raise OSError."""
    text = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    try:
        return reader(parse(text)), text
    except NotATaskDefinition as error:
        name = "standard input" if file == "-" else file
        raise NotATaskDefinition(f"{name} is no {kind}: {error}") from None


def _indent(text: bytes) -> str:
    """How `text` indents, two spaces if it does not."""
    match = re.search(rb'\n([ \t]+)"', text)
    return match[1].decode() if match else "  "


def _replace(file: Path, written: bytes) -> None:
    """Replace the content of `file` as a whole or not at all, keeping its permissions."""
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(written)
    new.chmod(file.stat().st_mode)
    new.replace(file)


def _colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user has not asked for none (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _columns() -> int:
    return min(shutil.get_terminal_size().columns, 120)
