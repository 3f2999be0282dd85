"""The promise outlives the feature: whatever goes wrong in the helper itself, the plan's times are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from task_helper.envoy.admin import Envoy
from task_helper.life.record import Ending, Record
from task_helper.life.telling import LONGEST_PAUSE
from task_helper.logs import log_fault
from task_helper.settings import Settings
from task_helper.timing import now, sleep_until

T = TypeVar("T")


async def guarded(part: Awaitable[T], instead: Callable[[], Awaitable[T]], record: Record) -> T:
    """Await `part`; if it is at fault, note that, and do something else `instead`."""
    try:
        return await part
    except Exception as error:
        record.faulty = True
        log_fault(error)
        return await instead()


async def keep_the_plan(envoy: Envoy, settings: Settings, record: Record, stopped_at: float) -> Ending:
    """What is left of the plan at its fixed times, with as little code as can be."""
    if record.drain_began_at is None:
        if not record.delay_over:
            end = record.plan_began_at + settings.fixed_delay
            await sleep_until(min(end, stopped_at + settings.own_longest_delay))
        record.drain_began_at = now()
    while record.confirmed_at is None:
        with suppress(Exception):
            await envoy.fail_health_checks()
            record.confirmed_at = now()
            break
        await asyncio.sleep(LONGEST_PAUSE)
    await sleep_until(record.confirmed_at + settings.fixed_timeout)
    return "drained"
