"""What ECS and Cloud Map say of this task's service. Blocking calls of botocore, for a thread of their own.

Nothing here is imported unless DRAIN_DELAY is `auto`: botocore weighs as much as the helper itself. Permissions needed:
ecs:DescribeServices, ecs:ListTasks, ecs:DescribeTasks, and for Cloud Map servicediscovery:DiscoverInstances, GetService
and GetNamespace (the last two not where CLOUD_MAP_SERVICE names the service).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from task_helper.ecs.client import Denied, ask, connect, date_of
from task_helper.ecs.replacement import Look, Other
from task_helper.logs import Event, log

# DescribeTasks takes 100 tasks: this many others and the own one. Of a larger service they are a sample: looking at all
# of them would cost more calls than its tasks can share (docs/evidence/scale.md).
PAGE: Final = 99

# DiscoverInstances gives this many, and says nothing of the rest
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
    """A task as DescribeTasks has it."""

    task_arn: str
    group: str = ""
    last_status: str = ""
    desired_status: str = ""
    health_status: str = "UNKNOWN"
    started_at: datetime | None = None
    containers: list[DescribedContainer] = []
    attachments: list[Attachment] = []

    def age(self, now: datetime) -> float | None:
        """For how many seconds it has been running; None where it is not. Clocks may differ a little."""
        if self.last_status != "RUNNING" or self.started_at is None:
            return None
        return max(0.0, (now - self.started_at).total_seconds())

    @property
    def names(self) -> set[str]:
        """What Cloud Map may know it by: its addresses, and the last part of its ARN."""
        details = [detail for attachment in self.attachments for detail in attachment.details]
        addresses = {detail.value for detail in details if detail.name in ("privateIPv4Address", "IPv6Address")}
        return addresses | {self.task_arn.rpartition("/")[2]}


class Registry(msgspec.Struct, rename="camel"):
    registry_arn: str = ""


class DeploymentConfiguration(msgspec.Struct, rename="camel"):
    maximum_percent: int = 200


class DescribedService(msgspec.Struct, rename="camel"):
    """A service as DescribeServices has it."""

    desired_count: int
    running_count: int
    service_registries: list[Registry] = []
    scheduling_strategy: str = "REPLICA"
    deployment_configuration: DeploymentConfiguration = msgspec.field(default_factory=DeploymentConfiguration)

    @property
    def replaces_afterwards(self) -> bool:
        """Whether ECS starts a task's replacement only when the task has gone: there is no room for both."""
        return self.scheduling_strategy == "DAEMON" or self.deployment_configuration.maximum_percent <= 100


class Headers(msgspec.Struct):
    """The headers of an answer, by their names in lower case."""

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
        """What a task's own names may be among: its id and its addresses."""
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
    """What ECS has answered of a service: a page of its tasks, with this one; `page_is_full` where it has more.

    `at` is when ECS described the tasks, by its own clock; None where it described none.
    """

    service: DescribedService
    tasks: list[DescribedTask]
    page_is_full: bool
    at: datetime | None = None


def others_of(own: str, tasks: Sequence[DescribedTask], listed: set[str] | None, now: datetime) -> list[Other]:
    """The judgement's view of those `tasks` that ECS means to keep, without `own`, an ARN; `listed` is what Cloud Map
    lists.

    A task is healthy if every container is that is healthy anywhere in the service: which containers report health, and
    which ECS heeds, no call tells.
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
    # all of its containers may have names of their own: nothing says that such a task is healthy
    return bool(of_interest) and all(each.health_status == "HEALTHY" for each in of_interest)


def wanted(seen: Seen, others: int) -> int:
    """How many of that many other tasks, of those seen, have to be in service.

    Where there is no room for a replacement before this task has gone, and where the page is a sample of more, all of
    them: how many tasks ECS means to keep, of which they are a sample, no call tells (`runningCount` has those that are
    being stopped, too).
    """
    desired = seen.service.desired_count
    return min(desired, others) if seen.page_is_full or seen.service.replaces_afterwards else desired


def look_of(own: str, seen: Seen, listed: set[str] | None, later: float = 0.0, *, listing_failed: bool = False) -> Look:
    """The judgement's view of what ECS answered so many seconds ago (`later`), and of what Cloud Map lists."""
    now = None if seen.at is None else seen.at + timedelta(seconds=later)
    others = [] if now is None else others_of(own, seen.tasks, listed, now)
    return Look(seen.service.desired_count, wanted(seen, len(others)), others, listing_failed)


class Ecs:
    """The service of the task with this ARN, in the cluster that the task metadata names.

    `cloud_map_service` is NAMESPACE/SERVICE, or None to find it; `service` is the ECS service's name where the metadata
    tells. Every method raises OSError where AWS does not answer as it should.
    """

    def __init__(self, task_arn: str, cluster: str, cloud_map_service: str | None, service: str = "") -> None:
        self.task_arn = task_arn
        self._cluster = cluster
        self._cloud_map_service = cloud_map_service
        self._name: str | None = service or None
        parts = task_arn.split(":")
        if len(parts) < 6:
            raise OSError("the task metadata endpoint does not say the task's ARN")
        # the task's own region, whatever the environment says for the application
        self._ecs, self._cloud_map = connect(parts[3])

    def see(self) -> Seen:
        """How many tasks the service desires, and which there are; a task of no service has no others."""
        if self._name is None:
            (own, *_), _ = self._describe([self.task_arn])
            self._name = own.group.removeprefix("service:") if own.group.startswith("service:") else ""
        if not self._name:
            return Seen(DescribedService(desired_count=0, running_count=0), [], False)
        service = self._service(self._name)
        # most looks end here, with one call
        if service.running_count < service.desired_count and not service.replaces_afterwards:
            return Seen(service, [], False)
        page = self._list(self._name)
        tasks, at = self._describe([self.task_arn, *(arn for arn in page if arn != self.task_arn)])
        return Seen(service, tasks, len(page) == PAGE, at)

    def _list(self, service: str) -> list[str]:
        """ARNs of tasks of the service that ECS means to keep, a page of them."""
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
        """Addresses and ids that Cloud Map lists as healthy; None where it does not or may not tell all of them."""
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
        except Denied as error:
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
