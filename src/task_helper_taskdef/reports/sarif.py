"""Findings as SARIF 2.1.0, which GitHub's code scanning and others read.

https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from task_helper_taskdef import rule_pages
from task_helper_taskdef.reports import PAGE, Located, Report

SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def as_sarif(report: Report) -> str:
    """One run: the rules with findings, each with its page, the findings, and the files that could not be read."""
    located = [each for checked in report.checked for each in report.located_of(checked)]
    names = sorted({each.rule for each in located})
    run = {
        "tool": {
            "driver": {
                "name": "task-helper",
                "semanticVersion": version("ecs-task-helper"),
                "rules": [_rule(name) for name in names],
            }
        },
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": not report.unreadable,
                "toolExecutionNotifications": [
                    {
                        "level": "error",
                        "message": {"text": f"{each.file} cannot be checked: {each.reason}."},
                        "locations": [_location(each.file, each.line, each.column)],
                    }
                    for each in report.unreadable
                ]
                + [
                    {
                        "level": "note",
                        "message": {"text": f"{each.file} was not read: {each.reason}."},
                        "locations": [_location(each.file, 1, 1)],
                    }
                    for each in report.skipped
                ],
            }
        ],
        "results": [_result(each, names.index(each.rule)) for each in located],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(name: str) -> dict[str, Any]:
    pages = dict(rule_pages.pages())
    if name not in pages:
        return {
            "id": name,
            "helpUri": f"{PAGE}#ignoring",
            "shortDescription": {"text": "A file gives a reason for each rule that it ignores"},
        }
    title = pages[name].partition("\n")[0]
    return {
        "id": name,
        "shortDescription": {"text": title},
        "helpUri": f"{PAGE}#{name}",
        "help": {"text": rule_pages.reason(name), "markdown": rule_pages.section(name)},
    }


def _result(each: Located, index: int) -> dict[str, Any]:
    location = _location(each.file, each.line, each.column)
    if each.end_line and each.end_column:
        location["physicalLocation"]["region"] |= {"endLine": each.end_line, "endColumn": each.end_column}
    location["logicalLocations"] = [{"fullyQualifiedName": each.place}]
    # the same when lines are added above the finding, so that it is not reported as a new one
    fingerprint = hashlib.sha256(f"{each.file}\0{each.rule}\0{each.place}".encode(errors="replace")).hexdigest()
    return {
        "ruleId": each.rule,
        "ruleIndex": index,
        "level": each.severity,
        "message": {"text": f"{each.message} {each.remedy}"},
        "locations": [location],
        "partialFingerprints": {"taskHelperPlace/v1": fingerprint},
    }


def _location(file: str, line: int, column: int) -> dict[str, Any]:
    uri = quote(PurePath(file).as_posix(), errors="replace")
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": uri},
            "region": {"startLine": line, "startColumn": column},
        }
    }
