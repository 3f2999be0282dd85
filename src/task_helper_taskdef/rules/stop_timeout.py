"""The helper has a stopTimeout, and none is longer than Fargate allows

ECS kills a container at the end of its
[`stopTimeout`](https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html). The default is
30 s (`ECS_CONTAINER_STOP_TIMEOUT` on EC2 instances). The helper's default plan takes 80 s. Fargate accepts 2 s to 120
s.

Passes:

    {"requiresCompatibilities": ["FARGATE"], "containerDefinitions": [{"name": "task-helper", "stopTimeout": 120}]}

Fails:

    {"requiresCompatibilities": ["FARGATE"],
     "containerDefinitions": [{"name": "app", "stopTimeout": 300}, {"name": "cache", "stopTimeout": 1},
       {"name": "task-helper"}]}

    error $.containerDefinitions[0].stopTimeout
      app has a stopTimeout of 300 s, but Fargate takes 2 to 120 s and refuses the task definition.
      Write 120 at most.
    error $.containerDefinitions[1].stopTimeout
      cache has a stopTimeout of 1 s, but Fargate takes 2 to 120 s and refuses the task definition.
      Write 2 at least.
    error $.containerDefinitions[2].stopTimeout
      The helper has no stopTimeout, so ECS kills it after 30 s, during the drain.
      Write "stopTimeout": 120.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.definition import DEFAULT_STOP_TIMEOUT
from task_helper_taskdef.findings import Edit, Finding, error
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    for container in task.definition.container_definitions:
        if task.definition.fargate and not 2 <= container.stop_seconds <= 120:
            yield error(
                f"{container.place}.stopTimeout",
                f"{container.name} has a stopTimeout of {container.stop_seconds} s,"
                " but Fargate takes 2 to 120 s and refuses the task definition.",
                "Write 2 at least." if container.stop_seconds < 2 else "Write 120 at most.",
                fix=[Edit(f"{container.place}.stopTimeout", 2 if container.stop_seconds < 2 else 120)],
            )
    for helper in task.helpers:
        if helper.stop_timeout is None:
            yield error(
                f"{helper.place}.stopTimeout",
                f"The helper has no stopTimeout, so ECS kills it after {DEFAULT_STOP_TIMEOUT} s," " during the drain.",
                'Write "stopTimeout": 120.',
                fix=[Edit(f"{helper.place}.stopTimeout", 120)],
            )
