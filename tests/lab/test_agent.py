"""The ECS agent in the lab does and says what the real one did and said: `tests/recorded/metadata`, agent 1.105.1.

The tests judge its order and its times in virtual time, to the hundredth.

Four tests of the agent and the runtime use real shells, each for what no table in memory proves:

- `test_documents_of_a_life`: three processes start, become healthy and stop in order
- `test_documents_of_a_restart_in_place`: a killed process gets a successor in its container
- `test_a_container_is_stopped_with_the_signal_of_its_image`, in `test_runtime.py`: the kernel ends a process
- `test_a_container_whose_output_is_not_read_blocks`, in `test_runtime.py`: the kernel fills a pipe

`test_programs.py` checks with real shells that the table behaves as they do.
"""

import asyncio
import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lab.ecs.aws import task_metadata
from lab.ecs.runtime import ContainerSpec, Runtime
from tests.lab.playing import (
    EXACT,
    SERVICE,
    Play,
    Program,
    container,
    events_of,
    play,
    play_virtually,
    scale_to_none,
    times_of,
    until,
)

RECORDED = Path(__file__).parents[1] / "recorded" / "metadata"
# what the containers of the recorded tasks are called here
NAMES = {"app": "application", "task-helper": "helper"}
# whose value is of interest; of all else the type is
STATUSES = ("DesiredStatus", "KnownStatus", "ExitCode", "RestartCount", "Type", "status", "exitCode")


def structure(answer: Any) -> Any:
    """A document without what differs from task to task: statuses stay, other values become their types."""
    if isinstance(answer, list):
        shapes = [structure(each) for each in answer]
        return sorted(shapes, key=str) if shapes and isinstance(shapes[0], dict) else shapes
    if not isinstance(answer, dict):
        return type(answer).__name__
    name = {"Name": NAMES.get(answer["Name"], answer["Name"])} if "Name" in answer else {}
    statuses = {key: value for key, value in answer.items() if key in STATUSES}
    # an image may bring labels of its own
    return {key: structure(value) for key, value in answer.items() if "opencontainers" not in key} | statuses | name


def recorded(name: str) -> Any:
    return structure(json.loads((RECORDED / f"{name}.json").read_text()))


def structure_now(runtime: Runtime) -> Any:
    """What the lab's endpoint says of the first task, if it has begun."""
    first = next(iter(runtime.tasks.values()), None)
    return first and structure(task_metadata(first, str))


def mesh_task(sidecar: Program | None = None, essential: bool = True) -> list[ContainerSpec]:
    """The recorded task: its containers leave with the codes that those had left with; `essential` the sidecar."""
    containers = [
        container("envoy", Program()),
        replace(container("application", Program(143), envoy="HEALTHY"), check=None),
        replace(container("helper", Program(after=0.5), envoy="HEALTHY", application="START"), restart_period=0.0),
    ]
    if sidecar is None:
        return containers
    return [*containers, replace(container("sidecar", sidecar), check=None, essential=essential)]


in_both_worlds = pytest.mark.parametrize("play", [play, play_virtually], ids=["real shells", "virtual time"])


def documents(
    folder: Path, story: Any, sidecar: Program | None = None, essential: bool = True, play: Play = play_virtually
) -> list[Any]:
    """What the endpoint says at each event of a story."""
    documented: list[Any] = []

    def hear(runtime: Runtime) -> None:
        documented.append(structure_now(runtime))

    play(folder, SERVICE, lambda: mesh_task(sidecar, essential), story, hear)
    return documented


@in_both_worlds
def test_documents_of_a_life(tmp_path: Path, play: Play) -> None:
    """From the wait for Envoy to the end the lab's endpoint gives the real agent's documents, in their order."""
    documented = documents(tmp_path, scale_to_none, play=play)
    stages = ["waiting-for-envoy", "helper-health-unknown", "healthy", "stopping", "helper-stopped", "all-stopped"]
    missing = [stage for stage in stages if recorded(stage) not in documented]
    assert missing == []
    places = [documented.index(recorded(stage)) for stage in stages]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("document", "crashed", "sidecar"),
    [
        ("application-crashed", "application", None),
        ("envoy-crashed", "envoy", None),
        ("essential-sidecar-crashed", "sidecar", Program()),
    ],
)
def test_documents_of_a_crash(tmp_path: Path, document: str, crashed: str, sidecar: Program | None) -> None:
    """A crashed container is reported with its exit code, its health if it had a check, and the task as stopping."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        runtime.crash(task, crashed)
        await until(lambda: task.status == "STOPPED")

    assert recorded(document) in documents(tmp_path, story, sidecar)


@pytest.mark.parametrize(
    ("document", "essential"), [("sidecar-left-with-1", True), ("nonessential-sidecar-left-with-1", False)]
)
def test_documents_of_a_sidecar_that_leaves_first(tmp_path: Path, document: str, essential: bool) -> None:
    """A container on which no other depends is reported with its exit code, while others still run."""
    assert recorded(document) in documents(tmp_path, scale_to_none, Program(1), essential)


@in_both_worlds
def test_documents_of_a_restart_in_place(tmp_path: Path, play: Play) -> None:
    """A restarted container runs, was finished, is counted, and has no health status yet but a time of it."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        helper = task.containers["helper"]
        runtime.crash(task, "helper")
        await until(lambda: helper.restart_count == 1 and helper.health == "HEALTHY")
        assert task.desired == "RUNNING"

    documented = documents(tmp_path, story, play=play)
    assert recorded("helper-restarted") in documented
    assert [each["RestartCount"] for each in documented[-1]["Containers"] if "RestartCount" in each] == [1]


def test_documents_of_a_crash_during_the_agents_downtime(tmp_path: Path) -> None:
    """A container that ends while the agent is down is STOPPED once that is back, and was finished before."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        away = asyncio.ensure_future(runtime.restart_agent(task))
        await until(lambda: not runtime.has_agent(task))
        runtime.crash(task, "application")
        application = task.containers["application"]
        await until(lambda: application.finished_at is not None)
        assert (application.status, task.ends_itself) == ("RUNNING", False)
        await away
        await until(lambda: task.status == "STOPPED")
        assert application.finished_at is not None and application.noticed_at is not None
        assert application.noticed_at - application.finished_at > 0.2

    service = replace(SERVICE, agent=replace(SERVICE.agent, restart=0.5))
    documented: list[Any] = []
    play_virtually(tmp_path, service, mesh_task, story, lambda runtime: documented.append(structure_now(runtime)))
    assert recorded("application-crashed-while-the-agent-was-down") in documented


def test_every_recorded_document_has_a_stage() -> None:
    """No document of a task is left out; those of the helper alone are parts of them."""
    stages = {path.stem for path in RECORDED.glob("*.json") if "Containers" in json.loads(path.read_text())}
    assert stages == {
        "waiting-for-envoy",
        "helper-health-unknown",
        "healthy",
        "stopping",
        "helper-stopped",
        "all-stopped",
        "application-crashed",
        "application-crashed-while-the-agent-was-down",
        "envoy-crashed",
        "essential-sidecar-crashed",
        "helper-restarted",
        "nonessential-sidecar-left-with-1",
        "sidecar-left-with-1",
    }


# when it does what it does


def pair(passes_after: float = 0.0) -> list[ContainerSpec]:
    """Envoy, whose health check passes after a while, and a helper that waits for that."""
    began: list[float] = []

    async def check() -> bool:
        loop = asyncio.get_running_loop()
        began.append(loop.time())
        return loop.time() - began[0] >= passes_after

    envoy = replace(container("envoy", Program()), check=check)
    return [envoy, container("helper", Program(), envoy="HEALTHY")]


LOOK = 0.6


@pytest.mark.parametrize(("passes_after", "looks"), [(0.0, 1), (LOOK, 2)])
def test_health_is_looked_at_every_so_often(tmp_path: Path, passes_after: float, looks: int) -> None:
    """What waits for HEALTHY is created one look or two after the other's start, 5.1 or 10.1 s, not when it is so."""
    service = replace(SERVICE, agent=replace(SERVICE.agent, look=LOOK))
    history = play_virtually(tmp_path, service, lambda: pair(passes_after), scale_to_none)
    (envoy,), (helper,) = (times_of(history, "container", "running", name) for name in ("envoy", "helper"))
    (healthy,) = times_of(history, "container", "healthy", "envoy")
    assert helper - envoy == pytest.approx(looks * LOOK, abs=EXACT)
    assert helper - healthy >= LOOK / 4 - EXACT


def test_a_stop_waits_for_the_look(tmp_path: Path) -> None:
    """A stop while containers wait for HEALTHY is seen in the metadata at once, and takes effect with the next look."""
    service = replace(SERVICE, agent=replace(SERVICE.agent, look=2.0))

    async def story(runtime: Runtime) -> None:
        runtime.scale(2)
        await until(lambda: len(runtime.tasks) == 2)
        second = list(runtime.tasks.values())[1]
        await until(lambda: second.containers["envoy"].status == "RUNNING")
        runtime.scale(1)
        await until(lambda: second.stopping_at is not None)
        assert task_metadata(second, str)["DesiredStatus"] == "STOPPED"
        await until(lambda: second.status == "STOPPED")
        envoy, helper = second.containers["envoy"], second.containers["helper"]
        assert envoy.started_at is not None and envoy.finished_at is not None
        assert envoy.finished_at - envoy.started_at == pytest.approx(2.0, abs=EXACT)
        # what was never started has stopped by SIGTERM for ECS, and is not in the metadata
        assert (helper.status, helper.exit_code) == ("STOPPED", 143)
        assert [each["Name"] for each in task_metadata(second, str)["Containers"]] == ["envoy"]

    play_virtually(tmp_path, service, pair, story)


def test_a_start_timeout_acts_at_a_look(tmp_path: Path) -> None:
    """Who is not HEALTHY within its startTimeout ends the task, at the first look after that: 12 s took 15.6 s."""
    service = replace(SERVICE, agent=replace(SERVICE.agent, look=0.5))
    passes_after = 0.0

    def containers() -> list[ContainerSpec]:
        envoy, helper = pair(passes_after)
        return [replace(envoy, start_timeout=1.2), helper]

    async def story(runtime: Runtime) -> None:
        nonlocal passes_after
        passes_after = 3600.0
        runtime.scale(2)
        await until(lambda: len(runtime.tasks) >= 2)
        second = list(runtime.tasks.values())[1]
        await until(lambda: second.status == "STOPPED")
        started = second.containers["envoy"].started_at
        assert started is not None and second.stopping_at is not None
        assert second.stopping_at - started == pytest.approx(1.5, abs=EXACT)
        assert second.containers["helper"].exit_code == 143

    play_virtually(tmp_path, service, containers, story)


def test_the_agent_reports_health_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Health checks may pass right after the agent's report; ECS then learns of it a whole interval later."""
    monkeypatch.setattr("lab.ecs.runtime.random.uniform", lambda first, last: last)
    service = replace(SERVICE, agent=replace(SERVICE.agent, health=2.0))
    history = play_virtually(tmp_path, service, mesh_task, scale_to_none)
    (created,), (healthy,) = (times_of(history, "task", name) for name in ("created", "healthy"))
    assert times_of(history, "container", "healthy", "helper")[0] < created + 1.5
    assert healthy >= created + 2.0 - EXACT


def test_the_agent_reports_late_that_one_container_has_ended(tmp_path: Path) -> None:
    """The agent stops the others at once; ECS knows of it, and replaces the task, when the agent reports it."""
    service = replace(SERVICE, agent=replace(SERVICE.agent, lone_change=(0.5, 0.6)))

    def containers() -> list[ContainerSpec]:
        envoy, application, helper = mesh_task()
        return [envoy, application, container("helper", Program(after=3), envoy="HEALTHY", application="START")]

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        runtime.crash(task, "application")
        await until(lambda: task.stops)
        assert (task.desired, task.containers["application"].reported_status) == ("RUNNING", "RUNNING")
        await until(lambda: len(runtime.tasks) == 2)
        assert (task.desired, task.status, task.stop_code) == ("STOPPED", "RUNNING", "EssentialContainerExited")

    history = play_virtually(tmp_path, service, containers, story)
    (crashed,) = times_of(history, "container", "crashed")
    assert times_of(history, "container", "sigterm", "helper")[0] - crashed < 0.5
    assert times_of(history, "task", "created")[1] - crashed >= 0.5 - EXACT


def test_the_agent_reports_all_containers_when_the_task_changes(tmp_path: Path) -> None:
    """Where no container delays the others, the task stops at once, and ECS waits for no container's report."""
    service = replace(SERVICE, agent=replace(SERVICE.agent, lone_change=(30, 30)))

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        runtime.crash(task, "envoy")
        await until(lambda: len(runtime.tasks) == 2)
        assert {each.reported_status for each in task.containers.values()} == {"STOPPED"}

    play_virtually(tmp_path, service, pair, story)


STUBBORN = Program(None)


def test_stop_timeout_counts_from_a_containers_own_stop(tmp_path: Path) -> None:
    """A container that ignores SIGTERM is killed when its own stopTimeout has run out, not the task's."""

    def containers() -> list[ContainerSpec]:
        return [container("envoy", STUBBORN, 1.0), container("helper", STUBBORN, 1.0, envoy="HEALTHY")]

    history = play_virtually(tmp_path, SERVICE, containers, scale_to_none)
    assert events_of(history, "sigterm", "sigkill") == [
        "sigterm helper",
        "sigkill helper",
        "sigterm envoy",
        "sigkill envoy",
    ]
    times = [event.at for event in history.events if event.name in ("sigterm", "sigkill")]
    assert [times[1] - times[0], times[3] - times[2]] == pytest.approx([1.0, 1.0], abs=EXACT)


def test_an_agent_that_comes_back_asks_again_and_gives_no_more_time(tmp_path: Path) -> None:
    """SIGTERM comes again after the agent's restart, SIGKILL a stopTimeout after the first one, the rest in order."""
    service = replace(SERVICE, agent=replace(SERVICE.agent, restart=0.7))

    def containers() -> list[ContainerSpec]:
        envoy = container("envoy", Program())
        return [envoy, container("helper", STUBBORN, 2.0, envoy="HEALTHY")]

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        runtime.scale(0)
        await until(lambda: task.stopping_at is not None)
        await asyncio.sleep(0.3)
        await runtime.restart_agent(task)
        await until(lambda: task.status == "STOPPED")

    history = play_virtually(tmp_path, service, containers, story)
    assert events_of(history, "sigterm", "sigkill") == [
        "sigterm helper",
        "sigterm helper",
        "sigkill helper",
        "sigterm envoy",
    ]
    first, second = times_of(history, "container", "sigterm", "helper")
    (killed,) = times_of(history, "container", "sigkill")
    assert second - first >= 0.7 - EXACT
    assert killed - first == pytest.approx(2.0, abs=EXACT)


def test_a_stop_that_is_repeated_is_one_stop(tmp_path: Path) -> None:
    """ECS may ask for the same stop again and again: each container gets one SIGTERM."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        for _ in range(3):
            runtime.stop_task(task)
        await until(lambda: task.status == "STOPPED")

    history = play_virtually(tmp_path, SERVICE, pair, story)
    assert events_of(history, "sigterm") == ["sigterm helper", "sigterm envoy"]


@pytest.mark.parametrize(("period", "again"), [(0.0, True), (60.0, False)])
def test_a_restart_policy_restarts_in_place(tmp_path: Path, period: float, again: bool) -> None:
    """A container with a policy is restarted once its period is over, and before that its end is the task's."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        helper = task.containers["helper"]
        runtime.crash(task, "helper")
        await until(lambda: task.stops or (helper.restart_count == 1 and helper.health == "HEALTHY"))
        assert task.stops is not again

    def containers() -> list[ContainerSpec]:
        envoy, helper = pair()
        return [envoy, replace(helper, restart_period=period)]

    history = play_virtually(tmp_path, SERVICE, containers, story)
    restarted = times_of(history, "container", "restarted")
    assert len(restarted) == again
    if again:
        assert restarted[0] - times_of(history, "container", "crashed")[0] == pytest.approx(0.13, abs=EXACT)


def test_no_policy_restarts_what_ecs_stops(tmp_path: Path) -> None:
    """A container that is killed while its task stops stays stopped, whatever its restart policy."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        runtime.scale(0)
        await until(lambda: task.stopping_at is not None)
        runtime.signal(task, "helper", signal.SIGKILL)
        await until(lambda: task.status == "STOPPED")
        assert task.containers["helper"].restart_count == 0

    history = play_virtually(tmp_path, SERVICE, mesh_task, story)
    assert times_of(history, "container", "restarted") == []


def test_an_unhealthy_task_is_replaced(tmp_path: Path) -> None:
    """A container whose check fails three times makes its task UNHEALTHY: another is HEALTHY before it is stopped."""
    well = [True]

    async def check() -> bool:
        return well[0]

    def containers() -> list[ContainerSpec]:
        envoy = container("envoy", Program())
        return [replace(envoy, check=check) if not made else envoy]

    made: list[bool] = []

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        made.append(True)
        well[0] = False
        await until(lambda: task.status == "STOPPED")
        assert task.stop_code == "ServiceSchedulerInitiated"

    history = play_virtually(tmp_path, SERVICE, containers, story)
    (unhealthy,), (stopping,) = times_of(history, "task", "unhealthy"), times_of(history, "task", "stopping")
    assert unhealthy <= times_of(history, "task", "created")[1] < times_of(history, "task", "healthy")[1] <= stopping


def test_rebalancing_brings_another_task_first(tmp_path: Path) -> None:
    """A task of a zone that has too many is stopped on any day, by its own deployment's next one."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        runtime.rebalance(task)
        await until(lambda: task.status == "STOPPED")
        assert [each.deployment for each in runtime.tasks.values()] == ["ecs-svc/1"] * 2

    history = play_virtually(tmp_path, SERVICE, pair, story)
    assert times_of(history, "task", "healthy")[1] <= times_of(history, "task", "stopping")[0]


def test_a_blue_green_deployment_bakes(tmp_path: Path) -> None:
    """Old tasks stop all at once, when all new ones have been healthy for the bake time."""

    async def story(runtime: Runtime) -> None:
        old = list(runtime.tasks.values())
        runtime.update()
        await until(lambda: all(task.status == "STOPPED" for task in old))

    history = play_virtually(tmp_path, replace(SERVICE, desired=2, bake=1.5), pair, story)
    stopping = times_of(history, "task", "stopping")
    assert len(stopping) == 2
    assert stopping[0] - max(times_of(history, "task", "healthy")) >= 1.5 - EXACT
    assert stopping[1] == stopping[0]
