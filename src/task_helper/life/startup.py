"""Startup: when the task is ready for requests, and whether it will be able to drain."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from task_helper.application import Application
from task_helper.ecs.metadata import Metadata, stops_helper
from task_helper.envoy.admin import AdminError, Envoy
from task_helper.envoy.listeners import draining_egress, may_come_in
from task_helper.envoy.mesh import Bootstrap, hints, recognise
from task_helper.gate import Status
from task_helper.life import chain
from task_helper.life.record import Record
from task_helper.logs import Event, log, why
from task_helper.plan import Plan
from task_helper.settings import Settings
from task_helper.timing import now

# the pause between two checks of Envoy and the application
POLL: Final = 0.5

# How long a live Envoy may have no listener. Its control plane sends listeners when it answers. Envoy waits 15 s for
# that answer (initial_fetch_timeout) before it reports that it is live.
NO_LISTENERS_FOR: Final = 60.0

# The first version of Envoy that closes idle connections in a drain. Older versions accept the call, and close a
# connection only with its next response.
CLOSES_IDLE: Final = (1, 40)


async def is_stopping(metadata: Metadata, before: str | None) -> bool:
    """Whether ECS began to stop this container before the helper could catch the signal, which may then be lost.

    `before` names the helper that ECS stops before this one, None without one. The helper calls an endpoint that does
    not answer again, for two seconds at most. Without an answer the helper waits for the signal. If the signal was
    lost, ECS kills the helper after its stopTimeout.
    """
    if metadata.url is None:
        return False
    with suppress(TimeoutError):
        async with asyncio.timeout(chain.TRIES_WITHIN):
            for pause in chain.PAUSES:
                await asyncio.sleep(pause)
                if task := await metadata.task():
                    return stops_helper(task, before)
    return False


async def come_into_service(
    envoy: Envoy,
    application: Application | None,
    metadata: Metadata,
    show: Callable[[Status], None],
    record: Record,
    plan: Plan,
) -> None:
    """Return when Envoy is live and the application answers. `show` has then opened the gate."""
    logged: set[str] = set()
    while True:
        status, cause = await _obstacle(envoy, application, metadata, record, plan)
        _show(show, status, logged)
        if status == "in service":
            break
        if cause not in logged:
            log(Event.WAITING, cause=cause)
            logged.add(cause)
        await asyncio.sleep(POLL)
    record.in_service_at = now()
    log(Event.IN_SERVICE, seconds=now() - record.began_at)


async def _obstacle(
    envoy: Envoy, application: Application | None, metadata: Metadata, record: Record, plan: Plan
) -> tuple[Status, str]:
    """What the task is waiting for, and why."""
    try:
        state = await envoy.state()
        record.envoy_answered = True
        if state == "DRAINING":
            record.left_draining = True
            if await _may_be_stopping(metadata, plan, now() - record.began_at):
                return (
                    "waiting for Envoy",
                    f"Envoy at {envoy.url} drains, and ECS does not report that the task is to run",
                )
            # Only a helper that died can have called Envoy to drain. Unless this helper undoes that, no health check
            # passes again.
            await envoy.pass_health_checks()
            state = await envoy.state()
            if not record.drain_undone:
                log(Event.STALE_DRAIN_UNDONE)
            record.drain_undone = True
    except OSError as error:
        record.envoy_answered |= isinstance(error, AdminError)
        return "waiting for Envoy", f"Envoy at {envoy.url}: {why(error)}"
    if state != "LIVE":
        return "waiting for Envoy", f"Envoy at {envoy.url} is {state}"
    if now() < record.began_at + NO_LISTENERS_FOR and await _has_no_listener(envoy, record):
        return "waiting for Envoy", f"Envoy at {envoy.url} has no listener yet"
    if application:
        try:
            await application.check()
        except OSError as error:
            return "waiting for the application", f"application at {application.url}: {why(error)}"
    return "in service", ""


async def _may_be_stopping(metadata: Metadata, plan: Plan, lived: float) -> bool:
    """Whether Envoy may drain because the task is to stop. A helper that starts then must not undo the drain.

    If ECS does not report whether the task is to stop, the age of this helper (`lived`, in seconds) shows it. Every
    helper of a stopping task gets SIGTERM or SIGKILL within the stopTimeouts of all its helpers. Outside ECS, only a
    chain has another helper that may have called Envoy for a good reason.
    """
    if metadata.url is None and not plan.other_helper:
        return False
    task = await metadata.task()
    if task and task.desired_status:
        return task.desired_status != "RUNNING"
    return lived < plan.whole_stop_timeout


async def _has_no_listener(envoy: Envoy, record: Record) -> bool:
    """Whether Envoy reports that it has no listener for downstreams yet. False if its admin API does not allow that
    question.
    """
    with suppress(OSError):  # `plan_for_configuration` logs the cause
        if record.bootstrap is None:
            record.bootstrap = await envoy.bootstrap()
        record.listeners = await envoy.listeners()
        return not may_come_in(record.listeners, more_come=record.bootstrap.has_lds)
    return False


def _show(show: Callable[[Status], None], status: Status, logged: set[str]) -> None:
    try:
        show(status)
    except OSError as error:
        if (cause := why(error)) not in logged:
            log(Event.HEALTHCHECK_UNAVAILABLE, cause=cause)
            logged.add(cause)


async def plan_for_configuration(envoy: Envoy, metadata: Metadata, record: Record, settings: Settings) -> Plan:
    """Return the plan, adapted to the duration of Envoy's graceful drain.

    It also warns at startup of a configuration that defeats the drain, weeks before a deployment would show it.
    """
    if task := await metadata.task():
        record.service = task.service_name or task.family
    try:
        record.listeners = await envoy.listeners()  # again: more may have come since the gate opened
        record.bootstrap = bootstrap = record.bootstrap or await envoy.bootstrap()
    except OSError as error:
        log(Event.CONFIGURATION_UNREADABLE, cause=why(error))
    else:
        _warn(record, bootstrap, settings)
    return await _wait_for_idle(envoy, settings.plan) if settings.drain_listeners == "graceful" else settings.plan


def _warn(record: Record, bootstrap: Bootstrap, settings: Settings) -> None:
    record.mesh = recognise(record.listeners, bootstrap)
    if record.mesh:
        log(Event.MESH, mesh=record.mesh.name, hints=hints(record.mesh, settings))
    if not record.listeners:
        log(Event.NO_LISTENERS, seconds=NO_LISTENERS_FOR)
    if settings.drain_listeners and not any(each.declared_inbound for each in record.listeners):
        log(Event.NO_INBOUND_LISTENER, listeners=[each.name for each in record.listeners])
    if names := record.without_filter:
        log(Event.NO_HEALTH_CHECK_FILTER, listeners=names)
    if names := draining_egress(record.listeners):
        log(Event.EGRESS_DRAINS, listeners=names)
    if names := [each.name for each in record.listeners if each.cuts_tcp]:
        log(Event.TCP_CUT, listeners=names)
    doubts = [f"{each.name}: {each.doubt}" for each in record.listeners if each.doubt]
    if doubts and settings.plan.drain_timeout == "auto":
        log(Event.DIRECTION_UNKNOWN, listeners=doubts)
    if bootstrap.open_admin:
        log(Event.ADMIN_OPEN, address=bootstrap.open_admin)


async def _wait_for_idle(envoy: Envoy, plan: Plan) -> Plan:
    """The plan for a drain in which Envoy closes idle connections. If Envoy will not close them, log that and keep the
    plan.
    """
    try:
        about = await envoy.about()
    except OSError:
        return plan  # it is unknown whether Envoy closes them
    if about.version is None:
        return plan
    if about.version < CLOSES_IDLE:
        log(Event.OLD_ENVOY, version="{}.{}".format(*about.version))
    elif not plan.sees_idle_closed(about.drain_time):
        log(Event.IDLE_CONNECTIONS_STAY_OPEN, drain_time=about.drain_time, seconds=plan.longest_drain)
    else:
        return plan.waiting_for_idle(about.drain_time)
    return plan
