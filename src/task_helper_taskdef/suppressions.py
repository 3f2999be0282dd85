"""Ignoring findings: those of rules that are switched off, and those that a file itself ignores, with a reason.

A container ignores a rule with the Docker label `task-helper.ignore`, such as `holds-all: replaced with the host`. `;`
separates several. A YAML file may have a comment instead, `# task-helper: ignore holds-all: replaced with the host`.
Inside a container the comment is for that container, elsewhere for the whole file. Any container may ignore a finding
that is not about a container.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from task_helper_taskdef.definition import Container, Definition
from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.formats import Source

LABEL: Final = "task-helper.ignore"
# the pseudo rule of a suppression that is not valid
RULE: Final = "ignore"
_COMMENT: Final = re.compile(r"^[^\"'\n]*?#\s*task-helper:\s*ignore\s+(.*)$", re.M)


class Suppression(NamedTuple):
    """A rule that reports nothing about the container at the place `container`, or about the file if that is empty."""

    rule: str
    reason: str
    container: str
    place: str


def suppress(
    findings: Sequence[Finding], definition: Definition, source: Source, ignore: Collection[str], rules: Collection[str]
) -> tuple[list[Finding], int]:
    """`findings` without those that are suppressed, and the number of these.

    `ignore` are the rules that are switched off, `rules` all that there are. A suppression in the file that names no
    rule, or no reason, is a finding itself.
    """
    found = read_suppressions(definition, source)
    valid = [each for each in found if each.rule in rules and each.reason]
    anywhere, here = {each.rule for each in valid}, {(each.rule, each.container) for each in valid}

    def suppressed(finding: Finding) -> bool:
        container = definition.container_at(finding.place)
        if container is None:
            return finding.rule in anywhere
        return (finding.rule, "") in here or (finding.rule, container.place) in here

    left = [finding for finding in findings if finding.rule not in ignore and not suppressed(finding)]
    invalid = [
        _complaint(each, rules) for each in found if RULE not in ignore and (each.rule not in rules or not each.reason)
    ]
    return left + invalid, len(findings) - len(left)


def read_suppressions(definition: Definition, source: Source) -> list[Suppression]:
    """All suppressions in the file of `source` that are for `definition`."""
    found: list[Suppression] = []
    for container in definition.container_definitions:
        text = container.docker_labels.get(LABEL)
        if isinstance(text, str):
            found += _parsed(text, container.place, f"{container.place}.dockerLabels.{LABEL}")
    if comments := _comments(source.tree.text):
        spans = _container_spans(definition, source)
        for offset, text in comments:
            inside = _container_around(offset, spans)
            found += _parsed(text, inside.place if inside else "", inside.place if inside else "$")
    return found


# a file may have many definitions, each with the same comments
@lru_cache(maxsize=1)
def _comments(text: str) -> list[tuple[int, str]]:
    """The suppressions in comments of `text`, with their offsets."""
    # in JSON there are no comments, only texts that look like one
    if text.lstrip().startswith(("{", "[")):
        return []
    return [(match.start(1), match[1]) for match in _COMMENT.finditer(text)]


def _parsed(text: str, container: str, place: str) -> Iterator[Suppression]:
    for part in filter(str.strip, text.split(";")):
        rules, _, reason = part.partition(":")
        for rule in re.split(r"[,\s]+", rules.strip()):
            yield Suppression(rule, reason.strip(), container, place)


def _container_spans(definition: Definition, source: Source) -> list[tuple[int, int, Container]]:
    """Where comments about each container may begin, where it ends, and the container, in the order of the text."""
    spans = ((source.tree.spans.get(source.file_place(c.place)), c) for c in definition.container_definitions)
    # the comment may stand on the line on which the container begins, or right above it
    found = [(_line_above(source.tree.text, span.start), span.end, container) for span, container in spans if span]
    return sorted(found, key=lambda each: each[:2])


def _container_around(offset: int, spans: Sequence[tuple[int, int, Container]]) -> Container | None:
    """The container that is written around `offset`: the last that begins before it, if it ends behind it."""
    last = bisect_right(spans, offset, key=lambda each: each[0]) - 1
    if last < 0:
        return None
    _, end, container = spans[last]
    return container if offset < end else None


def _line_above(text: str, offset: int) -> int:
    """Where the comment begins that stands right above the line of `offset`; the line itself where there is none."""
    line = text.rfind("\n", 0, offset) + 1
    above = text.rfind("\n", 0, max(line - 1, 0)) + 1
    return above if text[above:line].lstrip().startswith("#") else line


def _complaint(suppression: Suppression, rules: Collection[str]) -> Finding:
    """The finding about a suppression that is not valid."""
    if suppression.rule not in rules:
        message = f"{suppression.rule} is ignored here, but no rule has this name."
        remedy = "Write a rule of `task-helper taskdef rules --list`."
    else:
        message = f"{suppression.rule} is ignored here without a reason, so it is still reported."
        remedy = f"Write {suppression.rule}: and the reason, such as {suppression.rule}: the cache is warm in a second."
    return warning(suppression.place, message, remedy)._replace(rule=RULE)
