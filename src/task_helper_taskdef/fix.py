"""Repairing a file: the edits of its findings, made together in its text. It writes no file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple, TypeVar

from task_helper_taskdef.check import DEFAULTS, Options, check
from task_helper_taskdef.findings import Finding
from task_helper_taskdef.formats import Source, load
from task_helper_taskdef.formats import sources as sources_in
from task_helper_taskdef.formats.editing import Change, Editor, NotEditable, apply_edits, apply_together
from task_helper_taskdef.formats.tree import NotATaskDefinition

T = TypeVar("T")
R = TypeVar("R")


class _Found(NamedTuple):
    """A finding that can be repaired, and the editor of the file that it is in."""

    editor: Editor
    finding: Finding

    @property
    def key(self) -> tuple[object, ...]:
        # a rule may have several findings at one place, such as one for each container that a helper has to depend on
        return self.editor.source.key, self.finding.rule, self.finding.place, self.finding.message


class _Repair(NamedTuple):
    """One finding, or several that append to the same list, and what their first edits come to in the text."""

    found: list[_Found]
    made: Change

    @property
    def several_edits(self) -> bool:
        return len(self.found[0].finding.fix) > 1


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
    text = sources[0].text
    chosen = {source.key for source in sources}
    repaired: list[str] = []
    attempts = _Attempts()
    while not any(source.tree.duplicates for source in sources):
        # repairs move places and may cause or end other findings, so all are searched for again
        by_rule: dict[str, list[_Found]] = {}
        for found in _found(sources, options, attempts):
            by_rule.setdefault(found.finding.rule, []).append(found)
        # one rule after the other: a key that is misspelt is not missing any more once it has its name
        made = next(filter(None, (_repaired(found, attempts) for found in by_rule.values())), None)
        if made is None:
            break
        every, rules = made
        text = every[0].text
        repaired += rules
        sources = [source for source in every if source.key in chosen]
    return Fixed(text, repaired, attempts.refused)


class _Attempts:
    """The findings whose repair was tried, and why some of these repairs were refused."""

    def __init__(self) -> None:
        self.tried: set[tuple[object, ...]] = set()
        self.refused: list[str] = []

    def refuse(self, found: Sequence[_Found], error: NotEditable) -> None:
        self.tried.update(each.key for each in found)
        self.refused.append(f"{found[0].finding.rule}: {error}")


def _found(sources: Sequence[Source], options: Options, attempts: _Attempts) -> Iterator[_Found]:
    """The findings that have a repair which was not tried yet."""
    for source in sources:
        # what Terraform prints is not where the definition is written
        if source.spelling == "terraform":
            continue
        with suppress(NotATaskDefinition):
            checked = check(source, options)
            editor = Editor(checked.source)
            every = (_Found(editor, finding) for finding in checked.findings if finding.fix)
            yield from (found for found in every if found.key not in attempts.tried)


def _repaired(found: list[_Found], attempts: _Attempts) -> tuple[list[Source], list[str]] | None:
    """The file with as many findings of one rule repaired as do not touch each other, and the rule for each of them;
    None where nothing is left."""
    together: list[_Repair] = []
    end = -1
    for repair in sorted(_repairs(found, attempts), key=lambda repair: repair.made):
        if repair.several_edits:
            # each of its edits is at the places that the one before has left, so it is made alone
            ((editor, finding),) = repair.found
            attempts.tried.add(repair.found[0].key)
            try:
                return load(editor.source.file, apply_edits(editor.source, finding.fix).text), [finding.rule]
            except NotEditable as error:
                attempts.refuse(repair.found, error)
        elif repair.made.start > end:
            together.append(repair)
            end = repair.made.end
    sound = _by_halves(together, _sources_with, lambda repair, error: attempts.refuse(repair.found, error))
    if sound is None:
        return None
    repairs, every = sound
    made = [each for repair in repairs for each in repair.found]
    attempts.tried.update(each.key for each in made)
    return every, [each.finding.rule for each in made]


def _repairs(found: Iterable[_Found], attempts: _Attempts) -> Iterator[_Repair]:
    """The repairs of `found`; what the text does not allow is refused."""
    # what is appended to one list is one change of the text, so that one round makes all of it
    groups: dict[tuple[object, ...], list[_Found]] = {}
    for number, each in enumerate(found):
        edit, *more = each.finding.fix
        source = each.editor.source
        alone = more or not edit.append
        groups.setdefault((source.key, number if alone else source.file_place(edit.place)), []).append(each)
    for group in groups.values():
        if allowed := _by_halves(group, _change, lambda each, error: attempts.refuse([each], error)):
            yield _Repair(*allowed)


def _change(found: list[_Found]) -> Change:
    return found[0].editor.change([each.finding.fix[0] for each in found])


def _sources_with(repairs: list[_Repair]) -> list[Source]:
    changes = [(found[0].editor, [each.finding.fix[0] for each in found], made) for found, made in repairs]
    return sources_in(changes[0][0].source.file, *apply_together(changes))


def _by_halves(
    items: list[T], attempt: Callable[[list[T]], R], refuse: Callable[[T, NotEditable], None]
) -> tuple[list[T], R] | None:
    """As many of `items` as `attempt` takes together, and its result for them; each that it takes not even alone is
    refused. None where none is left."""
    if not items:
        return None
    try:
        return items, attempt(items)
    except NotEditable as error:
        if len(items) == 1:
            refuse(items[0], error)
            return None
    half = len(items) // 2
    halves = [_by_halves(each, attempt, refuse) for each in (items[:half], items[half:])]
    left = [item for each in halves if each for item in each[0]]
    if len(left) == len(items):
        # each half is right, but not both together: the other one is for the next round
        return halves[0]
    return _by_halves(left, attempt, refuse)
