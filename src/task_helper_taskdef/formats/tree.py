"""A file's text as values, each with its place in the text.

A place is written as JSONPath writes it, `$.containerDefinitions[0].name`; a key with a dot or a bracket in it stands
as `['com.example.team']`. A span is where the value stands, as offsets into the text. A value that a template leaves
unknown is a text of the class Unknown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec

# more than any template has, and far less than what would exhaust a recursive function
MAX_DEPTH: Final = 200


class NotATaskDefinition(ValueError):
    """The input is no task definition; the message says where and why, and what to give instead where that is clear.

    `offset` is where in the text, in characters, if it is known.
    """

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class Unknown(str):
    """A text that is not wholly known before something is deployed: `${Image}`, `${AWS::AccountId}.example/envoy:1`."""


class Scalar(NamedTuple):
    """A value that is no text, as the file has it: its kind (`int`, `float`, `bool`, `null`, ...) and its spelling."""

    kind: str
    spelling: str


def plain(value: Any) -> Any:
    """`value` with nothing but texts for texts, to be written."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


class Span(NamedTuple):
    """Where a value stands: from the offset `start` to before `end`; `flow` for JSON's way of writing it."""

    start: int
    end: int
    flow: bool = True


class Tree(msgspec.Struct, frozen=True, dict=True):
    """The values of one document of a file, where each stands, and what stands where.

    keys: where each key stands
    duplicates: the keys that stand twice in one object (places, with offsets)
    children: the places of the items or keys of each list or object, in the order of the text
    aliases: the places at which an alias (`*name`) or a merge key stands for a value, with the span of the alias
    yaml: whether the text is YAML, which is read again as YAML
    number: the document's number within the file, from 0
    encoding: the file's byte order mark and the name of its encoding
    """

    text: str
    value: Any
    spans: dict[str, Span]
    keys: dict[str, int]
    duplicates: list[tuple[str, int]]
    children: dict[str, list[str]] = {}
    aliases: dict[str, Span] = {}
    yaml: bool = False
    number: int = 0
    encoding: tuple[bytes, str] = (b"", "utf-8")

    def offset(self, place: str) -> int:
        """Where the value at `place` stands, or the key or object that it would belong to."""
        while place not in self.spans and place != "$":
            place = parent(place)
        return self.keys.get(place, self.spans[place].start if place in self.spans else 0)

    def inside(self, place: str) -> Iterator[str]:
        """The places of all keys and items inside the value at `place`, in the order of the text."""
        ahead = self.children.get(place, [])[::-1]
        while ahead:
            found = ahead.pop()
            yield found
            ahead += self.children.get(found, [])[::-1]

    @cached_property
    def lines(self) -> Lines:
        """The lines of the text."""
        return Lines(self.text)


class Lines:
    """Lines and columns of a text, both counted from 1."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def at(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1

    def start(self, offset: int) -> int:
        """Where the line of `offset` begins."""
        return self._starts[bisect_right(self._starts, offset) - 1]

    def ending(self, offset: int) -> str:
        """What the line before that of `offset` ends with, or the first line itself: a line feed, perhaps with a
        carriage return before it."""
        line = max(1, bisect_right(self._starts, offset) - 1)
        end = self._starts[line] if line < len(self._starts) else 0
        return "\r\n" if self._text[max(0, end - 2) : end] == "\r\n" else "\n"


_STEP: Final = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\['((?:[^'\\]|\\.)*)'\]")


# what a key has in it that stands in quotes in a place
_QUOTED: Final = re.compile(r"[.\[\]'\\]")


def below(place: str, key: str) -> str:
    """The place of the key `key` of the object at `place`."""
    if key and not _QUOTED.search(key):
        return f"{place}.{key}"
    quoted = re.sub(r"(['\\])", r"\\\1", key)
    return f"{place}['{quoted}']"


def steps(place: str) -> list[str | int]:
    """The keys and indexes that lead from `$` to `place`."""
    return [
        int(index) if index else key or re.sub(r"\\(.)", r"\1", quoted) for key, index, quoted in _STEP.findall(place)
    ]


def parent(place: str) -> str:
    """`$.a` of `$.a[0]`; `$` of itself."""
    last = 1
    for match in _STEP.finditer(place):
        last = match.start()
    return place[:last]


def above(place: str) -> Iterator[str]:
    """What `place` belongs to, from the nearest on: `$.a[0]`, `$.a` and `$` of `$.a[0].b`."""
    while (end := max(place.rfind("."), place.rfind("["))) > 0:
        place = place[:end]
        yield place


# how templates mark what is still to be filled in: Terraform, shells and CloudFormation, Jinja and Go, CodeDeploy and
# people, Octopus
PLACEHOLDER: Final = re.compile(
    r"\$\{[^{}]*\}|\{\{.*?\}\}|<%=?.*?%>|#\{[^{}]*\}|<[A-Za-z][A-Za-z0-9 _.-]*>|\$[A-Z][A-Z0-9_]*\b|@@\w+@@"
)
# these are for a shell, which knows `${HOME}` and `<file>` itself
SHELLS: Final = re.compile(r"\.(command|entryPoint|Command|EntryPoint)(\[\d+\])?$")


def unrendered(placeholder: str) -> str:
    """The error for a template that is not filled in yet."""
    return f"a template whose {placeholder} is not filled in; give the rendered file"


def mark_placeholders(value: Any, place: str = "$") -> Any:
    """`value` with each text that has a placeholder in it as Unknown."""
    if isinstance(value, dict):
        return {key: mark_placeholders(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [mark_placeholders(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if type(value) is str and PLACEHOLDER.search(value) and not SHELLS.search(place):
        return Unknown(value)
    return value
