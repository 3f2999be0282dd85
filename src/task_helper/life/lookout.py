"""Waiting until the replacement is in service, by looking at the service now and then: what DRAIN_DELAY=auto does."""

from __future__ import annotations

import asyncio
import random

from task_helper.ecs.replacement import Look, Replacement, first_pause, listing_pause, pause
from task_helper.ecs.service import LookAtService
from task_helper.logs import Event, log, why
from task_helper.timing import first, forever, now, sleep_until


class Lookout:
    """Looks at the service, once a step, and knows when to look next."""

    def __init__(self, look: LookAtService, discovery_lag: float) -> None:
        self._look = look
        self._replacement = Replacement(discovery_lag)
        self._latest = Look(0, 0, ())
        self._failures = 0
        self._told: set[str] = set()
        self._whole_look_at = 0.0
        self.has_seen = False

    async def step(self) -> float | None:
        """Look, only at the listing until the next whole look is due; from when on the replacement is in service."""
        listing_only = now() < self._whole_look_at
        moment = None
        try:
            self._latest = await self._look(listing_only)
            self._failures, self.has_seen = 0, True
            moment = self._replacement.in_service_from(now(), self._latest)
        except OSError as error:
            self._failures += 1
            self._tell(why(error))
        if not listing_only:
            self._whole_look_at = now() + pause(self._latest.tasks, self._failures, random.random())  # nosec B311
        return moment

    def next_at(self) -> float:
        """When to look again."""
        if not self._latest.awaits_listing or self._failures:
            return self._whole_look_at
        return min(self._whole_look_at, now() + listing_pause(self._latest.tasks, random.random()))  # nosec B311

    def _tell(self, because: str) -> None:
        if because not in self._told:
            until = (
                "they are seen in service, or the drain needs the time" if self.has_seen else "DISCOVERY_LAG is over"
            )
            log(Event.REPLACEMENT_UNSEEN, because=because, waits_until=until)
            self._told.add(because)


async def wait_until_in_service(look: LookAtService, discovery_lag: float, *, blind_until: float) -> bool:
    """Look until the replacement is in service, and return True; False if no look has told anything by `blind_until`.

    `look` raises OSError where it cannot see; why, is logged once. Once a look has told that the replacement is not in
    service, only another one that it is ends the wait: looks that fail are no news.
    """
    lookout = Lookout(look, discovery_lag)

    async def look_until_in_service() -> bool:
        await asyncio.sleep(first_pause(random.random()))  # nosec B311  # spreads calls, keeps no secret
        while (moment := await lookout.step()) is None:
            await sleep_until(lookout.next_at())
        # no more looks: in a large service they would be taken from those who have not seen theirs yet
        await sleep_until(moment)
        return True

    async def wait_blindly() -> bool:
        await sleep_until(blind_until)
        return await forever() if lookout.has_seen else False

    return await first(look_until_in_service(), wait_blindly())
