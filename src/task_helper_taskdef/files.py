"""Finding the files that a user names, also by patterns and directories, and reading the task definitions in them."""

from __future__ import annotations

import fnmatch
import glob
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from task_helper_taskdef.findings import Unreadable
from task_helper_taskdef.formats import SUFFIXES, Source, parse, sources
from task_helper_taskdef.formats.tree import Lines, NotATaskDefinition, Tree

# folders of other people's packages
_SKIPPED: Final = {"node_modules", "__pycache__", "venv"}
# of the files in a directory only those with one of these words can be a task definition
_MENTION: Final = re.compile(rb'container_?definitions|"image"|\bimage:', re.I)


class _File(NamedTuple):
    """A name to read; `named` if the user named this file itself, not a directory or a pattern."""

    name: str
    named: bool = True


def read_files(names: Sequence[str], exclude: Sequence[str] = ()) -> Iterator[list[Source] | Unreadable]:
    """The task definitions in each file that `names` mean, file by file, each file once.

    A name is a file, a directory, a pattern, or `-` for standard input. Files that are found in a directory or by a
    pattern are left out if their path matches one of the patterns `exclude`, or if they contain something else.
    """
    for file in _expanded(names, exclude):
        result = file if isinstance(file, Unreadable) else _read(file)
        if result:
            yield result


def read_file(name: str) -> list[Source] | Unreadable:
    """The task definitions, at least one, in the file `name`, or in standard input for `-`."""
    return _read(_File(name))


def _expanded(names: Sequence[str], exclude: Sequence[str]) -> Iterator[_File | Unreadable]:
    seen: set[str] = set()
    for name in names:
        if name == "-" or Path(name).is_file() or not (Path(name).is_dir() or glob.has_magic(name)):
            found = [_File(name)]
        elif Path(name).is_dir():
            found = [
                _File(str(path), False) for path in sorted(Path(name).rglob("*")) if _is_candidate(path, Path(name))
            ]
        else:
            found = [_File(path, False) for path in sorted(glob.glob(name, recursive=True)) if Path(path).is_file()]
            if not found:
                yield Unreadable(name, "no file is named so", opened=False)
        for file in found:
            kept = file.named or not any(fnmatch.fnmatch(file.name, pattern) for pattern in exclude)
            if file.name not in seen and kept:
                seen.add(file.name)
                yield file


def _read(file: _File) -> list[Source] | Unreadable:
    """The task definitions in `file`; none where it was not named and is something else."""
    name = "standard input" if file.name == "-" else file.name
    try:
        raw = sys.stdin.buffer.read() if file.name == "-" else Path(file.name).read_bytes()
    except OSError as error:
        return Unreadable(name, error.strerror or "cannot be read", opened=False)
    if not file.named and not _MENTION.search(raw):
        return []
    tree: Tree | None = None
    try:
        tree = parse(name, raw)
        return sources(name, tree)
    except NotATaskDefinition as error:
        # what can be read and is something else was not meant
        if not file.named and (tree is not None or not re.search(rb"container_?definitions", raw, re.I)):
            return []
        return unreadable(name, error, raw.decode(errors="replace"))


def unreadable(name: str, error: NotATaskDefinition, text: str) -> Unreadable:
    """The file `name` with `text`, in which `error` was found."""
    return Unreadable(name, str(error), *(Lines(text).at(error.offset) if error.offset else (1, 1)))


def _is_candidate(path: Path, directory: Path) -> bool:
    within = path.relative_to(directory)
    hidden = any(part.startswith(".") or part in _SKIPPED for part in within.parts)
    return path.suffix.lower() in SUFFIXES and not hidden and path.is_file()
