"""Repairing a file: the edits of its findings, made together in its text. It writes no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from task_helper_taskdef.check import DEFAULTS, Options, check
from task_helper_taskdef.findings import Finding
from task_helper_taskdef.formats import Source, load
from task_helper_taskdef.formats.editing import Change, NotEditable, apply_edits, apply_together, change
from task_helper_taskdef.formats.tree import NotATaskDefinition


class _Repair(NamedTuple):
    """A finding that can be repaired, in its definition, and what its first edit comes to in the text."""

    source: Source
    finding: Finding
    made: Change

    @property
    def key(self) -> tuple[object, ...]:
        return _key(self.source, self.finding)


class Fixed(NamedTuple):
    """The new text of a file, and the rules whose findings were repaired, in the order of the repairs.

    `refused` says of each finding that could not be repaired in the text why.
    """

    text: str
    rules: list[str]
    refused: list[str]


def fix(sources: Sequence[Source], options: Options = DEFAULTS) -> Fixed:
    """The text of a file with everything repaired that needs no decision by a person.

    `sources` are those definitions of one file, at least one, that are to be repaired. The rules that `options` ignore
    and the findings that the file suppresses are left alone, and so is a finding whose place cannot be changed in the
    text. A file in which a key stands twice is not changed: one of the two values would be lost.
    """
    file, text = sources[0].file, sources[0].text
    chosen = {source.key for source in sources}
    repaired: list[str] = []
    refused: list[str] = []
    tried: set[tuple[object, ...]] = set()
    while not any(source.tree.duplicates for source in sources):
        # repairs move places and may cause or end other findings, so all are searched for again
        repairs = list(_repairs(sources, options, tried, refused))
        # one rule after the other: a key that is misspelt is not missing any more once it has its name
        made = _repaired([each for each in repairs if each.finding.rule == repairs[0].finding.rule], tried, refused)
        if made is None:
            break
        text, rules = made
        repaired += rules
        sources = [source for source in load(file, text) if source.key in chosen]
    return Fixed(text, repaired, refused)


def _repairs(
    sources: Sequence[Source], options: Options, tried: set[tuple[object, ...]], refused: list[str]
) -> Iterator[_Repair]:
    """The repairs that are possible and not tried yet; repairs that the text does not allow are added to `refused`."""
    for source in sources:
        # what Terraform prints is not where the definition is written
        if source.spelling == "terraform":
            continue
        with suppress(NotATaskDefinition):
            checked = check(source, options)
            for finding in checked.findings:
                key = _key(checked.source, finding)
                if not finding.fix or key in tried:
                    continue
                try:
                    yield _Repair(checked.source, finding, change(checked.source, finding.fix[0]))
                except NotEditable as error:
                    tried.add(key)
                    refused.append(f"{finding.rule}: {error}")


def _repaired(
    repairs: list[_Repair], tried: set[tuple[object, ...]], refused: list[str]
) -> tuple[str, list[str]] | None:
    """The text with as many of `repairs` as do not touch each other, and their rules; None where nothing is left."""
    together: list[_Repair] = []
    end = -1
    for repair in sorted(repairs, key=lambda repair: repair.made):
        if len(repair.finding.fix) > 1:
            # each of its edits is at the places that the one before has left, so it is made alone
            tried.add(repair.key)
            try:
                return apply_edits(repair.source, repair.finding.fix).text, [repair.finding.rule]
            except NotEditable as error:
                refused.append(f"{repair.finding.rule}: {error}")
        elif repair.made.start > end:
            together.append(repair)
            end = repair.made.end
    tried.update(repair.key for repair in together)
    sound = _sound(together, refused)
    return (_applied(sound), [repair.finding.rule for repair in sound]) if sound else None


def _sound(repairs: list[_Repair], refused: list[str]) -> list[_Repair]:
    """Those of `repairs` whose result is what it is to be, found by halves."""
    if not repairs:
        return []
    try:
        _applied(repairs)
        return repairs
    except NotEditable as error:
        if len(repairs) == 1:
            refused.append(f"{repairs[0].finding.rule}: {error}")
            return []
    half = len(repairs) // 2
    return [*_sound(repairs[:half], refused), *_sound(repairs[half:], refused)]


def _applied(repairs: list[_Repair]) -> str:
    return apply_together([(repair.source, repair.finding.fix[0], repair.made) for repair in repairs])


def _key(source: Source, finding: Finding) -> tuple[object, ...]:
    # a rule may have several findings at one place, such as one for each container that a helper has to depend on
    return source.key, finding.rule, finding.place, finding.message
