"""Findings for people and for programs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from typing import Final

from task_helper.taskdef.problem import Problem
from task_helper.taskdef.task import Task

COLOURS: Final = {"error": "\033[31m", "warning": "\033[33m"}
BOLD: Final = "\033[1m"
PLAIN: Final = "\033[0m"


def as_text(task: Task, problems: Sequence[Problem], width: int, colour: bool) -> str:
    """The findings by container, in lines of at most `width` columns where words allow, and a line that counts them."""
    containers = task.definition.container_definitions
    lines = [_parts(task), ""]
    for title, place in [(f"container {c.name}", c.place) for c in containers] + [("the task", "")]:
        mine = [problem for problem in problems if _owner(task, problem) == place]
        if mine:
            lines.append(f"{BOLD}{title}{PLAIN}" if colour else title)
            lines += [line for problem in mine for line in _lines(problem, width, colour)]
    return "\n".join([*lines, count(problems) + ("; why: task-helper taskdef rules RULE" if problems else "")])


def _parts(task: Task) -> str:
    """Who was taken for what: a wrong guess is to be seen at once."""
    helpers, envoys = ([container.name for container in those] for those in (task.helpers, task.envoys))
    others = [container.name for container in task.held if container not in task.envoys]
    return "; ".join(
        f"{part}: {', '.join(names) or 'none'}"
        for part, names in (("helper", helpers), ("Envoy", envoys), ("to be held up beside it", others))
    )


def _owner(task: Task, problem: Problem) -> str:
    """The place of the container that `problem` is about, empty if it is about the task as a whole."""
    places = [container.place for container in task.definition.container_definitions]
    return next((place for place in places if f"{problem.place}.".startswith(f"{place}.")), "")


def _lines(problem: Problem, width: int, colour: bool) -> list[str]:
    severity = f"{COLOURS[problem.severity]}{problem.severity}{PLAIN}" if colour else problem.severity
    return [
        f"  {severity}  {problem.place}  ({problem.rule})",
        *_wrapped(problem.message, width, "    ", "    "),
        *_wrapped(problem.remedy, width, "    > ", "      "),
        "",
    ]


def _wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    """`text` in lines that break between words only: what is there to be copied stays in one piece."""
    wrap = textwrap.TextWrapper(width, first, others, break_long_words=False, break_on_hyphens=False)
    return wrap.wrap(text)


def count(problems: Sequence[Problem]) -> str:
    """`2 errors, 1 warning`."""
    counts = {s: sum(problem.severity == s for problem in problems) for s in ("error", "warning")}
    return ", ".join(f"{number} {severity}{'' if number == 1 else 's'}" for severity, number in counts.items())


def as_json(task: Task, problems: Sequence[Problem]) -> str:
    """One object: the containers' parts, the findings, and how many of each severity."""
    report = {
        "helper": [container.name for container in task.helpers],
        "envoy": [container.name for container in task.envoys],
        "problems": [problem._asdict() for problem in problems],
        "errors": sum(problem.severity == "error" for problem in problems),
        "warnings": sum(problem.severity == "warning" for problem in problems),
    }
    return json.dumps(report, indent=2)
