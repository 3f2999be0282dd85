"""On Spot the stops of all containers fit two minutes (with --spot)

A [Spot interruption](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-capacity-providers.html) gives
the whole task two minutes from SIGTERM to the end of the machine. The stop times of the containers add up along
`dependsOn`: helper, then application, then Envoy. Containers that still run after two minutes are cut off. A
replacement may not be there in time, so a long DRAIN_DELAY helps little on Spot. Containers that end at the start do
not count.

Passes with --spot:

    {"containerDefinitions": [
      {"name": "migration", "essential": false, "stopTimeout": 90},
      {"name": "app", "stopTimeout": 10, "dependsOn": [{"containerName": "migration", "condition": "SUCCESS"}]},
      {"name": "task-helper", "stopTimeout": 120, "dependsOn": [{"containerName": "app", "condition": "START"}]}]}

Fails with --spot:

    {"containerDefinitions": [
      {"name": "envoy"}, {"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "START"}]},
      {"name": "task-helper", "stopTimeout": 120, "dependsOn": [
        {"containerName": "envoy", "condition": "START"}, {"containerName": "app", "condition": "START"}]}]}

    error $.containerDefinitions[0].stopTimeout
      On Spot the task ends 120 s after SIGTERM, but envoy may still be stopping after 140 s and is cut off.
      Lower DRAIN_DELAY, DRAIN_TIMEOUT or the stopTimeout of envoy and of the containers before it by 20 s in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError

from task_helper_taskdef.findings import Finding, error
from task_helper_taskdef.roles import Task, knows_settings
from task_helper_taskdef.timeline import SPOT_SECONDS, stop_schedule


def check(task: Task) -> Iterator[Finding]:
    # the time of a helper is unknown if it gets its settings from elsewhere
    if not task.spot or not all(map(knows_settings, task.helpers)):
        return
    try:
        last = max(stop_schedule(task), key=lambda phase: phase.ends, default=None)
    except CycleError:
        return
    if last and last.ends > SPOT_SECONDS:
        yield error(
            f"{last.container.place}.stopTimeout",
            f"On Spot the task ends {SPOT_SECONDS} s after SIGTERM, but {last.container.name}"
            f" may still be stopping after {last.ends:g} s and is cut off.",
            f"Lower DRAIN_DELAY, DRAIN_TIMEOUT or the stopTimeout of {last.container.name}"
            f" and of the containers before it"
            f" by {last.ends - SPOT_SECONDS:g} s in all.",
            # the sum is of all that stop one after the other
            rests_on=[f"{c.place}.stopTimeout" for c in task.long_running] + task.definition.unknown_order,
        )
