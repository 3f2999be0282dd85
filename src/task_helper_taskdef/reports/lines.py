"""Findings as one line each, which editors and `grep` read: `FILE:LINE:COLUMN: LEVEL RULE: MESSAGE`."""

from __future__ import annotations

from task_helper_taskdef.reports import Located, Report


def as_lines(report: Report) -> str:
    """A line for each finding, of the same form on a terminal and in a pipe; nothing where there is none."""
    return "\n".join(map(_line, report.located()))


def _line(each: Located) -> str:
    text = " ".join(f"{each.message} {each.remedy}".split())
    return f"{each.file}:{each.line}:{each.column}: {each.severity} {each.rule}: {text}"
