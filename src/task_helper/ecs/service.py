"""Looking at this task's service from the event loop, which botocore would block."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from task_helper.ecs.metadata import Metadata, TaskMetadata
from task_helper.ecs.replacement import Look

if TYPE_CHECKING:
    from task_helper.ecs.api import Ecs, Seen

# Looks; where True is given, only at Cloud Map's listing of the tasks seen before. Raises OSError where it cannot see.
LookAtService = Callable[[bool], Awaitable[Look]]

# A look is up to seven calls, each bounded in itself but for the name server's answer. A thread that is given up goes
# on in the background: nobody takes what it finds, and it does not matter at exit.
LOOK_TIMEOUT: Final = 10.0


def looking(metadata: Metadata, cloud_map_service: str | None) -> LookAtService:
    """A function that looks at the service of the task that `metadata` describes; it raises OSError where it cannot."""
    ecs: Ecs | None = None
    seen: Seen | None = None

    async def look(listing_only: bool) -> Look:
        nonlocal ecs, seen
        async with asyncio.timeout(LOOK_TIMEOUT):
            if ecs is None:
                task = await metadata.task()
                if task is None:
                    raise OSError("no answer from the task metadata endpoint")
                ecs = await asyncio.to_thread(_connect, task, cloud_map_service)
            seen, found = await asyncio.to_thread(ecs.look, seen if listing_only else None)
            return found

    return look


def _connect(task: TaskMetadata, cloud_map_service: str | None) -> Ecs:
    from task_helper.ecs.api import Ecs

    return Ecs(task.task_arn, task.cluster, cloud_map_service, task.service_name)
