"""Telling Envoy: once more until it has confirmed, and again where it has forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from task_helper.envoy.admin import Denied, Envoy
from task_helper.life.record import Record
from task_helper.logs import Event, log, why
from task_helper.timing import now

# between attempts to tell Envoy: a busy admin API gets some air, a lost second is lost traffic
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 1.0

# between two looks at whether a confirmed drain still is one; nothing tells that by itself
POLL: Final = 0.5


async def until_confirmed(envoy: Envoy, record: Record) -> None:
    """Tell Envoy to fail its health checks until it has confirmed: a lost call is lost traffic."""

    async def obstacle() -> str | None:
        record.attempts += 1
        try:
            await envoy.fail_health_checks()
        except OSError as error:
            return why(error)
        try:
            state = await envoy.state()
        except Denied:
            return None  # it took the call, and may not say more
        except OSError as error:
            return why(error)
        return None if state == "DRAINING" else f"Envoy still is {state}"

    record.confirmed_at = None
    await _persist(obstacle, Event.ADMIN_FAILING)
    record.confirmed_at, record.envoy_answered = now(), True
    log(Event.HEALTH_CHECKS_FAILED, attempts=record.attempts)


async def until_listeners_drain(envoy: Envoy, *, graceful: bool) -> None:
    """Tell Envoy to refuse new connections, or if `graceful` to close idle ones, until it has taken the call."""

    async def obstacle() -> str | None:
        try:
            await envoy.drain_listeners(graceful=graceful)
        except OSError as error:
            return why(error)
        return None

    await _persist(obstacle, Event.LISTENERS_NOT_DRAINED)
    log(Event.LISTENERS_DRAINED, graceful=graceful)


async def until_live_again(envoy: Envoy) -> None:
    """Wait until an Envoy that had confirmed the drain says that it is live: it was restarted, and has forgotten."""
    while True:
        await asyncio.sleep(POLL)
        try:
            if await envoy.state() == "LIVE":
                log(Event.LIVE_AGAIN)
                return
        except Denied:
            # who may not ask whether it has forgotten says it again, which changes nothing where it has not
            with suppress(OSError):
                await envoy.fail_health_checks()
        except OSError:
            pass  # gone or busy, which others judge


async def _persist(obstacle: Callable[[], Awaitable[str | None]], failing: Event) -> None:
    """Try until there is no obstacle; the first one is logged."""
    pause = FIRST_PAUSE
    while because := await obstacle():
        if pause == FIRST_PAUSE:
            log(failing, because=because)
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
