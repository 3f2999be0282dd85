"""Watching for an end of the plan: each function collects facts until `verdicts` finds them enough, and returns the
cause.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Never

from task_helper.application import Application
from task_helper.ecs.metadata import Metadata
from task_helper.envoy.accounting import Account
from task_helper.envoy.admin import Envoy, Observation
from task_helper.envoy.mesh import recognise
from task_helper.envoy.traffic import Meter, Traffic
from task_helper.life import verdicts
from task_helper.life.record import Record
from task_helper.life.verdicts import Keep, Leave, Quiet, Verdict
from task_helper.logs import Event, log, why
from task_helper.plan import Plan
from task_helper.timing import forever, now, sleep_until

# the pause between two looks; no source reports these facts by itself
POLL: Final = 0.5

# The shortest pause between two readings of Envoy's statistics. In a large mesh a reading takes Envoy a tenth of a
# second. So the pause is PAUSE_FACTOR times as long as a reading, up to LONGEST_READING_PAUSE.
READING_EVERY: Final = 1.0
PAUSE_FACTOR: Final = 20
LONGEST_READING_PAUSE: Final = 5.0

# How long before the earliest end of a drain a reading is taken, to show since when nothing has come: QUIET and a
# moment. The other readings are the first of the drain and one at its end. At the fixed end of a drain the last reading
# is A_MOMENT earlier.
LAST_READINGS: Final = verdicts.QUIET + 0.1
A_MOMENT: Final = 0.5

# In Consul, in seconds. ARRIVALS_COUNTED: how long before the limit arrivals are counted. MAY_STILL_ARRIVE: how long
# after a stop requests may still arrive although downstreams learned of it. EXIT_HELPS: how long after the limit an
# exit still helps. Where health-sync marks the task critical, downstreams stop sending within 0.3 s (measured).
ARRIVALS_COUNTED: Final = 10.0
MAY_STILL_ARRIVE: Final = 5.0
EXIT_HELPS: Final = 9.0

# The pause between two readings after a container beside Envoy has stopped. In the first second each request that comes
# meanwhile may fail. A container that runs for the rest of the delay is read after READING_EVERY.
SHORT_PAUSE: Final = 0.1


async def never_in_service(envoy: Envoy, metadata: Metadata, record: Record) -> Verdict:
    """Judge by two looks, READING_EVERY apart, whether a task that was not seen in service ever was.

    A connection that the system has accepted, and a busy Envoy has not counted yet, shows only in the second look.
    """

    async def look_at_envoy() -> Observation | None:
        try:
            return await envoy.look()
        except OSError:
            return None

    look, has_restarted = await asyncio.gather(look_at_envoy(), metadata.has_restarted())
    verdict = _never_in_service(look, has_restarted, record)
    if isinstance(verdict, Keep):
        return verdict
    await asyncio.sleep(READING_EVERY)
    return _never_in_service(await look_at_envoy(), has_restarted, record)


def _never_in_service(look: Observation | None, has_restarted: bool | None, record: Record) -> Verdict:
    may_have_been = None
    if record.left_draining:
        may_have_been = "an earlier helper left Envoy draining"
    elif record.faulty:
        may_have_been = "the helper had a fault before it could see the task in service"
    elif has_restarted is not False:
        may_have_been = (
            "the helper was restarted" if has_restarted else "ECS does not report whether the helper was restarted"
        )
    if look is None or look.uptime is None:
        return verdicts.never_in_service(may_have_been=may_have_been, used=None, uncounted=[])
    if look.replaced:
        may_have_been = may_have_been or "Envoy has replaced or removed listeners, and what they counted is lost"
    younger = verdicts.younger_than_helper(uptime=look.uptime, helper=look.asked_at - record.began_at)
    return verdicts.never_in_service(
        may_have_been=may_have_been or younger,
        used=look.traffic.whole.used,
        uncounted=list(look.account.uncounted),
    )


async def envoy_stopped(envoy: Envoy, metadata: Metadata, record: Record) -> str:
    """Wait until Envoy has stopped for good, and return the cause."""
    while True:
        if stopped := (await metadata.stopped()).envoys:
            answers = await envoy.answers()
            record.envoy_answered |= answers is True
            # an admin API that never answered may have another address
            known = answers if record.envoy_answered else None
            verdict = verdicts.envoy_stopped(
                stopped=stopped, answers=known, accepts=await envoy.accepts(record.listeners)
            )
            if isinstance(verdict, Leave):
                return verdict.cause
        await asyncio.sleep(POLL)


async def application_stopped(envoy: Envoy, application: Application | None, metadata: Metadata) -> str:
    """Wait until the application has stopped for good, and return the cause."""
    account: Account | None = None
    before: Traffic | None = None
    updates = 0  # of the listeners, when the account was made
    hurry_until: float | None = None
    while True:
        if not (stopped := (await metadata.stopped()).others):
            await asyncio.sleep(POLL)
            continue
        refuses = await application.refuses() if application else None
        try:
            after: Traffic | None = await envoy.traffic(account) if account else None
            if after is None or after.updates != updates:
                account, after, *_ = await envoy.look()
                updates = after.updates
            after = after.whole
        except OSError:
            after = None
        uncounted = list(account.uncounted) if account else []
        verdict = verdicts.application_stopped(
            stopped=stopped, refuses=refuses, before=before, after=after, uncounted=uncounted
        )
        if isinstance(verdict, Leave):
            return verdict.cause
        if before is None or after is None or (after.served, after.accepted) != (before.served, before.accepted):
            before = after
        hurry_until = now() + READING_EVERY if hurry_until is None else hurry_until
        await asyncio.sleep(SHORT_PAUSE if now() < hurry_until else READING_EVERY)


async def is_consul(envoy: Envoy, record: Record) -> bool:
    """Whether Envoy belongs to Consul. If startup could not detect that, call Envoy until it answers."""
    while record.bootstrap is None or not record.listeners:
        with suppress(OSError):
            record.bootstrap, record.listeners = await envoy.bootstrap(), await envoy.listeners()
            record.mesh = recognise(record.listeners, record.bootstrap)
            break
        await asyncio.sleep(READING_EVERY)
    return record.mesh is not None and record.mesh.name == "consul"


async def still_sending(envoy: Envoy, metadata: Metadata, began: float, limit: float) -> str:
    """Wait until it is proven that Consul's downstreams do not stop sending, and return the cause. Otherwise never
    return.

    `began` is when the plan began, `limit` until when downstreams may still send, by the event loop's clock.
    """
    meter, account = Meter(), None
    await sleep_until(max(limit - ARRIVALS_COUNTED, began + MAY_STILL_ARRIVE))
    while now() < limit + EXIT_HELPS:
        try:
            if account is None:
                account, traffic, *_ = await envoy.look()
            else:
                traffic = await envoy.traffic(account)
            meter.read(now(), traffic)
        except OSError:
            pass  # no request is known to have arrived
        else:
            if now() >= limit:
                verdict = verdicts.still_sending(
                    waits_for_envoy=await metadata.waits_for_envoy(),
                    arrived=meter.arrived,
                    # The reading before shows no arrival. This reading may be late, if the helper was frozen.
                    lately=meter.last_arrival_after is not None and now() - meter.last_arrival_after < verdicts.QUIET,
                )
                if isinstance(verdict, Leave):
                    return verdict.cause
        following = max(now() + READING_EVERY, limit - LAST_READINGS)
        await sleep_until(min(following, limit) if now() < limit else following)
    return await forever()


async def first_reading(envoy: Envoy, record: Record) -> Never:
    """Read the traffic once, when the delay begins. The traffic in the delay shows which requests and health checks
    come.
    """
    with suppress(OSError):  # the drain's readings log the cause
        await _read(envoy, record)
    await forever()


async def _read(envoy: Envoy, record: Record, *, anew: bool = False) -> None:
    """Take one reading. Make a new account first if `anew`, if listeners changed, or if statistics belong to no known
    listener.
    """
    before, recounted = record.account, False
    traffic = None if before is None or anew else await envoy.traffic(before)
    if traffic is None or traffic.updates != record.updates or set(traffic.unknown) - set(record.unknown):
        look = await envoy.look()
        record.account, traffic = look.account, look.traffic
        record.unknown, record.updates = traffic.unknown, traffic.updates
        recounted = before is not None and before != record.account
    if record.confirmed_at is None or record.meter.first is None:
        record.delay_meter.read(now(), traffic, recounted=recounted)
    if record.confirmed_at is not None:
        record.meter.read(now(), traffic, recounted=recounted)


async def read_until_quiet(
    envoy: Envoy, record: Record, plan: Plan, stopped_at: float, *, drained_since: float, fixed_end: float
) -> None:
    """Feed the record's meter, and return when the task is quiet; with fixed times, never return.

    `stopped_at` is when the stop was requested, `drained_since` when Envoy confirmed that its health checks fail, and
    `fixed_end` when the drain's fixed time ends.
    """
    auto = plan.drain_timeout == "auto"
    deadline = stopped_at + plan.budget
    least_end = drained_since + plan.shortest_drain
    last = min(least_end, deadline - A_MOMENT) if auto else min(fixed_end, deadline) - A_MOMENT
    moments = (last - LAST_READINGS, last)  # after these two, the pauses are even
    unreadable, uncounted, anew = False, False, True  # listeners may have come since the delay began
    while True:
        began = now()
        try:
            await _read(envoy, record, anew=anew)
            anew = False
        except OSError as error:
            if not unreadable:
                log(Event.TRAFFIC_UNREADABLE, cause=why(error))
            unreadable = True
        else:
            uncounted = uncounted or _log_uncounted(record)
            _log_missing_checks(record, plan, stopped_at)
            if auto and isinstance(_verdict(record, plan, drained_since, fixed_end), Leave):
                return
        pause = min(max(READING_EVERY, PAUSE_FACTOR * (now() - began)), LONGEST_READING_PAUSE)
        awaited = [each for each in moments if each > now() and not anew]
        await sleep_until(awaited[0] if awaited else now() + pause)


def _verdict(record: Record, plan: Plan, drained_since: float, fixed_end: float) -> Verdict:
    meter, moment = record.meter, now()
    traffic = Quiet(
        seconds=meter.quiet_for(moment),
        doubtful=meter.doubtful_quiet_for(moment),
        gap=meter.gap(drained_since),
        doubtful_gap=meter.doubtful_gap(drained_since),
        unmoved=record.unmoved(drained_since + plan.shortest_drain, plan.health_check_interval),
    )
    return verdicts.quiet(
        drained_for=moment - drained_since,
        least=plan.shortest_drain,
        fixed_over=moment >= fixed_end,
        traffic=traffic,
        uncounted=list(record.account.uncounted) if record.account else [],
    )


def _log_missing_checks(record: Record, plan: Plan, stopped_at: float) -> None:
    """Log once that the drain will not make the senders stop."""
    if not record.logged_no_checks and record.lacks_checks_for(plan.health_check_interval):
        arrived = record.delay_meter.arrived + record.meter.arrived
        log(Event.NO_HEALTH_CHECKS_SEEN, requests=arrived, seconds=now() - stopped_at)
        record.logged_no_checks = True


def _log_uncounted(record: Record) -> bool:
    """Log which listeners no statistic covers. Returns whether there are any."""
    if not record.account or not record.account.uncounted:
        return False
    listeners = [f"{name}: {cause}" for name, cause in record.account.uncounted.items()]
    log(Event.LISTENERS_UNCOUNTED, listeners=listeners)
    return True
