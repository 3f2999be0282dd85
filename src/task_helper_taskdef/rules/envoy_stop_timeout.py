"""Envoy's stopTimeout is longer than its agent's wait before it stops Envoy

If `stopTimeout` ends first, ECS kills Envoy with the connections that are still open. After the helper's drain little
is left to wait for. 5 s are enough, and save time at each stop.

In AWS's Envoy images (App Mesh, Service Connect) an agent gets SIGTERM. It drains the listeners and then waits
LISTENER_DRAIN_WAIT_TIME_S before it stops Envoy: 20 s by default, 5 to 110 s (aws/amazon-ecs-service-connect-agent,
agent.go).

From 1.7 on, kuma-dp of Kuma and Kong Mesh waits KUMA_DATAPLANE_DRAIN_TIME, or its option `--drain-time`. The default is
30 s, which is also ECS's default `stopTimeout`.

consul-dataplane waits DP_SHUTDOWN_GRACE_PERIOD_SECONDS, or its option `-shutdown-grace-period-seconds`. The default is
0 s (hashicorp/consul-dataplane, pkg/consuldp/lifecycle.go). With `-shutdown-drain-listeners` it drains only within that
time.

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "envoy", "stopTimeout": 15,
      "environment": [{"name": "LISTENER_DRAIN_WAIT_TIME_S", "value": "5"}]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper"},
      {"name": "envoy", "image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.34.13.0-prod", "stopTimeout": 20}]}

    warning $.containerDefinitions[1].stopTimeout
      ECS kills envoy after 20 s, but its agent waits 20 s before it stops Envoy, so ECS cuts open connections.
      Set LISTENER_DRAIN_WAIT_TIME_S to 5 at envoy, or raise its stopTimeout.

Fails:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "sidecar", "image": "kong/kuma-dp:2.11.0"}]}

    warning $.containerDefinitions[1].stopTimeout
      ECS kills sidecar after 30 s, but its agent waits 30 s before it stops Envoy, so ECS cuts open connections.
      Set KUMA_DATAPLANE_DRAIN_TIME to 5s at sidecar, or raise its stopTimeout.

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "sidecar", "image": "kumahq/kuma-dp:1.0.8"}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper"},
      {"name": "sidecar", "image": "kumahq/kuma-dp:2.9.0", "stopTimeout": 60,
       "command": ["run", "--drain-time=90s"]}]}

    warning $.containerDefinitions[1].stopTimeout
      ECS kills sidecar after 60 s, but its agent waits 90 s before it stops Envoy, so ECS cuts open connections.
      Set --drain-time to 5s at sidecar, or raise its stopTimeout.

Fails:

    {"containerDefinitions": [{"name": "task-helper"},
      {"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:2.0.1",
       "command": ["-shutdown-drain-listeners", "-shutdown-grace-period-seconds=45"]}]}

    warning $.containerDefinitions[1].stopTimeout
      ECS kills consul-dataplane after 30 s, but its agent waits 45 s before it stops Envoy, so ECS cuts open \
connections.
      Set -shutdown-grace-period-seconds to 0 at consul-dataplane, or raise its stopTimeout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from task_helper_taskdef.definition import Container
from task_helper_taskdef.envoy_admin import KUMA_THAT_WAITS, is_kong_mesh, kuma_version, option_of
from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.roles import Task, identifying_places

AWS: Final = "LISTENER_DRAIN_WAIT_TIME_S"
KUMA: Final = "KUMA_DATAPLANE_DRAIN_TIME"
CONSUL: Final = "DP_SHUTDOWN_GRACE_PERIOD_SECONDS"


class Wait(NamedTuple):
    """The seconds that an agent waits between its SIGTERM and Envoy's stop, what sets them, and what to set it to."""

    seconds: int
    name: str
    less: str


def check(task: Task) -> Iterator[Finding]:
    for envoy in task.envoys:
        wait = wait_of(envoy)
        if wait and envoy.stop_seconds <= wait.seconds:
            by_variable = wait.name in (AWS, KUMA, CONSUL)
            yield warning(
                f"{envoy.place}.stopTimeout",
                f"ECS kills {envoy.name} after {envoy.stop_seconds} s, but its agent waits {wait.seconds} s"
                " before it stops Envoy, so ECS cuts open connections.",
                f"Set {wait.name} to {wait.less} at {envoy.name}, or raise its stopTimeout.",
                rests_on=_open_places(envoy),
                fix=[envoy.set_variable(wait.name, wait.less)] if by_variable and envoy.stop_seconds > 5 else [],
            )


def _open_places(envoy: Container) -> list[str]:
    """The places that may show another wait if they are unknown.

    A word of which a part is known shows whether it is an option.
    """
    parts = {
        f"{envoy.place}.{key}[{i}]"
        for key, words in (("entryPoint", envoy.entry_point), ("command", envoy.command))
        for i, word in enumerate(words)
        if not re.fullmatch(r"\$\{[^{}]*\}", word)
    }
    return [place for place in identifying_places(envoy) if place not in parts]


def wait_of(envoy: Container) -> Wait | None:
    """The wait of the agent of `envoy`; None if it has no agent, or if the wait is unknown."""
    if not all(map(envoy.knows_variable, (KUMA, AWS, CONSUL))):
        return None
    if KUMA in envoy.env or envoy.repository == "kuma-dp" or "kuma-dp" in envoy.command_line:
        return _kuma(envoy)
    if AWS in envoy.env or "appmesh" in envoy.image:
        return Wait(_seconds(envoy.env.get(AWS, "20"), r"(\d{1,6})", 5, 110, 20), AWS, "5")
    if CONSUL in envoy.env or envoy.repository.startswith("consul-dataplane"):
        # consul-dataplane reads the variable if the option is not given
        option = option_of(envoy, "shutdown-grace-period-seconds")
        name = CONSUL if option is None else "-shutdown-grace-period-seconds"
        text = envoy.env.get(CONSUL, "0") if option is None else option
        return Wait(_seconds(text, r"(\d{1,6})", 0, 999999, 0), name, "0")
    return None


def _kuma(envoy: Container) -> Wait | None:
    version = kuma_version(envoy)
    # before 2.0 Kong Mesh had its own version numbers
    if version and version < (2, 0) and (version < KUMA_THAT_WAITS or is_kong_mesh(envoy)):
        return None
    option = option_of(envoy, "drain-time")
    # kuma-dp reads its variables after its options
    name = "--drain-time" if option is not None and KUMA not in envoy.env else KUMA
    text = envoy.env.get(KUMA, option or "30s")
    return Wait(_go_seconds(text), name, "5s")


def _go_seconds(text: str) -> int:
    """The seconds of a duration as Go writes it, `90s` or `1m30s`; kuma-dp's default where it is another text."""
    match = re.fullmatch(r"(?:(\d{1,3})m)?(?:(\d{1,6})s)?", text, re.ASCII)
    return 60 * int(match[1] or 0) + int(match[2] or 0) if match and text else 30


def _seconds(text: str, pattern: str, least: int, most: int, default: int) -> int:
    """The seconds that the agent reads from `text`: its default if the text is not a number or out of range."""
    match = re.fullmatch(pattern, text, re.ASCII)
    seconds = int(match[1]) if match else default
    return seconds if least <= seconds <= most else default
