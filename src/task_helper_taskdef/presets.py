"""The settings that suit each mesh, each with what it rests on; docs/meshes has a page for each mesh.

`add` writes them, and `check` reports where a helper leaves one of them at its default. For a mesh that is not
here the defaults are right.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from task_helper_taskdef.definition import Container
from task_helper_taskdef.roles import Mesh, Task, waits_for_replacement


class Preset(NamedTuple):
    """A setting of the helper, and why, as a sentence of what the default costs."""

    variable: str
    value: str
    why: str


_BY_TRAFFIC = "Fixed times hold the task up although its requests have ended."

PRESETS: Final[dict[Mesh, tuple[Preset, ...]]] = {
    # the control plane probes each second, hears of it every 5 s and tells peers at once (kumahq/kuma, pkg/hds)
    "kuma": (
        Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),
        Preset("HEALTH_CHECK_INTERVAL", "7", "Kuma's peers know within 6 s, and the helper waits for 30."),
        Preset("DISCOVERY_LAG", "10", "Kuma's peers know a new task within 10 s, and the helper waits for 40."),
    ),
    # consul-ecs-health-sync tells the servers on its own SIGTERM, when the helper gets its (hashicorp/consul-ecs)
    "consul": (
        Preset("DRAIN_DELAY", "0", "Consul's peers go as soon as ECS stops the task, whatever the helper waits for."),
        Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),
        Preset("HEALTH_CHECK_INTERVAL", "5", "Consul's peers know within seconds, and the helper waits for 30."),
    ),
    # each caller's Envoy checks by its own configuration, which the called task does not know: 30 s are kept
    "static-dns": (Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),),
    # ECS has waited until the target is unused before it stops the task
    # (https://docs.aws.amazon.com/AmazonECS/latest/developerguide/load-balancer-connection-draining.html)
    "alb": (
        Preset("DRAIN_DELAY", "0", "ECS has taken the target out of the load balancer before it stops the task."),
        Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),
        # StopTask and Spot do not wait for that, and the load balancer's nodes take some seconds to follow: with few
        # requests a task is quiet before the last of them has
        Preset("HEALTH_CHECK_INTERVAL", "10", "An ALB has gone within seconds, and the helper waits for 30."),
    ),
    # New connections come for two minutes after a deregistration, which at StopTask begins with the stop; 110 s are
    # what Fargate has room for. aws/containers-roadmap#470, kubernetes-sigs/aws-load-balancer-controller#2366
    "nlb": (
        Preset("DRAIN_DELAY", "0", "ECS has taken the target out of the load balancer before it stops the task."),
        Preset("DRAIN_TIMEOUT", "auto", _BY_TRAFFIC),
        Preset("HEALTH_CHECK_INTERVAL", "110", "An NLB sends new connections for two minutes after a deregistration."),
    ),
}


def presets(task: Task, helper: Container) -> list[Preset]:
    """What suits the mesh of `task`; nothing on Spot, whose two minutes leave no choice."""
    mesh = PRESETS.get(task.mesh, ()) if task.mesh and not task.spot else ()
    return [preset for preset in mesh if preset.variable != "DISCOVERY_LAG" or waits_for_replacement(helper)]
