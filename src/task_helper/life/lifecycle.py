"""The lifecycle of a task: starting → in service → delaying → draining → exit.

`Lifecycle.live` is the whole sequence; the functions that it calls follow in the order in which they run. Three rules
always apply:
- One deadline, STOP_TIMEOUT - 5 s after the signal (`plan.MARGIN`), limits everything: at STOP_TIMEOUT ECS kills every
  container. Only one call may come later: to an Envoy that was not called by then.
- The plan ends early only on two proofs, and one of them proves that nothing is being served. `verdicts` decides, and
  has the numbers: how long nothing may arrive, how many requests have to fail. `watch` collects the facts for
  `verdicts`. The exception is Consul, where waiting for a call that failed costs every later request
  (`verdicts.still_sending`).
- After a fault inside the helper the plan continues with its fixed times; `guard` does that, because ECS stops the
  application and Envoy when this process exits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Final, Literal, NamedTuple

from task_helper.application import Application
from task_helper.ecs.metadata import Metadata
from task_helper.ecs.service import LookAtService
from task_helper.envoy.admin import Envoy
from task_helper.gate import Status
from task_helper.life import chain, delay, drain, startup, watch
from task_helper.life.guard import guarded, keep_the_gate, keep_the_plan
from task_helper.life.record import Ending, Exit, Record
from task_helper.life.summary import conclude
from task_helper.life.verdicts import Leave
from task_helper.logs import Event, log
from task_helper.settings import Settings
from task_helper.timing import first, forever, now, say_no, sleep_until, waited_for_cpu

# A helper that calls Envoy after its deadline gives downstreams the rest of STOP_TIMEOUT, except these seconds. ECS
# counts from its own call, about 0.03 s before the signal, and a process without CPU detects the signal late.
BEFORE_SIGKILL: Final = 2.0


class Surroundings(NamedTuple):
    """The parts on which a task's life depends.

    `show` sets the status that `task-helper healthcheck` prints. It and `look_at_service` raise OSError.
    """

    envoy: Envoy
    application: Application | None
    metadata: Metadata
    show: Callable[[Status], None]
    look_at_service: LookAtService


class Lifecycle:
    """One task's life."""

    def __init__(self, settings: Settings, surroundings: Surroundings, stop: Stop) -> None:
        self.settings = settings
        self.plan = settings.plan  # startup may adapt it to Envoy, but both helpers of a chain share only the original
        self.envoy, self.application, self.metadata, self.show, self.look_at_service = surroundings
        self.stop = stop
        self.record = Record()

    async def live(self) -> Exit:
        self.record.began_at = now()
        await first(self.stop.wait(), guarded(self.start(), forever, self.record))
        self.stop.idle_from_now_on()
        await self.stop.wait()  # in service: nothing runs until the stop
        self.record.stop_requested_at = self.record.plan_began_at = self.stop.at
        ending = await first(self.shut_down(), self.deadline()) or await self.out_of_time()
        return conclude(self.record, ending, self.plan, metrics=self.settings.metrics == "emf")

    async def start(self) -> None:
        if await guarded(self.is_stopping(), say_no, self.record):
            return self.stop.request(None, now())
        outside = self.envoy, self.application
        come = partial(startup.come_into_service, *outside, self.metadata, self.show, self.record, self.plan)
        plainly = partial(keep_the_gate, come, *outside, self.show, self.record)
        await guarded(come(), plainly, self.record)
        self.plan = await startup.plan_for_configuration(self.envoy, self.metadata, self.record, self.settings)

    async def is_stopping(self) -> bool:
        """Whether the stop began before this process could catch its signal."""
        before = self.plan.takes_over_from
        return await startup.is_stopping(self.metadata, before.name if before else None)

    async def shut_down(self) -> Ending:
        if await guarded(self.never_in_service(), say_no, self.record):
            return "never in service"
        if ending := await guarded(self.take_over(), say_no, self.record):
            return ending
        fixed_times = partial(keep_the_plan, self.envoy, self.plan, self.record, self.stop.at)
        both_stages = guarded(self.delay_and_drain(), fixed_times, self.record)
        return await first(both_stages, self.envoy_stopped(), self.still_sending())

    async def never_in_service(self) -> bool:
        if self.record.in_service_at is not None:
            return False
        verdict = await watch.never_in_service(self.envoy, self.metadata, self.record)
        if isinstance(verdict, Leave):
            return True
        log(Event.PLAN_KEPT, cause=verdict.cause)
        return False

    async def take_over(self) -> Ending | Literal[False]:
        """In a chain, record when the first helper's plan began, and whether its delay is over."""
        return await chain.take_over(self.envoy, self.metadata, self.settings.plan, self.record, self.stop.at)

    async def delay_and_drain(self) -> Ending:
        if not self.record.delay_over:
            await self.delay()
        return await self.drain()

    async def delay(self) -> None:
        """Keep serving until replacement tasks are in service, or until the application has stopped."""
        log(Event.DELAYING, seconds=max(0.0, self.record.plan_began_at + self.plan.longest_delay - now()))
        replaced = delay.until_replaced(self.plan, self.record, self.look_at_service)
        fixed = partial(delay.for_fixed_time, self.plan, self.record)
        due = delay.until_drain_is_due(self.plan, self.record, self.metadata, self.stop.at)
        # shows what is sent and which health checks come; never ends the delay
        reading = guarded(watch.first_reading(self.envoy, self.record), forever, self.record)
        await first(
            guarded(replaced, fixed, self.record), guarded(due, fixed, self.record), self.application_stopped(), reading
        )

    async def application_stopped(self) -> None:
        watching = watch.application_stopped(self.envoy, self.application, self.metadata)
        cause = await guarded(watching, forever, self.record)
        self.record.application_stopped_at = now()
        log(Event.APPLICATION_STOPPED, cause=cause)

    async def drain(self) -> Ending:
        """Make Envoy fail its health checks, and wait until the drain is over. If Envoy loses it, repeat both."""
        self.record.drain_began_at = now()
        while True:
            await drain.until_confirmed(self.envoy, self.record)
            listeners = self.settings.drain_listeners
            if await drain.until_over(self.envoy, self.plan, listeners, self.record, self.stop.at):
                return "drained"

    async def envoy_stopped(self) -> Ending:
        watching = watch.envoy_stopped(self.envoy, self.metadata, self.record)
        log(Event.ENVOY_STOPPED, cause=await guarded(watching, forever, self.record))
        return "envoy stopped"

    async def still_sending(self) -> Ending:
        """In Consul, exit while health-sync can still deregister the task, if only that stops downstreams."""
        began, limit = self.record.plan_began_at, self.plan.still_sending_limit
        if limit is None or not await guarded(watch.is_consul(self.envoy, self.record), forever, self.record):
            return await forever()
        watching = watch.still_sending(self.envoy, self.metadata, began, began + limit)
        log(Event.STILL_SENDING, cause=await guarded(watching, forever, self.record))
        return "still sending"

    async def deadline(self) -> None:
        await sleep_until(self.stop.at + self.plan.budget)

    async def out_of_time(self) -> Ending:
        """At the deadline, call an Envoy that was never called, once. In a chain, a second helper may make that call
        instead.
        """
        confirmed_in_time = self.record.confirmed_at is not None
        hands_over = self.plan.hands_over_to and not await self.second_has_stopped()
        drain_was_due = self.record.drain_began_at is not None or self.plan.longest_delay <= self.plan.budget
        if not self.record.called and (drain_was_due or not hands_over):
            last_call = drain.call_at_deadline(self.envoy, self.record, self.stop.at + self.plan.budget)
            await guarded(last_call, partial(asyncio.sleep, 0), self.record)
            if not hands_over:
                await sleep_until(self.stop.at + self.plan.stop_timeout - BEFORE_SIGKILL)
        if hands_over:
            return chain.hand_over(self.settings.plan, self.record)
        return "deadline" if confirmed_in_time else "not confirmed"

    async def second_has_stopped(self) -> bool:
        return await guarded(chain.second_has_stopped(self.metadata, self.record), say_no, self.record)


class Stop:
    """The request to stop the task. It counts once, even if its signal is repeated.

    `at` is when it came, by the event loop's clock.
    """

    def __init__(self) -> None:
        self.at = 0.0
        self._waited_before: float | None = None
        self._requested = asyncio.Event()

    def idle_from_now_on(self) -> None:
        """From now on the process waits for the CPU only after a signal. So its waiting time shows how late it handles
        the signal.
        """
        self._waited_before = waited_for_cpu()

    def request(self, signal: str | None, at: float) -> None:
        """Record that the signal of this name came `at` a moment of the event loop's clock.

        The name is None if the task metadata endpoint reported the stop.
        """
        again = self._requested.is_set()
        if not again:
            self.at = at
            self._requested.set()
        if again:
            log(Event.SIGTERM_REPEATED, signal=signal)
        else:
            log(Event.SIGTERM, signal=signal, late_seconds=self._late())

    def _late(self) -> float | None:
        """Seconds for which the process has waited for the CPU since the signal; None if unknown, as during startup.

        They do not include the time in which the process, its container or the machine was frozen.
        """
        waited = waited_for_cpu()
        return None if self._waited_before is None or waited is None else waited - self._waited_before

    async def wait(self) -> None:
        await self._requested.wait()
