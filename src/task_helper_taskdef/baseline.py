"""A baseline: the current findings of a repository, so that only new ones are reported.

It is a JSON file, `{"findings": {KEY: NUMBER}}`. A key names file, definition, rule, container and key of the
container. So a finding keeps its key when lines or containers are added above it.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path, PurePath

import msgspec

from task_helper_taskdef.check import Checked
from task_helper_taskdef.findings import Finding


class BadBaseline(ValueError):
    """The file is not a baseline."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    findings: dict[str, int]


def read_baseline(name: str) -> Counter[str]:
    """How many findings of each key the baseline in the file `name` has; raises BadBaseline and OSError."""
    try:
        return Counter(msgspec.json.decode(Path(name).read_bytes(), type=_File).findings)
    except msgspec.DecodeError as error:
        raise BadBaseline(f"{name}: {str(error).replace('`', '')}") from None


def as_baseline(checked: list[Checked]) -> str:
    """The text of the baseline of all findings in `checked`."""
    counted = Counter(_key(each, finding) for each in checked for finding in each.findings)
    return json.dumps({"findings": dict(sorted(counted.items()))}, indent=2) + "\n"


def without_baseline(checked: Checked, baseline: Counter[str]) -> Checked:
    """`checked` without as many findings of each key as `baseline` has; these are taken from `baseline`."""
    new: list[Finding] = []
    for finding in checked.findings:
        key = _key(checked, finding)
        if baseline[key] > 0:
            baseline[key] -= 1
        else:
            new.append(finding)
    known = len(checked.findings) - len(new)
    return msgspec.structs.replace(checked, findings=new, suppressed=checked.suppressed + known)


def _key(checked: Checked, finding: Finding) -> str:
    definition = checked.task.definition
    container = definition.container_at(finding.place)
    within = finding.place.removeprefix(container.place) if container else finding.place
    key = within.lstrip(".$").partition(".")[0].partition("[")[0]
    file = PurePath(checked.source.file).as_posix()
    return " ".join([file, checked.source.label or "-", finding.rule, container.name if container else "-", key or "-"])
