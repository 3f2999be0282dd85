"""The settings that suit each mesh, each with its reason; docs/use/meshes has a page for each mesh.

`add` writes them, and `check` reports a helper that leaves one of them at its default. For other meshes the defaults
are right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

from task_helper_taskdef.definition import Container
from task_helper_taskdef.envoy_admin import KUMA_THAT_WAITS, kuma_version, option_of
from task_helper_taskdef.roles import Mesh, Task, waits_for_replacement


class Preset(NamedTuple):
    """A setting of the helper; `why` is a sentence on the cost of the default."""

    variable: str
    value: str
    why: str


_BY_TRAFFIC = "Fixed times keep the task running although its requests have ended."

PRESETS: Final[dict[Mesh, tuple[Preset, ...]]] = {
    # Cloud Map, the push and the first check take up to 40 s, which is the default of DRAIN_DELAY
    "app-mesh": (Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),),
    # Envoy probes itself each second and reports every 5 s; the control plane updates downstreams at once
    # (kumahq/kuma, pkg/hds)
    "kuma": (
        Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),
        Preset("HEALTH_CHECK_INTERVAL", "7", "Kuma's downstreams know within 6 s, but the helper waits for 30 s."),
        Preset("DISCOVERY_LAG", "10", "Kuma's downstreams know a new task within 10 s, but the helper waits for 40 s."),
    ),
    # consul-ecs-health-sync calls the servers at its own SIGTERM, when the helper gets its own (hashicorp/consul-ecs)
    "consul": (
        Preset("DRAIN_DELAY", "0", "Consul's downstreams stop sending as soon as ECS stops the task."),
        Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),
        Preset(
            "HEALTH_CHECK_INTERVAL", "5", "Consul's downstreams know within seconds, but the helper waits for 30 s."
        ),
    ),
    # each downstream's Envoy has its own interval, which the task's definition does not show: the default of 30 s stays
    "static-dns": (Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),),
    # ECS has waited until the target is unused before it stops the task
    # (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/load-balancer-connection-draining.html)
    "alb": (
        Preset("DRAIN_DELAY", "0", "ECS deregisters the target from the load balancer before it stops the task."),
        Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),
        # StopTask and Spot do not wait for that, and the load balancer's nodes need some seconds. With few requests, a
        # task may get none for a while before the last node has stopped sending
        Preset("HEALTH_CHECK_INTERVAL", "10", "An ALB stops sending within seconds, but the helper waits for 30 s."),
    ),
    # New connections come for two minutes after a deregistration, which at StopTask begins with the stop; 110 s are
    # what Fargate has room for. aws/containers-roadmap#470, kubernetes-sigs/aws-load-balancer-controller#2366
    "nlb": (
        Preset("DRAIN_DELAY", "0", "ECS deregisters the target from the load balancer before it stops the task."),
        Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),
        Preset("HEALTH_CHECK_INTERVAL", "110", "An NLB sends new connections for two minutes after a deregistration."),
    ),
}


# in AWS's images and in kuma-dp an agent waits after its SIGTERM before it stops Envoy; 5 s are the least of the first
ENVOY_PRESETS: Final[dict[Mesh, Preset]] = {
    "app-mesh": Preset(
        "LISTENER_DRAIN_WAIT_TIME_S",
        "5",
        "AWS's agent waits 20 s after the helper's drain; no request needs this time.",
    ),
    "kuma": Preset(
        "KUMA_DATAPLANE_DRAIN_TIME",
        "5s",
        "kuma-dp waits 30 s after the helper's drain, and no request needs this time.",
    ),
}


class Open(NamedTuple):
    """A setting whose value the definition does not show: `why` and `supply` are a sentence each."""

    variable: str
    why: str
    supply: str


_INTERVAL: Final = "HEALTH_CHECK_INTERVAL"
OPEN: Final[dict[Mesh, Open]] = {
    "app-mesh": Open(
        _INTERVAL,
        "The definition does not show how often downstreams check the task, and the helper assumes 30 s.",
        "Give the virtual node with --virtual-node, or set HEALTH_CHECK_INTERVAL to the seconds between two checks.",
    ),
    "static-dns": Open(
        _INTERVAL,
        "The definition does not show how often downstreams check the task, and the helper assumes 30 s.",
        "Set HEALTH_CHECK_INTERVAL to the `interval` of the downstreams' clusters, in seconds.",
    ),
}


def presets(task: Task, helper: Container) -> list[Preset]:
    """The settings that suit the mesh of `task`; none on Spot, whose two minutes leave no choice."""
    mesh = PRESETS.get(task.mesh, ()) if task.mesh and not task.spot else ()
    found = [preset for preset in mesh if preset.variable != "DISCOVERY_LAG" or waits_for_replacement(helper)]
    if task.mesh == "app-mesh" and not task.spot and (interval := _checked_every(task)):
        found.append(Preset(_INTERVAL, str(interval), f"The virtual node's downstreams check within {interval} s."))
    return found


def envoy_presets(task: Task, envoy: Container) -> list[Preset]:
    """The settings that suit the agent that starts Envoy in the container `envoy`, if there is one.

    The agent's time is Envoy's --drain-time-s, too. With DRAIN_LISTENERS=graceful it has to fit the drain, which the
    rule drain-time wants.
    """
    if any(closes_idle(helper.env) for helper in task.helpers):
        return []
    preset = ENVOY_PRESETS.get(task.mesh) if task.mesh else None
    has_agent = _has_aws_agent(envoy) if task.mesh == "app-mesh" else _waits_for_drain(envoy)
    return [preset] if preset and has_agent else []


def closes_idle(settings: Mapping[str, str]) -> bool:
    """Whether the helper's settings have Envoy close idle connections: DRAIN_LISTENERS=graceful."""
    return settings.get("DRAIN_LISTENERS", "").strip().lower() == "graceful"


def open_settings(task: Task) -> list[Open]:
    """The settings of the mesh's page whose value only the user knows."""
    if task.mesh not in OPEN or task.spot or _checked_every(task):
        return []
    return [OPEN[task.mesh]]


def _checked_every(task: Task) -> int | None:
    """The most seconds that one health check of a downstream takes, by the virtual node; None where that is unknown."""
    policies = [listener.health_check for listener in task.virtual_node.listeners] if task.virtual_node else []
    times = [math.ceil((policy.interval_millis + policy.timeout_millis) / 1000) for policy in policies if policy]
    return max(times, default=None)


def _has_aws_agent(envoy: Container) -> bool:
    """Whether AWS's agent starts Envoy, or may do so where the image is unknown."""
    ours = any(variable.name.startswith("APPMESH_") for variable in envoy.environment)
    return ours or "appmesh" in envoy.image or f"{envoy.place}.image" in envoy.unknown


def _waits_for_drain(envoy: Container) -> bool:
    """Whether this kuma-dp waits before it stops Envoy, and no option says for how long."""
    version = kuma_version(envoy)
    return (version is None or version >= KUMA_THAT_WAITS) and option_of(envoy, "drain-time") is None
