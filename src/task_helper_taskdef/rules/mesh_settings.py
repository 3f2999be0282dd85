"""The settings suit the mesh

The defaults suit the slowest mesh: 40 s until all downstreams know a new task, and 30 s between health checks. In a
faster mesh they make each stop longer than necessary. The agents of AWS's images and of kuma-dp wait after the drain
before they stop Envoy. [The meshes](meshes/README.md) lists what suits each mesh, and why. `task-helper taskdef add`
writes these settings, and names those that only you know. It does not change a value that is set.

Passes:

    {"containerDefinitions": [{"name": "kuma-dp", "image": "kumahq/kuma-dp:2.14.1",
        "environment": [{"name": "KUMA_DATAPLANE_DRAIN_TIME", "value": "10s"}]},
      {"name": "task-helper", "environment": [
        {"name": "DRAIN_TIMEOUT", "value": "auto"}, {"name": "HEALTH_CHECK_INTERVAL", "value": "10"}]}]}

Fails:

    {"containerDefinitions": [{"name": "kuma-dp", "image": "kumahq/kuma-dp:2.14.1"}, {"name": "task-helper"}]}

    note $.containerDefinitions[1].environment
      Fixed times keep the task running although its requests have ended.
      Set DRAIN_TIMEOUT to auto, as suits kuma.
    note $.containerDefinitions[1].environment
      Kuma's downstreams know within 6 s, but the helper waits for 30 s.
      Set HEALTH_CHECK_INTERVAL to 7, as suits kuma.
    note $.containerDefinitions[0].environment
      kuma-dp waits 30 s after the helper's drain, and no request needs this time.
      Set KUMA_DATAPLANE_DRAIN_TIME to 5s at kuma-dp, as suits kuma.

Fails:

    {"containerDefinitions": [
      {"name": "envoy", "image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.34.13.0-prod",
       "environment": [{"name": "LISTENER_DRAIN_WAIT_TIME_S", "value": "5"}]},
      {"name": "task-helper", "environment": [{"name": "DRAIN_TIMEOUT", "value": "auto"}]}]}

    note $.containerDefinitions[1].environment
      The definition does not show how often downstreams check the task, and the helper assumes 30 s.
      Give the virtual node with --virtual-node, or set HEALTH_CHECK_INTERVAL to the seconds between two checks.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.definition import Container
from task_helper_taskdef.findings import Finding, note
from task_helper_taskdef.presets import envoy_presets, open_settings, presets
from task_helper_taskdef.roles import Task, identifying_places, settings_of


def check(task: Task) -> Iterator[Finding]:
    shown = [place for envoy in task.envoys for place in identifying_places(envoy)]
    for helper in task.helpers:
        if settings_of(helper) is not None:
            yield from _of_helper(task, helper, [] if task.named_mesh else shown)
    for envoy in task.envoys if task.helpers else ():
        for variable, value, why in envoy_presets(task, envoy):
            if envoy.knows_variable(variable) and not envoy.env.get(variable):
                yield note(
                    f"{envoy.place}.environment",
                    why,
                    f"Set {variable} to {value} at {envoy.name}, as suits {task.mesh}.",
                    [f"{envoy.place}.name", *shown],
                )


def _of_helper(task: Task, helper: Container, shown: list[str]) -> Iterator[Finding]:
    place = f"{helper.place}.environment"
    for variable, value, why in presets(task, helper):
        if not helper.env.get(variable):
            yield note(place, why, f"Set {variable} to {value}, as suits {task.mesh}.", shown)
    for variable, why, supply in open_settings(task):
        if not helper.env.get(variable):
            yield note(place, why, supply, shown)
