"""A task has ten containers at most

ECS refuses a task definition with [more than ten
containers](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-quotas.html). The helper is one of them.

Passes:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "app"}, {"name": "task-helper"}]}

Fails:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"},
      {"name": "e"}, {"name": "f"}, {"name": "g"}, {"name": "h"}, {"name": "i"}, {"name": "task-helper"}]}

    error $.containerDefinitions
      The task has 11 containers, but ECS takes at most 10 and refuses the task definition.
      Remove or merge some of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, error
from task_helper_taskdef.roles import Task

MAX_CONTAINERS = 10


def check(task: Task) -> Iterator[Finding]:
    number = len(task.definition.container_definitions)
    if number > MAX_CONTAINERS:
        yield error(
            f"{task.definition.place}.containerDefinitions",
            f"The task has {number} containers, but ECS takes at most {MAX_CONTAINERS}"
            " and refuses the task definition.",
            "Remove or merge some of them.",
        )
