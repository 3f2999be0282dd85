"""The configuration file: what a repository wants of `taskdef check`, so that laptops and CI agree.

`.task-helper.toml` of the working directory, or the nearest one above it up to the repository's top:

    ignore = ["log-driver"]
    fail-on = "warning"
    exclude = ["legacy/*"]
    helper = "drain"
    envoy = "proxy"
    spot = true
    mesh = "kuma"

    [[files]]
    match = "batch/*.json"
    ignore = ["spot-budget"]
    reason = "batch tasks serve nobody"

An option of the command line takes precedence.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from task_helper_taskdef.roles import Mesh

NAME: Final = ".task-helper.toml"


class BadConfiguration(ValueError):
    """The configuration cannot be used; the message names the file and what is wrong."""


class Files(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for the files whose path matches the pattern `match`."""

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

    def ignored_in(self, file: str) -> frozenset[str]:
        """The rules that report nothing about `file`."""
        return frozenset(self.ignore).union(*(each.ignore for each in self.files if fnmatch(file, each.match)))


def read_configuration(name: str | None, rules: Collection[str]) -> Configuration:
    """The configuration in the file `name`, by default in the nearest one; where there is none, the defaults.

    `rules` are the rules that it may name. Raises BadConfiguration, and OSError where the file cannot be read.
    """
    file = Path(name) if name else _nearest(Path.cwd())
    if file is None:
        return Configuration()
    try:
        fields: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        configuration = msgspec.convert(fields, Configuration)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise BadConfiguration(f"{file}: {str(error).replace('`', '')}") from None
    named = {*configuration.ignore, *(rule for files in configuration.files for rule in files.ignore)}
    if unknown := sorted(named.difference(rules)):
        raise BadConfiguration(f"{file}: no rule is named {unknown[0]!r}; there are {', '.join(rules)}")
    return configuration


def _nearest(directory: Path) -> Path | None:
    """The nearest configuration file at `directory` or above it, not above the repository's top."""
    for folder in [directory, *directory.parents]:
        if (folder / NAME).is_file():
            return folder / NAME
        if (folder / ".git").exists():
            return None
    return None
