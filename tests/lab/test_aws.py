"""The lab's metadata endpoint and its ECS and Cloud Map, as botocore and a task see them."""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.session
import pytest

from lab.ecs import aws
from lab.ecs.cloud_map import Instance
from lab.ecs.runtime import Runtime, Service
from lab.ecs.state import ContainerState, TaskState
from lab.parts.history import Recorder, Run, began_now
from lab.parts.processes import free_address
from lab.parts.serving import served

OLD, NEW = "0" * 32, "1" * 32


def ask(tmp_path: Path, questions: Callable[[str, aws.Aws], Any]) -> Any:
    """Serve a service in the middle of an update, and put questions, in a thread, to the given URL.

    One old task is stopping, its helper lives on; one new task is healthy for ECS, and not yet for Cloud Map.
    """

    async def serve() -> Any:
        record = Recorder(tmp_path / "record.jsonl", Run("", {}, "", "", "", {}, began_now()))
        address = free_address()
        async with asyncio.TaskGroup() as group:
            runtime = Runtime(Service(desired=1), lambda *_: [], tmp_path, record, group)
            runtime.update()
            runtime.tasks[OLD] = task(OLD, "127.1.1.1", "ecs-svc/1")
            runtime.tasks[NEW] = task(NEW, "127.1.1.2", "ecs-svc/2")
            runtime.stop_task(runtime.tasks[OLD], "ServiceSchedulerInitiated")
            api = aws.Aws(runtime, {NEW: Instance(NEW, "127.1.1.2", healthy=False)}, record)
            try:
                async with served(api.application(), address, aws.PORT):
                    return await asyncio.to_thread(questions, f"http://{address}:{aws.PORT}", api)
            finally:
                record.close()

    return asyncio.run(serve())


def in_cloud_map(api: aws.Aws) -> dict[str, Instance]:
    assert api.instances is not None
    return api.instances


def task(id: str, address: str, deployment: str) -> TaskState:
    """A task whose containers run, with a helper that has a health check."""
    containers = {name: ContainerState(name, status="RUNNING", started_at=1.0) for name in ("envoy", "application")}
    helper = ContainerState("helper", checked=True, status="RUNNING", health="HEALTHY", started_at=2.0)
    helper.reported_health, helper.restart_count = "HEALTHY", 0
    return TaskState(id, address, deployment, {**containers, "helper": helper})


def client(monkeypatch: pytest.MonkeyPatch, service: str, url: str, timeout: float = 60) -> Any:
    """A client of botocore as the helper's: endpoints from the environment, no retries."""
    for name, value in aws.environment(url).items():
        monkeypatch.setenv(name, value)
    config = botocore.config.Config(
        read_timeout=timeout, connect_timeout=timeout, retries={"total_max_attempts": 1}, proxies={}
    )
    return botocore.session.Session().create_client(service, region_name=aws.REGION, config=config)


def test_ecs_describes_an_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECS lists both deployments with their counts, the running tasks, and each task with health and stop code."""

    def questions(url: str, _: aws.Aws) -> None:
        ecs = client(monkeypatch, "ecs", url)
        (service,) = ecs.describe_services(cluster="lab", services=["shop"])["services"]
        assert [(each["status"], each["runningCount"]) for each in service["deployments"]] == [
            ("PRIMARY", 1),
            ("ACTIVE", 0),
        ]
        assert service["deployments"][0]["rolloutState"] == "IN_PROGRESS"
        assert service["serviceRegistries"][0]["registryArn"].endswith("service/srv-shop")
        running = ecs.list_tasks(cluster="lab", serviceName="shop", desiredStatus="RUNNING")["taskArns"]
        assert running == [aws.task_arn(NEW)]
        old, new = ecs.describe_tasks(cluster="lab", tasks=[OLD, aws.task_arn(NEW)])["tasks"]
        assert (old["lastStatus"], old["desiredStatus"], old["stopCode"], old["startedBy"]) == (
            "DEACTIVATING",
            "STOPPED",
            "ServiceSchedulerInitiated",
            "ecs-svc/1",
        )
        assert (new["lastStatus"], new["healthStatus"], new["startedBy"]) == ("RUNNING", "HEALTHY", "ecs-svc/2")
        assert new["containers"][0]["networkInterfaces"][0]["privateIpv4Address"] == "127.1.1.2"
        assert new["startedAt"] > new["createdAt"]

    ask(tmp_path, questions)


def test_ecs_answers_in_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ListTasks gives a token while there is more."""

    def questions(url: str, api: aws.Aws) -> None:
        api._runtime.tasks["2" * 32] = task("2" * 32, "127.1.1.3", "ecs-svc/2")
        pages = client(monkeypatch, "ecs", url).get_paginator("list_tasks")
        arns = pages.paginate(cluster="lab", serviceName="shop", PaginationConfig={"PageSize": 1})
        assert [page["taskArns"] for page in arns] == [[aws.task_arn(NEW)], [aws.task_arn("2" * 32)]]

    ask(tmp_path, questions)


def test_what_ecs_does_not_know_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unknown services and tasks are named under failures; an unknown cluster is an error."""

    def questions(url: str, _: aws.Aws) -> None:
        ecs = client(monkeypatch, "ecs", url)
        services = ecs.describe_services(cluster="lab", services=["other"])
        assert (services["services"], services["failures"][0]["reason"]) == ([], "MISSING")
        tasks = ecs.describe_tasks(cluster="lab", tasks=["9" * 32])
        assert (tasks["tasks"], tasks["failures"][0]["reason"]) == ([], "MISSING")
        with pytest.raises(ecs.exceptions.ClusterNotFoundException):
            ecs.list_tasks(cluster="other")

    ask(tmp_path, questions)


@pytest.mark.parametrize(
    ("healthy", "wanted", "count"),
    [(False, "HEALTHY", 0), (False, "ALL", 1), (False, "UNHEALTHY", 1), (True, "HEALTHY", 1), (True, "UNHEALTHY", 0)],
)
def test_cloud_map_discovers_by_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, healthy: bool, wanted: str, count: int
) -> None:
    """A service is found from its registry, and its instances by their health in Cloud Map."""

    def questions(url: str, api: aws.Aws) -> None:
        in_cloud_map(api)[NEW] = Instance(NEW, "127.1.1.2", healthy)
        cloud_map = client(monkeypatch, "servicediscovery", url)
        service = cloud_map.get_service(Id="srv-shop")["Service"]
        namespace = cloud_map.get_namespace(Id=service["NamespaceId"])["Namespace"]
        instances = cloud_map.discover_instances(
            NamespaceName=namespace["Name"], ServiceName=service["Name"], HealthStatus=wanted
        )["Instances"]
        assert [each["Attributes"]["AWS_INSTANCE_IPV4"] for each in instances] == ["127.1.1.2"] * count

    ask(tmp_path, questions)


def test_an_unknown_call_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the lab does not know is refused, call and parameter, never answered with nothing."""

    def questions(url: str, _: aws.Aws) -> None:
        ecs = client(monkeypatch, "ecs", url)
        with pytest.raises(botocore.exceptions.ClientError, match="UnknownOperationException.*ListClusters"):
            ecs.list_clusters()
        with pytest.raises(botocore.exceptions.ClientError, match="family"):
            ecs.list_tasks(cluster="lab", family="shop")

    ask(tmp_path, questions)


@pytest.mark.parametrize(
    ("service", "fault", "error"),
    [
        ("ecs", "throttled", "ThrottlingException"),
        ("ecs", "denied", "AccessDeniedException"),
        ("servicediscovery", "throttled", "RequestLimitExceeded"),
        ("servicediscovery", "denied", "AccessDeniedException"),
        ("ecs", "hanging", "Read timeout"),
    ],
)
def test_faults_on_demand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: aws.Api, fault: aws.ApiFault, error: str
) -> None:
    """Each API throttles with its own error, denies, or hangs, on demand."""

    def questions(url: str, api: aws.Aws) -> None:
        api.faults[service] = fault
        aws_client = client(monkeypatch, service, url, timeout=0.5 if fault == "hanging" else 60)
        with pytest.raises((botocore.exceptions.ClientError, botocore.exceptions.ReadTimeoutError), match=error):
            aws_client.list_tasks(cluster="lab") if service == "ecs" else aws_client.get_service(Id="srv-shop")

    ask(tmp_path, questions)


def test_ecs_describes_what_the_agent_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DescribeTasks shows state, health and exit code after the agent's report; the metadata show them before."""

    def questions(url: str, api: aws.Aws) -> None:
        task = api._runtime.tasks[NEW]
        application = task.containers["application"]
        application.reported_status, application.reported_health = "RUNNING", "HEALTHY"
        application.status, application.health, application.exit_code = "STOPPED", "UNHEALTHY", 1
        ecs = client(monkeypatch, "ecs", url)
        names = ("lastStatus", "healthStatus", "exitCode")

        def described() -> list[Any]:
            (task,) = ecs.describe_tasks(cluster="lab", tasks=[NEW])["tasks"]
            (container,) = [each for each in task["containers"] if each["name"] == "application"]
            return [container.get(name) for name in names]

        assert described() == ["RUNNING", "HEALTHY", None]
        application.reported_status, application.reported_health = "STOPPED", "UNHEALTHY"
        assert described() == ["STOPPED", "UNHEALTHY", 1]

    ask(tmp_path, questions)


def test_the_metadata_have_no_answer_while_the_agent_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ends without an answer, and ECS's own API answers on."""

    def questions(url: str, api: aws.Aws) -> None:
        monkeypatch.setattr(api._runtime, "has_agent", lambda task: False)
        with pytest.raises(OSError):
            urllib.request.urlopen(f"{url}/v4/{OLD}/helper/task", timeout=10)
        assert client(monkeypatch, "ecs", url).describe_tasks(cluster="lab", tasks=[NEW])["tasks"]

    ask(tmp_path, questions)


def test_task_metadata(tmp_path: Path) -> None:
    """The metadata endpoint has the task's ARN, the status that ECS wants, and each container's state and health."""

    def questions(url: str, api: aws.Aws) -> None:
        def get(path: str) -> Any:
            with urllib.request.urlopen(f"{url}/v4/{path}", timeout=10) as answer:
                return json.load(answer)

        whole = get(f"{OLD}/helper/task")
        assert (whole["TaskARN"], whole["ServiceName"]) == (aws.task_arn(OLD), "shop")
        assert (whole["DesiredStatus"], whole["KnownStatus"]) == ("STOPPED", "RUNNING")
        assert "ExecutionStoppedAt" not in whole
        states = {each["Name"]: (each["KnownStatus"], each.get("Health")) for each in whole["Containers"]}
        assert states == {
            "envoy": ("RUNNING", None),
            "application": ("RUNNING", None),
            "helper": ("RUNNING", {"status": "HEALTHY"}),
        }
        assert get(f"{OLD}/helper")["Name"] == "helper"

        application = api._runtime.tasks[OLD].containers["application"]
        application.status, application.finished_at, application.exit_code = "STOPPED", 5.0, 137
        application.noticed_at = 5.1
        whole = get(f"{OLD}/helper/task")
        assert "ExecutionStoppedAt" in whole
        (stopped,) = [each for each in whole["Containers"] if each["KnownStatus"] == "STOPPED"]
        assert (stopped["Name"], stopped["ExitCode"]) == ("application", 137)

        with pytest.raises(urllib.error.HTTPError, match="404"):
            get("unknown/helper/task")

    ask(tmp_path, questions)
