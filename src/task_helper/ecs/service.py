"""Looking at this task's service from the event loop, which botocore would block."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

from task_helper.ecs.metadata import Metadata, TaskMetadata
from task_helper.ecs.replacement import Look
from task_helper.logs import Event, log, why
from task_helper.timing import now

if TYPE_CHECKING:
    from task_helper.ecs.api import Ecs, Seen

T = TypeVar("T")

# Looks; where True is given, only at Cloud Map's listing of the tasks seen before. Raises OSError where it cannot see.
LookAtService = Callable[[bool], Awaitable[Look]]

# Each step of a look is up to three calls, each bounded in itself but for the name server's answer; before the first,
# botocore may try for 9 s to get the credentials. A thread that is given up goes on in the background: nobody takes
# what it finds, and it does not matter at exit.
STEP_TIMEOUT: Final = 10.0


def looking(metadata: Metadata, cloud_map_service: str | None) -> LookAtService:
    """A function that looks at the service of the task that `metadata` describes; it raises OSError where it cannot."""
    ecs: Ecs | None = None
    seen: Seen | None = None
    seen_at = 0.0
    listed: set[str] | None = None
    logged: set[str] = set()

    async def look(listing_only: bool) -> Look:
        nonlocal ecs, seen, seen_at, listed
        if ecs is None:
            ecs = await _in_thread("AWS's client", _connect, await metadata.ask_for_task(), cloud_map_service)
        if seen is None or not listing_only:
            seen, seen_at = await _in_thread("ECS", ecs.see), now()
        # Cloud Map may fail where ECS answers: what ECS says of the tasks counts all the same
        failed = False
        if seen.tasks:
            try:
                listed = await _in_thread("Cloud Map", ecs.listed, seen.service)
            except OSError as error:
                failed = True
                if (because := why(error)) not in logged:
                    log(Event.CLOUD_MAP_UNKNOWN, cause=because)
                    logged.add(because)
        return _look_of(ecs, seen, listed, now() - seen_at, failed)

    return look


async def _in_thread(name: str, call: Callable[..., T], *arguments: object) -> T:
    """What a blocking `call` of this name returns; raises OSError, TimeoutError among them after STEP_TIMEOUT."""
    try:
        async with asyncio.timeout(STEP_TIMEOUT):
            return await asyncio.to_thread(call, *arguments)
    except TimeoutError:
        raise TimeoutError(f"{name} gave no answer within {STEP_TIMEOUT:g} s") from None


def _connect(task: TaskMetadata, cloud_map_service: str | None) -> Ecs:
    from task_helper.ecs.api import Ecs

    return Ecs(task.task_arn, task.cluster, cloud_map_service, task.service_name)


def _look_of(ecs: Ecs, seen: Seen, listed: set[str] | None, later: float, listing_failed: bool) -> Look:
    from task_helper.ecs.api import look_of

    return look_of(ecs.task_arn, seen, listed, later, listing_failed=listing_failed)
