"""The helper accepts its settings, and their plan fits

The helper refuses bad settings at its start with exit code 78, and the task stops. It also refuses a plan that cannot
fit: DRAIN_DELAY + DRAIN_TIMEOUT must leave 5 s of STOP_TIMEOUT. Otherwise ECS would kill the helper during the drain.

`auto` counts with its shortest times. DRAIN_DELAY=auto counts as DISCOVERY_LAG. DRAIN_TIMEOUT=auto counts as
HEALTH_CHECK_INTERVAL and 1 s.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "environment": [
      {"name": "DRAIN_DELAY", "value": "40s"}, {"name": "DRAIN_TIMEOUT", "value": "60"}]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "environment": [{"name": "DRAIN_DELAY", "value": "-5"}]}]}

    error $.containerDefinitions[0].environment[0].value
      The helper refuses to start: DRAIN_DELAY: '-5' is negative.
      Give seconds, such as 40, 2.5 or 40s, or auto.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper.settings import BadSettings, from_env
from task_helper_taskdef.findings import Finding, error
from task_helper_taskdef.roles import Task, knows_settings


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        whole = knows_settings(helper)
        try:
            from_env(helper.env)
        except BadSettings as bad:
            for problem in bad.problems:
                reason, _, remedy = problem.partition("; ")
                name = reason.partition(":")[0]
                if name not in helper.env and not whole:
                    # the problem is of several settings together, and some of them are unknown
                    continue
                yield error(
                    helper.variable_place(name) if name in helper.env else f"{helper.place}.environment",
                    f"The helper refuses to start: {reason}.",
                    (
                        f"{remedy[0].upper()}{remedy[1:]}."
                        if remedy
                        else "Correct the value, or remove it to use the default."
                    ),
                )
