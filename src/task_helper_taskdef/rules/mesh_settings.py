"""The settings are those of the mesh

The defaults suit the slowest mesh there was: 40 s until everybody knows the new task, 30 s between health checks. Where
others know sooner, a task that waits on is only late. What suits each mesh, and why, is in
[docs/meshes](meshes/README.md); `task-helper taskdef add` writes it. A value that is set is meant so.

Passes:

    {"containerDefinitions": [{"name": "kuma-dp", "image": "kumahq/kuma-dp:2.14.1"},
      {"name": "task-helper", "environment": [
        {"name": "DRAIN_TIMEOUT", "value": "auto"}, {"name": "HEALTH_CHECK_INTERVAL", "value": "10"}]}]}

Fails:

    {"containerDefinitions": [{"name": "kuma-dp", "image": "kumahq/kuma-dp:2.14.1"}, {"name": "task-helper"}]}

    note $.containerDefinitions[1].environment
      Fixed times hold the task up although its requests have ended.
      Set DRAIN_TIMEOUT to auto, as suits kuma.
    note $.containerDefinitions[1].environment
      Kuma's peers know within 6 s, and the helper waits for 30.
      Set HEALTH_CHECK_INTERVAL to 7, as suits kuma.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, note
from task_helper_taskdef.presets import presets
from task_helper_taskdef.roles import Task, identifying_places, settings_of


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        if settings_of(helper) is None:
            continue
        for variable, value, why in presets(task, helper):
            if not helper.env.get(variable):
                yield note(
                    f"{helper.place}.environment",
                    why,
                    f"Set {variable} to {value}, as suits {task.mesh}.",
                    [place for envoy in task.envoys for place in identifying_places(envoy)],
                )
