"""The helper's variables are spelt right and set at the helper

The helper does not refuse a misspelt variable. It uses the default, and the mistake shows only when a deployment loses
requests. A setting of the helper that is set at Envoy has no effect either. An application may have its own
DRAIN_TIMEOUT.

Passes:

    {"containerDefinitions": [
      {"name": "app", "environment": [{"name": "DRAIN_TIMEOUT", "value": "10"}]},
      {"name": "task-helper", "environment": [{"name": "DRAIN_DELAY", "value": "60"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "envoy", "environment": [{"name": "DRAIN_TIMEOUT", "value": "60"}]},
      {"name": "task-helper", "environment": [
        {"name": "DRAIN_DEALY", "value": "60"}, {"name": "DRAIN_MODE", "value": "fast"}]}]}

    warning $.containerDefinitions[0].environment[0].name
      DRAIN_TIMEOUT is set at envoy, where the helper cannot read it.
      Set it at task-helper.
    warning $.containerDefinitions[1].environment[0].name
      DRAIN_DEALY is not a setting of the helper, which uses the default.
      Write DRAIN_DELAY.
    warning $.containerDefinitions[1].environment[1].name
      DRAIN_MODE is not a setting of the helper, which uses the default.
      Remove it.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from task_helper.settings import SETTINGS
from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.roles import Task

NAMES = [setting.name for setting in SETTINGS]
# near enough for two swapped letters, too far for another word
CLOSE = 0.85


def check(task: Task) -> Iterator[Finding]:
    if not task.helpers:
        return
    for container in task.definition.container_definitions:
        for variable in container.environment:
            name, place = variable.name, f"{variable.place}.name"
            searched = container in task.helpers and name not in NAMES
            near = get_close_matches(name, NAMES, n=1, cutoff=CLOSE) if searched else []
            if searched and (near or name.startswith("DRAIN_")):
                yield warning(
                    place,
                    f"{name} is not a setting of the helper, which uses the default.",
                    f"Write {near[0]}." if near else "Remove it.",
                    fix=[Edit(place, near[0])] if near else [],
                )
            if container in task.envoys and name in ("DRAIN_DELAY", "DRAIN_TIMEOUT"):
                yield warning(
                    place,
                    f"{name} is set at {container.name}, where the helper cannot read it.",
                    f"Set it at {task.helpers[0].name}.",
                    rests_on=[f"{container.place}.image"],
                )
