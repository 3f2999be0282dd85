"""Two helpers in a chain hold a task for the sum of their stopTimeouts: the second goes on where the first has ended.

They never speak to each other. How far the plan has come, the first says with its exit code, and Envoy with its state.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final, Literal

from task_helper.ecs.metadata import Metadata
from task_helper.envoy.admin import Envoy
from task_helper.life import early
from task_helper.life.early import Ended, Leave
from task_helper.life.record import Ending, Exit, Record
from task_helper.logs import Event, log
from task_helper.plan import Plan
from task_helper.timing import now

# An endpoint that is busy, as the machine may be while tasks stop, is asked again. The pauses before the tries, and the
# bound of all tries together, in seconds.
PAUSES: Final = (0.0, 0.3, 0.3)
TRIES_WITHIN: Final = 2.0

# between two looks of the first helper, in its delay, at whether the second has stopped
POLL: Final = 1.0

_ENDED: Final[dict[int | None, Ended]] = {
    Exit.DRAINED: "drained",
    Exit.HANDED_OVER: "handed over",
    Exit.HANDED_OVER_LATE: "handed over late",
    Exit.STILL_SENDING: "still sending",
}


def hand_over(plan: Plan, record: Record) -> Ending:
    """How the first helper's deadline ends: late where Envoy has not been told for as long as the plan says."""
    if record.drain_began_at is None:
        return "handed over"
    drained_for = 0.0 if record.confirmed_at is None else now() - record.confirmed_at
    return "handed over" if drained_for >= plan.drained_for(plan.budget) else "handed over late"


async def second_has_stopped(metadata: Metadata, record: Record) -> bool:
    """Whether ECS reports that the second helper has stopped for good, or that the task has none; logged once.

    Where ECS reports nothing, the second helper counts as running: unknown is not stopped.
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
    """Wait until ECS reports that no second helper is left to hand over to."""
    while not await second_has_stopped(metadata, record):
        await asyncio.sleep(POLL)


async def take_over(
    envoy: Envoy, metadata: Metadata, plan: Plan, record: Record, stopped_at: float
) -> Ending | Literal[False]:
    """Note in `record` how far the helper before this one came, if there was one; how it ended, if nothing is left."""
    if plan.takes_over_from is None:
        return False
    exit_code, draining = await asyncio.gather(_exit_code(metadata), _drains(envoy))
    ended = _ENDED.get(exit_code)
    under_way = await _is_under_way(envoy) if ended == "drained" and draining else None
    verdict = early.taken_over(
        ended=ended,
        draining=draining,
        under_way=under_way,
        held=plan.held_before,
        drained=plan.drained_for(plan.held_before),
        waits_for_envoy=await metadata.waits_for_envoy() if ended == "still sending" else None,
    )
    if isinstance(verdict, Leave):
        log(Event.TAKING_OVER, exit_code=exit_code, draining=draining, cause=verdict.because)
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
    """That of the helper before; None where it runs, the task has no such container, or ECS does not say."""
    with suppress(TimeoutError):
        async with asyncio.timeout(TRIES_WITHIN):
            for pause in PAUSES:
                await asyncio.sleep(pause)
                with suppress(OSError):
                    first = await metadata.of_other_helper()
                    return first.exit_code if first and first.known_status == "STOPPED" else None
    return None


async def _drains(envoy: Envoy) -> bool | None:
    """Whether Envoy reports that it drains; None where it does not answer."""
    try:
        return await envoy.state() == "DRAINING"
    except OSError:
        return None


async def _is_under_way(envoy: Envoy) -> bool | None:
    """Whether anything of downstreams is in progress; None where Envoy does not answer, or a listener is uncounted."""
    try:
        look = await envoy.look()
    except OSError:
        return None
    return look.traffic.whole.under_way or (None if look.account.uncounted else False)
