"""The helper's variables are spelt right and stand at the helper

A misspelt variable is not refused by anyone: the default goes on, and nobody notices until a deployment loses requests.
The same holds for a setting of the helper that stands at another container.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "environment": [{"name": "DRAIN_DELAY", "value": "60"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "envoy", "environment": [{"name": "DRAIN_TIMEOUT", "value": "60"}]},
      {"name": "task-helper", "environment": [
        {"name": "DRAIN_DEALY", "value": "60"}, {"name": "DRAIN_MODE", "value": "fast"}]}]}

    warning $.containerDefinitions[0].environment[0].value
      DRAIN_TIMEOUT is set at envoy, where the helper cannot see it.
      Set it at task-helper.
    warning $.containerDefinitions[1].environment[0].value
      DRAIN_DEALY is no setting of the helper, which goes on with the default.
      Write DRAIN_DELAY.
    warning $.containerDefinitions[1].environment[1].value
      DRAIN_MODE is no setting of the helper, which goes on with the default.
      Remove it.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches

from task_helper.settings import SETTINGS
from task_helper.taskdef.problem import Finding, warning
from task_helper.taskdef.task import Task

NAMES = [setting.name for setting in SETTINGS]
# close enough for two letters in the wrong order, not for a word of another meaning
CLOSE = 0.85


def check(task: Task) -> Iterator[Finding]:
    for container in task.definition.container_definitions:
        for name in container.env:
            near = get_close_matches(name, NAMES, n=1, cutoff=CLOSE)
            if container in task.helpers and name not in NAMES and (near or name.startswith("DRAIN_")):
                yield warning(
                    container.variable(name),
                    f"{name} is no setting of the helper, which goes on with the default.",
                    f"Write {near[0]}." if near else "Remove it.",
                )
            if task.helpers and container not in task.helpers and name in ("DRAIN_DELAY", "DRAIN_TIMEOUT"):
                yield warning(
                    container.variable(name),
                    f"{name} is set at {container.name}, where the helper cannot see it.",
                    f"Set it at {task.helpers[0].name}.",
                )
