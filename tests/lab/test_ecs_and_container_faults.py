"""What ECS does on any day, as a table, and faults of a task's agent, its Envoy and its helper."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lab.ecs.agent_rules import AgentTimes
from lab.ecs.runtime import ContainerSpec, Runtime, Service
from lab.parts import cpu_quota, cpu_shares, processes
from lab.parts.envoy_process import APPLICATION_PORT
from lab.parts.history import History, Recorder
from lab.run import hazards
from lab.run.task_definition import TaskDefinition, missing_for
from lab.scenarios.ecs_and_container_faults import ROWS
from lab.scenarios.scenario import FIFTH, Change, Hazard
from tests.helper.process.program import started
from tests.lab.playing import (
    EXACT,
    Program,
    Story,
    container,
    events_of,
    exit_codes,
    is_frozen,
    play_virtually,
    scale_to_none,
    times_of,
    until,
)
from tests.lab.test_meshes import in_mesh

SERVICE = Service(desired=1, agent=AgentTimes().scaled(0.01))


def test_envoy_is_frozen_for_less_time_than_makes_its_task_unhealthy() -> None:
    """Else ECS would replace the tasks that are to stay, and the row would be about that.

    A check of a frozen Envoy takes its timeout of 2 s, then comes an interval; three have to fail.
    """
    frozen = [hazard.seconds for row in ROWS for hazard in row.hazards if hazard.kind == "envoy freezes"]
    assert max(frozen) < 3 * 2 + 2 * 5 * FIFTH.scale


def test_the_bake_is_over_when_downstreams_know_the_new_tasks() -> None:
    """A blue/green deployment bakes for longer than Cloud Map and the push take, as one of minutes does."""
    assert FIFTH.bake > FIFTH.cloud_map + FIFTH.push


# what happens to a task


def test_no_helper_restarts_after_a_stop() -> None:
    """A scenario cannot restart the helper of a task that is to stop, because ECS does not."""
    with pytest.raises(ValueError, match="helper dies"):
        Hazard("helper restarts", 0.1)


def happen(folder: Path, hazard: Hazard, story: Story, period: float | None = None) -> History:
    """The record of a hazard and then a story, in virtual time. The helper has a restart policy of that period."""

    def containers() -> list[ContainerSpec]:
        helper = container("helper", Program(after=0.5), envoy="HEALTHY")
        return [container("envoy", Program()), replace(helper, restart_period=period)]

    async def whole_story(runtime: Runtime) -> None:
        mesh = in_mesh("app-mesh", folder, runtime._record)
        definition = TaskDefinition(mesh.scenario, "auto", folder, "http://127.9.9.9:8000", runtime._record, mesh)
        await hazards.inject([hazard], list(runtime.tasks.values()), runtime, definition, runtime._record, mesh)
        await story(runtime)
        definition.close()

    return play_virtually(folder, SERVICE, containers, whole_story)


def has_frozen_envoy(runtime: Runtime) -> bool:
    """Whether the first task's Envoy is frozen."""
    return is_frozen(runtime._processes[next(iter(runtime.tasks)), "envoy"])


def test_an_envoy_that_is_frozen_for_a_while_thaws(tmp_path: Path) -> None:
    """Envoy is frozen for the seconds of the hazard. After that it still runs, and stops when it is asked to."""

    async def story(runtime: Runtime) -> None:
        assert has_frozen_envoy(runtime)
        await until(lambda: not has_frozen_envoy(runtime))
        await scale_to_none(runtime)

    history = happen(tmp_path, Hazard("envoy freezes", -0.1, seconds=0.5), story)
    (frozen,), (thawed,) = times_of(history, "container", "SIGSTOP"), times_of(history, "container", "SIGCONT")
    assert thawed - frozen == pytest.approx(0.5, abs=EXACT)
    assert exit_codes(history) == [0, 0]


def test_an_envoy_that_is_frozen_for_good_is_killed_in_the_end(tmp_path: Path) -> None:
    """SIGTERM does not reach it, SIGKILL does."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        assert has_frozen_envoy(runtime)
        task.containers["envoy"].stop_timeout = 0.5
        await scale_to_none(runtime)

    history = happen(tmp_path, Hazard("envoy freezes", -0.1), story)
    assert events_of(history, "sigkill") == ["sigkill envoy"]


def test_a_helper_restarts_in_place_once_its_policy_lets_it(tmp_path: Path) -> None:
    """It is not killed before that, which would stop the task, and the change comes when it is back."""

    async def story(runtime: Runtime) -> None:
        (task,) = runtime.tasks.values()
        assert task.containers["helper"].restart_count == 1 and not task.stops

    history = happen(tmp_path, Hazard("helper restarts", -0.2), story, period=1.0)
    (crashed,) = times_of(history, "container", "crashed")
    assert crashed - times_of(history, "container", "running", "helper")[0] == pytest.approx(1.0, abs=EXACT)


def test_the_agent_restarts_in_a_stop(tmp_path: Path) -> None:
    """The helper gets SIGTERM again when it is back."""
    history = happen(tmp_path, Hazard("agent restarts", 0.1), scale_to_none)
    assert events_of(history, "sigterm") == ["sigterm helper", "sigterm helper", "sigterm envoy"]


@pytest.mark.parametrize("change", ["application unwell", "update"])
def test_an_application_falls_ill_for_its_health_check(change: Change, tmp_path: Path, record: Recorder) -> None:
    """Beside a helper it has a check where it is to fail that, and fails it while its port accepts connections."""
    mesh = in_mesh("app-mesh", tmp_path, record)
    scenario = replace(mesh.scenario, change=change)
    definition = TaskDefinition(scenario, "fixed", tmp_path, "http://127.9.9.9:8000", record, mesh)
    address = processes.free_address()
    (application,) = [each for each in definition.containers("one", address) if each.name == "application"]

    async def looks() -> list[bool]:
        assert application.check
        async with await asyncio.start_server(lambda reader, writer: writer.close(), address, APPLICATION_PORT):
            before = await application.check()
            definition.fall_ill("one")
            return [before, await application.check()]

    assert (application.check is not None) is (change == "application unwell")
    if application.check:
        assert asyncio.run(looks()) == [True, False]
    definition.close()


# the quota


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with 5 % of a core."""
    if cpu_quota.hierarchy() is None:
        pytest.skip("needs a control group `cpu` in which this user may make others")
    made = cpu_quota.make(f"lab-test-{os.getpid()}", 0.05)
    yield made
    cpu_quota.remove(made)


def test_what_runs_under_a_quota_is_throttled(group: Path) -> None:
    """A process in the group is the command itself, and the kernel throttles it when it wants more than its share."""
    command = cpu_quota.within(group, [sys.executable, "-c", "while True: pass"])

    def not_throttled() -> str | None:
        statistics = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
        return None if int(statistics["nr_throttled"]) else str(statistics)

    with started(command, {}, stdout=subprocess.DEVNULL) as process:
        processes.wait_for(not_throttled)
        assert str(process.pid) in (group / "cgroup.procs").read_text().split()


@pytest.mark.parametrize(
    ("kind", "options", "there", "written"),
    [
        ("cgroup", "rw,cpu", {}, {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "5000"}),
        (
            "cgroup2",
            "rw",
            {"cgroup.controllers": "cpu memory", "cgroup.subtree_control": "cpu memory"},
            {"cpu.max": "5000 100000"},
        ),
    ],
)
def test_a_quota_is_written_as_the_version_wants_it(
    kind: str,
    options: str,
    there: dict[str, str],
    written: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 100 ms each, 5 ms for 5 %: in two files of the first version of control groups, in one of the second."""
    mounts, parent = tmp_path / "mounts", tmp_path / "cpu"
    parent.mkdir()
    for name, content in there.items():
        (parent / name).write_text(content)
    mounts.write_text(f"proc /proc proc rw 0 0\nnone {parent} {kind} {options} 0 0\n")
    monkeypatch.setattr(cpu_quota, "MOUNTS", mounts)
    group = cpu_quota.make("lab-one", 0.05)
    assert {path.name: path.read_text() for path in group.iterdir()} == written


def test_a_busy_neighbour_gets_what_its_shares_say() -> None:
    """Of two that want all of half a core, the one with eight times the shares gets about eight times as much."""
    if cpu_quota.hierarchy() is None:
        pytest.skip("needs a control group `cpu` in which this user may make others")
    with closing(cpu_shares.BusyNeighbour(f"lab-test-{os.getpid()}", 0.5, 512)) as neighbour:
        # on one core: shares count where processes compete
        os.sched_setaffinity(neighbour.pid, {0})
        command = ["taskset", "--cpu-list", "0", *cpu_quota.within(neighbour.container("own", 64), cpu_shares.BUSY)]

        def too_few() -> str | None:
            used = ticks(neighbour.pid)
            return None if used > 100 else f"{used} ticks"

        with started(command, {}, stdout=subprocess.DEVNULL) as own:
            before = ticks(neighbour.pid), ticks(own.pid)
            processes.wait_for(too_few)
            busy, mine = ticks(neighbour.pid) - before[0], ticks(own.pid) - before[1]
            assert busy > 3 * mine


def ticks(pid: int) -> int:
    """CPU time of a process so far, in the kernel's ticks of 10 ms."""
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


@pytest.mark.parametrize(("shares", "expected"), [(2, 1), (32, 2), (1024, 39), (262144, 10000)])
def test_shares_in_the_second_version(shares: int, expected: int) -> None:
    """The weight is what container engines make of the shares."""
    assert cpu_shares.weight(shares) == expected


@pytest.mark.parametrize("line", ["none {parent} cgroup rw,memory 0 0", "none {parent} cgroup2 rw 0 0", ""])
def test_without_a_quota_the_row_is_left_out(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no control group can have one, the lab says which row it leaves out; all others are played."""
    (tmp_path / "cgroup.subtree_control").write_text("memory")
    (tmp_path / "mounts").write_text(line.format(parent=tmp_path) + "\n" if line else "")
    monkeypatch.setattr(cpu_quota, "MOUNTS", tmp_path / "mounts")
    left_out = [row.name for row in ROWS if missing_for(row)]
    assert left_out == ["cpu-quota", "cpu-shares"]
