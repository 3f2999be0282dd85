"""Two helpers in a chain keep a task running for the sum of their stopTimeouts: the second continues the first's plan.

They do not communicate. The second reads how far the plan has come from the first's exit code and from Envoy's state.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Literal

from task_helper.ecs.metadata import Metadata
from task_helper.envoy.admin import Envoy
from task_helper.life import verdicts
from task_helper.life.record import Ending, Exit, Record
from task_helper.life.verdicts import Ended, Leave
from task_helper.logs import Event, log
from task_helper.plan import Plan
from task_helper.timing import now

# The endpoint may be busy, because the machine may be busy while tasks stop. So the helper calls it again: after these
# pauses, and within this time for all tries, in seconds.
PAUSES: Final = (0.0, 0.3, 0.3)
TRIES_WITHIN: Final = 2.0

# the pause between two checks whether the second helper has stopped, while the first one delays
POLL: Final = 1.0

_ENDED: Final[dict[int | None, Ended]] = {
    Exit.DRAINED: "drained",
    Exit.HANDED_OVER: "handed over",
    Exit.HANDED_OVER_LATE: "handed over late",
    Exit.STILL_SENDING: "still sending",
}


def hand_over(plan: Plan, record: Record) -> Ending:
    """How the first helper's deadline ends: late if Envoy has not drained for as long as the plan requires."""
    if record.drain_began_at is None:
        return "handed over"
    drained_for = 0.0 if record.confirmed_at is None else now() - record.confirmed_at
    return "handed over" if drained_for >= plan.drained_for(plan.budget) else "handed over late"


async def second_has_stopped(metadata: Metadata, record: Record) -> bool:
    """Whether ECS reports that the second helper has stopped for good, or that the task has none; logged once.

    If ECS reports nothing, the second helper counts as running: unknown is not stopped.
    """
    if not record.alone:
        try:
            second = await metadata.of_other_helper()
        except OSError:
            return False
        record.alone = second is None or second.stopped_for_good
        if record.alone:
            log(Event.SECOND_HELPER_STOPPED, exit_code=second.exit_code if second else None)
    return record.alone


async def until_second_has_stopped(metadata: Metadata, record: Record) -> None:
    """Wait until ECS reports that no second helper runs to which this one could hand over."""
    while not await second_has_stopped(metadata, record):
        await asyncio.sleep(POLL)


async def take_over(
    envoy: Envoy, metadata: Metadata, plan: Plan, record: Record, stopped_at: float
) -> Ending | Literal[False]:
    """Record how far the helper before this one came, if there was one. Returns an ending if nothing is left to do."""
    if plan.takes_over_from is None:
        return False
    exit_code, draining = await asyncio.gather(_exit_code(metadata), _drains(envoy))
    ended = _ENDED.get(exit_code)
    under_way = await _is_under_way(envoy) if ended == "drained" and draining else None
    verdict = verdicts.taken_over(
        ended=ended,
        draining=draining,
        under_way=under_way,
        elapsed=plan.elapsed_before,
        drained=plan.drained_for(plan.elapsed_before),
        waits_for_envoy=await metadata.waits_for_envoy() if ended == "still sending" else None,
    )
    if isinstance(verdict, Leave):
        log(Event.TAKING_OVER, exit_code=exit_code, draining=draining, cause=verdict.cause)
        record.drain_began_at = record.confirmed_at = now()
        return "still sending" if ended == "still sending" else "drained"
    log(
        Event.TAKING_OVER,
        exit_code=exit_code,
        draining=draining,
        plan_started_seconds_ago=verdict.ago,
        told_seconds_ago=verdict.drained_for,
    )
    record.plan_began_at = stopped_at - verdict.ago
    record.delay_over, record.drained_before = verdict.delay_over, verdict.drained_for
    return False


async def _exit_code(metadata: Metadata) -> int | None:
    """The exit code of the helper before this one; None if it runs, does not exist, or ECS does not report it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(TRIES_WITHIN):
            for pause in PAUSES:
                await asyncio.sleep(pause)
                with suppress(OSError):
                    first = await metadata.of_other_helper()
                    return first.exit_code if first and first.known_status == "STOPPED" else None
    return None


async def _drains(envoy: Envoy) -> bool | None:
    """Whether Envoy reports that it drains; None if it does not answer."""
    try:
        return await envoy.state() == "DRAINING"
    except OSError:
        return None


async def _is_under_way(envoy: Envoy) -> bool | None:
    """Whether requests or connections of downstreams are in progress.

    None if Envoy does not answer, or if no statistic covers a listener.
    """
    try:
        look = await envoy.look()
    except OSError:
        return None
    return look.traffic.whole.under_way or (None if look.account.uncounted else False)
