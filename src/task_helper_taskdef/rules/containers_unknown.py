"""The definition shows all its containers

A template or a plan may leave its containers open until the deployment, because they are made of something that does
not exist yet. The linter cannot check such containers. It cannot check a single open container of several either. Of a
template whose conditions can be met together in more than 32 ways, it checks only the first 32 ways.

Open containers are no fault. But an unchecked container has not passed the check.

Passes:

    {"containerDefinitions": [{"name": "app"}]}

Fails:

    {"containerDefinitions": "${container_definitions}"}

    warning $.containerDefinitions
      The containers are unknown until the deployment, so they are not checked.
      After the deployment, check what `aws ecs describe-task-definition --task-definition NAME` prints.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.roles import Task

_AFTERWARDS = "After the deployment, check what `aws ecs describe-task-definition --task-definition NAME` prints."


def check(task: Task) -> Iterator[Finding]:
    place = f"{task.definition.place}.containerDefinitions"
    if task.definition.unknown_list:
        yield warning(place, "The containers are unknown until the deployment, so they are not checked.", _AFTERWARDS)
    for unknown in task.definition.unknown:
        if unknown.startswith(place) and re.fullmatch(r"\[\d+\]", unknown.removeprefix(place)):
            yield warning(unknown, "This container is unknown until the deployment, so it is not checked.", _AFTERWARDS)
    if not task.complete:
        yield warning(
            place,
            "The conditions can be met together in more than 32 ways, of which only the first 32 are checked.",
            _AFTERWARDS,
        )
