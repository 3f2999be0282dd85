"""The story of a task: starting → in service → delaying → draining → gone.

`live` is the whole of it; what it calls follows in the order in which it happens. Three rules hold throughout:

- One deadline, STOP_TIMEOUT - 5 s after the signal, bounds everything. Past STOP_TIMEOUT ECS kills the helper, and goes
  on to stop the application and Envoy with requests in flight.
- The plan ends early only on two proofs, one of them that nothing is being served: `early` is the judge of that.
- The promise outlives the feature: as long as this process lives, ECS leaves the application and Envoy alone. Whatever
  goes wrong in here, the plan's times are kept: `guard` sees to that.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from task_helper import startup, telling, watch
from task_helper.application import Application
from task_helper.early import Keep
from task_helper.envoy import Envoy
from task_helper.gate import Status
from task_helper.guard import guarded, keep_the_plan
from task_helper.logs import Event, log
from task_helper.metadata import Metadata
from task_helper.record import Ending, Exit, Record, causes_of_traffic, embedded_metrics, summarise
from task_helper.replacement import LookAtService, wait_until_in_service
from task_helper.settings import Settings
from task_helper.stop import Stop
from task_helper.timing import first, forever, now, sleep_until

# with `auto`, how long after their last answer Envoy's statistics count as missing
UNREADABLE_AFTER: Final = 10.0


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
        await first(self.stop.wait(), guarded(self.start(), forever, self.record))
        await self.stop.wait()
        self.record.stop_requested_at = self.stop.at
        return self.conclude(await first(self.shut_down(), self.deadline()))

    async def start(self) -> None:
        await startup.come_into_service(self.envoy, self.application, self.show, self.record)
        await startup.look_at_configuration(self.envoy, self.metadata, self.record, self.settings.drain_listeners)

    async def shut_down(self) -> Ending:
        if self.record.in_service_at is None and await guarded(self.never_in_service(), _no, self.record):
            return "never in service"
        return await first(guarded(self.delay_and_drain(), self.keep_the_plan, self.record), self.envoy_gone())

    async def never_in_service(self) -> bool:
        verdict = await watch.never_in_service(self.envoy, self.metadata, self.record)
        if isinstance(verdict, Keep):
            log(Event.PLAN_KEPT, because=verdict.because)
        return not isinstance(verdict, Keep)

    async def delay_and_drain(self) -> Ending:
        await self.delay()
        return await self.drain()

    # delaying

    async def delay(self) -> None:
        """Serve on until new tasks are in service. Nobody is served where the application is gone."""
        log(Event.DELAYING, seconds=self.settings.longest_delay)
        longest = sleep_until(self.stop.at + self.settings.longest_delay)
        await first(longest, guarded(self.replaced(), self.fixed_delay, self.record), self.application_gone())

    async def replaced(self) -> None:
        """With `auto`, ECS and Cloud Map tell when new tasks are in service; else, or where they do not, the clock."""
        if self.settings.drain_delay != "auto":
            return await self.fixed_delay()
        blind_until = self.stop.at + self.settings.fixed_delay
        if await wait_until_in_service(self.look_at_service, self.settings.discovery_lag, blind_until=blind_until):
            log(Event.REPLACED, seconds=now() - self.stop.at)

    async def fixed_delay(self) -> None:
        await sleep_until(self.stop.at + self.settings.fixed_delay)

    async def application_gone(self) -> None:
        watching = watch.application_gone(self.envoy, self.application, self.metadata)
        because = await guarded(watching, forever, self.record)
        self.record.application_gone_at = now()
        log(Event.APPLICATION_GONE, because=because)

    # draining

    async def drain(self) -> Ending:
        """Tell Envoy, and wait until downstreams have gone and requests have ended."""
        self.record.drain_began_at = now()
        while True:
            await telling.until_confirmed(self.envoy, self.record)
            if await first(self.wait_until_quiet(now()), self.live_again(), self.drain_listeners()):
                return "drained"

    async def wait_until_quiet(self, confirmed_at: float) -> bool:
        """Until the drain's time is over; with `auto`, until the task is quiet."""
        auto = self.settings.drain_timeout == "auto"
        deadline, fixed_end = self.stop.at + self.settings.budget, confirmed_at + self.settings.fixed_timeout
        log(Event.DRAINING, seconds=deadline - now() if auto else self.settings.fixed_timeout)
        least = self.settings.shortest_drain if auto else math.inf
        readings_from = min(confirmed_at + least, fixed_end, deadline) - watch.LAST_READINGS
        meter = self.record.meter
        await first(
            watch.quiet(self.envoy, meter, told_at=confirmed_at, least=least, readings_from=readings_from),
            self.time_is_over(fixed_end, auto),
        )
        return True

    async def time_is_over(self, end: float, auto: bool) -> None:
        """With `auto` only the deadline ends a drain that is not quiet, unless the traffic cannot be read."""
        await sleep_until(end)
        while auto and (read_at := self.record.meter.read_at) is not None and now() < read_at + UNREADABLE_AFTER:
            await sleep_until(read_at + UNREADABLE_AFTER)

    async def live_again(self) -> bool:
        await guarded(telling.until_live_again(self.envoy), forever, self.record)
        log(Event.LIVE_AGAIN)
        return False

    async def drain_listeners(self) -> bool:
        if self.settings.drain_listeners:
            await guarded(telling.until_listeners_drain(self.envoy), forever, self.record)
        return await forever()

    # whatever happens meanwhile

    async def envoy_gone(self) -> Ending:
        watching = watch.envoy_gone(self.envoy, self.record.listeners, self.metadata)
        log(Event.ENVOY_GONE, because=await guarded(watching, forever, self.record))
        return "envoy gone"

    async def deadline(self) -> Ending:
        await sleep_until(self.stop.at + self.settings.budget)
        return "not confirmed" if self.record.confirmed_at is None else "deadline"

    async def keep_the_plan(self) -> Ending:
        return await keep_the_plan(self.envoy, self.settings, self.stop.at, self.record)

    # gone

    def conclude(self, ending: Ending) -> Exit:
        """Leave the summary, and the exit code that goes with it."""
        code = self.record.exit_code(ending)
        fields = summarise(self.record, ending, code, now(), self.settings)
        if self.record.still_coming(now()):
            causes = causes_of_traffic(self.record, self.settings)
            log(Event.TRAFFIC_AFTER_DRAIN, requests=fields["requests_after_drain"], causes=causes)
        metrics = self.settings.metrics == "emf"
        if metrics:
            fields |= embedded_metrics(fields, self.record.service, int(time.time() * 1000))
        log(Event.SUMMARY, whatever_level=metrics, **fields)
        return code


async def _no() -> bool:
    return False
