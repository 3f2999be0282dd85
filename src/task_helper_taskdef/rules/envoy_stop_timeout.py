"""Envoy's stopTimeout is longer than what its agent waits before it stops Envoy

In AWS's Envoy images (App Mesh, Service Connect) an agent answers SIGTERM: it drains the listeners and then waits
LISTENER_DRAIN_WAIT_TIME_S, 20 s by default, 5 to 110 s, before it stops Envoy (aws/amazon-ecs-service-connect-agent,
agent.go). Kuma's and Kong Mesh's kuma-dp waits KUMA_DATAPLANE_DRAIN_TIME, 30 s by default, which is also ECS's default
`stopTimeout`. A `stopTimeout` that runs out first kills Envoy with whatever is still open. After the helper's drain
there is little left to wait for: 5 s will do, and saves time for each task.

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "envoy", "stopTimeout": 15,
      "environment": [{"name": "LISTENER_DRAIN_WAIT_TIME_S", "value": "5"}]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper"},
      {"name": "envoy", "image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.34.13.0-prod", "stopTimeout": 20}]}

    warning $.containerDefinitions[1].stopTimeout
      ECS kills envoy after 20 s, but its agent waits 20 s before it stops Envoy, so what is open then is cut.
      Set LISTENER_DRAIN_WAIT_TIME_S to 5 at envoy, or raise its stopTimeout.

Fails:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "sidecar", "image": "kong/kuma-dp:2.11.0"}]}

    warning $.containerDefinitions[1].stopTimeout
      ECS kills sidecar after 30 s, but its agent waits 30 s before it stops Envoy, so what is open then is cut.
      Set KUMA_DATAPLANE_DRAIN_TIME to 5s at sidecar, or raise its stopTimeout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.roles import Task

AWS = "LISTENER_DRAIN_WAIT_TIME_S"
KUMA = "KUMA_DATAPLANE_DRAIN_TIME"


def check(task: Task) -> Iterator[Finding]:
    for envoy in task.envoys:
        if not (envoy.knows_variable(KUMA) and envoy.knows_variable(AWS)):
            continue
        if KUMA in envoy.env or envoy.repository == "kuma-dp":
            wait, name, less = _seconds(envoy.env.get(KUMA, "30s"), r"(\d{1,6})s", 0, 999999, 30), KUMA, "5s"
        elif AWS in envoy.env or "appmesh" in envoy.image:
            wait, name, less = _seconds(envoy.env.get(AWS, "20"), r"(\d{1,6})", 5, 110, 20), AWS, "5"
        else:
            continue
        if envoy.stop_seconds <= wait:
            yield warning(
                f"{envoy.place}.stopTimeout",
                f"ECS kills {envoy.name} after {envoy.stop_seconds} s, but its agent waits {wait} s"
                " before it stops Envoy, so what is open then is cut.",
                f"Set {name} to {less} at {envoy.name}, or raise its stopTimeout.",
                rests_on=[f"{envoy.place}.image"],
                fix=[envoy.set_variable(name, less)] if envoy.stop_seconds > 5 else [],
            )


def _seconds(text: str, pattern: str, least: int, most: int, default: int) -> int:
    """What the agent makes of `text`: its default if that is no number or out of its range."""
    match = re.fullmatch(pattern, text, re.ASCII)
    seconds = int(match[1]) if match else default
    return seconds if least <= seconds <= most else default
