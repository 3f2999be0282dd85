"""The containers are known

Where a template or a plan leaves the containers open until it is deployed, because they are made of something that does
not exist yet, nothing can be said of them. That is no fault, but nor is it a check that was passed.

Passes:

    {"containerDefinitions": [{"name": "app"}]}

Fails:

    {"containerDefinitions": "${container_definitions}"}

    note $.containerDefinitions
      The containers are known only when this is deployed, so they are not checked.
      Check what `aws ecs describe-task-definition --task-definition NAME` prints afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, note
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    place = f"{task.definition.place}.containerDefinitions"
    if place in task.definition.unknown:
        yield note(
            place,
            "The containers are known only when this is deployed, so they are not checked.",
            "Check what `aws ecs describe-task-definition --task-definition NAME` prints afterwards.",
        )
