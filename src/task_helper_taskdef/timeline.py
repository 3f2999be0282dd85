"""When each container of a task is stopped, and the picture of it.

ECS sends SIGTERM to a container once all that wait for it (`dependsOn`, either way round) have stopped, and SIGKILL
stopTimeout later; so stop times add up along a chain and run side by side otherwise.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from typing import Final, NamedTuple

from task_helper.settings import Settings
from task_helper_taskdef.definition import Container, Definition
from task_helper_taskdef.roles import Task, cast, settings_of

# from the interruption notice, which comes with SIGTERM, to the end of the instance or Fargate task
SPOT_SECONDS: Final = 120


class Phase(NamedTuple):
    """The stop of one container: SIGTERM at `begins`, gone at `ends` at the latest, seconds after the stop request."""

    container: Container
    begins: float
    ends: float


def longest_plan(settings: Settings) -> float:
    """Seconds that the helper takes if all goes to plan; with `auto` as many as it may. Of two helpers in a chain the
    second takes what the first leaves of the plan."""
    if settings.plan.drain_delay == "auto" or settings.plan.drain_timeout == "auto":
        return settings.plan.budget
    whole = settings.plan.drain_delay + settings.plan.drain_timeout
    return min(max(0.0, whole - settings.plan.held_before), settings.plan.budget)


def stop_schedule(task: Task) -> list[Phase]:
    """The phases in the order in which they begin; raises CycleError where containers wait for each other."""
    definition = task.definition
    # what has ended at the start has nothing left to stop, and holds nothing up
    dependants: dict[str, set[str]] = {container.name: set() for container in task.lasting}
    for container in task.lasting:
        for name in definition.waits_for(container) & dependants.keys():
            dependants[name].add(container.name)
    phases: dict[str, Phase] = {}
    for name in TopologicalSorter(dependants).static_order():
        container = definition.by_name[name]
        begins = max((phases[dependant].ends for dependant in dependants[name]), default=0.0)
        phases[name] = Phase(container, begins, begins + _takes(task, container))
    return sorted(phases.values(), key=lambda phase: (phase.begins, phase.ends))


def _takes(task: Task, container: Container) -> float:
    settings = settings_of(container) if container in task.helpers else None
    return min(longest_plan(settings), container.stops_within) if settings else container.stops_within


def draw(
    definition: Definition, width: int, helper: str | None = None, envoy: str | None = None, spot: bool = False
) -> str:
    """The stop of the whole task as a picture in text, in lines of at most `width` columns (at least 60).

    Raises BadName for a name that no container has.
    """
    task = cast(definition, helper, envoy, spot)
    try:
        phases = stop_schedule(task)
    except CycleError as error:
        return f"The containers wait for each other ({' -> '.join(error.args[1])}): ECS refuses this task definition."
    names = max([len(phase.container.name) for phase in phases], default=0)
    end = max([phase.ends for phase in phases], default=0.0)
    scale = (max(60, min(width, 120)) - names - 4) / max(end, 1.0)
    bars = [f"{phase.container.name:{names}}  {_bar(_stages(task, phase), scale)}" for phase in phases]
    moments = [f"{f'{phase.begins:g}s':>6}  {phase.container.name:{names}}  {_remark(task, phase)}" for phase in phases]
    last = f"{f'{end:g}s':>6}  the whole task has stopped at the latest{_on_spot(end) if spot else ''}"
    return "\n".join([*bars, "", *moments, last])


def _stages(task: Task, phase: Phase) -> list[tuple[str, float]]:
    """What `phase.container` does from the stop request on, and for how many seconds."""
    serving = [("serving", phase.begins)] if phase.begins else []
    settings = settings_of(phase.container) if phase.container in task.helpers else None
    if settings is None:
        return [*serving, ("stopping", phase.ends - phase.begins)]
    if settings.plan.drain_delay == "auto" or settings.plan.drain_timeout == "auto":
        return [*serving, ("delaying and draining", phase.ends - phase.begins)]
    delay = min(max(0.0, settings.plan.drain_delay - settings.plan.held_before), phase.ends - phase.begins)
    delaying = [("delaying", delay)] if delay or not settings.plan.takes_over_from else []
    return [*serving, *delaying, ("draining", phase.ends - phase.begins - delay)]


def _bar(stages: list[tuple[str, float]], scale: float) -> str:
    """The stages' names between marks that are as far apart as the stages are long, `scale` columns to the second."""
    bar, end = "├", 0.0
    for name, length in stages:
        end += length
        room = round(end * scale) - len(bar)
        if room >= 0:
            label = next((text for text in (f" {name} {length:g}s ", f" {length:g}s ", "") if len(text) <= room), "")
            bar += label.center(room, "─") + "┼"
    return f"{bar[:-1]}┤"


def _remark(task: Task, phase: Phase) -> str:
    """What happens at the beginning of `phase` and what is wrong with it."""
    container = phase.container
    if container in task.helpers:
        settings = settings_of(container)
        if settings is None:
            return "SIGTERM; its settings cannot be used, see `task-helper taskdef check`"
        plan, given = longest_plan(settings), container.stops_within
        if plan > given:
            return f"SIGTERM, and SIGKILL after {given}s: KILLED {plan - given:g}s before its plan of {plan:g}s ends"
        at_most = "at most " if "auto" in (settings.plan.drain_delay, settings.plan.drain_timeout) else ""
        goes_on = f"; goes on for {settings.plan.takes_over_from.name}" if settings.plan.takes_over_from else ""
        return f"SIGTERM{goes_on}; its plan takes {at_most}{plan:g}s of its stopTimeout of {given}s"
    held = any(container.name in task.definition.held_up_by(helper) for helper in task.helpers)
    warning = "" if held or container not in task.held else "; NOT HELD UP by a helper"
    killed = f"; KILLED at {SPOT_SECONDS}s on Spot" if task.spot and phase.ends > SPOT_SECONDS else ""
    return f"SIGTERM, and SIGKILL after its stopTimeout of {container.stops_within}s{warning}{killed}"


def _on_spot(end: float) -> str:
    if end > SPOT_SECONDS:
        return f", {end - SPOT_SECONDS:g}s after Spot has ended it"
    return f", {SPOT_SECONDS - end:g}s before Spot ends it"
