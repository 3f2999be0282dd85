"""A file's text as values, each with its place in the text.

A place is written as JSONPath writes it, `$.containerDefinitions[0].name`; a span is where the value stands, as offsets
into the text. A value that a template leaves unknown is a text of the class Unknown.
"""

from __future__ import annotations

import re
from bisect import bisect_right
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


class Resolved(str):
    """A text that a template's function makes, with the function as it is `written` there, for a copy of it."""

    written: Any = None


class Unknown(Resolved):
    """A text that is not wholly known before something is deployed: `${Image}`, `${AWS::AccountId}.example/envoy:1`."""


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


class Tree(msgspec.Struct, frozen=True):
    """The values of a file, where each stands, and the keys that stand twice in one object (places, with offsets)."""

    text: str
    value: Any
    spans: dict[str, Span]
    keys: dict[str, int]
    duplicates: list[tuple[str, int]]

    def offset(self, place: str) -> int:
        """Where the value at `place` stands, or the key or object that it would belong to."""
        while place not in self.spans and place != "$":
            place = parent(place)
        return self.keys.get(place, self.spans[place].start if place in self.spans else 0)


class Lines:
    """Lines and columns of a text, both counted from 1."""

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]

    def at(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._starts, offset)
        return line, offset - self._starts[line - 1] + 1


def parent(place: str) -> str:
    """`$.a` of `$.a[0]`; `$` of itself."""
    return place[: max(place.rfind("."), place.rfind("["), 1)]


# how templates mark what is still to be filled in: Terraform, shells and CloudFormation, Jinja and Go, CodeDeploy and
# people, Octopus
PLACEHOLDER: Final = re.compile(
    r"\$\{[^{}]*\}|\{\{.*?\}\}|<%=?.*?%>|#\{[^{}]*\}|<[A-Za-z][A-Za-z0-9 _.-]*>|\$[A-Z][A-Z0-9_]*\b|@@\w+@@"
)
# these are for a shell, which knows `${HOME}` and `<file>` itself
SHELLS: Final = re.compile(r"\.(command|entryPoint|Command|EntryPoint)(\[\d+\])?$")


def unrendered(placeholder: str) -> str:
    """What to say of a template that has not become a file yet."""
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
