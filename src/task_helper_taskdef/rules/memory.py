"""The helper has enough memory, and the task has it to give

The helper takes 25 MiB at most. With DRAIN_DELAY=auto it takes 49 MiB, because it loads the AWS client. Each run of the
health check takes another 12 MiB in the same container (measured with measure/weight.py; resident, CPython 3.11). The
kernel kills a container that exceeds its `memory`, most likely during a drain.

ECS refuses a task definition if one container's
[`memory`](https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html) exceeds the task's.
It also refuses one whose containers reserve more together: `memoryReservation` adds up, while `memory` is a limit for
each container and does not.

Passes:

    {"memory": "512", "containerDefinitions": [{"name": "app", "memory": 512, "memoryReservation": 256},
      {"name": "task-helper", "memory": 64}]}

Fails:

    {"memory": "0.5 GB", "containerDefinitions": [{"name": "app", "memory": 1024, "memoryReservation": 512},
      {"name": "task-helper", "memory": 32, "memoryReservation": 32}]}

    error $.containerDefinitions[1].memory
      The helper has 32 MiB and needs up to 40, so the kernel kills it, most likely during a drain.
      Write "memory": 64.
    error $.containerDefinitions[0].memory
      app may take 1024 MiB, but the task has 512, so ECS refuses the task definition.
      Raise the task's memory, or lower the container's.
    error $.memory
      The containers reserve 544 MiB, but the task has 512, so ECS refuses the task definition.
      Raise the task's memory, or lower a container's memoryReservation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from task_helper_taskdef.definition import Container
from task_helper_taskdef.findings import Edit, Finding, error
from task_helper_taskdef.roles import Task, waits_for_replacement


class Need(NamedTuple):
    """MiB: `least` is what the container takes at most, `enough` leaves some room."""

    least: int
    enough: int


FIXED = Need(40, 64)
AUTO = Need(64, 96)


def need(helper: Container) -> Need:
    return AUTO if waits_for_replacement(helper) else FIXED


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        least, enough = need(helper)
        if helper.memory is not None and helper.memory < least:
            yield error(
                f"{helper.place}.memory",
                f"The helper has {helper.memory} MiB and needs up to {least}, so the kernel kills it,"
                " most likely during a drain.",
                f'Write "memory": {enough}.',
                fix=[Edit(f"{helper.place}.memory", enough)],
            )
    available = mebibytes(task.definition.memory)
    if available is None:
        return
    for container in task.definition.container_definitions:
        if container.memory is not None and container.memory > available:
            yield error(
                f"{container.place}.memory",
                f"{container.name} may take {container.memory} MiB, but the task has {available},"
                " so ECS refuses the task definition.",
                "Raise the task's memory, or lower the container's.",
                rests_on=[f"{task.definition.place}.memory"],
            )
    reserved = sum(container.memory_reservation or 0 for container in task.definition.container_definitions)
    if reserved > available:
        yield error(
            f"{task.definition.place}.memory",
            f"The containers reserve {reserved} MiB, but the task has {available},"
            " so ECS refuses the task definition.",
            "Raise the task's memory, or lower a container's memoryReservation.",
        )


def mebibytes(memory: str | int | None) -> int | None:
    """The task's memory, which ECS takes as `1024`, `1GB` or `1 GB`; None if it is missing or not understood."""
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?(gb)?", str(memory).strip().lower())
    return round(float(match[1]) * (1024 if match[2] else 1)) if match else None
