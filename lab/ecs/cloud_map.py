"""Cloud Map: what it lists lags behind ECS when a task starts, and does not when it stops."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from lab.ecs.runtime import Runtime
from lab.ecs.scheduler_rules import counts_as_healthy
from lab.ecs.state import TaskState
from lab.parts.history import Recorder


@dataclass(frozen=True)
class Instance:
    """A task as Cloud Map knows it."""

    id: str
    address: str
    healthy: bool


class CloudMap:
    """Follows the service: a task is registered when it runs, and deregistered at its stop.

    lag: seconds from HEALTHY in ECS to healthy in Cloud Map (30 s there: a change of custom health takes so long)
    publish: gets the addresses of the healthy instances at each change, and may take its time
    """

    def __init__(self, record: Recorder, lag: float, publish: Callable[[list[str]], Awaitable[None]]) -> None:
        self.instances: dict[str, Instance] = {}
        self._record, self._publish = record, publish
        self._lag, self._later = 0.0, lag  # the first tasks are known at once: `begin_lag` ends that

    def begin_lag(self) -> None:
        """From now on changes take their time."""
        self._lag = self._later

    @property
    def healthy(self) -> list[str]:
        """The addresses of the healthy instances."""
        return [each.address for each in self.instances.values() if each.healthy]

    async def follow(self, runtime: Runtime) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            deregistered: set[str] = set()
            while True:
                change = runtime.change
                for task in list(runtime.tasks.values()):
                    if task.desired == "STOPPED" and task.id not in deregistered:
                        # at the stop, without waiting for anybody to hear of it
                        deregistered.add(task.id)
                        if self.instances.pop(task.id, None):
                            self._record.event("discovery", "deregistered", task.id)
                            group.create_task(self._changed())
                    elif task.status == "RUNNING" and task.desired == "RUNNING" and task.id not in self.instances:
                        self.instances[task.id] = Instance(task.id, task.address, healthy=False)
                        group.create_task(self._become_healthy(task, runtime))
                await change.wait()

    async def _become_healthy(self, task: TaskState, runtime: Runtime) -> None:
        def counts() -> bool:
            wait = runtime.service.unchecked_wait
            return task.desired == "STOPPED" or counts_as_healthy(task, self._record.now(), wait)

        while not counts():
            await asyncio.sleep(0.05)
        await asyncio.sleep(self._lag)
        if task.id in self.instances:
            self.instances[task.id] = Instance(task.id, task.address, healthy=True)
            self._record.event("discovery", "healthy", task.id)
            await self._changed()

    async def _changed(self) -> None:
        await self._publish(self.healthy)
