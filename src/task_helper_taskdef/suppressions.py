"""What is not to be said: rules that are switched off, and findings that a file itself ignores, with a reason.

A container ignores with the Docker label `task-helper.ignore`, `holds-all: replaced with the host`, several parted by
`;`. YAML files may do so with a comment, `# task-helper: ignore holds-all: replaced with the host`: within a container
for that container, elsewhere for the whole file. What is about no container, any container may ignore.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from task_helper_taskdef.definition import Container
from task_helper_taskdef.findings import Problem
from task_helper_taskdef.formats import Source
from task_helper_taskdef.roles import Task
from task_helper_taskdef.rules import RULES

LABEL: Final = "task-helper.ignore"
# the pseudo rule of what is wrong with ignoring itself
RULE: Final = "ignore"
_COMMENT: Final = re.compile(r"^[^\"'\n]*?#\s*task-helper:\s*ignore\s+(.*)$", re.M)


class Ignore(NamedTuple):
    """One rule that is not to speak of the container at the place `container`, or of anything where that is empty."""

    rule: str
    reason: str
    container: str
    place: str
    offset: int | None = None


def owner(task: Task, place: str) -> str:
    """The place of the container that `place` is in, empty if it is the task's as a whole."""
    containers = (container.place for container in task.definition.container_definitions)
    return next((each for each in containers if f"{place}.".startswith((f"{each}.", f"{each}["))), "")


def ignores(task: Task, source: Source) -> list[Ignore]:
    """All that the file of `source` says is to be ignored in `task`."""
    found: list[Ignore] = []
    for container in task.definition.container_definitions:
        text = container.docker_labels.get(LABEL)
        if isinstance(text, str):
            found += _parsed(text, container.place, f"{container.place}.dockerLabels.{LABEL}", None)
    # in JSON there are no comments, only texts that look like one
    if not source.tree.text.lstrip().startswith(("{", "[")):
        for match in _COMMENT.finditer(source.tree.text):
            inside = _container_at(task, source, match.start(1))
            place = inside.place if inside else "$"
            found += _parsed(match[1], inside.place if inside else "", place, match.start(1))
    return found


def _parsed(text: str, container: str, place: str, offset: int | None) -> Iterator[Ignore]:
    for part in filter(str.strip, text.split(";")):
        rules, _, reason = part.partition(":")
        for rule in re.split(r"[,\s]+", rules.strip()):
            yield Ignore(rule, reason.strip(), container, place, offset)


def _container_at(task: Task, source: Source, offset: int) -> Container | None:
    """The container that is written around `offset`: the last that begins before it, if it ends behind it."""
    for container in reversed(task.definition.container_definitions):
        span = source.tree.spans.get(source.shown(container.place))
        # the comment may stand on the line on which the container begins, or right above it
        if span and _line_above(source.tree.text, span.start) <= offset < span.end:
            return container
    return None


def _line_above(text: str, offset: int) -> int:
    """Where the comment begins that stands right above the line of `offset`; the line itself where there is none."""
    line = text.rfind("\n", 0, offset) + 1
    above = text.rfind("\n", 0, max(line - 1, 0)) + 1
    return above if text[above:line].lstrip().startswith("#") else line


def sifted(task: Task, problems: list[Problem], found: list[Ignore], off: set[str]) -> tuple[list[Problem], int]:
    """What is left of `problems`, with what is wrong about the ignoring, and how many were left out."""
    valid = [ignore for ignore in found if ignore.rule in RULES and ignore.reason]
    left = [p for p in problems if p.rule not in off and not any(_applies(task, p, i) for i in valid)]
    bad = [_complaint(ignore) for ignore in found if ignore not in valid and RULE not in off]
    return left + bad, len(problems) - len(left)


def _applies(task: Task, problem: Problem, ignore: Ignore) -> bool:
    about = owner(task, problem.place)
    return problem.rule == ignore.rule and (not ignore.container or not about or about == ignore.container)


def _complaint(ignore: Ignore) -> Problem:
    if ignore.rule not in RULES:
        message, remedy = (
            f"{ignore.rule} is to be ignored, but no rule is named so.",
            "See `task-helper taskdef rules`.",
        )
    else:
        message = f"{ignore.rule} is to be ignored without a reason, so it is not: nobody could tell later why."
        remedy = f"Write {ignore.rule}: and the reason."
    return Problem(RULE, "warning", ignore.place, message, remedy)
