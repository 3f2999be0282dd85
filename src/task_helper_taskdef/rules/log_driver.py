"""The helper has a logConfiguration, like the other containers

The helper logs one line about how each drain ended. Without a `logConfiguration` that line is lost on Fargate, and
stays on the instance on EC2.

Passes:

    {"containerDefinitions": [
      {"name": "app", "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "shop"}}},
      {"name": "task-helper", "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "shop"}}}]}

Fails:

    {"containerDefinitions": [
      {"name": "app", "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "shop"}}},
      {"name": "task-helper"}]}

    warning $.containerDefinitions[1].logConfiguration
      The helper has no logConfiguration, so the log of its drain is lost or stays on the instance.
      Give it the logConfiguration of app.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Copied, Edit, Finding, warning
from task_helper_taskdef.roles import Task, logging_neighbour


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        if helper.log_configuration is None and (neighbour := logging_neighbour(task)):
            yield warning(
                f"{helper.place}.logConfiguration",
                "The helper has no logConfiguration, so the log of its drain is lost or stays on the instance.",
                f"Give it the logConfiguration of {neighbour.name}.",
                fix=[Edit(f"{helper.place}.logConfiguration", Copied(f"{neighbour.place}.logConfiguration"))],
            )
