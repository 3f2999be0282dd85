"""The linter's results: a rule's finding, the change of a file that repairs it, and a file that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")


class Edit(NamedTuple):
    """One change of a definition: the key at `place` gets `value`.

    With `append` the list at `place` gets `value` as one more item. With `remove` the key or the item at `place` is
    removed. With `rename` the key gets that name.
    """

    place: str
    value: Any = None
    append: bool = False
    remove: bool = False
    rename: str = ""


class Copied(NamedTuple):
    """Within an Edit's value: what stands at `place`, as the file has it, a template's functions included."""

    place: str


class Finding(NamedTuple):
    """A report of one rule about one place.

    An error costs requests at every stop, or prevents the start of the task. A warning does so under circumstances, or
    hides it. A note is information, and no fault. `message` says what is wrong and why it hurts, `remedy` what to write
    instead, a sentence or two each. `rests_on` are further places: if a template leaves one of them or `place` unknown,
    the finding is dropped. `fix` are the edits that repair it without a decision by a person. `rule` is the rule's
    name; `check` fills it in.
    """

    severity: Severity
    place: str
    message: str
    remedy: str
    rests_on: tuple[str, ...] = ()
    fix: tuple[Edit, ...] = ()
    rule: str = ""


class Unreadable(NamedTuple):
    """A file without a task definition that could be checked: why, and where in it.

    `opened` is False where the file could not be opened, or does not exist.
    """

    file: str
    reason: str
    line: int = 1
    column: int = 1
    opened: bool = True


class Skipped(NamedTuple):
    """A file or folder that was found and not read, and why."""

    file: str
    reason: str


def error(place: str, message: str, remedy: str, rests_on: Sequence[str] = (), fix: Sequence[Edit] = ()) -> Finding:
    return Finding("error", place, message, remedy, tuple(rests_on), tuple(fix))


def warning(place: str, message: str, remedy: str, rests_on: Sequence[str] = (), fix: Sequence[Edit] = ()) -> Finding:
    return Finding("warning", place, message, remedy, tuple(rests_on), tuple(fix))


def note(place: str, message: str, remedy: str, rests_on: Sequence[str] = ()) -> Finding:
    return Finding("note", place, message, remedy, tuple(rests_on))
