"""The rule that protects the plan: after a fault inside the helper, the plan continues with its fixed times.

At the start the rule protects the gate: a fault inside the helper must not make a working task unhealthy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from task_helper.application import Application
from task_helper.envoy.admin import Envoy
from task_helper.gate import Status
from task_helper.life.record import Ending, Record
from task_helper.logs import Event, log, log_fault
from task_helper.plan import Plan
from task_helper.timing import now, sleep_until

T = TypeVar("T")

# the pause between two tries of what fails after a fault, in the drain and at the start
PAUSE: Final = 1.0

# For so many seconds after a fault at the start the helper repeats the whole step. The gate waits as long for Envoy's
# first listener. It is well within the startPeriod in the README, 300 s, which is ECS's longest.
RETRIED_FOR: Final = 60.0


async def guarded(part: Awaitable[T], instead: Callable[[], Awaitable[T]], record: Record) -> T:
    """Await `part`. If it raises, record the fault and await `instead`."""
    try:
        return await part
    except Exception as error:
        record.faulty = True
        log_fault(error)
        return await instead()


async def keep_the_gate(
    come_into_service: Callable[[], Awaitable[None]],
    envoy: Envoy,
    application: Application | None,
    show: Callable[[Status], None],
    record: Record,
) -> None:
    """After a fault at the start, repeat `come_into_service` for RETRIED_FOR; then open the gate by a plain rule.

    By that rule Envoy is live and the application answers. A check that has a fault itself counts as passed: the helper
    must not fail what it cannot judge.
    """

    async def live() -> None:
        if await envoy.state() != "LIVE":
            raise OSError

    end = now() + RETRIED_FOR
    while now() < end:
        with suppress(Exception):
            return await come_into_service()
        await asyncio.sleep(PAUSE)
    while await _fails(live) or (application and await _fails(application.check)):
        await asyncio.sleep(PAUSE)
    with suppress(OSError):
        show("in service")
    record.in_service_at = now()
    log(Event.IN_SERVICE, seconds=now() - record.began_at)


async def _fails(check: Callable[[], Awaitable[None]]) -> bool:
    """Whether the check fails. A check with a fault of its own does not fail."""
    try:
        await check()
    except Exception as error:
        return isinstance(error, OSError)
    return False


async def keep_the_plan(envoy: Envoy, plan: Plan, record: Record, stopped_at: float) -> Ending:
    """Carry out the rest of the plan at its fixed times, with as little code as possible."""
    if record.drain_began_at is None:
        if not record.delay_over:
            end = record.plan_began_at + plan.fixed_delay
            await sleep_until(min(end, stopped_at + plan.own_longest_delay))
        record.drain_began_at = now()
    while record.confirmed_at is None:
        record.attempts += 1
        with suppress(Exception):
            await envoy.fail_health_checks()
            record.confirmed_at = now()
        record.called = True
        if record.confirmed_at is None:
            await asyncio.sleep(PAUSE)
    await sleep_until(record.confirmed_at + plan.fixed_timeout)
    return "drained"
