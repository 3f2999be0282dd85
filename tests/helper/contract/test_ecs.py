"""The helper's calls of ECS and Cloud Map, with the lab's API, and with moto's as a second implementation."""

import asyncio
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, tzinfo
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from botocore.session import Session

from lab.ecs import aws
from lab.ecs.cloud_map import Instance
from task_helper.ecs.api import DescribedService, DescribedTask, Ecs, Seen, look_of
from task_helper.ecs.client import AccessDenied, drop_variables_of_others
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


def one_look(ecs: Ecs, seen: Seen | None = None) -> tuple[Seen, Look]:
    """One look, at the listing alone of what was `seen` before."""
    seen = seen or ecs.see()
    return seen, look_of(ecs.task_arn, seen, ecs.listed(seen.service) if seen.tasks else None)


def test_look(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """A look sees the other task, its start, its health, and its listing in Cloud Map, which it finds itself."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        ecs = Ecs(aws.task_arn(OLD), "lab", None)
        _, first = one_look(ecs)
        in_cloud_map(api)[NEW] = Instance(NEW, "127.1.1.2", healthy=True)
        _, second = one_look(ecs)

        ((arn, age, healthy, listed),) = first.others
        assert (1, 1, aws.task_arn(NEW), True, False) == (first.tasks, first.desired, arn, healthy, listed)
        assert age is not None and age >= 0
        assert [True] == [other.listed for other in second.others]

    ask(tmp_path, questions)


def test_listing_only(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """While only the listing is missing, the helper does not call ECS."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        ecs = Ecs(aws.task_arn(OLD), "lab", None)
        seen, _ = one_look(ecs)
        api.faults["ecs"] = "denied"
        in_cloud_map(api)[NEW] = Instance(NEW, "127.1.1.2", healthy=True)

        assert [(aws.task_arn(NEW), True)] == [(other.arn, other.listed) for other in one_look(ecs, seen)[1].others]

    ask(tmp_path, questions)


def test_service_that_is_named(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """CLOUD_MAP_SERVICE names the service without looking for it."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        (other,) = one_look(Ecs(aws.task_arn(OLD), "lab", f"{aws.NAMESPACE}/{aws.SERVICE}"))[1].others
        assert other.listed is False

    ask(tmp_path, questions)


def test_region(environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper calls the task's own region, for any region in the application's environment variables."""
    environment("http://127.0.0.1:1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_REGION", "us-east-1")

    assert "eu-west-1" == Ecs("arn:aws:ecs:eu-west-1:123456789012:task/c/1", "c", None)._ecs.meta.region_name


def test_cloud_map_that_may_not_be_asked(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """If the role does not allow Cloud Map, the look leaves it out and does not call it again."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        ecs = Ecs(aws.task_arn(OLD), "lab", None)
        api.faults["servicediscovery"] = "denied"
        assert [None] == [other.listed for other in one_look(ecs)[1].others]
        api.faults["servicediscovery"] = "hanging"
        assert [None] == [other.listed for other in one_look(ecs)[1].others]

    ask(tmp_path, questions)


@pytest.mark.parametrize(
    ("api", "fault", "kind", "words"),
    [
        ("ecs", "throttled", OSError, "DescribeTasks: ThrottlingException"),
        ("ecs", "denied", AccessDenied, "DescribeTasks: AccessDeniedException"),
        ("ecs", "hanging", OSError, r"^DescribeTasks: no answer in time \(ReadTimeoutError\)$"),
        ("servicediscovery", "throttled", OSError, "GetService: RequestLimitExceeded"),
    ],
)
def test_faults(
    api: aws.Api,
    fault: aws.ApiFault,
    kind: type[OSError],
    words: str,
    tmp_path: Path,
    environment: Callable[[str], None],
) -> None:
    """Each kind of failure is an error with the failed call and its cause, within the call's timeout."""

    def questions(url: str, served: aws.Aws) -> None:
        environment(url)
        served.faults[api] = fault
        with pytest.raises(kind, match=words):
            one_look(Ecs(aws.task_arn(OLD), "lab", None))

    ask(tmp_path, questions)


def test_without_an_answer(environment: Callable[[str], None]) -> None:
    """An API that cannot be reached is an error, too."""
    environment("http://127.0.0.1:1")

    with pytest.raises(OSError, match=r"^DescribeTasks: could not connect \(EndpointConnectionError\)$"):
        one_look(Ecs(aws.task_arn(OLD), "lab", None))


def test_no_credentials(environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """A task without a role cannot look."""
    environment("http://127.0.0.1:1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    with pytest.raises(OSError, match="the task has no role and no other credentials"):
        one_look(Ecs(aws.task_arn(OLD), "lab", None))


def test_unknown_task_and_service(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """A task that ECS does not know is an error, not a task of no service."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        with pytest.raises(OSError, match="ECS does not know the task"):
            one_look(Ecs(aws.task_arn("f" * 32), "lab", None))

    ask(tmp_path, questions)


def test_looking_from_the_event_loop(
    tmp_path: Path, environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task is known from its metadata, and a look does not block the event loop."""
    ticked = threading.Event()
    listed = Ecs.listed

    def listed_after_a_tick(ecs: Ecs, service: DescribedService) -> set[str] | None:
        assert ticked.wait(60), "the event loop stands still"
        return listed(ecs, service)

    monkeypatch.setattr(Ecs, "listed", listed_after_a_tick)

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


@pytest.mark.parametrize(
    ("uri", "cause"),
    [
        (None, "^ECS_CONTAINER_METADATA_URI_V4 is not set; ECS sets it$"),
        ("http://127.0.0.1:1/v4/x", "^the task metadata endpoint cannot be reached: Connect call failed"),
    ],
)
def test_looking_without_metadata(uri: str | None, cause: str) -> None:
    """Without metadata there is nothing to look at."""
    with pytest.raises(OSError, match=cause):
        asyncio.run(looking(Metadata(uri, SINCE), None)(False))  # type: ignore[arg-type]


def test_looking_at_a_task_without_arn() -> None:
    """An answer of the metadata endpoint without the task's ARN is no fault of the helper."""
    with pytest.raises(OSError, match="^the task metadata endpoint does not report the task's ARN$"):
        Ecs("", "", None)


# A variable that is meant for the application, with a value that made botocore fail in the helper before.
OF_THE_APPLICATION = {
    "AWS_PROFILE": "orders",
    "AWS_DEFAULT_PROFILE": "orders",
    "AWS_CONFIG_FILE": "/app/aws.ini",
    "AWS_SHARED_CREDENTIALS_FILE": "/app/aws.ini",
    "AWS_ENDPOINT_URL": "localstack:4566",
    "AWS_RETRY_MODE": "eager",
    "AWS_MAX_ATTEMPTS": "many",
    "AWS_DEFAULTS_MODE": "fast",
    "AWS_STS_REGIONAL_ENDPOINTS": "none",
    "AWS_CA_BUNDLE": "/app/ca.pem",
    "REQUESTS_CA_BUNDLE": "/app/ca.pem",
    "AWS_DATA_PATH": "/app/models",
    "AWS_ROLE_ARN": "arn:aws:iam::1:role/orders",
    "AWS_WEB_IDENTITY_TOKEN_FILE": "/app/token",
    "AWS_METADATA_SERVICE_TIMEOUT": "soon",
    "AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES": "-1",
    "AWS_ACCOUNT_ID_ENDPOINT_MODE": "maybe",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "never",
}


@pytest.mark.parametrize("name", OF_THE_APPLICATION)
def test_variables_of_the_application(
    name: str, tmp_path: Path, environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable that is meant for the application's SDK does not keep the helper from seeing."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        monkeypatch.setenv(name, OF_THE_APPLICATION[name])
        _, look = one_look(Ecs(aws.task_arn(OLD), "lab", None))
        assert [aws.task_arn(NEW)] == [other.arn for other in look.others]

    ask(tmp_path, questions)


def test_variables_that_are_kept(tmp_path: Path) -> None:
    """The helper keeps ECS's variables for the task's role, those for the network, and a bundle in this container."""
    bundle = tmp_path / "ca.pem"
    bundle.touch()
    kept = {
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/x",
        "AWS_ENDPOINT_URL_ECS": "http://vpce",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_CA_BUNDLE": f"{bundle}",
        "HTTPS_PROXY": "http://proxy:3128",
        "PATH": "/bin",
    }
    environ = {**kept, "AWS_ACCESS_KEY_ID": "a", "AWS_REGION": "us-east-1", "AWS_PROFILE": "orders"}

    drop_variables_of_others(environ)

    assert {**kept, "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"} == environ


def test_keys_of_a_task_without_a_role() -> None:
    """If ECS gives the task no role, the helper uses the keys in the environment."""
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_SESSION_TOKEN": "c"}

    drop_variables_of_others(environ)

    assert {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"} < environ.keys()


# variables that are the helper's own, with values that botocore cannot use | what is said of it
UNUSABLE = {
    "endpoint": (
        {"AWS_ENDPOINT_URL_ECS": "ecs.hunter2:443"},
        r"^AWS's client: the call failed \(ValueError\)$",
    ),
    "a URL of credentials that is none": (
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://hunter2/credentials"},
        r"^AWS's client: the call failed \(ValueError\)$",
    ),
    "credentials that no endpoint provides": (
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/hunter2"},
        r"^AWS's client: the credentials of the task's role cannot be read \(CredentialRetrievalError\)$",
    ),
    "half of the keys": (
        {"AWS_ACCESS_KEY_ID": "hunter2", "AWS_SECRET_ACCESS_KEY": ""},
        r"^AWS's client: the credentials in the environment are not complete \(PartialCredentialsError\)$",
    ),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_setup_that_fails(name: str, environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients that cannot be set up are an error in the helper's own words, not a fault."""
    variables, cause = UNUSABLE[name]
    environment("http://127.0.0.1:1")
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setattr("botocore.utils.ContainerMetadataFetcher.SLEEP_TIME", 0.01)

    with pytest.raises(OSError, match=cause):
        Ecs(aws.task_arn(OLD), "lab", None)


def test_setup_is_tried_again(
    tmp_path: Path, environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look fails while the clients cannot be set up, and a later one sees."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)

        async def look_twice() -> Look:
            look = looking(Metadata(f"{url}/v4/{OLD}/helper", SINCE), None)
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", "without-scheme:443")
            with pytest.raises(OSError, match="AWS's client"):
                await look(False)
            monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", url)
            return await look(False)

        assert [aws.task_arn(NEW)] == [other.arn for other in asyncio.run(look_twice()).others]

    ask(tmp_path, questions)


@pytest.mark.parametrize("fault", ["throttled", "hanging", "denied"])
def test_cloud_map_that_fails(
    fault: aws.ApiFault, tmp_path: Path, environment: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    """ECS's answer about the tasks counts even if Cloud Map refuses or does not answer."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        api.faults["servicediscovery"] = fault

        async def look_twice() -> tuple[Look, Look]:
            look = looking(Metadata(f"{url}/v4/{OLD}/helper", SINCE), None)
            return await look(False), await look(False)

        for each in asyncio.run(look_twice()):
            ((arn, age, healthy, listed),) = each.others
            assert (aws.task_arn(NEW), True, None) == (arn, healthy, listed)
            assert age is not None and (fault != "denied") == each.listing_failed

    ask(tmp_path, questions)
    assert ["cloud_map_denied" if fault == "denied" else "cloud_map_unknown"] == [each.msg for each in caplog.records]


def test_last_listing_counts_while_cloud_map_fails(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """A task that Cloud Map did not list is not taken for one in service when Cloud Map fails later."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)

        async def look_twice() -> tuple[Look, Look]:
            look = looking(Metadata(f"{url}/v4/{OLD}/helper", SINCE), None)
            first = await look(False)
            api.faults["servicediscovery"] = "throttled"
            return first, await look(True)

        first, second = asyncio.run(look_twice())
        assert [False] == [other.listed for other in first.others] == [other.listed for other in second.others]
        assert (False, True) == (first.listing_failed, second.listing_failed)
        assert first.awaits_listing and not second.awaits_listing

    ask(tmp_path, questions)


@pytest.mark.parametrize("ahead", [-3600.0, 0.0, 240.0])
def test_clock_of_this_machine(
    ahead: float, tmp_path: Path, environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task's age is by AWS's clock, for any clock of this machine."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> "Clock":
            return cls.fromtimestamp(time.time() + ahead, tz)

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        monkeypatch.setattr("task_helper.ecs.client.datetime", Clock)
        ((_, age, _, _),) = one_look(Ecs(aws.task_arn(OLD), "lab", None))[1].others
        assert age is not None and age < 60

    ask(tmp_path, questions)


@pytest.mark.parametrize("body", [b"<html>no healthy upstream</html>", b"[]", b'"x"', b"{}", b'{"tasks": [{}]}'])
def test_another_program_answers(body: bytes, environment: Callable[[str], None]) -> None:
    """An answer that is not AWS's, such as a proxy's, is an error that repeats nothing of the answer."""

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        environment(f"http://127.0.0.1:{server.server_port}")
        try:
            with pytest.raises(OSError, match="^DescribeTasks: ") as raised:
                Ecs(aws.task_arn(OLD), "lab", None).see()
        finally:
            server.shutdown()
            thread.join()
    assert "healthy upstream" not in f"{raised.value}"


def test_look_that_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The late result of a look that timed out does not replace the result of a later look."""
    go_on, gave_up = threading.Event(), threading.Event()
    listed_of: list[object] = []
    names = iter(("given up", "new", "newer"))

    class SlowAtFirst:
        task_arn = ""

        def see(self) -> Seen:
            if (name := next(names)) == "given up":
                go_on.wait(60)
                gave_up.set()
            return Seen(DescribedService(1, 1), [DescribedTask(name)], False)

        def listed(self, service: object) -> None:
            listed_of.append(service)

    async def task() -> object:
        return object()

    async def look_three_times() -> list[int]:
        metadata = Metadata(None, SINCE)
        monkeypatch.setattr(metadata, "ask_for_task", task)
        look = looking(metadata, None)
        with pytest.raises(TimeoutError, match=r"^ECS gave no answer within 0.5 s$"):
            await look(False)
        await look(False)
        go_on.set()
        await asyncio.to_thread(gave_up.wait, 60)
        await look(True)
        return [len(listed_of), len([await look(False)])]

    seen: list[str] = []
    monkeypatch.setattr("task_helper.ecs.service._connect", lambda *_: SlowAtFirst())
    monkeypatch.setattr("task_helper.ecs.service._look_of", lambda ecs, of, *_: seen.append(of.tasks[0].task_arn))
    monkeypatch.setattr("task_helper.ecs.service.STEP_TIMEOUT", 0.5)
    assert [2, 1] == asyncio.run(look_three_times())

    assert ["new", "new", "newer"] == seen


def test_what_a_look_knows_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ARN, cluster and service come from the task's metadata, Cloud Map's service from the settings."""
    known: list[object] = []

    class Knowing:
        task_arn = ""

        def __init__(self, *facts: object) -> None:
            known.extend(facts)

        def see(self) -> Seen:
            return Seen(DescribedService(0, 0), [], False)

    async def task() -> TaskMetadata:
        return TaskMetadata(task_arn="arn:aws:ecs:eu-west-2:1:task/c/1", cluster="c", service_name="s")

    metadata = Metadata(None, SINCE)
    monkeypatch.setattr(metadata, "ask_for_task", task)
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
    """The helper also reads moto's answers: for a service with another task, and for a task of no service."""
    ecs = Session().create_client("ecs", region_name="eu-west-2", endpoint_url=moto)
    ec2 = Session().create_client("ec2", region_name="eu-west-2", endpoint_url=moto)
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

    _, look = one_look(Ecs(own["taskArn"], "c", None))
    assert (0, 0) == (look.tasks, look.desired)
    assert [alone["taskArn"]] == [other.arn for other in look.others]  # moto lists the whole cluster
    assert Look(0, 0, []) == one_look(Ecs(alone["taskArn"], "c", None))[1]


Change = Callable[[aws.Aws], None]


def look_at(change: Change, tmp_path: Path, environment: Callable[[str], None]) -> Look:
    """One look at the lab's service after a change of its API."""

    def questions(url: str, api: aws.Aws) -> Look:
        environment(url)
        change(api)
        return one_look(Ecs(aws.task_arn(OLD), "lab", None))[1]

    look: Look = ask(tmp_path, questions)
    return look


def service(**fields: object) -> Change:
    """A change after which DescribeServices answers this about the service."""

    def change(api: aws.Aws) -> None:
        answer = api._service() | fields
        setattr(api, "_describe_services", lambda asked: {"services": [answer] if fields else [], "failures": []})

    return change


def test_too_few_run(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """If fewer tasks run than are desired, the look makes no further calls."""
    assert Look(3, 3, []) == look_at(service(desiredCount=3, runningCount=2), tmp_path, environment)


def test_sample(tmp_path: Path, environment: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """If a service is larger than a page, each task of the page has to be in service."""
    monkeypatch.setattr("task_helper.ecs.api.PAGE", 1)

    look = look_at(service(desiredCount=40, runningCount=50), tmp_path, environment)

    assert (40, 1, 1) == (look.tasks, look.desired, len(look.others))


def test_more_instances_than_cloud_map_lists(tmp_path: Path, environment: Callable[[str], None]) -> None:
    """If Cloud Map does not list all instances, an instance that is not listed proves nothing."""
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
        (service(desiredCount=None, runningCount=1), "the answer does not match AWS's API"),
    ],
)
def test_odd_answers(change: Change, words: str, tmp_path: Path, environment: Callable[[str], None]) -> None:
    """Answers that the API's description does not promise are errors, not faults."""

    def questions(url: str, api: aws.Aws) -> None:
        environment(url)
        change(api)
        with pytest.raises(OSError, match=words):
            one_look(Ecs(aws.task_arn(OLD), "lab", None))

    ask(tmp_path, questions)
