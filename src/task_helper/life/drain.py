"""The drain: the helper calls Envoy until it confirms, then waits until downstreams stop sending and requests finish.

`until_confirmed` and `until_over` are the two steps. If Envoy restarts meanwhile, both are repeated. `call_at_deadline`
is for a helper that could not take the first step in time, because it was frozen or had no CPU.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final

from task_helper.envoy.admin import CALL_TIMEOUT, Denied, Envoy
from task_helper.life import watch
from task_helper.life.guard import guarded
from task_helper.life.record import Record
from task_helper.logs import Event, log, why
from task_helper.plan import Plan
from task_helper.settings import Graceful
from task_helper.timing import first, forever, now, sleep_until

# The pause between two calls of an Envoy that does not confirm. A busy admin API needs some time, but a lost second is
# lost traffic. Each pause is twice as long as the one before, up to the longest one.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0

# the pause between two checks that a confirmed drain still lasts; Envoy does not report a lost drain by itself
POLL: Final = 0.5

# with `auto`, Envoy's statistics count as missing this long after their last answer
UNREADABLE_AFTER: Final = 10.0


async def until_confirmed(envoy: Envoy, record: Record) -> None:
    """Call Envoy to fail its health checks until it confirms. A lost call would be lost traffic."""
    record.confirmed_at = None
    await _persist(partial(_call, envoy, record), Event.ADMIN_FAILING)
    record.confirmed_at, record.envoy_answered = now(), True
    log(Event.DRAIN_CONFIRMED, attempts=record.attempts)


async def call_at_deadline(envoy: Envoy, record: Record, deadline: float) -> None:
    """Call Envoy once, within CALL_TIMEOUT, to fail its health checks.

    This is for an Envoy that was not called by `deadline`, a moment of the event loop's clock.
    """
    began = now()
    if record.drain_began_at is None:
        record.drain_began_at = began
    with suppress(TimeoutError):
        async with asyncio.timeout(CALL_TIMEOUT):
            if await _call(envoy, record) is None:
                record.confirmed_at = now()
    log(Event.CALLED_AT_DEADLINE, seconds_late=began - deadline, confirmed=record.confirmed_at is not None)


async def _call(envoy: Envoy, record: Record) -> str | None:
    """Call Envoy once to fail its health checks. Returns why it has not confirmed; None if it has."""
    record.attempts += 1
    try:
        await envoy.fail_health_checks()
        record.called = True
    except OSError as error:
        record.called = True
        return why(error)
    try:
        state = await envoy.state()
    except Denied:
        return None  # Envoy accepted the call, but its admin API does not allow its state
    except OSError as error:
        return why(error)
    return None if state == "DRAINING" else f"Envoy still is {state}"


async def until_over(envoy: Envoy, plan: Plan, listeners: bool | Graceful, record: Record, stopped_at: float) -> bool:
    """Wait until the drain is over, and return True; False if Envoy has lost the drain and must be called again.

    `listeners` is the setting DRAIN_LISTENERS. `stopped_at` is when the stop was requested, by the event loop's clock.
    """
    return await first(
        _until_quiet_or_time_is_over(envoy, plan, record, stopped_at),
        _until_forgotten(envoy, record),
        _drain_listeners(envoy, listeners, record),
    )


async def _until_quiet_or_time_is_over(envoy: Envoy, plan: Plan, record: Record, stopped_at: float) -> bool:
    """Wait for the drain's time or, with `auto`, until the task is quiet. The record's meter counts the traffic."""
    auto = plan.drain_timeout == "auto"
    # After more than one attempt Envoy may have been restarted, and may have lost the call of another helper.
    drained_since = now() - (record.drained_before if record.attempts == 1 else 0.0)
    # With `auto` this end is only for traffic that cannot be read. The time of another helper does not count there.
    fixed_end = (now() if auto else drained_since) + plan.fixed_timeout
    deadline = stopped_at + plan.budget
    log(Event.DRAINING, seconds=(deadline if auto else min(fixed_end, deadline)) - now())
    await first(
        watch.read_until_quiet(envoy, record, plan, stopped_at, drained_since=drained_since, fixed_end=fixed_end),
        _until_time_is_over(fixed_end, auto, record),
    )
    return True


async def _until_time_is_over(end: float, auto: bool, record: Record) -> None:
    """Wait until `end`. With `auto`, and while the traffic can be read and is not quiet, only the deadline ends the
    drain.
    """
    await sleep_until(end)
    while auto and (read_at := record.meter.read_at) is not None and now() < read_at + UNREADABLE_AFTER:
        await sleep_until(read_at + UNREADABLE_AFTER)


async def _until_forgotten(envoy: Envoy, record: Record) -> bool:
    await guarded(_until_drain_lost(envoy), forever, record)
    return False


async def _until_drain_lost(envoy: Envoy) -> None:
    """Wait until an Envoy that had confirmed the drain reports that it is live: a restart has lost the drain."""
    while True:
        await asyncio.sleep(POLL)
        try:
            if await envoy.state() == "LIVE":
                log(Event.DRAIN_LOST)
                return
        except Denied:
            # If the state is not allowed, repeat the call. It changes nothing in an Envoy that has not lost the drain.
            with suppress(OSError):
                await envoy.fail_health_checks()
        except OSError:
            pass  # Envoy has stopped or is busy; `watch` judges that


async def _drain_listeners(envoy: Envoy, listeners: bool | Graceful, record: Record) -> bool:
    if listeners:
        draining = _until_listeners_drain(envoy, graceful=listeners == "graceful")
        await guarded(draining, forever, record)
    return await forever()


async def _until_listeners_drain(envoy: Envoy, *, graceful: bool) -> None:
    """Call Envoy until it accepts the call to refuse new connections or, if `graceful`, to close idle ones."""

    async def obstacle() -> str | None:
        try:
            await envoy.drain_listeners(graceful=graceful)
        except OSError as error:
            return why(error)
        return None

    await _persist(obstacle, Event.LISTENERS_NOT_DRAINED)
    log(Event.LISTENERS_DRAINED, graceful=graceful)


async def _persist(obstacle: Callable[[], Awaitable[str | None]], failing: Event) -> None:
    """Try until there is no obstacle; the first obstacle is logged."""
    pause = FIRST_PAUSE
    while cause := await obstacle():
        if pause == FIRST_PAUSE:
            log(failing, cause=cause)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
