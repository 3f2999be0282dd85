"""One container is the task helper

Without it ECS stops Envoy and the application at the same moment, while downstreams go on sending: a stopped task costs
every request in flight, and those sent until its downstreams have noticed. ECS has no hook before the stop
(aws/containers-roadmap#952); a container that stops first is the way there is.

A container counts as the helper if its name or its image is `ecs-task-helper` or `task-helper`, or if its health check
runs `task-helper healthcheck`; `--helper NAME` names any other.

Passes:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "drain", "image": "registry.example/ecs-task-helper:1"}]}

Fails:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "app"}]}

    error $.containerDefinitions
      No container is the task helper, so ECS stops Envoy and the application at once, with requests in flight.
      Put it in with `task-helper taskdef add`, or name it with --helper if it goes by another name.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper.taskdef.problem import Finding, error
from task_helper.taskdef.task import Task


def check(task: Task) -> Iterator[Finding]:
    if not task.helpers:
        yield error(
            f"{task.definition.place}.containerDefinitions",
            "No container is the task helper, so ECS stops Envoy and the application at once, with requests in flight.",
            "Put it in with `task-helper taskdef add`, or name it with --helper if it goes by another name.",
        )
