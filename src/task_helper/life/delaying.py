"""The delay before the drain: for a fixed time, or until new tasks are in service."""

from __future__ import annotations

from task_helper.ecs.metadata import Metadata
from task_helper.ecs.service import LookAtService
from task_helper.life.lookout import wait_until_in_service
from task_helper.life.record import Record
from task_helper.logs import Event, log
from task_helper.settings import Settings
from task_helper.timing import now, sleep_until


async def until_replaced(settings: Settings, record: Record, look: LookAtService) -> None:
    """With `auto`, ECS and Cloud Map tell when new tasks are in service; else, or where they do not, the clock."""
    if settings.drain_delay != "auto":
        return await for_fixed_time(settings, record)
    blind_until = record.plan_began_at + settings.fixed_delay
    if await wait_until_in_service(look, settings.discovery_lag, blind_until=blind_until):
        log(Event.REPLACED, seconds=now() - record.plan_began_at)


async def for_fixed_time(settings: Settings, record: Record) -> None:
    await sleep_until(record.plan_began_at + settings.fixed_delay)


async def until_drain_is_due(settings: Settings, record: Record, metadata: Metadata, stopped_at: float) -> None:
    """Until the drain needs the time that is left. Only a second helper may be left to do the drain; one that has
    stopped will not do it."""
    whole = record.plan_began_at + settings.longest_delay
    alone = min(whole, stopped_at + settings.own_longest_delay)
    await sleep_until(alone)
    if settings.hands_over_to and alone < whole:
        second = await metadata.of_other_helper()
        if not second or second.known_status != "STOPPED":
            await sleep_until(whole)
