"""The promise outlives the feature: after a fault inside the helper, the plan continues with its fixed times."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

from task_helper.envoy.admin import Envoy
from task_helper.life.record import Ending, Record
from task_helper.logs import log_fault
from task_helper.plan import Plan
from task_helper.timing import now, sleep_until

T = TypeVar("T")

# between two calls of an Envoy that does not confirm the drain
LONGEST_PAUSE: Final = 1.0


async def guarded(part: Awaitable[T], instead: Callable[[], Awaitable[T]], record: Record) -> T:
    """Await `part`; if it raises, note the fault and await `instead`."""
    try:
        return await part
    except Exception as error:
        record.faulty = True
        log_fault(error)
        return await instead()


async def keep_the_plan(envoy: Envoy, plan: Plan, record: Record, stopped_at: float) -> Ending:
    """What is left of the plan at its fixed times, with as little code as possible."""
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
            await asyncio.sleep(LONGEST_PAUSE)
    await sleep_until(record.confirmed_at + plan.fixed_timeout)
    return "drained"
