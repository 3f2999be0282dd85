"""What a rule finds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

Severity = Literal["error", "warning", "note"]
SEVERITIES: Final[tuple[Severity, ...]] = ("error", "warning", "note")


class Edit(NamedTuple):
    """A change that mends a finding: the key at `place` gets `value`, a list there gets `value` as one item more.

    With `remove` the key or the item at `place` goes, with `rename` the key gets that name.
    """

    place: str
    value: Any = None
    append: bool = False
    remove: bool = False
    rename: str = ""


class Finding(NamedTuple):
    """What one rule has to say about one place.

    An error costs requests at every stop or keeps the task from starting; a warning does so under circumstances, or
    hides it; a note is to be known and no fault. `message` says what is wrong and why it hurts, `remedy` what to write
    instead; a sentence or two each. `rests_on` are further places: if one of them, or `place`, is left open by a
    template, nothing is known and nothing is said. `fix` is what mends it without a thought.
    """

    severity: Severity
    place: str
    message: str
    remedy: str
    rests_on: tuple[str, ...] = ()
    fix: tuple[Edit, ...] = ()


class Problem(NamedTuple):
    """A finding with the name of its rule."""

    rule: str
    severity: Severity
    place: str
    message: str
    remedy: str
    fix: tuple[Edit, ...] = ()


def error(place: str, message: str, remedy: str, rests_on: Sequence[str] = (), fix: Sequence[Edit] = ()) -> Finding:
    return Finding("error", place, message, remedy, tuple(rests_on), tuple(fix))


def warning(place: str, message: str, remedy: str, rests_on: Sequence[str] = (), fix: Sequence[Edit] = ()) -> Finding:
    return Finding("warning", place, message, remedy, tuple(rests_on), tuple(fix))


def note(place: str, message: str, remedy: str, rests_on: Sequence[str] = ()) -> Finding:
    return Finding("note", place, message, remedy, tuple(rests_on))
