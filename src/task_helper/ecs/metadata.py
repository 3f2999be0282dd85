"""What ECS reports about this task: the task metadata endpoint v4, which needs no permission.

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

# The endpoint runs on the same host, and usually answers in milliseconds. The agent gives up an answer after 5 s
# (ecs-agent/tmds/server.go). The helper gives up earlier, because it watches other things meanwhile.
CALL_TIMEOUT: Final = 2.0

# For how long one reading of the task answers all questions about stopped containers. The agent answers 40 calls a
# second from one address, after a burst of 60, and 429 beyond that (ECS_TASK_METADATA_RPS_LIMIT). In a task with its
# own address all containers share that limit, and the application needs calls for its credentials. Fargate's limit is
# not documented, and cannot be raised (containers-roadmap#1649).
READING_SERVES: Final = 1.0

# A container with one of these words in its name or image contains an Envoy. The data planes of Consul, Kuma and Istio
# do not have Envoy in their names. The linter's rules are stricter (task_helper_taskdef/roles.py).
ENVOY_WORDS: Final = ("envoy", "dataplane", "kuma-dp", "proxyv2")


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
        return any(word in f"{self.name} {self.image}".lower() for word in ENVOY_WORDS)

    @property
    def is_health_sync(self) -> bool:
        return self.name == HEALTH_SYNC

    @property
    def stopped_for_good(self) -> bool:
        """Whether ECS will not restart the stopped container. It restarts one with a restart policy, which has a count,
        unless that container is to stop.
        """
        return self.known_status == "STOPPED" and (self.restart_count is None or self.desired_status == "STOPPED")


class TaskMetadata(msgspec.Struct, rename="pascal"):
    containers: list[ContainerMetadata] = []
    desired_status: str = ""
    cluster: str = ""
    family: str = ""
    service_name: str = ""
    task_arn: str = msgspec.field(default="", name="TaskARN")


class Stopped(NamedTuple):
    """Names of containers that ran beside the helper and have stopped for good.

    `envoys` are those with an Envoy, `others` the rest. Each has all names of its kind, or none if one of them may
    still run.
    """

    envoys: Sequence[str] = ()
    others: Sequence[str] = ()


def stopped(task: TaskMetadata, since: datetime, own: str | None, other_helper: str | None = None) -> Stopped:
    """Which containers have stopped of those that ran at `since`. Containers that ended earlier had finished their
    work.

    `own` is the name of the helper's own container. If it is None, the helper cannot detect which of the others serve.
    Any other container may be the application, so all of them have to stop. A sidecar that does not wait for the helper
    stops with every task. The other helper of a chain serves nothing and does not count.
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
    """Whether ECS has begun to stop this helper's container. If `before` is a helper's name, ECS stops that one first.

    The agent sets DesiredStatus before it signals a container. A container that depends on this one stops earlier.
    """
    if task.desired_status != "STOPPED":
        return False
    return before is None or any(each.name == before and each.known_status == "STOPPED" for each in task.containers)


class Metadata:
    """The endpoint at `uri`, the value of ECS_CONTAINER_METADATA_URI_V4. Outside ECS `uri` is None, and nothing is
    known.

    `since` is when the helper started. `other_helper` is the container's name of the other helper in the task.
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
        """Whether the restart policy of this container has restarted it; None if ECS does not report it."""
        if self.url is None:
            return False
        try:
            return bool((await self._ask(self.url, "", ContainerMetadata)).restart_count)
        except OSError:
            return None

    async def stopped(self) -> Stopped:
        """Which containers have stopped; none if there is no endpoint or it did not answer.

        All calls within READING_SERVES share one reading of the endpoint.
        """
        async with self._reading:
            if now() >= self._stopped_until:
                task = await self.task()
                own = await self._own_name() if task else None
                self._stopped = stopped(task, self._since, own, self._other_helper) if task else Stopped()
                self._stopped_until = now() + READING_SERVES
        return self._stopped

    async def _own_name(self) -> str | None:
        """The name of the helper's own container; None if there is no endpoint or it did not answer."""
        if self._own is None and self.url:
            with suppress(OSError):
                self._own = (await self._ask(self.url, "", ContainerMetadata)).name or None
        return self._own

    async def waits_for_envoy(self) -> bool | None:
        """Whether the task is to stop and consul-ecs-health-sync still runs. That container waits until Envoy has
        stopped.

        None if there is no endpoint or it did not answer.
        """
        task = await self.task()
        if task is None:
            return None
        running = any(each.name == HEALTH_SYNC and each.known_status == "RUNNING" for each in task.containers)
        return running and task.desired_status == "STOPPED"

    async def of_other_helper(self) -> ContainerMetadata | None:
        """The container of the other helper; None if the task has no container of that name.

        Raises OSError if there is no endpoint or it did not answer. It also raises OSError if the answer lists no
        container that runs: this helper runs, so such an answer does not cover the task.
        """
        task = await self.ask_for_task()
        if not any(each.known_status == "RUNNING" for each in task.containers):
            raise OSError("the task metadata endpoint lists no container that runs")
        return next((each for each in task.containers if each.name == self._other_helper), None)

    async def task(self) -> TaskMetadata | None:
        """The task; None if there is no endpoint or it did not answer."""
        try:
            return await self.ask_for_task()
        except OSError:
            return None

    async def ask_for_task(self) -> TaskMetadata:
        """The task. Raises OSError with the cause if there is no endpoint or it did not answer."""
        if self.url is None:
            raise OSError(f"{METADATA_URI} is not set; ECS sets it")
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
            raise OSError(f"{endpoint} answered 429: the task's containers call it too often")
        if response.status != 200:
            raise OSError(f"{endpoint} answered {response.status}")
        try:
            return msgspec.json.decode(response.body, type=type)
        except (msgspec.DecodeError, RecursionError) as error:
            raise OSError(f"{endpoint} answered with invalid JSON") from error
