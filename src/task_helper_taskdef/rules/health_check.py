"""The helper has a container health check that gates the deployment

`task-helper healthcheck` passes once Envoy is live and the application answers, and from then on. ECS counts a new task
only when its essential containers with [health
checks](https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_HealthCheck.html) are HEALTHY. Old tasks keep
running until then. ECS ignores the image's own HEALTHCHECK.

The times must be long enough for a slow application to start. Failures count only after `startPeriod`. After `retries`
× `interval` of failures ECS replaces the task, again and again. ECS accepts 5 to 300 s for `interval`, 2 to 60 s for
`timeout`, 1 to 10 `retries` and 0 to 300 s for `startPeriod`.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "healthCheck": {"command": ["CMD", "task-helper", "healthcheck"],
      "interval": 10, "timeout": 5, "retries": 10, "startPeriod": 300}}]}

Passes:

    {"containerDefinitions": [{"name": "task-helper", "healthCheck": {
      "command": ["CMD-SHELL", "/usr/local/bin/task-helper healthcheck || exit 1"], "interval": 30}}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper"}]}

    warning $.containerDefinitions[0].healthCheck
      The helper has no healthCheck, so ECS stops old tasks before Envoy and the application of new tasks answer.
      Write "healthCheck": {"command": ["CMD", "task-helper", "healthcheck"], "interval": 10, "timeout": 5, \
"retries": 10, "startPeriod": 300}.

Fails:

    {"containerDefinitions": [{"name": "task-helper", "healthCheck": {"command": ["CMD-SHELL", "curl localhost"],
      "interval": 3, "retries": 2}}]}

    error $.containerDefinitions[0].healthCheck.command
      The helper serves no port and has no curl, so this check never passes and ECS replaces the task again and again.
      Write ["CMD", "task-helper", "healthcheck"].
    error $.containerDefinitions[0].healthCheck.interval
      interval is 3, but ECS takes 5 to 300 and refuses the task definition.
      Write a number from 5 to 300.
    warning $.containerDefinitions[0].healthCheck.startPeriod
      If the application takes longer than 6 s to start, ECS replaces the task again and again.
      Write "startPeriod": 300. It delays nothing, because the first check that passes ends it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from task_helper_taskdef.definition import HealthCheck
from task_helper_taskdef.findings import Edit, Finding, error, warning
from task_helper_taskdef.roles import Task, runs_healthcheck

RANGES = {"interval": (5, 300), "timeout": (2, 60), "retries": (1, 10), "startPeriod": (0, 300)}
# a JVM on a quarter of a vCPU needs about this long
SLOW_START = 60
CHECK: Final = {
    "command": ["CMD", "task-helper", "healthcheck"],
    "interval": 10,
    "timeout": 5,
    "retries": 10,
    "startPeriod": 300,
}
WRITE: Final = f'Write "healthCheck": {json.dumps(CHECK)}.'


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        place = f"{helper.place}.healthCheck"
        if helper.health_check is None:
            yield warning(
                place,
                "The helper has no healthCheck, so ECS stops old tasks before Envoy and the application"
                " of new tasks answer.",
                WRITE,
                fix=[Edit(place, CHECK)],
            )
            continue
        if not runs_healthcheck(helper):
            yield error(
                f"{place}.command",
                "The helper serves no port and has no curl, so this check never passes"
                " and ECS replaces the task again and again.",
                'Write ["CMD", "task-helper", "healthcheck"].',
                rests_on=[f"{place}.command[{i}]" for i in range(len(helper.health_check.command))],
                fix=[Edit(f"{place}.command", CHECK["command"])],
            )
        yield from numbers(helper.health_check, place)


def numbers(health_check: HealthCheck, place: str) -> Iterator[Finding]:
    values = (health_check.interval, health_check.timeout, health_check.retries, health_check.start_period)
    for (name, (least, most)), value in zip(RANGES.items(), values, strict=True):
        if not least <= value <= most:
            yield error(
                f"{place}.{name}",
                f"{name} is {value}, but ECS takes {least} to {most} and refuses the task definition.",
                f"Write a number from {least} to {most}.",
                fix=[Edit(f"{place}.{name}", max(least, min(value, most)))],
            )
    starts_within = health_check.start_period + health_check.retries * health_check.interval
    if starts_within < SLOW_START:
        yield warning(
            f"{place}.startPeriod",
            f"If the application takes longer than {starts_within} s to start, ECS replaces the task again and again.",
            'Write "startPeriod": 300. It delays nothing, because the first check that passes ends it.',
            rests_on=[f"{place}.retries", f"{place}.interval"],
            fix=[Edit(f"{place}.startPeriod", 300)],
        )
