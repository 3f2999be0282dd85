"""The rules of ECS's service scheduler: which tasks it starts and stops next, and in which order. Pure functions.

Source: the API reference of ECS. The scheduler knows of a task what the agent has reported.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from lab.ecs.state import TaskState


def counts_as_healthy(task: TaskState, now: float, unchecked_wait: float) -> bool:
    """Whether it counts towards the minimum healthy percent: HEALTHY, or without checks long enough RUNNING.

    unchecked_wait: 40 s in ECS
    """
    if task.status != "RUNNING" or task.desired == "STOPPED":
        return False
    if any(each.essential and each.checked for each in task.containers.values()):
        return task.health == "HEALTHY"
    return task.running_since is not None and now - task.running_since >= unchecked_wait


@dataclass(frozen=True)
class Step:
    """What a service's scheduler does next: tasks to start, of the PRIMARY deployment, and tasks to stop, by id."""

    start: int = 0
    stop: tuple[str, ...] = ()


def next_step(
    tasks: Sequence[TaskState],
    primary: str,
    desired: int,
    minimum_healthy: float,
    maximum: float,
    healthy: Collection[str],
    leaving: Collection[str] = (),
    keep_old: bool = False,
) -> Step:
    """The next step of a service towards `desired` tasks of its deployment `primary`.

    minimum_healthy, maximum: percent of `desired`, rounded up and down; healthy: ids of the tasks that count as healthy
    leaving: ids of tasks that are to be replaced whatever their deployment, UNHEALTHY ones and those of a zone that has
        too many: others come first, where `maximum` has room for them
    keep_old: a blue/green deployment's tasks stay until its bake time is over
    """
    wanted = [task for task in tasks if task.desired == "RUNNING"]
    new = [task for task in wanted if task.deployment == primary and task.id not in leaving]
    old = [task for task in wanted if (task.deployment != primary and not keep_old) or task.id in leaving]
    room = math.floor(desired * maximum / 100) - len(wanted)
    start = max(0, min(desired - len(new), room))
    if (len(new) >= desired or room > 0) and sum(task.id in healthy for task in new) < desired:
        old = [task for task in old if task.id not in leaving]
    surplus = old or sorted(new, key=lambda task: task.id in healthy)[: max(0, len(new) - desired)]
    spare = sum(task.id in healthy for task in wanted) - math.ceil(desired * minimum_healthy / 100)
    stop = []
    # those that do not count as healthy go first: they cost nothing
    for task in sorted(surplus, key=lambda task: task.id in healthy):
        if task.id in healthy:
            if spare <= 0:
                break
            spare -= 1
        stop.append(task.id)
    return Step(start, tuple(stop))
