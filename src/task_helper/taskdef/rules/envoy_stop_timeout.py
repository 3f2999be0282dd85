"""Envoy's stopTimeout is longer than what its agent waits before it stops Envoy

In AWS's Envoy images (App Mesh, Service Connect) an agent answers SIGTERM: it drains the listeners and then waits
LISTENER_DRAIN_WAIT_TIME_S, 20 s by default, 5 to 110 s, before it stops Envoy (aws/amazon-ecs-service-connect-agent,
agent.go). A `stopTimeout` that runs out before that kills Envoy with whatever is still open. After the helper's drain
there is little left to wait for: 5 s will do and saves 15 s for each task.

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "envoy", "stopTimeout": 15,
      "environment": [{"name": "LISTENER_DRAIN_WAIT_TIME_S", "value": "5"}]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper"},
      {"name": "envoy", "image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.34.13.0-prod", "stopTimeout": 20}]}

    warning $.containerDefinitions[1].stopTimeout
      ECS kills envoy after 20 s, but its agent waits 20 s before it stops Envoy, so what is open then is cut.
      Set LISTENER_DRAIN_WAIT_TIME_S to 5 at envoy, or raise its stopTimeout.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper.taskdef.definition import Container
from task_helper.taskdef.problem import Finding, warning
from task_helper.taskdef.task import Task

VARIABLE = "LISTENER_DRAIN_WAIT_TIME_S"


def check(task: Task) -> Iterator[Finding]:
    for envoy in task.envoys:
        wait = agent_waits(envoy)
        if wait is not None and envoy.stops_within <= wait:
            yield warning(
                f"{envoy.place}.stopTimeout",
                f"ECS kills {envoy.name} after {envoy.stops_within} s, but its agent waits {wait} s"
                " before it stops Envoy, so what is open then is cut.",
                f"Set {VARIABLE} to 5 at {envoy.name}, or raise its stopTimeout.",
            )


def agent_waits(envoy: Container) -> int | None:
    """Seconds that the agent waits, as it reads the variable; None where Envoy runs without it."""
    text = envoy.env.get(VARIABLE)
    if text is None and "appmesh" not in envoy.image:
        return None
    seconds = int(text) if text and text.isascii() and text.isdigit() and len(text) < 4 else 0
    return seconds if 5 <= seconds <= 110 else 20
