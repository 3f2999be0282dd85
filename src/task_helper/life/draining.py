"""The wait of a drain that Envoy has confirmed: for a fixed time, or until the task is quiet."""

from __future__ import annotations

import math
from typing import Final

from task_helper.envoy.admin import Envoy
from task_helper.life import telling, watch
from task_helper.life.guard import guarded
from task_helper.life.record import Record
from task_helper.logs import Event, log
from task_helper.settings import Settings
from task_helper.timing import first, forever, now, sleep_until

# with `auto`, how long after their last answer Envoy's statistics count as missing
UNREADABLE_AFTER: Final = 10.0


async def until_over(envoy: Envoy, settings: Settings, record: Record, stopped_at: float) -> bool:
    """Wait until the drain is over, and return True; False if Envoy has forgotten it, and is to be told again.

    `stopped_at` is when the stop was requested, by the event loop's clock.
    """
    return await first(
        _until_quiet(envoy, settings, record, stopped_at + settings.budget),
        _until_forgotten(envoy, record),
        _drain_listeners(envoy, settings, record),
    )


async def _until_forgotten(envoy: Envoy, record: Record) -> bool:
    await guarded(telling.until_live_again(envoy), forever, record)
    return False


async def _drain_listeners(envoy: Envoy, settings: Settings, record: Record) -> bool:
    if settings.drain_listeners:
        graceful = settings.drain_listeners == "graceful"
        await guarded(telling.until_listeners_drain(envoy, graceful=graceful), forever, record)
    return await forever()


async def _until_quiet(envoy: Envoy, settings: Settings, record: Record, deadline: float) -> bool:
    """Until the drain's time is over; with `auto`, until the task is quiet. The record's meter has the traffic."""
    auto = settings.drain_timeout == "auto"
    # where it took another attempt, it may have been restarted, and have forgotten what another helper told it
    told_at = now() - (record.told_before if record.attempts == 1 else 0.0)
    # with `auto` only for traffic that cannot be read, of which what another helper saw tells nothing
    fixed_end = (now() if auto else told_at) + settings.fixed_timeout
    least = settings.shortest_drain if auto else math.inf
    readings_from = min(told_at + least, fixed_end, deadline) - watch.LAST_READINGS
    log(Event.DRAINING, seconds=(deadline if auto else min(fixed_end, deadline)) - now())
    await first(
        watch.quiet(envoy, record.meter, told_at=told_at, least=least, readings_from=readings_from),
        _time_is_over(fixed_end, auto, record),
    )
    return True


async def _time_is_over(end: float, auto: bool, record: Record) -> None:
    """With `auto` only the deadline ends a drain that is not quiet, unless the traffic cannot be read."""
    await sleep_until(end)
    while auto and (read_at := record.meter.read_at) is not None and now() < read_at + UNREADABLE_AFTER:
        await sleep_until(read_at + UNREADABLE_AFTER)
