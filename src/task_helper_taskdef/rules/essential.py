"""The helper is essential

ECS derives a task's health from its essential containers only. A helper that is not essential gates no deployment. If
it ends for good, the task keeps running, and no container will drain it.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "essential": true}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "essential": false}]}

    warning $.containerDefinitions[0].essential
      The helper is not essential, so its health check gates no deployment, and the task keeps running without it.
      Write "essential": true, and a restartPolicy so that its crash does not stop the task.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        if not helper.essential:
            yield warning(
                f"{helper.place}.essential",
                "The helper is not essential, so its health check gates no deployment,"
                " and the task keeps running without it.",
                'Write "essential": true, and a restartPolicy so that its crash does not stop the task.',
                fix=[Edit(f"{helper.place}.essential", True)],
            )
