"""STOP_TIMEOUT is the helper's stopTimeout

A container cannot read its own `stopTimeout`. The variable `STOP_TIMEOUT` (default 120) gives it to the helper, which
exits 5 s earlier. If the variable is larger than `stopTimeout`, ECS kills the helper during the drain, without a log
line. If it is smaller, the helper ends the drain earlier than it has to.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "stopTimeout": 100,
      "environment": [{"name": "STOP_TIMEOUT", "value": "100"}]}]}

Passes:

    {"containerDefinitions": [{"name": "task-helper", "stopTimeout": 100,
      "environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::settings/shop.env"}]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "stopTimeout": 100}]}

    error $.containerDefinitions[0].stopTimeout
      ECS kills the helper after 100 s, but STOP_TIMEOUT is unset and the helper counts with 120 s.
      Write "stopTimeout": 120, or set STOP_TIMEOUT to 100.

Fails:

    {"containerDefinitions": [{"name": "task-helper", "stopTimeout": 120,
      "environment": [{"name": "STOP_TIMEOUT", "value": "90"}]}]}

    warning $.containerDefinitions[0].environment[0].value
      ECS kills the helper after 120 s, but STOP_TIMEOUT is 90 and the helper exits before that.
      Set STOP_TIMEOUT to 120.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, error, warning
from task_helper_taskdef.roles import Task, settings_of


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        settings = settings_of(helper)
        if settings is None or helper.stop_timeout is None or settings.plan.stop_timeout == helper.stop_timeout:
            continue
        granted, reckoned = helper.stop_timeout, settings.plan.stop_timeout
        killed = f"ECS kills the helper after {granted} s, but STOP_TIMEOUT is"
        if "STOP_TIMEOUT" not in helper.env:
            yield error(
                f"{helper.place}.stopTimeout",
                f"{killed} unset and the helper counts with {reckoned:g} s.",
                f'Write "stopTimeout": {reckoned:g}, or set STOP_TIMEOUT to {granted}.',
                fix=[Edit(f"{helper.place}.stopTimeout", round(reckoned))],
            )
            continue
        consequence = "ECS may kill it during the drain" if reckoned > granted else "the helper exits before that"
        yield (error if reckoned > granted else warning)(
            helper.variable_place("STOP_TIMEOUT"),
            f"{killed} {reckoned:g} and {consequence}.",
            f"Set STOP_TIMEOUT to {granted}.",
            fix=[helper.set_variable("STOP_TIMEOUT", str(granted))],
        )
