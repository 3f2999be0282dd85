"""The story of a task: starting → in service → delaying → draining → gone.

`live` is the whole of it; what it calls follows in the order in which it happens. Two rules hold throughout:

- One deadline, STOP_TIMEOUT - 5 s after the signal, bounds everything. Past STOP_TIMEOUT ECS kills the helper, and goes
  on to stop the application and Envoy with requests in flight.
- The promise outlives the feature: as long as this process lives, ECS leaves the application and Envoy alone. Whatever
  goes wrong in here, the plan's times are kept.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timezone
from enum import IntEnum
from typing import Any, Final, NamedTuple, TypeVar

from task_helper import startup, watch
from task_helper.application import Application
from task_helper.envoy import Envoy
from task_helper.gate import Status
from task_helper.logs import Event, log, log_fault, why
from task_helper.metadata import Metadata
from task_helper.record import Ending, Record, causes_of_traffic, embedded_metrics, summarise
from task_helper.replacement import LookAtService, wait_until_in_service
from task_helper.settings import Settings
from task_helper.timing import first, now, sleep_until

T = TypeVar("T")

# between attempts to tell Envoy: a busy admin API gets some air, a lost second is lost traffic
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0

# with `auto`, how long after their last answer Envoy's statistics count as missing
UNREADABLE_AFTER: Final = 10.0


class Exit(IntEnum):
    """Exit codes, those of sysexits.h; `describe-tasks` shows them as the container's."""

    DRAINED = 0
    FAULT = 70
    UNCONFIRMED = 75
    BAD_SETTINGS = 78


class Stop:
    """The request to stop the task: it comes once, however often its signal does."""

    def __init__(self) -> None:
        self.at = 0.0
        self.time = datetime.min
        self._requested = asyncio.Event()

    def request(self, signal: str, at: float) -> None:
        """The signal of that name came at this moment of the event loop's clock."""
        if self._requested.is_set():
            log(Event.SIGTERM_REPEATED, signal=signal)
            return
        log(Event.SIGTERM, signal=signal)
        self.at, self.time = at, datetime.now(timezone.utc)
        self._requested.set()

    async def wait(self) -> None:
        await self._requested.wait()


class Surroundings(NamedTuple):
    """What a task's life depends on. `show` shows `task-helper healthcheck` a status; both functions raise OSError."""

    envoy: Envoy
    application: Application | None
    metadata: Metadata
    show: Callable[[Status], None]
    look_at_service: LookAtService


class Lifecycle:
    """One task's life."""

    def __init__(self, settings: Settings, surroundings: Surroundings, stop: Stop) -> None:
        self.settings = settings
        self.envoy, self.application, self.metadata, self.show, self.look_at_service = surroundings
        self.stop = stop
        self.record = Record()

    async def live(self) -> Exit:
        await first(self.stop.wait(), self.even_if_faulty(self.start()))
        await self.stop.wait()
        self.record.stop_requested_at = self.stop.at
        ending: Ending = "never in service"
        if await self.may_have_been_in_service():
            ending = await first(self.delay_and_drain(), self.envoy_gone(), self.deadline())
        return self.conclude(ending)

    # starting

    async def start(self) -> None:
        await startup.come_into_service(self.envoy, self.application, self.show, self.record)
        await startup.look_at_configuration(self.envoy, self.metadata, self.record)

    # at SIGTERM

    async def may_have_been_in_service(self) -> bool:
        """Whether downstreams may know this task, perhaps from before the helper was restarted.

        A wrong "never" costs requests, a wrong "perhaps" only time.
        """
        known = self.record.in_service_at is not None or self.record.left_draining or self.record.faults > 0
        return known or await self.metadata.may_have_restarted()

    async def envoy_gone(self) -> Ending:
        await self.even_if_faulty(watch.envoy_gone(self.envoy, self.metadata, self.stop.time))
        log(Event.ENVOY_GONE)
        return "envoy gone"

    async def deadline(self) -> Ending:
        await sleep_until(self.stop.at + self.settings.budget)
        return "deadline"

    async def delay_and_drain(self) -> Ending:
        try:
            await self.delay()
            return await self.drain()
        except Exception as error:
            self.note_fault(error)
            return await self.keep_the_plan()

    # delaying

    async def delay(self) -> None:
        """Serve on until new tasks are in service. Nobody is served where the application is gone."""
        log(Event.DELAYING, seconds=self.settings.longest_delay)
        longest = sleep_until(self.stop.at + self.settings.longest_delay)
        await first(longest, self.replaced(), self.application_gone())

    async def replaced(self) -> None:
        """With `auto`, ECS and Cloud Map tell when new tasks are in service; else, or where they do not, the clock."""
        fixed_end = self.stop.at + self.settings.fixed_delay
        if self.settings.drain_delay != "auto":
            return await sleep_until(fixed_end)
        try:
            if await wait_until_in_service(self.look_at_service, self.settings.discovery_lag, blind_until=fixed_end):
                log(Event.REPLACED, seconds=now() - self.stop.at)
        except Exception as error:
            self.note_fault(error)
            await sleep_until(fixed_end)

    async def application_gone(self) -> None:
        await self.even_if_faulty(watch.application_gone(self.application, self.metadata, self.stop.time))
        self.record.application_gone_at = now()
        log(Event.APPLICATION_GONE)

    # draining

    async def drain(self) -> Ending:
        """Tell Envoy, and wait until downstreams have gone and requests have ended."""
        self.record.drain_began_at = now()
        while True:
            confirmed_at = await first(self.fail_health_checks(), self.hold_unconfirmed())
            if confirmed_at is None:
                return "not confirmed"
            if await first(self.wait_for_quiet(confirmed_at), self.live_again()):
                return "drained"

    async def fail_health_checks(self) -> float | None:
        """Tell Envoy until it has confirmed, and return when it did: a lost call is lost traffic."""
        self.record.confirmed_at = None
        pause = FIRST_PAUSE
        while obstacle := await self.try_to_fail_health_checks():
            if pause == FIRST_PAUSE:
                log(Event.ADMIN_FAILING, because=obstacle)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
        self.record.confirmed_at = now()
        log(Event.HEALTH_CHECKS_FAILED, attempts=self.record.attempts)
        if self.settings.drain_listeners:
            await self.drain_listeners()
        return self.record.confirmed_at

    async def try_to_fail_health_checks(self) -> str | None:
        """Tell Envoy once; the obstacle where it did not confirm."""
        self.record.attempts += 1
        try:
            await self.envoy.fail_health_checks()
            state = await self.envoy.state()
        except OSError as error:
            return why(error)
        return None if state == "DRAINING" else f"Envoy still is {state}"

    async def drain_listeners(self) -> None:
        try:
            await self.envoy.drain_listeners()
            log(Event.LISTENERS_DRAINED)
        except OSError as error:
            log(Event.LISTENERS_NOT_DRAINED, because=why(error))

    async def hold_unconfirmed(self) -> float | None:
        """Envoy does not listen, yet may be serving: hold the task up as long as a confirmed drain would."""
        await asyncio.sleep(self.settings.fixed_timeout)
        return None

    async def wait_for_quiet(self, confirmed_at: float) -> bool:
        """Read the traffic until the drain's time is over; with `auto`, until the task is quiet."""
        auto = self.settings.drain_timeout == "auto"
        not_before = confirmed_at + self.settings.shortest_drain if auto else math.inf
        log(
            Event.DRAINING, seconds=self.stop.at + self.settings.budget - now() if auto else self.settings.fixed_timeout
        )
        await first(
            watch.quiet(self.envoy, self.record.listeners, self.record.meter, not_before),
            self.time_is_over(confirmed_at + self.settings.fixed_timeout, auto),
        )
        return True

    async def time_is_over(self, end: float, auto: bool) -> None:
        """With `auto` only the deadline ends a drain that is not quiet, unless the traffic cannot be read."""
        await sleep_until(end)
        while auto and (read_at := self.record.meter.read_at) is not None and now() < read_at + UNREADABLE_AFTER:
            await sleep_until(read_at + UNREADABLE_AFTER)

    async def live_again(self) -> bool:
        await self.even_if_faulty(watch.live_again(self.envoy))
        log(Event.LIVE_AGAIN)
        return False

    # whatever goes wrong in here

    async def even_if_faulty(self, part: Coroutine[Any, Any, T]) -> T:
        """Await a part that the plan can do without; if it is at fault, that is noted, and the part never ends."""
        try:
            return await part
        except Exception as error:
            self.note_fault(error)
            never: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            return await never

    async def keep_the_plan(self) -> Ending:
        """What is left of the plan at its fixed times, with as little code as can be."""
        record = self.record
        if record.drain_began_at is None:
            await sleep_until(self.stop.at + self.settings.fixed_delay)
            record.drain_began_at = now()
        if record.confirmed_at is None:
            await first(self.tell_plainly(), sleep_until(record.drain_began_at + self.settings.fixed_timeout))
        counts_from = record.drain_began_at if record.confirmed_at is None else record.confirmed_at
        await sleep_until(counts_from + self.settings.fixed_timeout)
        return "not confirmed" if record.confirmed_at is None else "drained"

    async def tell_plainly(self) -> None:
        while self.record.confirmed_at is None:
            with suppress(Exception):
                await self.envoy.fail_health_checks()
                self.record.confirmed_at = now()
                return
            await asyncio.sleep(LONGEST_PAUSE)

    def note_fault(self, error: Exception) -> None:
        self.record.faults += 1
        log_fault(error)

    # gone

    def conclude(self, ending: Ending) -> Exit:
        """Leave the summary, and the exit code that goes with it."""
        code = self.exit_code(ending)
        fields = summarise(self.record, ending, code, now(), self.settings)
        if self.record.still_coming(now()):
            causes = causes_of_traffic(self.record, self.settings)
            log(Event.TRAFFIC_AFTER_DRAIN, requests=fields["requests_after_drain"], causes=causes)
        if self.settings.metrics == "emf":
            fields |= embedded_metrics(fields, self.record.service, int(time.time() * 1000))
        log(Event.SUMMARY, **fields)
        return code

    def exit_code(self, ending: Ending) -> Exit:
        if self.record.faults:
            return Exit.FAULT
        unconfirmed = ending == "not confirmed" or (ending == "deadline" and self.record.confirmed_at is None)
        return Exit.UNCONFIRMED if unconfirmed else Exit.DRAINED
