"""Looking at this task's service from a thread, because botocore would block the event loop."""

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

# Looks at the service. With True it looks only at Cloud Map's listing of the tasks that it saw before. Raises OSError
# if it cannot.
LookAtService = Callable[[bool], Awaitable[Look]]

# Each step of a look is up to three calls. Each call has a timeout, except for the name server's answer. Before the
# first call, botocore may try for 9 s to read the credentials. After this timeout the thread continues in the
# background, its result is ignored, and it does not delay the exit.
STEP_TIMEOUT: Final = 10.0


def looking(metadata: Metadata, cloud_map_service: str | None) -> LookAtService:
    """A function that looks at the service of the task that `metadata` describes. The function raises OSError if it
    cannot.
    """
    ecs: Ecs | None = None
    answer: tuple[Seen, float] | None = None  # ECS's last answer, and when it came
    listed: set[str] | None = None
    logged: set[str] = set()

    async def look(listing_only: bool) -> Look:
        nonlocal ecs, answer, listed
        if ecs is None:
            ecs = await _in_thread("AWS's client", _connect, await metadata.ask_for_task(), cloud_map_service)
        if answer is None or not listing_only:
            answer = await _in_thread("ECS", ecs.see), now()
        seen, seen_at = answer
        # Cloud Map may fail although ECS answers. ECS's answer about the tasks still counts.
        failed = False
        if seen.tasks:
            try:
                listed = await _in_thread("Cloud Map", ecs.listed, seen.service)
            except OSError as error:
                failed = True
                if (cause := why(error)) not in logged:
                    log(Event.CLOUD_MAP_UNKNOWN, cause=cause)
                    logged.add(cause)
        return _look_of(ecs, seen, listed, now() - seen_at, failed)

    return look


async def _in_thread(name: str, call: Callable[..., T], *arguments: object) -> T:
    """The result of a blocking `call`. Raises OSError; after STEP_TIMEOUT that is a TimeoutError with this `name`."""
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
