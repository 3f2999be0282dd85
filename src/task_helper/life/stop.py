"""The request to stop the task."""

from __future__ import annotations

import asyncio

from task_helper.logs import Event, log


class Stop:
    """It comes once, however often its signal does; `at` is when, by the event loop's clock."""

    def __init__(self) -> None:
        self.at = 0.0
        self._requested = asyncio.Event()

    def request(self, signal: str, at: float) -> None:
        """The signal of that name came at this moment of the event loop's clock."""
        again = self._requested.is_set()
        if not again:
            self.at = at
            self._requested.set()
        log(Event.SIGTERM_REPEATED if again else Event.SIGTERM, signal=signal)

    async def wait(self) -> None:
        await self._requested.wait()
