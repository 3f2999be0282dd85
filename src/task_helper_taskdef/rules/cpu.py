"""The helper has a share of the CPU

ECS gives a container without
[`cpu`](https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html) 2 CPU shares, and one
with `cpu` that many. Beside a busy container with 1,024 shares the helper then hardly runs. Its health check exceeds
its timeout, it handles SIGTERM seconds late, and it calls Envoy later still (docs/evidence/weight.md has the figures).

32 shares are enough. With DRAIN_DELAY=auto the helper loads the AWS client at SIGTERM, and needs 64. While the helper
is idle, its shares cost other containers nothing. If no container has `cpu`, all are equal and none is starved. ECS
refuses a task definition whose containers have more `cpu` together than the task.

Passes:

    {"cpu": "512", "containerDefinitions": [{"name": "app", "cpu": 256}, {"name": "task-helper", "cpu": 32}]}

Passes:

    {"containerDefinitions": [{"name": "app"}, {"name": "task-helper"}]}

Fails:

    {"cpu": "512", "containerDefinitions": [{"name": "app", "cpu": 256}, {"name": "task-helper"}]}

    warning $.containerDefinitions[1].cpu
      The helper has 2 CPU shares beside 256 of app. When app is busy, the helper calls Envoy late.
      Write "cpu": 32.

Fails:

    {"cpu": "256", "containerDefinitions": [{"name": "app", "cpu": 240},
      {"name": "task-helper", "cpu": 10, "environment": [{"name": "DRAIN_DELAY", "value": "auto"}]}]}

    warning $.containerDefinitions[1].cpu
      The helper has 10 CPU shares beside 240 of app. When app is busy, the helper calls Envoy late.
      Write "cpu": 64, and lower the cpu of app: the task has 256.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from task_helper_taskdef.definition import Container, Definition
from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.roles import Task, waits_for_replacement

# CPU shares, of 1,024 for each core, with fixed times and with DRAIN_DELAY=auto
FIXED: Final = 32
AUTO: Final = 64

# what ECS's agent gives a container whose `cpu` is missing, 0 or 1
LEAST_SHARES: Final = 2


def need(helper: Container) -> int:
    """CPU shares that the helper needs beside busy containers."""
    return AUTO if waits_for_replacement(helper) else FIXED


def fits(definition: Definition, helper: Container) -> bool:
    """Whether the task's `cpu` is enough for the helper too; true where it is unknown."""
    available = units(definition.cpu)
    others = sum(each.cpu or 0 for each in definition.container_definitions if each.name != helper.name)
    return available is None or others + need(helper) <= available


def check(task: Task) -> Iterator[Finding]:
    others = [each for each in task.definition.container_definitions if each not in task.helpers]
    largest = max(others, key=lambda each: each.cpu or 0, default=None)
    if largest is None or not largest.cpu:
        return
    for helper in task.helpers:
        shares = max(helper.cpu or 0, LEAST_SHARES)
        if shares >= need(helper):
            continue
        place, enough = f"{helper.place}.cpu", need(helper)
        room = fits(task.definition, helper)
        yield warning(
            place,
            f"The helper has {shares} CPU shares beside {largest.cpu} of {largest.name}."
            f" When {largest.name} is busy, the helper calls Envoy late.",
            f'Write "cpu": {enough}'
            + ("." if room else f", and lower the cpu of {largest.name}: the task has {task.definition.cpu}."),
            rests_on=[f"{largest.place}.cpu"],
            fix=[Edit(place, enough)] if room else (),
        )


def units(cpu: str | int | None) -> int | None:
    """The task's `cpu`, which ECS takes as `512`, `.5 vCPU` or `0.5vcpu`; None if it is missing or not understood."""
    number, vcpu, _ = str(cpu).strip().lower().partition("vcpu")
    try:
        return round(float(number) * (1024 if vcpu else 1))
    except ValueError:
        return None
