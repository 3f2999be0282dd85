"""The lab's scheduler with real processes: order, stopTimeout, SIGKILL, Spot, crashes."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lab.ecs.behaviour import AgentTimes, Condition
from lab.ecs.scheduler import ContainerSpec, Scheduler, Service
from lab.parts.history import History, Recorder, Run, began_now, read

# They say that they are ready, so that no signal comes before their trap.
STUBBORN = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
SLOW = "trap 'sleep 0.5; exit 3' TERM; echo ready; while :; do sleep 0.05; done"
COUNTING = "n=0; trap 'n=$((n+1)); [ $n = 3 ] && exit 33' TERM; echo ready; while :; do sleep 0.05; done"
QUICK = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done"

Story = Callable[[Scheduler], Awaitable[None]]


def container(name: str, script: str, stop_timeout: float = 20, **depends_on: Condition) -> ContainerSpec:
    """A container that is HEALTHY once it has said a line."""
    heard: list[bytes] = []

    async def check() -> bool:
        return bool(heard)

    environ = {"PATH": "/usr/bin:/bin"}
    return ContainerSpec(
        name, ["sh", "-c", script], environ, depends_on, True, stop_timeout, check, CHECKS, on_line=heard.append
    )


def play(
    folder: Path,
    service: Service,
    containers: Callable[[], list[ContainerSpec]],
    story: Story,
    hear: Callable[[Scheduler], None] = lambda scheduler: None,
) -> History:
    """Bring the service up, let the story happen, and give the record; `hear` is called at each event."""
    started: list[Scheduler] = []

    def recorded(_: object) -> None:
        for scheduler in started:
            hear(scheduler)

    record = Recorder(folder / "record.jsonl", Run("", {}, "", "", "", {}, began_now()), recorded)

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            scheduler = Scheduler(service, lambda id, address: containers(), folder, record, group)
            started.append(scheduler)
            keeping = group.create_task(scheduler.keep_count())
            try:
                await until(lambda: [task.health for task in scheduler.tasks.values()] == ["HEALTHY"] * service.desired)
                await story(scheduler)
            finally:
                keeping.cancel()
                await scheduler.kill()

    try:
        asyncio.run(run())
    finally:
        record.close()
    return read(folder / "record.jsonl")


async def until(fact: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not fact():
            await asyncio.sleep(0.02)


async def scale_to_none(scheduler: Scheduler) -> None:
    scheduler.scale(0)
    await until(lambda: all(task.status == "STOPPED" for task in scheduler.tasks.values()))


def told(history: History, *names: str) -> list[str]:
    """The events of containers with these names, in order, as `name container`."""
    events = [event for event in history.events if event.what == "container" and event.name in names]
    return [f"{event.name} {event.detail['container']}" for event in events]


def exit_codes(history: History) -> list[int]:
    """Of the containers that have stopped, in order."""
    stopped = [event for event in history.events if (event.what, event.name) == ("container", "stopped")]
    return [event.detail["exit_code"] for event in stopped]


CHECKS = 0.05
# a hundredth of the agent's times: looks every 0.05 s, health every 0.2 s, lone changes after 0.1 to 0.3 s
SERVICE = Service(desired=1, agent=AgentTimes().scaled(0.01))


def test_containers_stop_one_after_the_other(tmp_path: Path) -> None:
    """Each container gets SIGTERM when all that depend on it have stopped, and its exit code is kept."""

    def containers() -> list[ContainerSpec]:
        return [
            container("envoy", QUICK),
            container("application", QUICK, envoy="HEALTHY"),
            container("helper", SLOW, envoy="HEALTHY", application="START"),
        ]

    history = play(tmp_path, SERVICE, containers, scale_to_none)
    assert told(history, "running") == ["running envoy", "running application", "running helper"]
    assert told(history, "sigterm", "stopped") == [
        "sigterm helper",
        "stopped helper",
        "sigterm application",
        "stopped application",
        "sigterm envoy",
        "stopped envoy",
    ]
    assert exit_codes(history) == [3, 0, 0]


def test_stop_timeout_counts_from_a_containers_own_stop(tmp_path: Path) -> None:
    """A container that ignores SIGTERM is killed when its own stopTimeout has run out, not the task's."""

    def containers() -> list[ContainerSpec]:
        return [container("envoy", STUBBORN, 1.0), container("helper", STUBBORN, 1.0, envoy="HEALTHY")]

    history = play(tmp_path, SERVICE, containers, scale_to_none)
    assert told(history, "sigterm", "sigkill") == ["sigterm helper", "sigkill helper", "sigterm envoy", "sigkill envoy"]
    times = [event.at for event in history.events if event.name in ("sigterm", "sigkill")]
    assert times[1] - times[0] >= 1.0
    assert times[3] - times[2] >= 1.0


def test_a_stop_request_may_come_again(tmp_path: Path) -> None:
    """With three stop signals the container hears three."""
    history = play(tmp_path, replace(SERVICE, stop_signals=3), lambda: [container("helper", COUNTING)], scale_to_none)
    assert exit_codes(history) == [33]


def test_a_spot_interruption_ends_with_its_notice(tmp_path: Path) -> None:
    """After the notice everything that still runs is killed, whatever its stopTimeout; a new task takes its place."""

    async def story(scheduler: Scheduler) -> None:
        (first,) = scheduler.tasks.values()
        scheduler.interrupt(first)
        await until(lambda: first.status == "STOPPED")
        assert first.stop_code == "SpotInterruption"
        assert len(scheduler.tasks) == 2

    def containers() -> list[ContainerSpec]:
        return [container("envoy", QUICK), container("helper", STUBBORN, envoy="HEALTHY")]

    history = play(tmp_path, replace(SERVICE, spot_notice=1.0), containers, story)
    assert told(history, "sigterm", "sigkill")[:3] == ["sigterm helper", "sigkill envoy", "sigkill helper"]


@pytest.mark.parametrize("crashed", ["envoy", "application"])
def test_a_crash_stops_the_task_in_order(tmp_path: Path, crashed: str) -> None:
    """When an essential container dies, the helper is stopped first all the same, and the task is replaced."""

    async def story(scheduler: Scheduler) -> None:
        (first,) = scheduler.tasks.values()
        scheduler.crash(first, crashed)
        await until(lambda: first.status == "STOPPED" and len(scheduler.tasks) == 2)
        assert first.stop_code == "EssentialContainerExited"

    def containers() -> list[ContainerSpec]:
        return [
            container("envoy", QUICK),
            container("application", QUICK, envoy="HEALTHY"),
            container("helper", SLOW, envoy="HEALTHY", application="START"),
        ]

    history = play(tmp_path, SERVICE, containers, story)
    survivor = {"envoy": "application", "application": "envoy"}[crashed]
    assert told(history, "crashed", "sigterm")[:3] == [f"crashed {crashed}", "sigterm helper", f"sigterm {survivor}"]


def test_what_a_container_prints_is_kept(tmp_path: Path) -> None:
    """A container's output is in its log in the folder."""
    history = play(tmp_path, SERVICE, lambda: [container("helper", QUICK)], scale_to_none)
    (task,) = history.times("task", "created")
    assert (tmp_path / f"{task[:6]}-helper.log").read_text() == "ready\n"


def test_a_stop_may_reach_one_container_later_than_the_others(tmp_path: Path) -> None:
    """Containers that nobody holds are asked to stop at once, but one after the other."""

    def containers() -> list[ContainerSpec]:
        return [replace(container("helper", QUICK), asked_after=0.4), container("sidecar", QUICK)]

    history = play(tmp_path, SERVICE, containers, scale_to_none)
    assert told(history, "sigterm", "stopped") == [
        "sigterm sidecar",
        "stopped sidecar",
        "sigterm helper",
        "stopped helper",
    ]


def test_a_container_is_stopped_with_the_signal_of_its_image(tmp_path: Path) -> None:
    """STOPSIGNAL is what ECS sends; an end by a signal is told as a container engine tells it."""
    # a shell's background jobs ignore this signal, and so do all that they start
    spec = replace(
        container("helper", "echo ready; exec env --default-signal=QUIT sleep 60"), stop_signal=signal.SIGQUIT
    )
    history = play(tmp_path, SERVICE, lambda: [spec], scale_to_none)
    assert exit_codes(history) == [128 + signal.SIGQUIT]


def test_a_container_whose_output_nobody_reads_blocks(tmp_path: Path) -> None:
    """Until its output is full it goes on; then it is stuck where it writes, and has to be killed."""
    noisy = "trap 'echo stopping; exit 0' TERM; touch ready; while :; do sleep 0.05; done"
    ready = tmp_path / "ready"

    async def check() -> bool:
        return ready.exists()

    def containers() -> list[ContainerSpec]:
        command = ["sh", "-c", f"cd {tmp_path}; {noisy}"]
        return [ContainerSpec("helper", command, {"PATH": "/usr/bin:/bin"}, stop_timeout=1, check=check, unread=True)]

    async def story(scheduler: Scheduler) -> None:
        (task,) = scheduler.tasks.values()
        scheduler.fill_output(task, "helper")
        await scale_to_none(scheduler)

    history = play(tmp_path, SERVICE, containers, story)
    assert exit_codes(history) == [137]
