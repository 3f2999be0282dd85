"""What ECS and Cloud Map report about this task's service. The calls of botocore block, and need a thread of their own.

This module is imported only if DRAIN_DELAY is `auto`, because botocore takes as much memory as the helper itself. The
calls need these permissions: ecs:DescribeServices, ecs:ListTasks, ecs:DescribeTasks, and for Cloud Map
servicediscovery:DiscoverInstances, GetService and GetNamespace. If CLOUD_MAP_SERVICE names the service, the last two
are not needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from task_helper.ecs.client import AccessDenied, ask, connect, date_of
from task_helper.ecs.replacement import Look, Other
from task_helper.logs import Event, log

# DescribeTasks takes 100 tasks: this task and so many others. In a larger service they are a sample. Looking at all of
# them would cost more calls than the service's tasks can share (docs/evidence/scale.md).
PAGE: Final = 99

# DiscoverInstances returns at most this many, and does not report whether there are more
MOST_INSTANCES: Final = 1000


class DescribedContainer(msgspec.Struct):
    name: str = ""
    health_status: str = msgspec.field(default="UNKNOWN", name="healthStatus")


class Detail(msgspec.Struct):
    name: str = ""
    value: str = ""


class Attachment(msgspec.Struct):
    details: list[Detail] = []


class DescribedTask(msgspec.Struct, rename="camel"):
    """A task as DescribeTasks returns it."""

    task_arn: str
    group: str = ""
    last_status: str = ""
    desired_status: str = ""
    health_status: str = "UNKNOWN"
    started_at: datetime | None = None
    containers: list[DescribedContainer] = []
    attachments: list[Attachment] = []

    def age(self, now: datetime) -> float | None:
        """For how many seconds the task has been running; None if it is not running. The clocks may differ a little."""
        if self.last_status != "RUNNING" or self.started_at is None:
            return None
        return max(0.0, (now - self.started_at).total_seconds())

    @property
    def names(self) -> set[str]:
        """The names by which Cloud Map may know the task: its addresses and the last part of its ARN."""
        details = [detail for attachment in self.attachments for detail in attachment.details]
        addresses = {detail.value for detail in details if detail.name in ("privateIPv4Address", "IPv6Address")}
        return addresses | {self.task_arn.rpartition("/")[2]}


class Registry(msgspec.Struct, rename="camel"):
    registry_arn: str = ""


class DeploymentConfiguration(msgspec.Struct, rename="camel"):
    maximum_percent: int = 200


class DescribedService(msgspec.Struct, rename="camel"):
    """A service as DescribeServices returns it."""

    desired_count: int
    running_count: int
    service_registries: list[Registry] = []
    scheduling_strategy: str = "REPLICA"
    deployment_configuration: DeploymentConfiguration = msgspec.field(default_factory=DeploymentConfiguration)

    @property
    def replaces_afterwards(self) -> bool:
        """Whether ECS starts a task's replacement only after the task has stopped, because both do not fit."""
        return self.scheduling_strategy == "DAEMON" or self.deployment_configuration.maximum_percent <= 100


class Headers(msgspec.Struct):
    """The headers of an answer, by their lower-case names."""

    headers: dict[str, str] = msgspec.field(default={}, name="HTTPHeaders")


class TasksAnswer(msgspec.Struct):
    """The answer of DescribeTasks."""

    tasks: list[DescribedTask]
    headers: Headers = msgspec.field(default_factory=Headers, name="ResponseMetadata")


class ServicesAnswer(msgspec.Struct):
    """The answer of DescribeServices."""

    services: list[DescribedService]


class PageOfTasks(msgspec.Struct, rename="camel"):
    """The answer of ListTasks."""

    task_arns: list[str]


class Instance(msgspec.Struct, rename="pascal"):
    """An instance as Cloud Map lists it."""

    instance_id: str
    attributes: dict[str, str]

    @property
    def names(self) -> set[str]:
        """The instance's id and addresses, which a task's own names may match."""
        addresses = {self.attributes.get(name) for name in ("AWS_INSTANCE_IPV4", "AWS_INSTANCE_IPV6")}
        return {self.instance_id, *(address for address in addresses if address)}


class InstancesAnswer(msgspec.Struct, rename="pascal"):
    """The answer of DiscoverInstances."""

    instances: list[Instance]


class CloudMapService(msgspec.Struct, rename="pascal"):
    """A service of Cloud Map."""

    name: str
    namespace_id: str


class CloudMapServiceAnswer(msgspec.Struct, rename="pascal"):
    """The answer of GetService."""

    service: CloudMapService


class Namespace(msgspec.Struct, rename="pascal"):
    """A namespace of Cloud Map."""

    name: str


class NamespaceAnswer(msgspec.Struct, rename="pascal"):
    """The answer of GetNamespace."""

    namespace: Namespace


class Seen(NamedTuple):
    """What ECS answered about a service: a page of its tasks, including this one. `page_is_full` if there may be more.

    `at` is the moment, by ECS's clock, when ECS described the tasks; None if it described none.
    """

    service: DescribedService
    tasks: Sequence[DescribedTask] = ()
    page_is_full: bool = False
    at: datetime | None = None


def others_of(own: str, tasks: Sequence[DescribedTask], listed: set[str] | None, now: datetime) -> list[Other]:
    """The tasks that ECS means to keep, without the task `own` (an ARN), as `replacement` judges them.

    `listed` is what Cloud Map lists. No API call reports which containers have health checks, or which of them ECS
    considers. So a container's name counts if such a container is healthy in any task of the service. A task is healthy
    if all its containers with such names are.
    """
    reporting = {each.name for task in tasks for each in task.containers if each.health_status == "HEALTHY"}
    return [
        Other(
            task.task_arn,
            task.age(now),
            _is_healthy(task, reporting),
            None if listed is None else bool(listed & task.names),
        )
        for task in tasks
        if task.task_arn != own and task.desired_status == "RUNNING"
    ]


def _is_healthy(task: DescribedTask, reporting: set[str]) -> bool | None:
    if task.health_status == "UNHEALTHY":
        return False
    if not reporting:
        return None
    of_interest = [each for each in task.containers if each.name in reporting]
    # None of its containers may have such a name. Then nothing shows that the task is healthy.
    return bool(of_interest) and all(each.health_status == "HEALTHY" for each in of_interest)


def wanted(seen: Seen, others: int) -> int:
    """How many of the `others` tasks that were seen have to be in service.

    All of them, if ECS cannot start a replacement before this task has stopped, or if the page is a sample. No API call
    reports how many tasks ECS means to keep: `runningCount` includes tasks that are stopping.
    """
    desired = seen.service.desired_count
    return min(desired, others) if seen.page_is_full or seen.service.replaces_afterwards else desired


def look_of(own: str, seen: Seen, listed: set[str] | None, later: float = 0.0, *, listing_failed: bool = False) -> Look:
    """What ECS answered `later` seconds ago, and what Cloud Map lists, as `replacement` judges it."""
    now = None if seen.at is None else seen.at + timedelta(seconds=later)
    others = [] if now is None else others_of(own, seen.tasks, listed, now)
    return Look(seen.service.desired_count, wanted(seen, len(others)), others, listing_failed)


class Ecs:
    """The service of the task with this ARN, in the cluster that the task metadata names.

    `cloud_map_service` is NAMESPACE/SERVICE, or None if the helper has to find it. `service` is the ECS service's name,
    or empty if the metadata does not report it. Every method raises OSError if AWS does not answer, or answers with an
    error.
    """

    def __init__(self, task_arn: str, cluster: str, cloud_map_service: str | None, service: str = "") -> None:
        self.task_arn = task_arn
        self._cluster = cluster
        self._cloud_map_service = cloud_map_service
        self._name: str | None = service or None
        parts = task_arn.split(":")
        if len(parts) < 6:
            raise OSError("the task metadata endpoint does not report the task's ARN")
        # the task's own region; environment variables of the application may name another one
        self._ecs, self._cloud_map = connect(parts[3])

    def see(self) -> Seen:
        """How many tasks the service desires, and which there are. A task that belongs to no service has no others."""
        if self._name is None:
            (own, *_), _ = self._describe([self.task_arn])
            kind, _, name = own.group.partition(":")
            self._name = name if kind == "service" else ""
        if not self._name:
            return Seen(DescribedService(desired_count=0, running_count=0))
        service = self._service(self._name)
        # most looks need only this one call
        if service.running_count < service.desired_count and not service.replaces_afterwards:
            return Seen(service)
        page = self._list(self._name)
        tasks, at = self._describe([self.task_arn, *(arn for arn in page if arn != self.task_arn)])
        return Seen(service, tasks, len(page) == PAGE, at)

    def _list(self, service: str) -> list[str]:
        """The ARNs of one page of the service's tasks that ECS means to keep."""
        arguments = {"cluster": self._cluster, "serviceName": service, "desiredStatus": "RUNNING", "maxResults": PAGE}
        return ask(self._ecs.list_tasks, PageOfTasks, **arguments).task_arns

    def _describe(self, arns: Sequence[str]) -> tuple[list[DescribedTask], datetime]:
        answer = ask(self._ecs.describe_tasks, TasksAnswer, cluster=self._cluster, tasks=list(arns))
        if not answer.tasks:
            raise OSError("DescribeTasks: ECS does not know the task")
        return answer.tasks, date_of(answer.headers.headers)

    def _service(self, name: str) -> DescribedService:
        answer = ask(self._ecs.describe_services, ServicesAnswer, cluster=self._cluster, services=[name])
        if not answer.services:
            raise OSError(f"DescribeServices: ECS does not know the service {name}")
        return answer.services[0]

    def listed(self, service: DescribedService) -> set[str] | None:
        """The addresses and ids that Cloud Map lists as healthy; None if it cannot list all of them, or the role
        forbids it.
        """
        try:
            if self._cloud_map_service is None and service.service_registries:
                self._cloud_map_service = self._find(service.service_registries[0].registry_arn)
            if not self._cloud_map_service:
                return None
            namespace, _, name = self._cloud_map_service.partition("/")
            names = {"NamespaceName": namespace, "ServiceName": name}
            instances = ask(
                self._cloud_map.discover_instances,
                InstancesAnswer,
                **names,
                HealthStatus="HEALTHY",
                MaxResults=MOST_INSTANCES,
            ).instances
        except AccessDenied as error:
            log(Event.CLOUD_MAP_DENIED, cause=str(error))
            self._cloud_map_service = ""
            return None
        if len(instances) == MOST_INSTANCES:
            return None
        return set().union(*(each.names for each in instances))

    def _find(self, registry_arn: str) -> str:
        id = registry_arn.rpartition("/")[2]
        service = ask(self._cloud_map.get_service, CloudMapServiceAnswer, Id=id).service
        namespace = ask(self._cloud_map.get_namespace, NamespaceAnswer, Id=service.namespace_id).namespace
        return f"{namespace.name}/{service.name}"
