"""What the task metadata reports about containers that have stopped."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from task_helper.ecs.metadata import ContainerMetadata, Metadata, Stopped, TaskMetadata, stopped
from task_helper.http import Response
from task_helper.settings import Url
from task_helper.timing import now
from tests.helper import virtual


def at(second: float) -> datetime:
    return datetime.fromtimestamp(1_700_000_000 + second, timezone.utc)


def container(name: str = "app", **fields: Any) -> ContainerMetadata:
    """A container that stopped at 120, as its task did; the helper started at 100."""
    usual: dict[str, Any] = dict(
        type="NORMAL", desired_status="STOPPED", known_status="STOPPED", finished_at=at(120), restart_count=None
    )
    return ContainerMetadata(name=name, **usual | fields)


RUNNING: dict[str, Any] = dict(desired_status="RUNNING", known_status="RUNNING", finished_at=None)

HELPER = container("task-helper", **RUNNING)

# the containers | which have stopped for good
CONTAINERS: dict[str, tuple[list[ContainerMetadata], Stopped]] = {
    "the application": ([container("app"), container("envoy", **RUNNING)], Stopped((), ["app"])),
    "Envoy": ([container("app", **RUNNING), container("envoy"), HELPER], Stopped(["envoy"], [])),
    "both": ([container("app"), container("envoy")], Stopped(["envoy"], ["app"])),
    "the application and a sidecar": ([container("app"), container("agent"), HELPER], Stopped((), ["app", "agent"])),
    "a sidecar, which may be the application": (
        [container("agent"), container("app", **RUNNING), HELPER],
        Stopped((), []),
    ),
    "a sidecar has not started yet": (
        [container("app"), container("agent", known_status="CREATED", finished_at=None), HELPER],
        Stopped((), []),
    ),
    "nothing": ([container("app", **RUNNING), container("envoy", **RUNNING)], Stopped((), [])),
    "one of two Envoys": ([container("envoy-1"), container("envoy-2", **RUNNING)], Stopped((), [])),
    "an init container, before the helper came up": ([container("init", finished_at=at(99))], Stopped([], [])),
    "Envoy's own init container, before": (
        [container("envoy-init", finished_at=at(99)), container("envoy", **RUNNING)],
        Stopped((), []),
    ),
    "a container that ended just as the helper came up": ([container(finished_at=at(100))], Stopped([], ["app"])),
    "when is not known": ([container(finished_at=None)], Stopped([], [])),
    "the task's network": ([container(type="CNI_PAUSE")], Stopped([], [])),
    "it may be restarted": ([container(desired_status="RUNNING", restart_count=0)], Stopped([], [])),
    "it is not restarted, as the task stops": ([container(restart_count=3)], Stopped([], ["app"])),
    "it has no restart policy": ([container(desired_status="RUNNING")], Stopped([], ["app"])),
    "it was restarted, and runs": ([container(known_status="RUNNING", restart_count=1)], Stopped([], [])),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_stopped(name: str) -> None:
    """A container has stopped for good if it ran beside the helper and ECS does not restart it."""
    containers, expected = CONTAINERS[name]

    assert [list(each) for each in expected] == [
        list(each) for each in stopped(TaskMetadata(containers), at(100), HELPER.name)
    ]


@pytest.mark.parametrize("own", ["envoy-helper", None])
def test_helper_that_is_named_like_an_envoy(own: str | None) -> None:
    """A container that runs is the application's, for any name of the helper, also an unknown one."""
    beside = [container("envoy", **RUNNING), container("envoy-helper", **RUNNING), container("log-router")]
    task = TaskMetadata([container("app", **RUNNING), *beside])

    assert Stopped() == stopped(task, at(100), own)


def test_another_helper_serves_nothing() -> None:
    """The other helper of a chain is not the application, whether it runs or has stopped."""
    for other in (container("task-helper-2"), container("task-helper-2", **RUNNING)):
        beside = [container("envoy", **RUNNING), HELPER, other]

        crashed, well = TaskMetadata([container("app"), *beside]), TaskMetadata([container("app", **RUNNING), *beside])

        assert ["app"] == list(stopped(crashed, at(100), HELPER.name, "task-helper-2").others)
        assert [] == list(stopped(well, at(100), HELPER.name, "task-helper-2").others)


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("envoy", "x", True),
        ("proxy", "public.ecr.aws/appmesh/aws-appmesh-envoy:v1", True),
        ("consul-dataplane", "hashicorp/consul-dataplane:1", True),
        ("kuma-dp", "kong/kuma-dp:2", True),
        ("sidecar", "istio/proxyv2:1.27.0", True),
        ("app", "example/orders:3", False),
    ],
)
def test_is_envoy(name: str, image: str, expected: bool) -> None:
    """Envoy's container is known by its name or its image."""
    assert expected == ContainerMetadata(name=name, image=image).is_envoy


# recorded from the ECS agent 1.105.1: the file | which have stopped for good
RECORDED = {
    "helper-health-unknown": ([], []),
    "healthy": ([], []),
    "stopping": ([], []),
    "helper-restarted": ([], []),
    "helper-stopped": ([], ["app"]),
    "all-stopped": (["envoy"], ["app"]),
    "essential-sidecar-crashed": ([], []),
    "nonessential-sidecar-left-with-1": ([], []),
    "application-crashed": ([], ["app"]),
    "application-crashed-while-the-agent-was-down": ([], ["app"]),
    "envoy-crashed": (["envoy"], []),
    "sidecar-left-with-1": ([], []),
    "waiting-for-envoy": ([], []),
}


def metadata(answer: bytes, since: datetime, other_helper: str | None = None) -> Metadata:
    async def request(method: str, url: Url, target: str) -> Response:
        of_container = b'{"Name": "task-helper"}' if b'"Containers"' in answer else answer
        return Response(200, answer if target.endswith("/task") else of_container)

    return Metadata("http://169.254.170.2/v4/x", since, request, other_helper)


NAME = b'{"Name": "task-helper"}'


def recorded(name: str) -> bytes:
    return (Path(__file__).parents[2] / f"recorded/metadata/{name}.json").read_bytes()


@pytest.mark.parametrize("name", RECORDED)
def test_recorded(name: str) -> None:
    """The helper reads what the real agent reports at each stage."""
    answer = recorded(name)
    containers = json.loads(answer)["Containers"]
    began = [each["StartedAt"] for each in containers if each["Name"] == "task-helper"] or [containers[0]["StartedAt"]]

    found = asyncio.run(metadata(answer, datetime.fromisoformat(began[0][:26] + "+00:00")).stopped())

    assert RECORDED[name] == (list(found.envoys), list(found.others))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("stopping", ("RUNNING", None)), ("helper-stopped", ("STOPPED", 0)), ("envoy-crashed", None)],
)
def test_other_helper(name: str, expected: tuple[str, int | None] | None) -> None:
    """The agent reports the exit code of a helper that has exited; None if the task has no such container."""
    other = asyncio.run(metadata(recorded(name), at(0), "task-helper" if expected else "another").of_other_helper())

    assert expected == ((other.known_status, other.exit_code) if other else None)


@pytest.mark.parametrize(
    "answer", [b"<html>", b"{}", b'{"Containers": []}', b'{"Containers": [{"Name": "app", "KnownStatus": "STOPPED"}]}']
)
def test_other_helper_of_an_answer_that_does_not_cover_the_task(answer: bytes) -> None:
    """The helper that asks runs, so where nothing runs by the answer, the other one is unknown, not missing."""
    with pytest.raises(OSError, match="task metadata endpoint"):
        asyncio.run(metadata(answer, at(0), "task-helper-2").of_other_helper())


def test_other_helper_outside_ecs() -> None:
    """Without the endpoint the other helper is unknown."""
    with pytest.raises(OSError, match="is not set; ECS sets it"):
        asyncio.run(Metadata(None, at(0), other_helper="task-helper-2").of_other_helper())


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(b'{"RestartCount": 1}', True), (b'{"RestartCount": 0}', False), (b"{}", False), (b"<html>", None)],
)
def test_has_restarted(answer: bytes, expected: bool | None) -> None:
    """ECS counts restarts if there is a restart policy; without a valid answer it is unknown."""
    assert expected == asyncio.run(metadata(answer, at(0)).has_restarted())


@pytest.mark.parametrize(("name", "expected"), [("self-healthy", False), ("self-restarted", True)])
def test_recorded_restart(name: str, expected: bool) -> None:
    """The helper reads what the real agent reports about it before and after its restart."""
    answer = (Path(__file__).parents[2] / f"recorded/metadata/{name}.json").read_bytes()
    assert expected == asyncio.run(metadata(answer, at(0)).has_restarted())


def test_outside_ecs() -> None:
    """Without the endpoint no container is known to have stopped, and nothing restarts the helper."""
    nowhere = Metadata(None, at(0))

    assert ((), (), False) == (*asyncio.run(nowhere.stopped()), asyncio.run(nowhere.has_restarted()))


def calling(answer: Callable[[], Awaitable[Response]]) -> Metadata:
    """The endpoint that answers each call so."""

    async def request(method: str, url: Url, target: str) -> Response:
        return await answer() if target.endswith("/task") else Response(200, b'{"Name": "task-helper"}')

    return Metadata("http://169.254.170.2/v4/hunter2", at(0), request)


# how the endpoint takes a call | what is said of it
CAUSES: dict[str, tuple[Response | OSError | float, str]] = {
    "refuses": (ConnectionRefusedError(111, "Connect call failed"), "cannot be reached: Connect call failed"),
    "no HTTP": (ConnectionError("not an HTTP answer"), "cannot be reached: not an HTTP answer"),
    "slow": (2.5, "gave no answer within 2 s"),
    "too many calls": (Response(429, b"hunter2"), "answered 429: the task's containers call it too often"),
    "another status": (Response(500, b"hunter2"), "answered 500"),
    "no JSON": (Response(200, b"hunter2"), "answered with invalid JSON"),
    "other JSON": (Response(200, b'{"TaskARN": 5}'), "answered with invalid JSON"),
}


@pytest.mark.parametrize("name", CAUSES)
def test_causes_of_no_answer(name: str) -> None:
    """Each way in which the endpoint can fail has words of its own, which repeat nothing of its address or answer."""
    behaviour, words = CAUSES[name]

    async def answer() -> Response:
        if isinstance(behaviour, OSError):
            raise behaviour
        if isinstance(behaviour, Response):
            return behaviour
        await asyncio.sleep(behaviour)
        return Response(200, b"{}")

    async def ask() -> None:
        assert await calling(answer).task() is None
        await calling(answer).ask_for_task()

    with pytest.raises(OSError) as raised:
        virtual.run(ask())
    assert f"the task metadata endpoint {words}" == f"{raised.value}"


def test_slow_answer() -> None:
    """An answer that takes longer than half a second, as on a busy host, is waited for."""

    async def answer() -> Response:
        await asyncio.sleep(1.9)
        return Response(200, recorded("envoy-crashed"))

    assert ["envoy"] == virtual.run(calling(answer).stopped()).envoys


def test_one_reading_serves_all() -> None:
    """All calls within a second get the same reading, also one in progress; a later call gets another."""
    calls: list[float] = []

    async def answer() -> Response:
        calls.append(now())
        await asyncio.sleep(0.25)
        return Response(200, b"{}") if len(calls) < 3 else Response(200, recorded("envoy-crashed"))

    async def watch() -> None:
        endpoint = calling(answer)

        async def poll() -> None:
            while not (await endpoint.stopped()).envoys:
                await asyncio.sleep(0.5)

        await asyncio.gather(poll(), poll(), poll())

    virtual.run(watch())
    assert [0, 1.25, 2.5] == calls


@pytest.mark.parametrize(
    ("status", "others", "asked"), [(200, ["app"], 1), (500, [], 3)], ids=["its name is known", "it is unknown"]
)
def test_own_name(status: int, others: list[str], asked: int) -> None:
    """The helper asks for its own container's name until it knows the name; meanwhile any container may serve."""
    calls: list[str] = []

    async def request(method: str, url: Url, target: str) -> Response:
        calls.append(target)
        return Response(200, recorded("all-stopped")) if target.endswith("/task") else Response(status, NAME)

    async def ask() -> Stopped:
        subject = Metadata("http://169.254.170.2/v4/x", at(0), request)
        for _ in range(3):
            found = await subject.stopped()
            await asyncio.sleep(2)
        return found

    assert (["envoy"], others) == tuple(map(list, virtual.run(ask())))
    assert asked == calls.count("/v4/x")


@pytest.mark.parametrize(
    ("container", "desired", "expected"),
    [
        ({"Name": "consul-ecs-health-sync", "KnownStatus": "RUNNING"}, "STOPPED", True),
        ({"Name": "consul-ecs-health-sync", "KnownStatus": "RUNNING"}, "RUNNING", False),
        ({"Name": "consul-ecs-health-sync", "KnownStatus": "STOPPED"}, "STOPPED", False),
        ({"Name": "app", "KnownStatus": "RUNNING"}, "STOPPED", False),
        (None, "STOPPED", None),
    ],
)
def test_waits_for_envoy(container: dict[str, str] | None, desired: str, expected: bool | None) -> None:
    """Consul's health-sync waits for Envoy while it runs in a task that is to stop; no answer is unknown."""

    async def request(method: str, url: Url, target: str) -> Response:
        if container is None:
            return Response(500, b"")
        return Response(200, json.dumps({"DesiredStatus": desired, "Containers": [container]}).encode())

    metadata = Metadata("http://169.254.170.2/v4/x", at(100), request)

    assert expected is asyncio.run(metadata.waits_for_envoy())
