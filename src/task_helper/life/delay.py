"""The delay before the drain: a fixed time or, with `auto`, until replacement tasks are in service."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from typing import Final

from task_helper.ecs.metadata import Metadata
from task_helper.ecs.replacement import FIRST_LOOK_WITHIN, Look, Replacement, first_pause, listing_pause, pause
from task_helper.ecs.service import STEP_TIMEOUT, LookAtService
from task_helper.life import chain
from task_helper.life.record import Record
from task_helper.logs import Event, log, why
from task_helper.plan import Plan
from task_helper.timing import first, forever, now, sleep_until

# how long the first look takes at most: a pause, and a call that gets no answer
FIRST_LOOK_TAKES: Final = FIRST_LOOK_WITHIN + STEP_TIMEOUT


async def until_replaced(plan: Plan, record: Record, look: LookAtService) -> None:
    """With `auto`, wait until ECS and Cloud Map report replacement tasks in service; otherwise for the fixed time.

    With `auto` the wait also ends after the fixed time if no look has succeeded by then.
    """
    if plan.drain_delay != "auto":
        return await for_fixed_time(plan, record)
    if await wait_until_in_service(look, plan.discovery_lag, blind_until=record.plan_began_at + plan.fixed_delay):
        log(Event.REPLACED, seconds=now() - record.plan_began_at)


async def for_fixed_time(plan: Plan, record: Record) -> None:
    await sleep_until(record.plan_began_at + plan.fixed_delay)


async def until_drain_is_due(plan: Plan, record: Record, metadata: Metadata, stopped_at: float) -> None:
    """Wait until the drain needs the time that is left.

    The first helper of a chain may leave the drain to the second one, unless ECS reports that the second has stopped.
    """
    whole = record.plan_began_at + plan.longest_delay
    alone = min(whole, stopped_at + plan.own_longest_delay)
    await sleep_until(alone)
    if plan.hands_over_to and alone < whole:
        await first(sleep_until(whole), chain.until_second_has_stopped(metadata, record))


async def wait_until_in_service(look: LookAtService, discovery_lag: float, *, blind_until: float) -> bool:
    """Look until the replacement is in service, and return True; False if no look has succeeded by `blind_until`.

    `blind_until` may have passed already, as in the second helper of a chain. The helper still waits for the first
    look.
    """
    watcher, began = ReplacementWatcher(look, discovery_lag), now()

    async def wait_blindly() -> bool:
        await sleep_until(blind_until)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(began + FIRST_LOOK_TAKES):
                await watcher.first_look.wait()
        return await forever() if watcher.has_seen else False

    return await first(watcher.wait(), wait_blindly())


class ReplacementWatcher:
    """Looks at the service repeatedly until its replacement tasks are in service.

    A look raises OSError if it cannot see the tasks; each cause is logged once. After a look has shown that the
    replacement is not in service, only another successful look ends the wait: a failed look reports nothing.
    """

    def __init__(self, look: LookAtService, discovery_lag: float) -> None:
        self._look = look
        self._replacement = Replacement(discovery_lag)
        self._latest = Look(0, 0, ())
        self._in_service_from: float | None = None
        self._failures = 0
        self._logged: set[str] = set()
        self._whole_look_at = 0.0
        self.has_seen = False
        self.first_look = asyncio.Event()  # set when the look is over, even if it failed

    async def wait(self) -> bool:
        """Return True when the replacement is in service."""
        await asyncio.sleep(first_pause(random.random()))  # nosec B311  # spreads calls, keeps no secret
        while (moment := await self._step()) is None or self._latest.listing_failed:
            next_at = self._next_at()
            await sleep_until(next_at if moment is None else min(next_at, moment))
            if moment is not None and moment <= next_at:
                return True
        # No more looks: in a large service they would take calls from helpers whose replacements are not in service
        # yet.
        await sleep_until(moment)
        return True

    async def _step(self) -> float | None:
        """Look once: at the listing alone, until the next whole look is due.

        Returns from when on the replacement is in service; None while it is not. A failed look changes nothing.
        """
        listing_only = now() < self._whole_look_at
        try:
            self._latest = await self._look(listing_only)
            self._failures, self.has_seen = self._failures if listing_only else 0, True
            self._in_service_from = self._replacement.in_service_from(now(), self._latest)
        except OSError as error:
            self._failures += 1
            # no listing is read between whole looks until a whole look succeeds
            self._latest = self._latest._replace(listing_failed=self._latest.listing_failed or listing_only)
            self._log_once(why(error))
        self.first_look.set()
        if not listing_only:
            self._whole_look_at = now() + pause(self._latest.tasks, self._failures, random.random())  # nosec B311
        return self._in_service_from

    def _next_at(self) -> float:
        """When to look again."""
        if not self._latest.awaits_listing:
            return self._whole_look_at
        return min(self._whole_look_at, now() + listing_pause(self._latest.tasks, random.random()))  # nosec B311

    def _log_once(self, cause: str) -> None:
        if cause not in self._logged:
            until = (
                "they are seen in service, or the drain needs the time" if self.has_seen else "DISCOVERY_LAG is over"
            )
            log(Event.REPLACEMENT_UNKNOWN, cause=cause, waits_until=until)
            self._logged.add(cause)
