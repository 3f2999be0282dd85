"""The terminal: exit codes, errors as one line, and output to a pipe that may be closed."""

from __future__ import annotations

import argparse
import io
import os
import shutil
import sys
from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final, TextIO

from task_helper_taskdef.add import BadSetting
from task_helper_taskdef.add.stop_timeouts import BadStopTimeout
from task_helper_taskdef.baseline import BadBaseline
from task_helper_taskdef.config import BadConfiguration
from task_helper_taskdef.findings import Unreadable
from task_helper_taskdef.formats.editing import NotEditable
from task_helper_taskdef.roles import BadName
from task_helper_taskdef.selection import NoSuchDefinition
from task_helper_taskdef.writer import NotWritten


class ExitCode(IntEnum):
    """The exit codes of all commands; from 65 on those of sysexits.h, and the shell's for a SIGINT."""

    PASSED = 0
    FAILED = 1
    BAD_OPTION = 2
    NOTHING_READ = 3
    NOT_A_TASK_DEFINITION = 65
    NOT_OPENED = 66
    NOT_WRITTEN = 73
    INTERRUPTED = 130


class BadCommandLine(ValueError):
    """The options cannot be used together, or not with this input."""


class Unusable(Exception):
    """A file that a command needs cannot be used."""

    def __init__(self, file: Unreadable) -> None:
        super().__init__(f"{file.file}: {file.reason}")
        self.code = code_of(file)


# errors in the command line or the configuration
_BAD_OPTIONS: Final = (
    BadBaseline,
    BadCommandLine,
    BadConfiguration,
    BadName,
    BadSetting,
    BadStopTimeout,
    NoSuchDefinition,
)


def code_of(file: Unreadable) -> ExitCode:
    """The exit code for a file that could not be checked."""
    return ExitCode.NOT_A_TASK_DEFINITION if file.opened else ExitCode.NOT_OPENED


def with_errors_printed(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """`command`, but an error of its input is printed as one line on standard error and gives its exit code."""

    def run(arguments: argparse.Namespace) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # a definition may contain characters that the terminal's encoding does not have
                stream.reconfigure(errors="backslashreplace")
        try:
            return command(arguments)
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except Unusable as error:
            code, reason = error.code, str(error)
        except NotEditable as error:
            code, reason = ExitCode.NOT_A_TASK_DEFINITION, str(error)
        except _BAD_OPTIONS as error:
            code, reason = ExitCode.BAD_OPTION, str(error)
        except NotWritten as error:
            code, reason = ExitCode.NOT_WRITTEN, str(error)
        except OSError as error:
            code, reason = ExitCode.NOT_OPENED, f"{error.filename}: {error.strerror}"
        complain(reason)
        return code

    return run


def emit(output: str | bytes) -> None:
    """Write `output` to standard output; a text with a line end. Raises NotWritten.

    A reader that closes the pipe, as `head` does, is not an error: the command's exit code does not change.
    """
    if sys.stdout is None:
        raise NotWritten("standard output cannot be written: it is closed")
    try:
        if isinstance(output, bytes):
            sys.stdout.flush()
            sys.stdout.buffer.write(output)
        else:
            print(output)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
    except OSError as error:
        _discard_output()
        raise NotWritten(f"standard output cannot be written: {error.strerror}") from None


def _discard_output() -> None:
    """Redirect standard output, so that Python's own flush at the exit does not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(text: str) -> None:
    """Write the line `text` to standard error, with the program's name; nothing if standard error is closed."""
    show(f"task-helper: {text}")


def show(text: str) -> None:
    """Write `text` to standard error as it is; nothing if standard error is closed."""
    stream: Any = sys.stderr
    if stream is not None:
        print(text, file=stream)


def in_colour(stream: TextIO | None, wanted: bool = True) -> bool:
    """Whether `stream` is a terminal whose user has not switched colours off (https://no-color.org)."""
    return wanted and stream is not None and stream.isatty() and not os.environ.get("NO_COLOR")


def columns() -> int:
    """The width of the output."""
    return min(shutil.get_terminal_size().columns, 120)
