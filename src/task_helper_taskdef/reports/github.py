"""Findings as GitHub's workflow commands, which become annotations of the lines of a pull request.

https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands
"""

from __future__ import annotations

from typing import Final

from task_helper_taskdef.findings import Severity
from task_helper_taskdef.reports import Report

_COMMANDS: Final[dict[Severity, str]] = {"error": "error", "warning": "warning", "note": "notice"}


def as_github(report: Report) -> str:
    """A line for each finding; nothing where there is none."""
    lines = []
    for each in report.located():
        properties = {
            "file": each.file,
            "line": str(each.line),
            "col": str(each.column),
            "title": f"task-helper {each.rule}",
        }
        written = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        lines.append(f"::{_COMMANDS[each.severity]} {written}::{_data(f'{each.message} {each.remedy}')}")
    return "\n".join(lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
