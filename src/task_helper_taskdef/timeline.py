"""When each container of a task is stopped.

ECS sends SIGTERM to a container when all containers that depend on it have stopped, and SIGKILL stopTimeout later. So
the stop times add up along a chain, and otherwise run side by side.
"""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Final, NamedTuple

from task_helper.settings import Settings
from task_helper_taskdef.definition import Container
from task_helper_taskdef.roles import Task, settings_of

# from the interruption notice, which comes with SIGTERM, to the end of the instance or Fargate task
SPOT_SECONDS: Final = 120


class Phase(NamedTuple):
    """One container's stop: SIGTERM at `begins`, exited at `ends` at the latest; seconds after the stop request."""

    container: Container
    begins: float
    ends: float


def longest_plan(settings: Settings) -> float:
    """The seconds of the helper's plan; with `auto` the most that it may take. The second helper of a chain takes what
    the first leaves of the plan."""
    if settings.plan.drain_delay == "auto" or settings.plan.drain_timeout == "auto":
        return settings.plan.budget
    whole = settings.plan.drain_delay + settings.plan.drain_timeout
    return min(max(0.0, whole - settings.plan.elapsed_before), settings.plan.budget)


def stop_schedule(task: Task) -> list[Phase]:
    """The phases in the order in which they begin and end, then in the definition's order.

    Raises CycleError where containers wait for each other.
    """
    definition = task.definition
    # a container that ends at the start is not stopped, and ECS does not wait for it
    dependants: dict[str, set[str]] = {container.name: set() for container in task.long_running}
    for container in task.long_running:
        for name in definition.waits_for(container):
            if name in dependants:
                dependants[name].add(container.name)
    phases: dict[str, Phase] = {}
    for name in TopologicalSorter(dependants).static_order():
        container = definition.by_name[name]
        begins = max((phases[dependant].ends for dependant in dependants[name]), default=0.0)
        phases[name] = Phase(container, begins, begins + _duration(task, container))
    return sorted((phases[name] for name in dependants), key=lambda phase: (phase.begins, phase.ends))


def _duration(task: Task, container: Container) -> float:
    settings = settings_of(container) if container in task.helpers else None
    return min(longest_plan(settings), container.stop_seconds) if settings else container.stop_seconds
