"""Behind a load balancer, played by an Envoy: what ECS asks of it, which tasks it checks, and how long it sends.

In a deployment and on a scale-in ECS deregisters the target, and stops the task when the deregistration delay is over.
At StopTask and Spot both begin at once (aws/amazon-ecs-agent#2316, aws/containers-roadmap#708).
"""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from lab.ecs.state import TaskState
from lab.meshes.mesh import Mesh, Surroundings
from lab.parts import downstream, envoy_process
from lab.parts.envoy_process import HEALTH_PATH, INBOUND_PORT, Json
from lab.parts.history import Recorder
from lab.parts.probes import answers
from lab.scenarios.scenario import Column, Scenario

# All seconds are of real time.
# Between two checks of a target, and how many of them turn it: a common choice, AWS's own interval is 30 s.
CHECKS, TURNS_AFTER = 10.0, 2
# The target group's attribute; AWS's own is 300 s, which people shorten.
DEREGISTRATION_DELAY = 30.0


class LoadBalancer(Mesh):
    """Sends to the targets that are registered and healthy; while none is healthy, to all that are registered.

    It is no Envoy: it does not know Envoy's headers, and it is slow to do what ECS asks.

    deregistered_lag, failed_lag: how long it still sends to a target that is deregistered, or whose checks fail
    """

    deregistered_lag: float
    failed_lag: float

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        self.target_group = self
        self._scale = scenario.times.scale
        self._registered: dict[str, TaskState] = {}  # by ECS
        self._healthy: set[str] = set()
        self._targets: dict[str, bool] = {}  # by address, and whether it believes them healthy

    def finding(self) -> Json:
        return self.by_file()

    # what ECS asks

    def is_healthy(self, task: TaskState) -> bool:
        return task.id in self._healthy

    async def until_unused(self, task: TaskState) -> None:
        self._deregister(task)
        await asyncio.sleep(DEREGISTRATION_DELAY * self._scale)

    # what it does

    async def follow(self, around: Surroundings) -> None:
        seen: set[str] = set()
        async with asyncio.TaskGroup() as self._group:
            while True:
                change = around.runtime.change
                for task in list(around.runtime.tasks.values()):
                    if task.desired == "STOPPED" and not task.deactivating:
                        self._deregister(task)
                    elif task.status == "RUNNING" and task.id not in seen:
                        seen.add(task.id)
                        self._registered[task.id] = task
                        self._group.create_task(self._check(task))
                await change.wait()

    def _deregister(self, task: TaskState) -> None:
        if self._registered.pop(task.id, None):
            self.record.event("discovery", "deregistered", task.id)
            self._group.create_task(self._after(self.deregistered_lag, task, None))

    async def _check(self, task: TaskState) -> None:
        """While it is registered; what is new has to pass first."""
        contrary = 0
        while task.id in self._registered:
            healthy = task.id in self._healthy
            passes = await answers(f"http://{task.address}:{INBOUND_PORT}{HEALTH_PATH}")
            contrary = contrary + 1 if passes is not healthy else 0
            if contrary == TURNS_AFTER and task.id in self._registered:
                contrary = 0
                self._turn(task, not healthy)
            await asyncio.sleep(CHECKS * self._scale)

    def _turn(self, task: TaskState, healthy: bool) -> None:
        self.record.event("discovery", "healthy" if healthy else "unhealthy", task.id)
        if healthy:
            self._healthy.add(task.id)
            self._group.create_task(self._after(0, task, True))
        else:
            self._healthy.remove(task.id)
            self._group.create_task(self._after(self.failed_lag, task, False))

    async def _after(self, seconds: float, task: TaskState, healthy: bool | None) -> None:
        """From then on it does what it has learnt of the target; None: that it is no more."""
        await asyncio.sleep(seconds * self._scale)
        if healthy is None:
            self._targets.pop(task.address, None)
        elif task.id in self._registered:
            self._targets[task.address] = healthy
        addresses = chosen(self._targets)
        self.publish(dict.fromkeys(addresses, True))
        self.record.event("discovery", "pushed", addresses=addresses)


def chosen(targets: Mapping[str, bool]) -> list[str]:
    """The targets that it sends to: the healthy ones, or all of them where none is."""
    return [address for address, healthy in targets.items() if healthy] or list(targets)


class ApplicationLoadBalancer(LoadBalancer):
    """Looks at requests. That its nodes need some seconds to follow is an estimate; AWS gives no number."""

    deregistered_lag = 5.0
    failed_lag = 5.0
    preset = "alb"


class NetworkLoadBalancer(LoadBalancer):
    """Passes connections on: new ones for two minutes after a deregistration, 30 to 40 s once checks fail.

    Sources: aws/containers-roadmap#470, kubernetes-sigs/aws-load-balancer-controller#2366.
    """

    deregistered_lag = 120.0
    failed_lag = 15.0
    preset = "nlb"
    passes_connections = True

    def downstream(self, address: str) -> list[str]:
        self.publish({})
        return envoy_process.command(downstream.passing_on(address, self.finding()), self.folder / "downstream.json")
