"""Drawing how a whole task stops: when each container gets SIGTERM, and when it has exited. It prints nothing."""

from __future__ import annotations

from graphlib import CycleError

from task_helper.plan import FIXED, LEGEND, UP_TO, Stage, bar
from task_helper_taskdef.definition import read_source
from task_helper_taskdef.formats import Source
from task_helper_taskdef.roles import Task, assign_roles, settings_of
from task_helper_taskdef.timeline import SPOT_SECONDS, Phase, longest_plan, stop_schedule


def plan(
    source: Source, width: int = 100, helper: str | None = None, envoy: str | None = None, spot: bool = False
) -> str:
    """The stop of the whole task of `source`, as text in lines of at most `width` columns (60 to 120).

    `helper` and `envoy` are the names of these containers. With `spot` the text shows which containers Spot's two
    minutes kill. Raises BadName for a name that no container has, and NotATaskDefinition.
    """
    task = assign_roles(read_source(source), helper, envoy, spot)
    try:
        phases = stop_schedule(task)
    except CycleError as error:
        return (
            f"The containers wait for each other ({' -> '.join(error.args[1])}), so ECS refuses this task definition."
        )
    alone = {container.name for container in task.kept_running} - task.definition.stopped_after(*task.helpers)
    names = max([len(phase.container.name) for phase in phases], default=0)
    end = max([phase.ends for phase in phases], default=0.0)
    scale = (max(60, min(width, 120)) - names - 4) / max(end, 1.0)
    bars = [f"{phase.container.name:{names}}  {bar(_stages(task, phase), scale)}" for phase in phases]
    moments = [
        f"{f'{phase.begins:g}s':>6}  {phase.container.name:{names}}  {_remark(task, phase, alone)}" for phase in phases
    ]
    last = f"{f'{end:g}s':>6}  the whole task has stopped at the latest{_on_spot(end) if spot else ''}"
    legend = [LEGEND] if any(UP_TO in bar for bar in bars) else []
    return "\n".join([*bars, "", *moments, last, *legend])


def _stages(task: Task, phase: Phase) -> list[Stage]:
    """The stages of `phase.container` after the stop request."""
    serving = [_stage("serving", phase.begins)] if phase.begins else []
    settings = settings_of(phase.container) if phase.container in task.helpers else None
    if settings is None:
        return [*serving, _stage("stopping", phase.ends - phase.begins)]
    if settings.plan.drain_delay == "auto":
        return [*serving, _stage("delaying and draining up to", phase.ends - phase.begins, UP_TO)]
    delay = min(max(0.0, settings.plan.drain_delay - settings.plan.elapsed_before), phase.ends - phase.begins)
    delaying = [_stage("delaying", delay)] if delay or not settings.plan.takes_over_from else []
    drain = phase.ends - phase.begins - delay
    auto = settings.plan.drain_timeout == "auto"
    return [*serving, *delaying, _stage("draining up to", drain, UP_TO) if auto else _stage("draining", drain)]


def _stage(name: str, seconds: float, fill: str = FIXED) -> Stage:
    return [f"{name} {seconds:g}s", f"{seconds:g}s"], seconds, fill


def _remark(task: Task, phase: Phase, alone: set[str]) -> str:
    """The event at the beginning of `phase`, and its problems; no helper keeps the containers `alone` running."""
    container = phase.container
    if container in task.helpers:
        settings = settings_of(container)
        if settings is None:
            return "SIGTERM; the helper refuses its settings, see `task-helper taskdef check`"
        plan, given = longest_plan(settings), container.stop_seconds
        if plan > given:
            return f"SIGTERM, and SIGKILL after {given}s: KILLED {plan - given:g}s before its plan of {plan:g}s ends"
        at_most = "at most " if "auto" in (settings.plan.drain_delay, settings.plan.drain_timeout) else ""
        continues = (
            f"; continues the plan of {settings.plan.takes_over_from.name}" if settings.plan.takes_over_from else ""
        )
        return f"SIGTERM{continues}; its plan takes {at_most}{plan:g}s of its stopTimeout of {given}s"
    warning = "; NO HELPER DEPENDS ON IT" if container.name in alone else ""
    killed = f"; KILLED at {SPOT_SECONDS}s on Spot" if task.spot and phase.ends > SPOT_SECONDS else ""
    return f"SIGTERM, and SIGKILL after its stopTimeout of {container.stop_seconds}s{warning}{killed}"


def _on_spot(end: float) -> str:
    if end > SPOT_SECONDS:
        return f", {end - SPOT_SECONDS:g}s after Spot has ended it"
    return f", {SPOT_SECONDS - end:g}s before Spot ends it"
