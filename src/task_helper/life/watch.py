"""What may end the plan early: each function gathers the facts until `early` finds them enough, and says why."""

from __future__ import annotations

import asyncio
from typing import Final

from task_helper.application import Application
from task_helper.ecs.metadata import Metadata
from task_helper.envoy.admin import CALL_TIMEOUT, Envoy
from task_helper.envoy.traffic import Meter, Traffic, Watched
from task_helper.life import early
from task_helper.life.early import Leave, Verdict
from task_helper.life.record import Record
from task_helper.logs import Event, log, why
from task_helper.timing import now, sleep_until

# between two looks; nothing tells these things by itself
POLL: Final = 0.5

# Between two readings of Envoy's statistics. The first of a drain, and those of its last seconds, tell all there is to
# tell: in a large mesh each takes Envoy a tenth of a second.
READING_EVERY: Final = 1.0

# what the last readings have to go back: QUIET, and one more to tell what came before
LAST_READINGS: Final = early.QUIET + READING_EVERY

# between two readings where a container beside Envoy has stopped: each request that comes meanwhile may fail, in the
# first second; for one that lives on in the rest of the delay READING_EVERY will do
SHORT_PAUSE: Final = 0.1


async def never_in_service(envoy: Envoy, metadata: Metadata, record: Record) -> Verdict:
    """Judge once, within CALL_TIMEOUT, whether a task that was not seen in service ever was."""

    younger: str | None = None

    async def served() -> bool | None:
        nonlocal younger
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                uptime = (await envoy.about()).uptime
                younger = early.younger_than_helper(uptime=uptime, helper=now() - record.began_at)
                which = await envoy.watched()
                traffic = await envoy.traffic(which)
        except OSError:
            return None
        # whether there ever were connections, their number now does not tell
        return traffic.served > 0 or traffic.under_way or (None if which.connections else False)

    has_served, has_restarted = await asyncio.gather(served(), metadata.has_restarted())
    may_have_been = None
    if record.left_draining:
        may_have_been = "Envoy was left draining by a helper before this one"
    elif record.faulty:
        may_have_been = "the helper had a fault before it could see"
    elif has_restarted is not False:
        may_have_been = "the helper was restarted" if has_restarted else "ECS does not say if the helper was restarted"
    return early.never_in_service(may_have_been=may_have_been or younger, served=has_served)


async def envoy_gone(envoy: Envoy, metadata: Metadata, record: Record) -> str:
    """Wait until Envoy is gone for good; why."""
    while True:
        if stopped := (await metadata.stopped()).envoys:
            answers = await envoy.answers()
            record.envoy_answered |= answers
            known = answers if record.envoy_answered else None
            verdict = early.envoy_gone(stopped=stopped, answers=known, accepts=await envoy.accepts(record.listeners))
            if isinstance(verdict, Leave):
                return verdict.because
        await asyncio.sleep(POLL)


async def application_gone(envoy: Envoy, application: Application | None, metadata: Metadata) -> str:
    """Wait until the application is gone for good; why."""
    which: Watched | None = None
    before: Traffic | None = None
    hurry_until: float | None = None
    while True:
        if not (stopped := (await metadata.stopped()).others):
            await asyncio.sleep(POLL)
            continue
        refuses = await application.refuses() if application else None
        try:
            which = which or await envoy.watched()
            after = await envoy.traffic(which)
        except OSError:
            after = None
        verdict = early.application_gone(stopped=stopped, refuses=refuses, before=before, after=after)
        if isinstance(verdict, Leave):
            return verdict.because
        if before is None or after is None or after.served != before.served:
            before = after
        hurry_until = now() + READING_EVERY if hurry_until is None else hurry_until
        await asyncio.sleep(SHORT_PAUSE if now() < hurry_until else READING_EVERY)


async def until_quiet(envoy: Envoy, meter: Meter, *, drained_since: float, least: float, readings_from: float) -> None:
    """Feed `meter` with a first reading and with those from `readings_from` on; return when the task is quiet.

    `drained_since` is when Envoy confirmed that its health checks fail, `least` how many seconds all downstreams need
    to notice.
    """
    which: Watched | None = None
    unreadable = False
    while True:
        try:
            which = which or await envoy.watched()
            meter.read(now(), await envoy.traffic(which))
        except OSError as error:
            if not unreadable:
                log(Event.TRAFFIC_UNREADABLE, because=why(error))
            unreadable = True
        else:
            verdict = early.quiet(drained_for=now() - drained_since, least=least, quiet_for=meter.quiet_for(now()))
            if isinstance(verdict, Leave):
                return
        following = now() + READING_EVERY
        await sleep_until(following if meter.read_at is None else max(following, readings_from))
