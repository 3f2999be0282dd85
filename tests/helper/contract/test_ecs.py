"""What the helper asks of ECS and Cloud Map, against the lab's API, and against moto's as a second opinion."""

import asyncio
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from lab.ecs import aws
from lab.ecs.cloud_map import Instance
from task_helper.ecs.api import Denied, Ecs, Seen
from task_helper.ecs.metadata import Metadata, TaskMetadata
from task_helper.ecs.replacement import Look
from task_helper.ecs.service import looking
from tests.helper.fakes import SINCE
from tests.lab.test_aws import NEW, OLD, ask, in_cloud_map


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes the API at a URL the one that botocore finds."""

    def point_to(url: str) -> None:
        for name, value in {**aws.environment(url), "NO_PROXY": "*"}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("AWS_REGION", raising=False)
        monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)

    return point_to


def test_look(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """A look sees the other task, since when it runs, its health, and what Cloud Map says of it, found by itself."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        ecs = Ecs(aws.task_arn(OLD), "lab", None)
        _, first = ecs.look()
        in_cloud_map(api)[NEW] = Instance(NEW, "127.1.1.2", healthy=True)
        _, second = ecs.look()

        ((arn, age, healthy, listed),) = first.others
        assert (1, 1, aws.task_arn(NEW), True, False) == (first.tasks, first.desired, arn, healthy, listed)
        assert age is not None and age >= 0
        assert [True] == [other.listed for other in second.others]

    ask(tmp_path, questions)


def test_listing_only(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """While only the listing is awaited, ECS is not asked."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        ecs = Ecs(aws.task_arn(OLD), "lab", None)
        seen, _ = ecs.look()
        api.faults["ecs"] = "denied"
        in_cloud_map(api)[NEW] = Instance(NEW, "127.1.1.2", healthy=True)

        assert [(aws.task_arn(NEW), True)] == [(other.arn, other.listed) for other in ecs.look(seen)[1].others]

    ask(tmp_path, questions)


def test_service_that_is_named(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """CLOUD_MAP_SERVICE names the service without looking for it."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        (other,) = Ecs(aws.task_arn(OLD), "lab", f"{aws.NAMESPACE}/{aws.SERVICE}").look()[1].others
        assert other.listed is False

    ask(tmp_path, questions)


def test_region(environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The task's own region is asked, whatever the environment says for the application."""
    environment("http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    assert "eu-west-1" == Ecs("arn:aws:ecs:eu-west-1:123456789012:task/c/1", "c", None)._ecs.meta.region_name


def test_cloud_map_that_may_not_be_asked(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """Where the role does not allow Cloud Map the look goes without, and does not ask again."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        ecs = Ecs(aws.task_arn(OLD), "lab", None)
        api.faults["servicediscovery"] = "denied"
        assert [None] == [other.listed for other in ecs.look()[1].others]
        api.faults["servicediscovery"] = "hanging"
        assert [None] == [other.listed for other in ecs.look()[1].others]

    ask(tmp_path, questions)


@pytest.mark.parametrize(
    ("api", "fault", "kind", "words"),
    [
        ("ecs", "throttled", OSError, "DescribeTasks: ThrottlingException"),
        ("ecs", "denied", Denied, "DescribeTasks: AccessDeniedException"),
        ("ecs", "hanging", OSError, "Read timeout"),
        ("servicediscovery", "throttled", OSError, "GetService: RequestLimitExceeded"),
    ],
)
def test_faults(
    api: aws.Api, fault: aws.Fault, kind: type[OSError], words: str, tmp_path: Path, environment: Callable[[str], None]
) -> None:
    """Each way of failing is an error that says which call failed and why, within the call's bound."""

    def questions(url: str, served: aws.Aws) -> None:
        environment(url)
        served.faults[api] = fault
        with pytest.raises(kind, match=words):
            Ecs(aws.task_arn(OLD), "lab", None).look()

    ask(tmp_path, questions)


def test_nobody_answers(environment: Callable[[str], None]) -> None:
    """An API that cannot be reached is an error, too."""
    environment("http://127.0.0.1:1")

    with pytest.raises(OSError, match="Could not connect"):
        Ecs(aws.task_arn(OLD), "lab", None).look()


def test_no_credentials(environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A task without a role cannot look."""
    environment("http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")

    with pytest.raises(OSError, match="Unable to locate credentials"):
        Ecs(aws.task_arn(OLD), "lab", None).look()


def test_unknown_task_and_service(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """A task that ECS does not know is an error, not a task of no service."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        with pytest.raises(OSError, match="ECS does not know the task"):
            Ecs(aws.task_arn("f" * 32), "lab", None).look()

    ask(tmp_path, questions)


def test_looking_from_the_event_loop(
    tmp_path: Path, environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is known from its metadata, and a look does not block the event loop."""
    ticked = threading.Event()
    look_itself = Ecs.look

    def look_after_a_tick(ecs: Ecs, seen: Seen | None = None) -> tuple[Seen, Look]:
        assert ticked.wait(60), "the event loop stands still"
        return look_itself(ecs, seen)

    monkeypatch.setattr(Ecs, "look", look_after_a_tick)

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)

        async def look_twice() -> tuple[Look, Look]:
            look = looking(Metadata(f"{url}/v4/{OLD}/helper", SINCE), None)

            async def tick() -> None:
                while True:
                    await asyncio.sleep(0.001)
                    ticked.set()

            ticking = asyncio.create_task(tick())
            first = await look(False)
            ticked.clear()
            second = await look(True)
            ticking.cancel()
            return first, second

        first, second = asyncio.run(look_twice())
        assert first.others[0].arn == second.others[0].arn == aws.task_arn(NEW)

    ask(tmp_path, questions)


@pytest.mark.parametrize("uri", [None, "http://127.0.0.1:1/v4/x"])
def test_looking_without_metadata(uri: str | None) -> None:
    """Without metadata there is nothing to look at."""
    with pytest.raises(OSError, match="no answer from the task metadata endpoint"):
        asyncio.run(looking(Metadata(uri, SINCE), None)(False))  # type: ignore[arg-type]


def test_look_that_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a look finds that was given up for its slowness does not take the place of what a later one has found."""
    go_on, gone_on = threading.Event(), threading.Event()
    listed_of: list[object] = []

    class SlowAtFirst:
        def look(self, seen: object) -> tuple[object, Look]:
            listed_of.append(seen)
            if len(listed_of) == 1:
                go_on.wait(60)
                gone_on.set()
                return "old", Look(1, 1, [])
            return "new", Look(2, 2, [])

    async def task() -> object:
        return object()

    async def look_three_times() -> None:
        metadata = Metadata(None, SINCE)
        monkeypatch.setattr(metadata, "task", task)
        look = looking(metadata, None)
        with pytest.raises(TimeoutError):
            await look(False)
        await look(False)
        go_on.set()
        await asyncio.to_thread(gone_on.wait, 60)
        await look(True)
        await look(False)

    monkeypatch.setattr("task_helper.ecs.service._connect", lambda *_: SlowAtFirst())
    monkeypatch.setattr("task_helper.ecs.service.LOOK_TIMEOUT", 0.5)
    asyncio.run(look_three_times())

    assert [None, None, "new", None] == listed_of


def test_what_a_look_knows_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ARN, cluster and service come from the task's metadata, Cloud Map's service from the settings."""
    known: list[object] = []

    class Knowing:
        def __init__(self, *facts: object) -> None:
            known.extend(facts)

        def look(self, seen: object) -> tuple[object, Look]:
            return None, Look(0, 0, [])

    async def task() -> TaskMetadata:
        return TaskMetadata(task_arn="arn:aws:ecs:eu-west-2:1:task/c/1", cluster="c", service_name="s")

    metadata = Metadata(None, SINCE)
    monkeypatch.setattr(metadata, "task", task)
    monkeypatch.setattr("task_helper.ecs.api.Ecs", Knowing)
    asyncio.run(looking(metadata, "n/s")(False))  # type: ignore[arg-type]

    assert ["arn:aws:ecs:eu-west-2:1:task/c/1", "c", "n/s", "s"] == known


@pytest.fixture
def moto(environment: Callable[[str], None]) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment(f"http://{host}:{port}")
    yield f"http://{host}:{port}"
    server.stop()
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{host}:{port}")


@pytest.mark.slow
def test_a_second_opinion_of_the_protocol(moto: str) -> None:
    """What moto makes of the same calls is understood too: a service with another task, and a task of no service."""
    ecs = Session().create_client("ecs", region_name="eu-west-2")
    ec2 = Session().create_client("ec2", region_name="eu-west-2")
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    network: Any = {"awsvpcConfiguration": {"subnets": [subnet], "securityGroups": []}}
    ecs.create_cluster(clusterName="c")
    ecs.register_task_definition(
        family="f", networkMode="awsvpc", containerDefinitions=[{"name": "app", "image": "i", "memory": 64}]
    )
    task = {"cluster": "c", "taskDefinition": "f", "launchType": "FARGATE", "networkConfiguration": network}
    ecs.create_service(serviceName="s", desiredCount=0, **task)
    (own,) = ecs.run_task(**task, group="service:s")["tasks"]
    (alone,) = ecs.run_task(**task)["tasks"]

    _, look = Ecs(own["taskArn"], "c", None).look()
    assert (0, 0) == (look.tasks, look.desired)
    assert [alone["taskArn"]] == [other.arn for other in look.others]  # moto lists the whole cluster
    assert Look(0, 0, []) == Ecs(alone["taskArn"], "c", None).look()[1]


Change = Callable[[aws.Aws], None]


def look_at(change: Change, tmp_path: Path, environment: Callable[[str], None]) -> Look:
    """One look at the lab's service after a change of its API."""

    def questions(url: str, api: aws.Aws) -> Look:
        environment(url)
        change(api)
        return Ecs(aws.task_arn(OLD), "lab", None).look()[1]

    look: Look = ask(tmp_path, questions)
    return look


def service(**fields: object) -> Change:
    """A change after which DescribeServices says this of the service."""

    def change(api: aws.Aws) -> None:
        answer = api._service() | fields
        setattr(api, "_describe_services", lambda asked: {"services": [answer] if fields else [], "failures": []})

    return change


def test_too_few_run(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """Where fewer run than are desired, the look asks no further."""
    assert Look(3, 3, []) == look_at(service(desiredCount=3, runningCount=2), tmp_path, environment)


def test_sample(tmp_path: Path, environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a service that is larger than a page, each task of the page has to be there."""
    monkeypatch.setattr("task_helper.ecs.api.PAGE", 1)

    look = look_at(service(desiredCount=40, runningCount=50), tmp_path, environment)

    assert (40, 1, 1) == (look.tasks, look.desired, len(look.others))


def test_more_instances_than_cloud_map_lists(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """Where Cloud Map does not list all instances, what it does not list tells nothing."""
    instance = {
        "InstanceId": "i",
        "NamespaceName": "n",
        "ServiceName": "s",
        "HealthStatus": "HEALTHY",
        "Attributes": {},
    }

    def change(api: aws.Aws) -> None:
        setattr(api, "_discover_instances", lambda asked: {"Instances": [instance] * 1000})

    assert [None] == [other.listed for other in look_at(change, tmp_path, environment).others]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (service(), "ECS does not know the service shop"),
        (service(desiredCount=None, runningCount=1), "AWS answered what its API does not say"),
    ],
)
def test_odd_answers(change: Change, words: str, tmp_path: Path, environment: Callable[[str], None]) -> None:
    """Answers that the API's description does not promise are errors, not faults."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        change(api)
        with pytest.raises(OSError, match=words):
            Ecs(aws.task_arn(OLD), "lab", None).look()

    ask(tmp_path, questions)
