"""What ECS says of this task: the task metadata endpoint v4, which needs no permission.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-response.html
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

import msgspec

from task_helper import http
from task_helper.gate import METADATA_URI
from task_helper.logs import why
from task_helper.settings import Url, health_url
from task_helper.timing import now

T = TypeVar("T")

# The endpoint is on the same host and mostly answers in milliseconds. The agent gives up an answer after 5 s
# (ecs-agent/tmds/server.go); the helper does so earlier, as it watches other things meanwhile.
CALL_TIMEOUT: Final = 2.0

# How long one reading of the task serves all that ask which containers have stopped. The agent answers 40 calls a
# second from one address, after a burst of 60, and with 429 beyond (ECS_TASK_METADATA_RPS_LIMIT). In a task with an
# address of its own all containers share that, and so do the application's calls for credentials. Fargate's limit is
# not documented, and cannot be raised (containers-roadmap#1649).
READING_SERVES: Final = 1.0

# containers that carry an Envoy, by their name or image
ENVOY_NAMES: Final = ("envoy", "dataplane", "kuma-dp")


# the container that deregisters a task of Consul (hashicorp/terraform-aws-consul-ecs)
HEALTH_SYNC: Final = "consul-ecs-health-sync"


class ContainerMetadata(msgspec.Struct, rename="pascal"):
    name: str = ""
    image: str = ""
    type: str = ""
    desired_status: str = ""
    known_status: str = ""
    exit_code: int | None = None
    finished_at: datetime | None = None
    restart_count: int | None = None

    @property
    def is_envoy(self) -> bool:
        return any(word in f"{self.name} {self.image}".lower() for word in ENVOY_NAMES)

    @property
    def is_health_sync(self) -> bool:
        return self.name == HEALTH_SYNC

    @property
    def stopped_for_good(self) -> bool:
        """Where it has no restart policy, and so no count, or is to stop, ECS does not restart it."""
        return self.known_status == "STOPPED" and (self.restart_count is None or self.desired_status == "STOPPED")


class TaskMetadata(msgspec.Struct, rename="pascal"):
    containers: list[ContainerMetadata] = []
    desired_status: str = ""
    cluster: str = ""
    family: str = ""
    service_name: str = ""
    task_arn: str = msgspec.field(default="", name="TaskARN")


class Stopped(NamedTuple):
    """Names of containers that ran beside the helper and have stopped for good: of those with Envoy, and of the others,
    each time all of them or none."""

    envoys: Sequence[str] = ()
    others: Sequence[str] = ()


def stopped(task: TaskMetadata, since: datetime, own: str | None, other_helper: str | None = None) -> Stopped:
    """What has stopped of what was there at `since`: containers that ended before have done what they were for.

    `own` is the name of the helper's own container; None where it is unknown, and so which of the others serve. Any
    other container may be the application, so nothing serves only when all of them have stopped: a sidecar that does
    not wait for the helper stops with every task. Another helper serves nothing.
    """
    beside = [
        each
        for each in task.containers
        if each.type == "NORMAL"
        and each.name not in (own, other_helper)
        and (each.known_status != "STOPPED" or (each.finished_at and each.finished_at >= since))
    ]
    envoys = [each for each in beside if each.is_envoy]
    others = [each for each in beside if not each.is_envoy]
    return Stopped(
        [each.name for each in envoys] if all(each.stopped_for_good for each in envoys) else (),
        [each.name for each in others] if own and all(each.stopped_for_good for each in others) else (),
    )


def stops_helper(task: TaskMetadata, before: str | None) -> bool:
    """Whether ECS has begun to stop this helper's container, which it does after the helper named `before`, if any.

    The agent sets DesiredStatus before it signals a container. A container that depends on this one stops earlier.
    """
    if task.desired_status != "STOPPED":
        return False
    return before is None or any(each.name == before and each.known_status == "STOPPED" for each in task.containers)


class Metadata:
    """The endpoint at `uri`, the value of ECS_CONTAINER_METADATA_URI_V4; None outside ECS, where it knows nothing.

    `since` is when the helper came up; `other_helper` is the container's name of another one in the task.
    """

    def __init__(
        self,
        uri: str | None,
        since: datetime,
        request: http.Request = http.request,
        other_helper: str | None = None,
    ) -> None:
        self.url = health_url(uri) if uri else None
        self._since = since
        self._request = request
        self._own: str | None = None
        self._other_helper = other_helper
        self._reading = asyncio.Lock()
        self._stopped = Stopped()
        self._stopped_until = -math.inf

    async def has_restarted(self) -> bool | None:
        """Whether this container's restart policy has restarted it; None where ECS does not say."""
        if self.url is None:
            return False
        try:
            return bool((await self._ask(self.url, "", ContainerMetadata)).restart_count)
        except OSError:
            return None

    async def stopped(self) -> Stopped:
        """Which containers have stopped; none where the endpoint is missing or gave no answer.

        The endpoint is read once for all calls within READING_SERVES.
        """
        async with self._reading:
            if now() >= self._stopped_until:
                task = await self.task()
                own = await self._own_name() if task else None
                self._stopped = stopped(task, self._since, own, self._other_helper) if task else Stopped()
                self._stopped_until = now() + READING_SERVES
        return self._stopped

    async def _own_name(self) -> str | None:
        """The name of the helper's own container; None where the endpoint is missing or gave no answer."""
        if self._own is None and self.url:
            with suppress(OSError):
                self._own = (await self._ask(self.url, "", ContainerMetadata)).name or None
        return self._own

    async def waits_for_envoy(self) -> bool | None:
        """Whether the task is to stop and consul-ecs-health-sync still runs, which waits for Envoy's stop.

        None where the endpoint is missing or gave no answer.
        """
        task = await self.task()
        if task is None:
            return None
        running = any(each.name == HEALTH_SYNC and each.known_status == "RUNNING" for each in task.containers)
        return running and task.desired_status == "STOPPED"

    async def of_other_helper(self) -> ContainerMetadata | None:
        """The container of the other helper; None where the task has none of its name.

        Raises OSError where the endpoint is missing or gave no answer, or one that lists nothing that runs: this helper
        runs, so such an answer does not cover the task.
        """
        task = await self.ask_for_task()
        if not any(each.known_status == "RUNNING" for each in task.containers):
            raise OSError("the task metadata endpoint lists no container that runs")
        return next((each for each in task.containers if each.name == self._other_helper), None)

    async def task(self) -> TaskMetadata | None:
        """The task, or None where the endpoint is missing or gave no answer."""
        try:
            return await self.ask_for_task()
        except OSError:
            return None

    async def ask_for_task(self) -> TaskMetadata:
        """The task; raises OSError, which says why the endpoint gave no answer."""
        if self.url is None:
            raise OSError(f"{METADATA_URI} is not set, as outside ECS")
        return await self._ask(self.url, "/task", TaskMetadata)

    async def _ask(self, url: Url, path: str, type: type[T]) -> T:
        endpoint = "the task metadata endpoint"
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                response = await self._request("GET", url, f"{url.path}{path}")
        except TimeoutError as error:
            raise OSError(f"{endpoint} gave no answer within {CALL_TIMEOUT:g} s") from error
        except OSError as error:
            raise OSError(f"{endpoint} cannot be reached: {why(error)}") from error
        if response.status == 429:
            raise OSError(f"{endpoint} answered 429: the task's containers ask it too often")
        if response.status != 200:
            raise OSError(f"{endpoint} answered {response.status}")
        try:
            return msgspec.json.decode(response.body, type=type)
        except (msgspec.DecodeError, RecursionError) as error:
            raise OSError(f"{endpoint} answered something else than its JSON") from error
