"""What ECS says of this task: the task metadata endpoint v4, which needs no permission.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec

from task_helper import http
from task_helper.settings import Url, health_url

T = TypeVar("T")

# the endpoint is on the same host and answers in milliseconds; one that does not is not asked for longer
CALL_TIMEOUT: Final = 0.5

# containers that carry an Envoy, by their name or image
ENVOY_NAMES: Final = ("envoy", "dataplane", "kuma-dp")

# what a container leaves with that was asked to stop: such a container was not held by the helper, and did not crash
STOPPED_ON_REQUEST: Final = (0, 143)

# ECS notes that an essential container has stopped a little after the container engine does
NOTICED_WITHIN: Final = timedelta(seconds=10)


class Container(msgspec.Struct, rename="pascal"):
    name: str = ""
    image: str = ""
    type: str = ""
    known_status: str = ""
    exit_code: int | None = None
    finished_at: datetime | None = None
    restart_count: int = 0

    @property
    def is_envoy(self) -> bool:
        return any(word in f"{self.name} {self.image}".lower() for word in ENVOY_NAMES)


class Task(msgspec.Struct, rename="pascal"):
    """`execution_stopped_at` is there once an essential container has stopped."""

    containers: list[Container] = []
    execution_stopped_at: datetime | None = None
    cluster: str = ""
    family: str = ""
    service_name: str = ""
    task_arn: str = msgspec.field(default="", name="TaskARN")


def crashed(task: Task, stop_requested: datetime) -> Sequence[Container]:
    """The containers that took the task down, or died while the helper held them.

    ECS does not say which containers are essential, only since when one of them is stopped. Before `stop_requested`
    whatever has stopped since the first essential one did counts; after it, what did not leave on request.
    """
    if task.execution_stopped_at is None:
        return ()
    return [
        container
        for container in task.containers
        if container.type == "NORMAL"
        and container.known_status == "STOPPED"
        and (container.finished_at is None or container.finished_at >= task.execution_stopped_at - NOTICED_WITHIN)
        and (task.execution_stopped_at < stop_requested or container.exit_code not in STOPPED_ON_REQUEST)
    ]


class Metadata:
    """The endpoint at `uri`, the value of ECS_CONTAINER_METADATA_URI_V4; None outside ECS, where it knows nothing."""

    def __init__(self, uri: str | None, request: http.Request = http.request) -> None:
        self.url = health_url(uri) if uri else None
        self._request = request

    async def may_have_restarted(self) -> bool:
        """Whether this container's restart policy has restarted it; True too where ECS does not say."""
        if self.url is None:
            return False
        try:
            return (await self._ask(self.url, "", Container)).restart_count > 0
        except OSError:
            return True

    async def task(self) -> Task | None:
        """The task, or None where the endpoint is missing or gave no answer."""
        if self.url is None:
            return None
        try:
            return await self._ask(self.url, "/task", Task)
        except OSError:
            return None

    async def _ask(self, url: Url, path: str, type: type[T]) -> T:
        target = f"{url.path}{path}"
        async with asyncio.timeout(CALL_TIMEOUT):
            response = await self._request("GET", url, target)
        if response.status != 200:
            raise OSError(f"{target} answered {response.status}")
        try:
            return msgspec.json.decode(response.body, type=type)
        except msgspec.DecodeError as error:
            raise OSError(f"{target}: {error}") from error
