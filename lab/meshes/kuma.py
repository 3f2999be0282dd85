"""As Kuma and Kong Mesh on ECS (Universal): the control plane has `/ready` of Envoy's admin API probed.

So reads kumahq/kuma 2.14, pkg/hds: Envoy probes itself each second, one failure is enough, and reports every 5 s.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

from lab.ecs.state import TaskState
from lab.meshes.mesh import Mesh, Surroundings
from lab.parts.envoy_process import APPLICATION_PORT, EnvoyOptions, Json
from lab.parts.history import Recorder
from lab.parts.probes import accepts, answers
from lab.scenarios.scenario import Column, Scenario, ServerFault

# seconds between two probes, in real time, and how many of them make a report
PROBES, A_REPORT = 1.0, 5
# seconds until a data plane whose control plane has died is connected to the other one
RECONNECTED = 1.0


class Kuma(Mesh):
    """After `/healthcheck/fail` Envoy is not ready, which discovery reports. No filter, no checks of downstreams.

    The control plane is imitated: its probes of `/ready` and of the application's port (the Dataplane's `serviceProbe`,
    without which a new task would get requests before its application listens), their reports, and its push.
    """

    preset = "kuma"
    unix_admin = True

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        self._ready: dict[str, str] = {}
        self._up = asyncio.Event()
        self._up.set()

    def options(self, options: EnvoyOptions) -> EnvoyOptions:
        return replace(options, health_check_filter=False)

    def finding(self) -> Json:
        return self.by_file()

    async def follow(self, around: Surroundings) -> None:
        known: set[str] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                change = around.runtime.change
                for task in list(around.runtime.tasks.values()):
                    if task.id not in known and task.containers["envoy"].status == "RUNNING":
                        known.add(task.id)
                        group.create_task(self._look_after(task, around.options(task), group))
                await change.wait()

    async def _look_after(self, task: TaskState, options: EnvoyOptions, group: asyncio.TaskGroup) -> None:
        """As long as its Envoy runs: without one there is no Dataplane."""
        ready = False
        while task.containers["envoy"].status == "RUNNING":
            for _ in range(A_REPORT):
                ready = await _is_ready(options)
                await asyncio.sleep(PROBES * self.scenario.times.scale)
            self._report(task, ready, group)
        await self._up.wait()  # no report: the control plane notices when the stream ends
        self._report(task, False, group)

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        """No report is heard meanwhile; each is repeated at its time."""
        self._up.clear()
        if seconds:
            await asyncio.sleep(seconds)
            self._up.set()

    def _report(self, task: TaskState, ready: bool, group: asyncio.TaskGroup) -> None:
        if self._up.is_set() and ready is not (task.id in self._ready):
            if ready:
                self._ready[task.id] = task.address
            else:
                del self._ready[task.id]
            self.record.event("discovery", "healthy" if ready else "not ready", task.id)
            group.create_task(self.push(dict.fromkeys(self._ready.values(), True)))


class KumaTwo(Kuma):
    """With two control planes: where one dies, all data planes are connected to the other a moment later."""

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        await super().fail(fault, RECONNECTED if fault == "dies" else seconds)


async def _is_ready(options: EnvoyOptions) -> bool:
    socket = options.admin if isinstance(options.admin, Path) else None
    admin = f"http://{options.address}:{options.admin_port}/ready"
    return await answers(admin, socket) and await accepts(options.address, APPLICATION_PORT)
