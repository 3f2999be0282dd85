"""Findings for people (`text`), for programs (`as_json`), for code scanning (`sarif`), for pull requests (`github`)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from task_helper_taskdef.files import Unreadable
from task_helper_taskdef.findings import SEVERITIES, Problem, Severity
from task_helper_taskdef.formats import Source
from task_helper_taskdef.roles import Task

# the pseudo rule of a file that could not be checked
UNREADABLE: Final = "unreadable"
PAGE: Final = "docs/rules.md"


class Located(msgspec.Struct, frozen=True):
    """A finding where a person finds it: in a file, on a line; `place` as the file spells it."""

    file: str
    line: int
    column: int
    rule: str
    severity: Severity
    place: str
    message: str
    remedy: str
    page: str


class Checked(msgspec.Struct, frozen=True):
    """A task definition that was checked: what was found, and how many findings are ignored."""

    source: Source
    task: Task
    problems: list[Problem]
    ignored: int = 0
    node: Source | None = None

    def located(self) -> list[Located]:
        """The findings with their places in the file."""
        return [self._locate(problem) for problem in self.problems]

    def _locate(self, problem: Problem) -> Located:
        place, source = problem.place, self.source
        if place.startswith("virtual node ") and self.node:
            place, source = place.removeprefix("virtual node "), self.node
        line, column = source.at(place)
        shown = problem.place if source is self.node else source.shown(place)
        page, remedy = f"{PAGE}#{problem.rule}", self.source.reworded(problem.remedy)
        return Located(source.file, line, column, problem.rule, problem.severity, shown, problem.message, remedy, page)


class Report(msgspec.Struct, frozen=True):
    """All that was checked, and all that could not be."""

    checked: list[Checked]
    unreadable: list[Unreadable]

    def located(self) -> list[Located]:
        """All findings; a file that could not be checked is one, too."""
        found = [located for checked in self.checked for located in checked.located()]
        return found + [
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
                "ignored": each.ignored,
            }
            for each in report.checked
        ],
        "problems": [msgspec.structs.asdict(each) for each in located],
        "errors": counts["error"],
        "warnings": counts["warning"],
        "notes": counts["note"],
    }
    return json.dumps(whole, indent=2)
