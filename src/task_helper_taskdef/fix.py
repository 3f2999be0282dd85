"""Repairing a file: the edits of its findings, made one after the other in its text. It writes no file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

from task_helper_taskdef.check import DEFAULTS, Options, check
from task_helper_taskdef.findings import Finding
from task_helper_taskdef.formats import Source, load
from task_helper_taskdef.formats.editing import NotEditable, apply_edits
from task_helper_taskdef.formats.tree import NotATaskDefinition


class Fixed(NamedTuple):
    """The new text of a file, and the rules whose findings were repaired, in the order of the repairs."""

    text: str
    rules: list[str]


def fix(sources: Sequence[Source], options: Options = DEFAULTS) -> Fixed:
    """The text of a file with everything repaired that needs no decision by a person.

    `sources` are all the definitions of one file, at least one. The rules that `options` ignore and the findings that
    the file suppresses are left alone, and so is a finding whose place cannot be changed in the text. A file in which
    a key stands twice is not changed: one of the two values would be lost.
    """
    file, text = sources[0].file, sources[0].text
    repaired: list[str] = []
    tried: set[tuple[str, str, str]] = set()
    while not sources[0].tree.duplicates:
        # a repair moves places and may cause or end other findings, so all are searched for again
        repair = next(_repairs(sources, options, tried), None)
        if repair is None:
            break
        source, finding = repair
        tried.add(_key(source, finding))
        with suppress(NotEditable):
            text = apply_edits(source, finding.fix).text
            sources = load(file, text)
            repaired.append(finding.rule)
    return Fixed(text, repaired)


def _repairs(
    sources: Sequence[Source], options: Options, tried: set[tuple[str, str, str]]
) -> Iterator[tuple[Source, Finding]]:
    """The findings with edits that have not been tried yet, each with its definition."""
    for source in sources:
        # what Terraform prints is not where the definition is written
        if source.spelling == "terraform":
            continue
        with suppress(NotATaskDefinition):
            for finding in check(source, options).findings:
                if finding.fix and _key(source, finding) not in tried:
                    yield source, finding


def _key(source: Source, finding: Finding) -> tuple[str, str, str]:
    return source.root, finding.rule, finding.place
