"""Findings for people (`text`), for programs (`as_json`), for code scanning (`sarif`), for pull requests (`github`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from task_helper_taskdef.check import Checked
from task_helper_taskdef.findings import SEVERITIES, Finding, Severity, Skipped, Unreadable
from task_helper_taskdef.formats import Source

# the pseudo rule of a file that could not be checked
UNREADABLE: Final = "unreadable"
PAGE: Final = "https://example.com/ecs-task-helper/blob/main/docs/use/rules.md"
# begins a place in the virtual node's file
VIRTUAL_NODE: Final = "virtual node "


class Located(msgspec.Struct, frozen=True):
    """A finding where a person finds it: in a file, on a line; `place` as the file spells it.

    `page` is the address of the rule's page. `end_line` and `end_column` are right behind what stands at the place.
    """

    file: str
    line: int
    column: int
    rule: str
    severity: Severity
    place: str
    message: str
    remedy: str
    page: str
    end_line: int | None = None
    end_column: int | None = None


class Report(msgspec.Struct, frozen=True):
    """All definitions that were checked, all files that could not be, and the virtual node's file if one was given.

    `skipped` are files and folders that were found and not read.
    """

    checked: list[Checked]
    unreadable: list[Unreadable]
    virtual_node: Source | None = None
    skipped: list[Skipped] = []

    @property
    def nothing_read(self) -> bool:
        """Whether the containers of no definition are known, so that nothing was checked."""
        return all(checked.task.definition.unknown_list for checked in self.checked)

    def located(self) -> list[Located]:
        """All findings; a file that could not be checked is one, too."""
        return [located for checked in self.checked for located in self.located_of(checked)] + [
            Located(
                each.file,
                each.line,
                each.column,
                UNREADABLE,
                "error",
                "$",
                f"{each.file} cannot be checked: {each.reason}.",
                "Give a task definition.",
                f"{PAGE}#exit-codes",
            )
            for each in self.unreadable
        ]

    def located_of(self, checked: Checked) -> list[Located]:
        """The findings of one definition, each where a person finds it."""
        return [self._locate(checked.source, finding) for finding in checked.findings]

    def _locate(self, definition: Source, finding: Finding) -> Located:
        source, place, shown = definition, finding.place, definition.file_place(finding.place)
        if place.startswith(VIRTUAL_NODE) and self.virtual_node:
            source, place, shown = self.virtual_node, place.removeprefix(VIRTUAL_NODE), place
        return Located(
            source.file,
            *source.position(place),
            finding.rule,
            finding.severity,
            shown,
            finding.message,
            definition.in_file_spelling(finding.remedy),
            f"{PAGE}#{finding.rule}",
            *(source.end(place) or (None, None)),
        )


def count(severities: Sequence[Severity]) -> dict[Severity, int]:
    """How many there are of each severity."""
    return {severity: severities.count(severity) for severity in SEVERITIES}


def as_json(report: Report) -> str:
    """One object: what was checked and who is who in it, the findings, and how many of each severity."""
    located = report.located()
    counts = count([each.severity for each in located])
    whole: dict[str, Any] = {
        "definitions": [
            {
                "file": each.source.file,
                "name": each.source.label,
                "helper": [container.name for container in each.task.helpers],
                "envoy": [container.name for container in each.task.envoys],
                "ignored": each.suppressed,
            }
            for each in report.checked
        ],
        "skipped": [each._asdict() for each in report.skipped],
        "problems": [msgspec.structs.asdict(each) for each in located],
        "errors": counts["error"],
        "warnings": counts["warning"],
        "notes": counts["note"],
    }
    return json.dumps(whole, indent=2)
