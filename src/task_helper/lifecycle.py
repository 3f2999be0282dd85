"""The story of a task: starting → in service → delaying → draining → gone.

`live` is the whole of it; what it calls follows in the order in which it happens. Two rules hold throughout:

- One deadline, STOP_TIMEOUT - 5 s after the signal, bounds everything. Past STOP_TIMEOUT ECS kills the helper, and goes
  on to stop the application and Envoy with requests in flight.
- The promise outlives the feature: as long as this process lives, ECS leaves the application and Envoy alone. Whatever
  goes wrong in here, the plan's times are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timezone
from enum import IntEnum
from typing import Any, Final, TypeVar

from task_helper import watch
from task_helper.application import Application
from task_helper.ecs import Metadata
from task_helper.envoy import Envoy
from task_helper.gate import Status
from task_helper.listeners import Listener, draining_egress, without_health_check_filter
from task_helper.logs import Event, log, log_fault
from task_helper.settings import Settings
from task_helper.summary import Ending, Record, embedded_metrics, summarise
from task_helper.timing import first, now, sleep_until

T = TypeVar("T")

# between two looks at Envoy and the application while the task starts
STARTING_POLL: Final = 0.5

# between two readings of Envoy's statistics in the drain
READING_EVERY: Final = 1.0

# pauses between attempts to tell Envoy: a busy admin API gets some air, a lost second is lost traffic
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0

# requests that came this shortly before the end of the drain would have gone on coming
STILL_COMING: Final = 3.0


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


class Lifecycle:
    """One task's life. `show` makes `task-helper healthcheck` see a status, and may raise OSError."""

    def __init__(
        self,
        settings: Settings,
        envoy: Envoy,
        application: Application | None,
        metadata: Metadata,
        stop: Stop,
        show: Callable[[Status], None],
    ) -> None:
        self.settings = settings
        self.envoy = envoy
        self.application = application
        self.metadata = metadata
        self.stop = stop
        self.show = show
        self.listeners: list[Listener] = []
        self.service = "unknown"
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
        """Come into service when Envoy is live and the application answers; then look at what will defeat the drain."""
        began = now()
        told: set[str] = set()
        while obstacle := await self.obstacle():
            if obstacle not in told:
                log(Event.WAITING, because=obstacle)
                told.add(obstacle)
            await asyncio.sleep(STARTING_POLL)
        self.record.in_service_at = now()
        self.show_status("in service")
        log(Event.IN_SERVICE, seconds=now() - began)
        await self.look()

    async def obstacle(self) -> str | None:
        """Why the task is not ready for requests; None when it is."""
        try:
            state = await self.envoy.state()
            if state == "DRAINING":
                await self.undo_stale_drain()
                state = await self.envoy.state()
        except OSError as error:
            self.show_status("waiting for Envoy")
            return f"Envoy at {self.envoy.url}: {why(error)}"
        if state != "LIVE":
            self.show_status("waiting for Envoy")
            return f"Envoy at {self.envoy.url} is {state}"
        if self.application:
            try:
                await self.application.check()
            except OSError as error:
                self.show_status("waiting for the application")
                return f"application at {self.application.url}: {why(error)}"
        return None

    async def undo_stale_drain(self) -> None:
        """Only a helper that died can have told Envoy to drain; no health check would pass again; raises OSError."""
        await self.envoy.pass_health_checks()
        if not self.record.left_draining:
            log(Event.STALE_DRAIN_UNDONE)
        self.record.left_draining = True

    async def look(self) -> None:
        """Warn now, weeks before the deployment that would show it, of a configuration that defeats the drain."""
        try:
            self.listeners = await self.envoy.listeners()
            open_admin = await self.envoy.open_admin()
            if task := await self.metadata.task():
                self.service = task.service_name or task.family
        except OSError as error:
            log(Event.LOOK_FAILED, because=why(error))
            return
        if names := without_health_check_filter(self.listeners):
            log(Event.NO_HEALTH_CHECK_FILTER, listeners=names)
        if names := draining_egress(self.listeners):
            log(Event.EGRESS_DRAINS, listeners=names)
        if open_admin:
            log(Event.ADMIN_OPEN, address=open_admin)

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
        log(Event.DELAYING, seconds=self.settings.fixed_delay)
        await first(sleep_until(self.stop.at + self.settings.fixed_delay), self.application_gone())

    async def application_gone(self) -> None:
        await self.even_if_faulty(watch.application_gone(self.application, self.metadata, self.stop.time))
        self.record.application_gone_at = now()
        log(Event.APPLICATION_GONE)

    # draining

    async def drain(self) -> Ending:
        """Tell Envoy, and wait until downstreams have gone and requests have ended."""
        self.record.drain_began_at = now()
        while True:
            if not await first(self.fail_health_checks(), self.hold_unconfirmed()):
                return "not confirmed"
            log(Event.DRAINING, seconds=self.settings.fixed_timeout)
            if await first(self.wait_for_quiet(), self.live_again()):
                return "drained"

    async def fail_health_checks(self) -> bool:
        """Tell Envoy until it has confirmed: a lost call is lost traffic."""
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
        return True

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

    async def hold_unconfirmed(self) -> bool:
        """Envoy does not listen, yet may be serving: hold the task up as long as a confirmed drain would."""
        await asyncio.sleep(self.settings.fixed_timeout)
        return False

    async def wait_for_quiet(self) -> bool:
        assert self.record.confirmed_at is not None
        await first(sleep_until(self.record.confirmed_at + self.settings.fixed_timeout), self.read_traffic())
        return True

    async def read_traffic(self) -> None:
        while True:
            with suppress(OSError):
                self.record.meter.read(now(), await self.envoy.traffic(self.listeners))
            await asyncio.sleep(READING_EVERY)

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
            await asyncio.Event().wait()
            raise

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
        if self.still_coming():
            log(Event.TRAFFIC_AFTER_DRAIN, requests=fields["requests_after_drain"], causes=self.causes())
        if self.settings.metrics == "emf":
            fields |= embedded_metrics(fields, self.service, int(time.time() * 1000))
        log(Event.SUMMARY, **fields)
        return code

    def exit_code(self, ending: Ending) -> Exit:
        if self.record.faults:
            return Exit.FAULT
        unconfirmed = ending == "not confirmed" or (ending == "deadline" and self.record.confirmed_at is None)
        return Exit.UNCONFIRMED if unconfirmed else Exit.DRAINED

    def still_coming(self) -> bool:
        last_arrival = self.record.meter.last_arrival
        return last_arrival is not None and now() - last_arrival < STILL_COMING

    def causes(self) -> list[str]:
        """Why downstreams may still send at the end of a drain."""
        causes = []
        if names := without_health_check_filter(self.listeners):
            causes.append(f"no health_check filter on {', '.join(names)}: health checks go on passing")
        if self.settings.fixed_timeout <= self.settings.health_check_interval:
            causes.append(
                "DRAIN_TIMEOUT is not longer than HEALTH_CHECK_INTERVAL: downstreams may not have checked yet"
            )
        return causes or [
            "downstreams that do not health check this task, or only its TCP port",
            "panic mode: most hosts of the service fail their health checks, so downstreams use all of them",
        ]

    def show_status(self, status: Status) -> None:
        try:
            self.show(status)
        except OSError as error:
            log(Event.HEALTHCHECK_UNAVAILABLE, because=why(error))


def why(error: OSError) -> str:
    """The error in words: a timeout has none of its own."""
    return str(error) or "no answer in time"
