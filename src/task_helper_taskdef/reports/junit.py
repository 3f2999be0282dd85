"""Findings as JUnit's XML, which Jenkins, GitLab and others show as tests.

https://github.com/testmoapp/junitxml describes what they read. Errors and warnings are failures, notes are output.
"""

from __future__ import annotations

import re
from html import escape
from itertools import groupby

from task_helper_taskdef.reports import Located, Report


def as_junit(report: Report) -> str:
    """A suite for each file, with a case for each finding, and one that passes where a file has none."""
    files = {checked.source.file: list[Located]() for checked in report.checked}
    for file, found in groupby(sorted(report.located(), key=lambda each: each.file), key=lambda each: each.file):
        files[file] = list(found)
    suites = [_suite(file, found) for file, found in files.items()]
    cases, failures = sum(suite.count("<testcase") for suite in suites), sum(s.count("<failure") for s in suites)
    head = f'<testsuites name="task-helper" tests="{cases}" failures="{failures}">'
    return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *suites, "</testsuites>"])


def _suite(file: str, found: list[Located]) -> str:
    cases = [_case(each) for each in found] or [f"<testcase classname={_attribute(file)} name={_attribute('check')}/>"]
    failures = sum(each.severity != "note" for each in found)
    head = f'<testsuite name={_attribute(file)} tests="{len(cases)}" failures="{failures}">'
    return "\n".join([head, *cases, "</testsuite>"])


def _case(each: Located) -> str:
    name = f"{each.rule} {each.place} (line {each.line})"
    case = f"<testcase classname={_attribute(each.file)} name={_attribute(name)}"
    text = _clean(f"{each.file}:{each.line}:{each.column}: {each.message} {each.remedy}\n{each.page}")
    if each.severity == "note":
        return f"{case}><system-out>{escape(text)}</system-out></testcase>"
    kind = f"type={_attribute(each.severity)} message={_attribute(each.message)}"
    return f"{case}><failure {kind}>{escape(text)}</failure></testcase>"


def _attribute(text: str) -> str:
    return f'"{escape(_clean(text))}"'


def _clean(text: str) -> str:
    """`text` without characters that XML 1.0 does not allow."""
    return re.sub("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
