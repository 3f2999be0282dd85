"""Findings for people."""

from __future__ import annotations

import textwrap
from typing import Final

from task_helper_taskdef.check import Checked
from task_helper_taskdef.definition import Container
from task_helper_taskdef.envoy_command import read_bootstrap
from task_helper_taskdef.findings import Severity
from task_helper_taskdef.reports import Located, Report, count

COLOURS: Final[dict[Severity, str]] = {"error": "\033[31m", "warning": "\033[33m", "note": "\033[36m"}
BOLD: Final = "\033[1m"
PLAIN: Final = "\033[0m"
# almost all have it from a control plane, an image or a file, so this is no finding
_NOT_SHOWN: Final = " (its configuration is elsewhere and not checked)"


def as_text(report: Report, width: int, colour: bool, quiet: bool = False) -> str:
    """The findings by definition and container, in lines of at most `width` columns where words allow, and their count.

    Of several definitions those without findings are only counted. With `quiet` there are only the findings.
    """
    lines: list[str] = []
    for checked in report.checked:
        if checked.findings or (len(report.checked) == 1 and not quiet):
            lines += _definition(
                report, checked, width, colour, named=len(report.checked) > 1 or bool(checked.source.label)
            )
    findings = [finding for checked in report.checked for finding in checked.findings]
    counts = count([finding.severity for finding in findings])
    words = [
        f"{number} {severity}{'' if number == 1 else 's'}"
        for severity, number in counts.items()
        if number or severity != "note"
    ]
    if suppressed := sum(checked.suppressed for checked in report.checked):
        words.append(f"{suppressed} ignored")
    if len(report.checked) != 1:
        words.append(f"{len(report.checked)} task definitions checked")
    if quiet:
        return "\n".join(lines).rstrip("\n")
    why = f"; why: task-helper taskdef rules {findings[0].rule}" if findings else ""
    return "\n".join([*lines, ", ".join(words) + why])


def _definition(report: Report, checked: Checked, width: int, colour: bool, named: bool) -> list[str]:
    task = checked.task
    name = " ".join(filter(None, (checked.source.file, checked.source.label)))
    lines = [*([f"{BOLD}{name}{PLAIN}" if colour else name] if named else []), _roles(checked), ""]
    groups: dict[str, list[Located]] = {}
    for finding, located in zip(checked.findings, report.located_of(checked), strict=True):
        container = task.definition.container_at(finding.place)
        groups.setdefault(container.place if container else "", []).append(located)
    containers = [(f"container {c.name}", c.place) for c in task.definition.container_definitions]
    for title, place in [*containers, ("the task", "")]:
        if mine := groups.get(place):
            lines.append(f"{BOLD}{title}{PLAIN}" if colour else title)
            lines += [line for located in mine for line in _lines(located, width, colour)]
    return lines


def _roles(checked: Checked) -> str:
    """The containers that the linter takes for helper and Envoy, so that a wrong guess is visible, and whether Envoy's
    own configuration is not checked."""
    task = checked.task
    helpers = [container.name for container in task.helpers]
    envoys = [f"{envoy.name}{'' if _is_shown(envoy) else _NOT_SHOWN}" for envoy in task.envoys]
    others = [container.name for container in task.kept_running if container not in task.envoys]
    return "; ".join(
        f"{part}: {', '.join(names) or 'none'}"
        for part, names in (("helper", helpers), ("Envoy", envoys), ("to keep running", others))
    )


def _is_shown(envoy: Container) -> bool:
    """Whether all of Envoy's configuration is in the task definition, so that the rule envoy-config checks it."""
    configured = read_bootstrap(envoy.command_line)
    return configured is not None and not configured.dynamic


def _lines(located: Located, width: int, colour: bool) -> list[str]:
    severity = f"{COLOURS[located.severity]}{located.severity}{PLAIN}" if colour else located.severity
    return [
        f"  {severity}  {located.file}:{located.line}:{located.column}  {located.place}  ({located.rule})",
        *_wrapped(located.message, width, "    ", "    "),
        *_wrapped(located.remedy, width, "    > ", "      "),
        "",
    ]


def _wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    """`text` in lines that break between words only, so that values to copy stay in one piece."""
    wrap = textwrap.TextWrapper(width, first, others, break_long_words=False, break_on_hyphens=False)
    return wrap.wrap(text)
