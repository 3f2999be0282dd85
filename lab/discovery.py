"""Cloud Map and the push to the downstreams: both lag behind ECS, in both directions."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from lab.history import Recorder
from lab.rules import Task, counts_as_healthy
from lab.scheduler import Scheduler


@dataclass(frozen=True)
class Instance:
    """A task as Cloud Map knows it."""

    id: str
    address: str
    healthy: bool


class Discovery:
    """Follows the scheduler: what Cloud Map lists, and which addresses the downstreams are told.

    lag: seconds from HEALTHY in ECS to healthy in Cloud Map (30 s there: a change of custom health takes so long)
    push: seconds from a change in Cloud Map until the downstreams have it
    publish: is given the addresses of the healthy instances at each push
    """

    def __init__(
        self, scheduler: Scheduler, record: Recorder, lag: float, push: float, publish: Callable[[list[str]], None]
    ) -> None:
        self.instances: dict[str, Instance] = {}
        self.lag = 0.0  # the first tasks are known at once: `begin_lag` ends that
        self._scheduler, self._record, self._publish = scheduler, record, publish
        self._later = (lag, push)
        self._push = 0.0

    def begin_lag(self) -> None:
        """From now on changes take their time."""
        self.lag, self._push = self._later

    async def follow(self) -> None:
        """Runs until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            deregistered: set[str] = set()
            while True:
                change = self._scheduler.change
                for task in list(self._scheduler.tasks.values()):
                    if task.desired == "STOPPED" and task.id not in deregistered:
                        # at the stop, without waiting for anybody to hear of it
                        deregistered.add(task.id)
                        if self.instances.pop(task.id, None):
                            self._record.event("discovery", "deregistered", task.id)
                            group.create_task(self._push_later())
                    elif task.state == "RUNNING" and task.desired == "RUNNING" and task.id not in self.instances:
                        self.instances[task.id] = Instance(task.id, task.address, healthy=False)
                        group.create_task(self._become_healthy(task))
                await change.wait()

    async def _become_healthy(self, task: Task) -> None:
        def counts() -> bool:
            wait = self._scheduler.service.unchecked_wait
            return task.desired == "STOPPED" or counts_as_healthy(task, self._record.now(), wait)

        while not counts():
            await asyncio.sleep(0.05)
        await asyncio.sleep(self.lag)
        if task.id in self.instances:
            self.instances[task.id] = Instance(task.id, task.address, healthy=True)
            self._record.event("discovery", "healthy", task.id)
            await self._push_later()

    async def _push_later(self) -> None:
        addresses = [each.address for each in self.instances.values() if each.healthy]
        await asyncio.sleep(self._push)
        self._publish(addresses)
        self._record.event("discovery", "pushed", addresses=addresses)
