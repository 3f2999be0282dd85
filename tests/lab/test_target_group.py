"""A service behind a load balancer: ECS asks it before a task counts as healthy, and before a task is stopped."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from lab.ecs.agent_rules import stoppable
from lab.ecs.runtime import ContainerSpec, Runtime, Service
from lab.ecs.state import ContainerState, TaskState
from lab.meshes.load_balancer import chosen
from lab.parts.history import History, Recorder, Run, began_now, read


class Balancer:
    """Takes what comes when `healthy` says so, and lets go when `unused` is set."""

    def __init__(self) -> None:
        self.healthy: set[str] = set()
        self.asked = asyncio.Event()
        self.unused = asyncio.Event()

    def is_healthy(self, task: TaskState) -> bool:
        return task.id in self.healthy

    async def until_unused(self, task: TaskState) -> None:
        self.asked.set()
        await self.unused.wait()


Story = Callable[[Runtime, Balancer], Awaitable[None]]


def play(folder: Path, story: Story) -> History:
    """One task of one container, which leaves on SIGTERM."""
    record = Recorder(folder / "record.jsonl", Run("", {}, "", "", "", {}, began_now()))

    def containers(id: str, address: str) -> list[ContainerSpec]:
        return [ContainerSpec("application", ["sleep", "600"], {"PATH": "/usr/bin:/bin"})]

    async def run() -> None:
        balancer = Balancer()
        async with asyncio.TaskGroup() as group:
            service = Service(desired=1, unchecked_wait=0.0)
            runtime = Runtime(service, containers, folder, record, group, balancer)
            keeping = group.create_task(runtime.keep_count())
            try:
                async with asyncio.timeout(60):
                    await until(runtime, lambda: [task.status for task in runtime.tasks.values()] == ["RUNNING"])
                    await story(runtime, balancer)
            finally:
                keeping.cancel()
                await runtime.kill()

    try:
        asyncio.run(run())
    finally:
        record.close()
    return read(folder / "record.jsonl")


async def until(runtime: Runtime, fact: Callable[[], bool]) -> None:
    while not fact():
        await runtime.change.wait()


def test_containers_of_a_task_that_is_deactivated_go_on() -> None:
    """Nothing is asked to stop as long as the load balancer lets go of the task."""
    task = TaskState(
        "one", "127.1.1.1", "ecs-svc/1", {"envoy": ContainerState("envoy", status="RUNNING")}, desired="STOPPED"
    )
    task.deactivating = True
    assert stoppable(task) == []
    task.deactivating = False
    assert [each.name for each in stoppable(task)] == ["envoy"]


def test_ecs_stops_a_task_of_a_scale_in_when_its_target_is_unused(tmp_path: Path) -> None:
    """SIGTERM comes after the deregistration delay, not before."""

    async def story(runtime: Runtime, balancer: Balancer) -> None:
        (task,) = runtime.tasks.values()
        balancer.healthy.add(task.id)
        runtime.scale(0)
        await balancer.asked.wait()
        assert task.deactivating and task.containers["application"].status == "RUNNING"
        balancer.unused.set()
        await until(runtime, lambda: task.status == "STOPPED")

    names = [event.name for event in play(tmp_path, story).events if event.what in ("task", "container")]
    assert names[2:] == ["deactivating", "stopping", "sigterm", "stopped", "stopped"]


def test_stop_task_does_not_wait_for_the_target(tmp_path: Path) -> None:
    """StopTask signals at once, as Spot does, whatever the load balancer still sends."""

    async def story(runtime: Runtime, balancer: Balancer) -> None:
        (task,) = runtime.tasks.values()
        runtime.stop_task(task)
        await until(runtime, lambda: task.status == "STOPPED")
        assert not balancer.asked.is_set()

    assert "deactivating" not in [event.name for event in play(tmp_path, story).events]


def test_an_old_task_stays_until_the_new_target_is_healthy(tmp_path: Path) -> None:
    """In an update the new task counts once the load balancer sends to it."""

    async def story(runtime: Runtime, balancer: Balancer) -> None:
        (old,) = runtime.tasks.values()
        balancer.healthy.add(old.id)
        runtime.update()
        await until(runtime, lambda: [task.status for task in runtime.tasks.values()] == ["RUNNING", "RUNNING"])
        assert not balancer.asked.is_set()
        balancer.healthy.update(runtime.tasks)
        await balancer.asked.wait()
        assert old.deactivating

    play(tmp_path, story)


def test_a_balancer_without_healthy_targets_sends_to_all() -> None:
    """One that has some sends to these."""
    assert chosen({"a": True, "b": False}) == ["a"]
    assert chosen({"a": False, "b": False}) == ["a", "b"]
    assert chosen({}) == []
