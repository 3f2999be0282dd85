"""What a rule finds."""

from __future__ import annotations

from typing import Literal, NamedTuple

Severity = Literal["error", "warning"]


class Finding(NamedTuple):
    """What one rule has to say about one place.

    An error costs requests at every stop or keeps the task from starting; a warning does so under circumstances, or
    hides it. `message` says what is wrong and why it hurts, `remedy` what to write instead; a sentence or two each.
    """

    severity: Severity
    place: str
    message: str
    remedy: str


class Problem(NamedTuple):
    """A finding with the name of its rule."""

    rule: str
    severity: Severity
    place: str
    message: str
    remedy: str


def error(place: str, message: str, remedy: str) -> Finding:
    return Finding("error", place, message, remedy)


def warning(place: str, message: str, remedy: str) -> Finding:
    return Finding("warning", place, message, remedy)
