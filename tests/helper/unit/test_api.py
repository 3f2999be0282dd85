"""How the tasks that ECS describes look to the judgement."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.stub import Stubber

from task_helper.ecs.api import (
    Attachment,
    DeploymentConfiguration,
    DescribedContainer,
    DescribedService,
    DescribedTask,
    Detail,
    Ecs,
    Seen,
    look_of,
    others_of,
    wanted,
)
from task_helper.ecs.client import AccessDenied
from task_helper.ecs.replacement import Look, Other

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def task(
    arn: str, *, health: str = "UNKNOWN", last: str = "RUNNING", desired: str = "RUNNING", **containers: str
) -> DescribedTask:
    return DescribedTask(
        task_arn=f"arn:task/{arn}",
        last_status=last,
        desired_status=desired,
        health_status=health,
        started_at=NOW - timedelta(seconds=30) if last == "RUNNING" else None,
        containers=[DescribedContainer(name, status) for name, status in containers.items()],
        attachments=[Attachment([Detail("privateIPv4Address", f"10.0.0.{arn}")])],
    )


OWN = task("1", desired="STOPPED", helper="HEALTHY", app="UNKNOWN")


@pytest.mark.parametrize(
    ("other", "healthy"),
    [
        (task("2", helper="HEALTHY", app="UNKNOWN"), True),
        (task("2", helper="UNKNOWN", app="UNKNOWN"), False),
        (task("2", helper="UNHEALTHY", app="UNKNOWN"), False),
        (task("2", helper="HEALTHY", app="UNHEALTHY", health="HEALTHY"), True),
        (task("2", helper="HEALTHY", health="UNHEALTHY"), False),
        (task("2", renamed_helper="UNKNOWN", renamed_app="UNKNOWN"), False),
        (task("2", renamed_helper="HEALTHY", renamed_app="UNKNOWN"), True),
    ],
)
def test_health(other: DescribedTask, healthy: bool) -> None:
    """A task is healthy if every container is that is healthy anywhere in the service, unless ECS reports otherwise."""
    assert [healthy] == [each.healthy for each in others_of(OWN.task_arn, [OWN, other], None, NOW)]


def test_no_container_reports_health() -> None:
    """If no container reports health, the health of tasks is unknown."""
    own, other = task("1", app="UNKNOWN"), task("2", app="UNKNOWN")

    assert [Other("arn:task/2", 30, None, None)] == others_of(own.task_arn, [own, other], None, NOW)


def test_counted_tasks() -> None:
    """This task and those that ECS is stopping do not count; those that do not run yet have no age."""
    stopping, pending = task("2", desired="STOPPED"), task("3", last="PENDING")

    assert [("arn:task/3", None)] == [
        (each.arn, each.age) for each in others_of(OWN.task_arn, [OWN, stopping, pending], None, NOW)
    ]


@pytest.mark.parametrize(
    ("listed", "expected"), [(set(), False), ({"10.0.0.2"}, True), ({"2"}, True), ({"10.0.0.1"}, False)]
)
def test_listed(listed: set[str], expected: bool) -> None:
    """Cloud Map knows a task by its address, or by the end of its ARN."""
    assert [expected] == [each.listed for each in others_of(OWN.task_arn, [task("2")], listed, NOW)]


@pytest.mark.parametrize(
    ("last", "started", "age"),
    [("RUNNING", 30, 30), ("RUNNING", 0.5, 0.5), ("RUNNING", -2, 0), ("RUNNING", None, None), ("PENDING", 30, None)],
)
def test_age(last: str, started: float | None, age: float | None) -> None:
    """A task's age is its running time, by clocks that may differ; a task that does not run has no age."""
    started_at = None if started is None else NOW - timedelta(seconds=started)

    assert age == DescribedTask(task_arn="t", last_status=last, started_at=started_at).age(NOW)


# the service | whether its page of tasks is full | other tasks seen | how many of these have to be in service
WANTED: dict[str, tuple[DescribedService, bool, int, int]] = {
    "as many as are desired": (DescribedService(4, 5), False, 4, 4),
    "fewer are seen than are desired": (DescribedService(4, 5), False, 3, 4),
    "a scale-in": (DescribedService(3, 4), False, 3, 3),
    "a sample: each of it, whatever runningCount says": (DescribedService(1000, 1100), True, 98, 98),
    "a sample that is larger than what is desired": (DescribedService(50, 150), True, 98, 50),
    "a daemon: its host has no other": (DescribedService(4, 4, scheduling_strategy="DAEMON"), False, 3, 3),
    "no room for more than are desired": (
        DescribedService(4, 4, deployment_configuration=DeploymentConfiguration(100)),
        False,
        2,
        2,
    ),
    "no room for a second": (
        DescribedService(1, 1, deployment_configuration=DeploymentConfiguration(100)),
        False,
        0,
        0,
    ),
    "room for one more": (DescribedService(1, 1, deployment_configuration=DeploymentConfiguration(200)), False, 0, 1),
}


@pytest.mark.parametrize("name", WANTED)
def test_wanted(name: str) -> None:
    """As many others as are desired have to be in service, or all of them if so many cannot run or be seen."""
    service, page_is_full, others, expected = WANTED[name]

    assert expected == wanted(Seen(service, [], page_is_full), others)


# the calls of AWS one by one, with botocore's own stubs

ARN = "arn:aws:ecs:eu-west-1:123456789012:task/c/1"
OTHER = "arn:aws:ecs:eu-west-1:123456789012:task/c/2"
SERVICE = {"desiredCount": 1, "runningCount": 2, "serviceRegistries": [{"registryArn": "arn:x:service/srv-1"}]}
SEEN_TASKS: list[dict[str, Any]] = [
    {"taskArn": ARN, "group": "service:s", "lastStatus": "RUNNING", "desiredStatus": "STOPPED"},
    {
        "taskArn": OTHER,
        "group": "service:s",
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "startedAt": NOW,
        "attachments": [{"details": [{"name": "privateIPv4Address", "value": "10.0.0.2"}]}],
    },
]


class Stubbed:
    """An `Ecs` whose calls are expected, in their order, and answered."""

    def __init__(self, *, cloud_map_service: str | None = None, service: str = "") -> None:
        self.ecs = Ecs(ARN, "c", cloud_map_service, service)
        self._stubs = {"ecs": Stubber(self.ecs._ecs), "cloud map": Stubber(self.ecs._cloud_map)}

    def expect(self, of: str, call: str, answer: dict[str, Any], **asked: Any) -> "Stubbed":
        self._stubs[of].add_response(call, answer, asked)
        return self

    def expect_refusal(self, of: str, call: str, code: str) -> "Stubbed":
        self._stubs[of].add_client_error(call, code)
        return self

    def expect_service(self) -> "Stubbed":
        self.expect("ecs", "describe_services", {"services": [SERVICE]}, cluster="c", services=["s"])
        page = {"cluster": "c", "serviceName": "s", "desiredStatus": "RUNNING", "maxResults": 99}
        self.expect("ecs", "list_tasks", {"taskArns": [OTHER]}, **page)
        return self.expect("ecs", "describe_tasks", {"tasks": SEEN_TASKS}, cluster="c", tasks=[ARN, OTHER])

    def look(self) -> Look:
        for stub in self._stubs.values():
            stub.activate()
        seen = self.ecs.see()
        look = look_of(ARN, seen, self.ecs.listed(seen.service) if seen.tasks else None)
        for stub in self._stubs.values():
            stub.assert_no_pending_responses()
        return look


def instance(id: str, **attributes: str) -> dict[str, Any]:
    return {
        "InstanceId": id,
        "NamespaceName": "n",
        "ServiceName": "m",
        "HealthStatus": "HEALTHY",
        "Attributes": attributes,
    }


DISCOVER = {"NamespaceName": "n", "ServiceName": "m", "HealthStatus": "HEALTHY", "MaxResults": 1000}


def test_task_of_no_service() -> None:
    """A task that no service has started has no others, and the helper makes no further calls."""
    stubbed = Stubbed()
    stubbed.expect(
        "ecs", "describe_tasks", {"tasks": [{"taskArn": ARN, "group": "family:f"}]}, cluster="c", tasks=[ARN]
    )

    assert Look(0, 0, []) == stubbed.look()
    assert Look(0, 0, []) == stubbed.look(), "and it is not asked for itself again"


def test_service_that_the_metadata_names() -> None:
    """If the metadata names the service, the helper does not call ECS for it."""
    discovered: dict[str, Any] = {"Instances": []}
    look = (
        Stubbed(cloud_map_service="n/m", service="s")
        .expect_service()
        .expect("cloud map", "discover_instances", discovered, **DISCOVER)
        .look()
    )

    assert (1, 1, [(OTHER, False)]) == (look.tasks, look.desired, [(each.arn, each.listed) for each in look.others])


def test_every_call_is_bounded() -> None:
    """A call times out after seconds, and is not repeated: the next look is."""
    ecs = Ecs(ARN, "c", None)

    for client in (ecs._ecs, ecs._cloud_map):
        config = client.meta.config
        assert (2, 3, 1) == (config.connect_timeout, config.read_timeout, config.retries["total_max_attempts"])


def test_own_task_does_not_count_before_ecs_stops_it() -> None:
    """A SIGTERM may come before ECS's own word of it, or without one: this task is no replacement of itself."""
    stubbed = Stubbed(service="s")
    own = SEEN_TASKS[0] | {"desiredStatus": "RUNNING"}
    service = {**SERVICE, "serviceRegistries": []}
    stubbed.expect("ecs", "describe_services", {"services": [service]}, cluster="c", services=["s"])
    page = {"cluster": "c", "serviceName": "s", "desiredStatus": "RUNNING", "maxResults": 99}
    stubbed.expect("ecs", "list_tasks", {"taskArns": [ARN, OTHER]}, **page)
    stubbed.expect("ecs", "describe_tasks", {"tasks": [own, SEEN_TASKS[1]]}, cluster="c", tasks=[ARN, OTHER])

    assert [OTHER] == [each.arn for each in stubbed.look().others]


def test_no_listing_is_asked_while_tasks_are_missing() -> None:
    """If ECS counts too few tasks, the helper does not query which of them downstreams know."""
    stubbed = Stubbed(cloud_map_service="n/m", service="s")
    few = {**SERVICE, "runningCount": 0}
    stubbed.expect("ecs", "describe_services", {"services": [few]}, cluster="c", services=["s"])

    assert Look(1, 1, []) == stubbed.look()


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        (instance("2"), True),
        (instance("x", AWS_INSTANCE_IPV4="10.0.0.2"), True),
        (instance("x", AWS_INSTANCE_IPV6="10.0.0.2"), True),
        (instance("x", OTHER="10.0.0.2"), False),
    ],
)
def test_what_an_instance_is_known_by(listed: dict[str, Any], expected: bool) -> None:
    """Cloud Map's instance is the task that has its id or one of its addresses."""
    stubbed = Stubbed(cloud_map_service="n/m", service="s").expect_service()
    stubbed.expect("cloud map", "discover_instances", {"Instances": [listed]}, **DISCOVER)

    assert [expected] == [each.listed for each in stubbed.look().others]


def test_cloud_map_service_that_is_found() -> None:
    """The service's registry leads to its names in Cloud Map."""
    stubbed = Stubbed(service="s").expect_service()
    stubbed.expect("cloud map", "get_service", {"Service": {"Name": "m", "NamespaceId": "ns-1"}}, Id="srv-1")
    stubbed.expect("cloud map", "get_namespace", {"Namespace": {"Name": "n"}}, Id="ns-1")
    stubbed.expect("cloud map", "discover_instances", {"Instances": [instance("2")]}, **DISCOVER)

    assert [True] == [each.listed for each in stubbed.look().others]


@pytest.mark.parametrize("code", ["AccessDeniedException", "AccessDenied"])
def test_cloud_map_that_denies(code: str, caplog: pytest.LogCaptureFixture) -> None:
    """A denied call is logged once, and not repeated."""
    stubbed = Stubbed(cloud_map_service="n/m", service="s").expect_service()
    stubbed.expect_refusal("cloud map", "discover_instances", code)

    assert [None] == [each.listed for each in stubbed.look().others]
    assert [{"cause": f"DiscoverInstances: {code}"}] == [getattr(record, "fields") for record in caplog.records]
    assert [None] == [each.listed for each in stubbed.expect_service().look().others]


@pytest.mark.parametrize(("code", "denied"), [("ThrottlingException", False), ("AccessDenied", True)])
def test_ecs_that_refuses(code: str, denied: bool) -> None:
    """The error of a refusal names its call and its code."""
    with pytest.raises(OSError, match=f"^DescribeServices: {code}$") as raised:
        Stubbed(service="s").expect_refusal("ecs", "describe_services", code).look()

    assert denied == isinstance(raised.value, AccessDenied)


def test_task_that_ecs_does_not_know() -> None:
    """A task that ECS does not know is an error in words."""
    stubbed = Stubbed()
    stubbed.expect("ecs", "describe_tasks", {"tasks": []}, cluster="c", tasks=[ARN])

    with pytest.raises(OSError, match="^DescribeTasks: ECS does not know the task$"):
        stubbed.look()
