"""The configuration file: the options of `taskdef check` for a repository, so that laptops and CI agree.

`.task-helper.toml` of the file's directory, or the nearest one above it up to the repository's top. Where there is
none, that of the working directory, or the nearest one above it, counts:

    ignore = ["log-driver", "health-*"]
    select = []
    fail-on = "warning"
    exclude = ["legacy/*"]
    helper = "drain"
    envoy = "proxy"
    spot = true
    mesh = "kuma"

    [severity]
    image = "error"

    [[files]]
    match = "batch/*.json"
    ignore = ["spot-budget"]
    reason = "batch tasks serve no requests"

An option of the command line takes precedence.
"""

from __future__ import annotations

import glob
import os
import re
import tomllib
from collections.abc import Collection, Iterable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from task_helper_taskdef.findings import Severity
from task_helper_taskdef.roles import Mesh

NAME: Final = ".task-helper.toml"


class BadConfiguration(ValueError):
    """The configuration cannot be used; the message names the file and what is wrong."""


class NoSuchRule(BadConfiguration):
    """A name or a pattern that matches no rule."""


class Files(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Options for the files whose path matches the pattern `match`."""

    match: str
    ignore: list[str]
    reason: str


class Configuration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    ignore: list[str] = []
    fail_on: Literal["error", "warning"] = "error"
    exclude: list[str] = []
    files: list[Files] = []
    helper: str | None = None
    envoy: str | None = None
    spot: bool = False
    mesh: Mesh | None = None
    select: list[str] = []
    severity: dict[str, Severity] = {}
    folder: str = "."

    def ignored_in(self, file: str) -> frozenset[str]:
        """The rules that report nothing about `file`."""
        within = os.path.relpath(file, self.folder)
        matching = (each.ignore for each in self.files if fnmatch(file, each.match) or fnmatch(within, each.match))
        return frozenset(self.ignore).union(*matching)

    @property
    def excluded(self) -> list[str]:
        """The patterns of `exclude`, as written and from the configuration's own folder."""
        absolute = os.path.abspath(self.folder)
        within = [os.path.join(absolute, pattern) for pattern in self.exclude]
        return [*self.exclude, *within, *map(os.path.relpath, within)]


class Configurations:
    """The configuration of each file: `name` for all, by default the nearest one."""

    def __init__(self, name: str | None, rules: Collection[str]) -> None:
        self._name, self._rules = name, rules
        self._read: dict[Path | None, Configuration] = {}

    def of(self, file: str) -> Configuration:
        """That of `file`, a file, a folder or a pattern; raises as `read_configuration` does."""
        found = Path(self._name) if self._name else _nearest(_folder(file)) or _nearest(Path.cwd())
        if found not in self._read:
            self._read[found] = read_configuration(found, self._rules)
        return self._read[found]


def read_configuration(file: Path | None, rules: Collection[str]) -> Configuration:
    """The configuration in `file`; the defaults where that is None.

    `rules` are the rules that it may name. Raises BadConfiguration, and OSError where the file cannot be read.
    """
    if file is None:
        return Configuration()
    try:
        fields: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        if "folder" in fields:
            raise BadConfiguration(f"{file}: Object contains unknown field folder")
        configuration = msgspec.convert(fields, Configuration)
        return msgspec.structs.replace(
            configuration,
            ignore=matching(configuration.ignore, rules),
            select=matching(configuration.select, rules),
            severity={
                rule: severity for each, severity in configuration.severity.items() for rule in matching([each], rules)
            },
            files=[msgspec.structs.replace(each, ignore=matching(each.ignore, rules)) for each in configuration.files],
            folder=str(file.absolute().parent),
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError, NoSuchRule) as error:
        raise BadConfiguration(f"{file}: {str(error).replace('`', '')}") from None


def matching(patterns: Iterable[str], rules: Collection[str]) -> list[str]:
    """The rules that `patterns` mean, such as `image` and `helper-*`; raises NoSuchRule for one that means none."""
    found: list[str] = []
    for pattern in patterns:
        names = [rule for rule in rules if fnmatch(rule, pattern)]
        if not names:
            raise NoSuchRule(f"no rule is named {pattern!r}; the rules are {', '.join(rules)}")
        found += names
    return found


def _folder(file: str) -> Path:
    """The folder of `file`; of a pattern its part before the first sign of a pattern; of `-` the working directory."""
    path = Path(re.split(r"[*?\[]", file)[0]) if glob.has_magic(file) and not Path(file).exists() else Path(file)
    path = path.absolute()
    return path if path.is_dir() else path.parent


def _nearest(directory: Path) -> Path | None:
    """The nearest configuration file at `directory` or above it, not above the repository's top."""
    for folder in [directory, *directory.parents]:
        if (folder / NAME).is_file():
            return folder / NAME
        if (folder / ".git").exists():
            return None
    return None
