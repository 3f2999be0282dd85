"""The lab's runtime: order, stopTimeout, SIGKILL, Spot, crashes, in virtual time.

Two facts need real shells: a signal's exit code, and an output that is full.
"""

import signal
from dataclasses import replace
from pathlib import Path

import pytest

from lab.ecs.runtime import ContainerSpec, Runtime
from tests.lab.playing import (
    EXACT,
    SERVICE,
    Program,
    container,
    events_of,
    exit_codes,
    play,
    play_virtually,
    scale_to_none,
    times_of,
    until,
)

STUBBORN, QUICK, SLOW = Program(None), Program(), Program(3, after=0.5)


def mesh_task() -> list[ContainerSpec]:
    """Envoy, an application after it, and a helper after both."""
    return [
        container("envoy", QUICK),
        container("application", QUICK, envoy="HEALTHY"),
        container("helper", SLOW, envoy="HEALTHY", application="START"),
    ]


def test_containers_stop_one_after_the_other(tmp_path: Path) -> None:
    """Each container gets SIGTERM when all that depend on it have stopped, and its exit code is kept."""

    history = play_virtually(tmp_path, SERVICE, mesh_task, scale_to_none)
    assert events_of(history, "running") == ["running envoy", "running application", "running helper"]
    assert events_of(history, "sigterm", "stopped") == [
        "sigterm helper",
        "stopped helper",
        "sigterm application",
        "stopped application",
        "sigterm envoy",
        "stopped envoy",
    ]
    assert exit_codes(history) == [3, 0, 0]


def test_a_stop_request_may_come_again(tmp_path: Path) -> None:
    """With three stop signals the container hears three: in virtual time, since the kernel joins those that wait."""
    history = play_virtually(
        tmp_path, replace(SERVICE, stop_signals=3), lambda: [container("helper", Program(33, asks=3))], scale_to_none
    )
    assert exit_codes(history) == [33]


def test_a_spot_interruption_ends_with_its_notice(tmp_path: Path) -> None:
    """After the notice everything that still runs is killed, whatever its stopTimeout; a new task takes its place."""

    async def story(runtime: Runtime) -> None:
        (first,) = runtime.tasks.values()
        runtime.interrupt(first)
        await until(lambda: first.status == "STOPPED")
        assert first.stop_code == "SpotInterruption"
        assert len(runtime.tasks) == 2

    def containers() -> list[ContainerSpec]:
        return [container("envoy", QUICK), container("helper", STUBBORN, envoy="HEALTHY")]

    history = play_virtually(tmp_path, replace(SERVICE, spot_notice=1.0), containers, story)
    assert events_of(history, "sigterm", "sigkill")[:3] == ["sigterm helper", "sigkill envoy", "sigkill helper"]
    (noticed, *_), (killed, *_) = times_of(history, "task", "stopping"), times_of(history, "container", "sigkill")
    assert killed - noticed == pytest.approx(1.0, abs=EXACT)


@pytest.mark.parametrize("crashed", ["envoy", "application"])
def test_a_crash_stops_the_task_in_order(tmp_path: Path, crashed: str) -> None:
    """When an essential container dies, the helper is stopped first all the same, and the task is replaced."""

    async def story(runtime: Runtime) -> None:
        (first,) = runtime.tasks.values()
        runtime.crash(first, crashed)
        await until(lambda: first.status == "STOPPED" and len(runtime.tasks) == 2)
        assert first.stop_code == "EssentialContainerExited"

    history = play_virtually(tmp_path, SERVICE, mesh_task, story)
    survivor = {"envoy": "application", "application": "envoy"}[crashed]
    assert events_of(history, "crashed", "sigterm")[:3] == [
        f"crashed {crashed}",
        "sigterm helper",
        f"sigterm {survivor}",
    ]


def test_what_a_container_prints_is_kept(tmp_path: Path) -> None:
    """A container's output is in its log in the folder."""
    history = play_virtually(tmp_path, SERVICE, lambda: [container("helper", QUICK)], scale_to_none)
    (task,) = history.times("task", "created")
    assert (tmp_path / f"{task[:6]}-helper.log").read_text() == "ready\nasked\n"


def test_a_stop_may_reach_one_container_later_than_the_others(tmp_path: Path) -> None:
    """Containers on which no other depends are asked to stop at once, but one after the other."""

    def containers() -> list[ContainerSpec]:
        return [replace(container("helper", QUICK), asked_after=0.4), container("sidecar", QUICK)]

    history = play_virtually(tmp_path, SERVICE, containers, scale_to_none)
    assert events_of(history, "sigterm", "stopped") == [
        "sigterm sidecar",
        "stopped sidecar",
        "sigterm helper",
        "stopped helper",
    ]
    (sidecar,), (helper,) = (times_of(history, "container", "sigterm", name) for name in ("sidecar", "helper"))
    assert helper - sidecar == pytest.approx(0.4, abs=EXACT)


def test_a_container_is_stopped_with_the_signal_of_its_image(tmp_path: Path) -> None:
    """STOPSIGNAL is what ECS sends; an end by a signal has the exit code that a container engine reports."""
    # a shell's background jobs ignore this signal, and so do all that they start
    spec = replace(
        container("helper", ["env", "--default-signal=QUIT", "sh", "-c", "echo ready; exec sleep 60"]),
        stop_signal=signal.SIGQUIT,
    )
    history = play(tmp_path, SERVICE, lambda: [spec], scale_to_none)
    assert exit_codes(history) == [128 + signal.SIGQUIT]


def test_a_container_whose_output_is_not_read_blocks(tmp_path: Path) -> None:
    """The container runs until its output is full; then it blocks where it writes, and has to be killed."""
    noisy = "trap 'echo stopping; exit 0' TERM; touch ready; while :; do sleep 0.05; done"
    ready = tmp_path / "ready"

    async def check() -> bool:
        return ready.exists()

    def containers() -> list[ContainerSpec]:
        command = ["sh", "-c", f"cd {tmp_path}; {noisy}"]
        return [ContainerSpec("helper", command, {"PATH": "/usr/bin:/bin"}, stop_timeout=1, check=check, unread=True)]

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        runtime.fill_output(task, "helper")
        await scale_to_none(runtime)

    history = play(tmp_path, SERVICE, containers, story)
    assert exit_codes(history) == [137]
