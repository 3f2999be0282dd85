"""Finding the files that a user names, also by patterns and directories, and reading the task definitions in them."""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Final, NamedTuple

from task_helper_taskdef.findings import Skipped, Unreadable
from task_helper_taskdef.formats import SUFFIXES, Source, decoded, parse_all, sources, unrelated
from task_helper_taskdef.formats.tree import Lines, NotATaskDefinition

# what standard input is called where the user gives it no name
STDIN_NAME: Final = "standard input"
# folders of other people's packages
_PACKAGES: Final = {"node_modules", "__pycache__", "venv"}
# folders that begin with a dot and in which people keep task definitions
_DOT_FOLDERS: Final = {".aws", ".ecs", ".github"}
# of the files in a directory only those with one of these words can be a task definition
_MENTION: Final = re.compile(rb'container_?definitions|"image"|\bimage:', re.I)
_DEFINITION: Final = re.compile(rb"container_?definitions", re.I)
# keys that only a container of ECS has; a template with a bare list of containers mentions no containerDefinitions
_CONTAINER: Final = re.compile(rb"\bessential[\"']?\s*:|\bport_?mappings[\"']?\s*:\s*[\[$]", re.I)
# what code has that makes a task definition
_CODE: Final = re.compile(
    rb"aws_ecs_task_definition|container_?definitions|(Fargate|Ec2|External|Cfn)TaskDefinition\b", re.I
)
_WIDE: Final = (b"\xff\xfe", b"\xfe\xff")


class _File(NamedTuple):
    """A name to read; `named` if the user named this file itself, not a directory or a pattern."""

    name: str
    named: bool = True


def read_files(
    names: Sequence[str], exclude: Sequence[str] = (), stdin_name: str = STDIN_NAME
) -> Iterator[list[Source] | Unreadable | Skipped]:
    """The task definitions in each file that `names` mean, file by file, each file once.

    A name is a file, a directory, a pattern, or `-` for standard input. Of the files that a directory or a pattern
    has, those are Skipped that match one of the patterns `exclude`, or that are of a kind that is not read. Files that
    have nothing to do with task definitions are left out.
    """
    for file in _expanded(names, exclude):
        result = file if isinstance(file, Unreadable | Skipped) else _read(file, stdin_name)
        if result:
            yield result


def read_file(name: str, stdin_name: str = STDIN_NAME) -> list[Source] | Unreadable:
    """The task definitions, at least one, in the file `name`, or in standard input for `-`."""
    result = _read(_File(name), stdin_name)
    return Unreadable(*result) if isinstance(result, Skipped) else result


def _expanded(names: Sequence[str], exclude: Sequence[str]) -> Iterator[_File | Unreadable | Skipped]:
    seen: set[str] = set()
    for name in names:
        if name == "-" or Path(name).is_file() or not (Path(name).is_dir() or glob.has_magic(name)):
            found: Iterator[_File | Unreadable | Skipped] = iter([_File(name)])
        elif Path(name).is_dir():
            found = _in_directory(name)
        else:
            found = _by_pattern(name)
        for file in found:
            if not isinstance(file, _File):
                yield file
            elif file.name not in seen:
                seen.add(file.name)
                excluded = not file.named and any(fnmatch.fnmatch(file.name, pattern) for pattern in exclude)
                yield Skipped(file.name, "excluded") if excluded else file


def _in_directory(name: str) -> Iterator[_File | Unreadable | Skipped]:
    """The files in a directory that may contain a task definition, and the folders in it that are not looked into."""
    failed: list[OSError] = []
    for folder, folders, files in os.walk(name, onerror=failed.append):
        for each in sorted(folders):
            if reason := _why_skipped(each):
                folders.remove(each)
                yield Skipped(str(Path(folder, each)), reason)
        folders.sort()
        for file in sorted(files):
            path = Path(folder, file)
            if _is_candidate(file) and path.is_file():
                yield _File(str(path), False)
    for error in failed:
        yield Unreadable(str(error.filename), error.strerror or "cannot be read", opened=False)


def _by_pattern(pattern: str) -> Iterator[_File | Unreadable]:
    written = set(PurePath(pattern).parts)
    found = [
        _File(path, False)
        for path in sorted(glob.glob(pattern, recursive=True, include_hidden=True))
        if Path(path).is_file()
        and not any(_why_skipped(part) for part in PurePath(path).parts[:-1] if part not in written)
    ]
    yield from found
    if not found:
        yield Unreadable(pattern, "no file matches this pattern", opened=False)


def _why_skipped(folder: str) -> str:
    """Why a folder of this name is not looked into, empty where it is."""
    if folder in _PACKAGES:
        return "a folder of packages"
    hidden = folder.startswith(".") and folder.strip(".") and folder not in _DOT_FOLDERS
    return "a folder whose name begins with a dot" if hidden else ""


def _read(file: _File, stdin_name: str) -> list[Source] | Unreadable | Skipped:
    """The task definitions in `file`; none where it was not named and has nothing to do with them."""
    name = stdin_name if file.name == "-" else file.name
    try:
        raw = sys.stdin.buffer.read() if file.name == "-" else Path(file.name).read_bytes()
    except OSError as error:
        return Unreadable(name, error.strerror or "cannot be read", opened=False)
    # in UTF-16 the words have zeros between their letters
    words = raw.replace(b"\0", b"") if raw.startswith(_WIDE) else raw
    code = unrelated.by_name(name)
    if not file.named and code:
        return Skipped(name, code) if _CODE.search(words) else []
    if not file.named and not _MENTION.search(words):
        return []
    trees = None
    try:
        trees = parse_all(name, raw)
        return sources(name, *trees)
    except NotATaskDefinition as error:
        if not file.named and not _DEFINITION.search(words) and not _CONTAINER.search(words):
            return []
        # what can be read and is something else was not meant
        if not file.named and trees is not None:
            return Skipped(name, str(error))
        return unreadable(name, error, _text(raw))


def _text(raw: bytes) -> str:
    try:
        return decoded(raw)
    except NotATaskDefinition:
        return raw.decode(errors="replace")


def unreadable(name: str, error: NotATaskDefinition, text: str) -> Unreadable:
    """The file `name` with `text`, in which `error` was found."""
    return Unreadable(name, str(error), *(Lines(text).at(error.offset) if error.offset else (1, 1)))


def _is_candidate(name: str) -> bool:
    return PurePath(name).suffix.lower() in SUFFIXES or unrelated.by_name(name) is not None
