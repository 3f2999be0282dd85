"""One helper drains an Envoy, or two in a chain

Two helpers that get SIGTERM at the same moment fail the same Envoy's health checks twice and exit together. The second
helper adds only its memory. If their times differ, the shorter time has no effect. In a chain the first helper depends
on the second, and their drain may last for two stopTimeouts.

Passes:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "task-helper",
       "dependsOn": [{"containerName": "second", "condition": "START"}]},
      {"name": "second", "image": "ecs-task-helper:1"}]}

Passes:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"},
      {"name": "second", "image": "ecs-task-helper:1",
       "environment": [{"name": "ENVOY_ADMIN_URL", "value": "http://127.0.0.1:9902"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "envoy"}, {"name": "task-helper"}, {"name": "second", "image": "ecs-task-helper:1"}]}

    warning $.containerDefinitions[2]
      task-helper and second drain the same Envoy, and ECS stops both at the same moment.
      Remove one, or make the first depend on the second for a drain of two stopTimeouts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.roles import Task, settings_of


def check(task: Task) -> Iterator[Finding]:
    for first, second in combinations(task.helpers, 2):
        one, other = settings_of(first), settings_of(second)
        if one is None or other is None or one.envoy_admin_url != other.envoy_admin_url:
            continue
        if second.name in task.definition.stopped_after(first) or first.name in task.definition.stopped_after(second):
            continue
        yield warning(
            second.place,
            f"{first.name} and {second.name} drain the same Envoy, and ECS stops both at the same moment.",
            "Remove one, or make the first depend on the second for a drain of two stopTimeouts.",
            rests_on=[*(f"{c.place}.image" for c in (first, second)), *task.definition.unknown_order],
        )
