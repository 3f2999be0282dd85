"""What goes wrong in a task beside its stop: a scenario's hazards, done to each of its old tasks at their times."""

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence

from lab.ecs.runtime import Runtime
from lab.ecs.state import TaskState
from lab.meshes import Mesh
from lab.parts import envoy_process
from lab.parts.history import OK, Recorder, Request
from lab.run.task_definition import HELPER, TaskDefinition
from lab.scenarios.scenario import Hazard, HazardKind, ServerFault

SERVER_FAULTS: Mapping[HazardKind, ServerFault] = {"control plane dies": "dies", "control plane freezes": "freezes"}

# TCP connections to a task that stay open, each with a request every half second
CONNECTIONS, EVERY = 3, 0.5
# for an answer on loopback; a connection that is silent for longer is as good as closed
ANSWERED_WITHIN = 5.0


async def inject(
    hazards: Sequence[Hazard],
    tasks: Sequence[TaskState],
    runtime: Runtime,
    definition: TaskDefinition,
    record: Recorder,
    mesh: Mesh,
) -> None:
    """Do what is to be done before the change, and leave the rest to `runtime`, to be done after each task's stop.

    A control plane fails once, at its time before the change or after the first stop.
    """
    for task in tasks:
        options = definition.options(task.id, task.address)
        if options.lds:
            envoy_process.publish_listeners(options.lds, [envoy_process.tcp_listener(options)])
    each_task = [_TaskHazards(task, runtime, definition, record) for task in tasks]
    for hazard in sorted(hazards, key=lambda hazard: hazard.at):
        if hazard.kind in SERVER_FAULTS:
            runtime.spawn(_control_plane_fails(hazard, tasks, runtime, mesh, record))
            continue
        for task_hazards in each_task:
            if hazard.at < 0:
                await task_hazards.happens(hazard)
            else:
                runtime.spawn(task_hazards.happens_after_stop(hazard))
    await asyncio.sleep(-min((hazard.at for hazard in hazards if hazard.at < 0), default=0.0))


async def _control_plane_fails(
    hazard: Hazard, tasks: Sequence[TaskState], runtime: Runtime, mesh: Mesh, record: Recorder
) -> None:
    if hazard.at >= 0:
        while not (stops := [task.stopping_at for task in tasks if task.stopping_at is not None]):
            await runtime.change.wait()
        await asyncio.sleep(min(stops) + hazard.at - record.now())
    record.event("hazard", hazard.kind)
    await mesh.fail(SERVER_FAULTS[hazard.kind], hazard.seconds)
    if hazard.seconds:
        record.event("hazard", "control plane is back")


class _TaskHazards:
    """The hazards of one task."""

    def __init__(self, task: TaskState, runtime: Runtime, definition: TaskDefinition, record: Recorder) -> None:
        self._task, self._runtime, self._definition, self._record = task, runtime, definition, record

    async def happens_after_stop(self, hazard: Hazard) -> None:
        while self._task.stopping_at is None:
            await self._runtime.change.wait()
        await asyncio.sleep(self._task.stopping_at + hazard.at - self._record.now())
        await self.happens(hazard)

    async def happens(self, hazard: Hazard) -> None:
        self._record.event("hazard", hazard.kind, self._task.id)
        match hazard.kind:
            case "application restarts":
                self._runtime.signal(self._task, "application", signal.SIGHUP)
            case "sidecar dies":
                self._runtime.crash(self._task, "sidecar")
            case "helper dies":
                self._runtime.crash(self._task, HELPER)
            case "helper restarts":
                await self._restart_helper()
            case "agent restarts":
                await self._runtime.restart_agent(self._task)
            case "envoy freezes":
                self._runtime.signal(self._task, "envoy", signal.SIGSTOP)
                if hazard.seconds:
                    self._runtime.spawn(self._thaw_envoy(hazard.seconds))
            case "admin socket is removed":
                self._definition.admin_socket(self._task.id).unlink()
            case "log is not read":
                self._runtime.fill_output(self._task, HELPER)
            case "connections are held":
                async with asyncio.TaskGroup() as group:
                    for _ in range(CONNECTIONS):
                        group.create_task(self._keep_connection(hazard.seconds))

    async def _restart_helper(self) -> None:
        """Kill it, once it has been up for so long that its restart policy restarts it, and wait until that has."""
        helper = self._task.containers[HELPER]
        if helper.restart_period is None or helper.started_at is None:
            raise ValueError("the helper was not started, or has no restart policy")
        await asyncio.sleep(helper.started_at + helper.restart_period - self._record.now())
        self._runtime.crash(self._task, HELPER)
        while not helper.restart_count:
            await self._runtime.change.wait()

    async def _thaw_envoy(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):  # killed meanwhile
            self._runtime.signal(self._task, "envoy", signal.SIGCONT)

    async def _keep_connection(self, seconds: float) -> None:
        """A client that is connected to the task itself, as since long ago, and keeps sending for a while."""
        port = envoy_process.INBOUND_PORT if self._definition.options("", "").tcp == "chain" else envoy_process.TCP_PORT
        begin, start, writer = self._record.now(), self._record.now(), None
        outcome = OK
        try:
            async with asyncio.timeout(ANSWERED_WITHIN):
                reader, writer = await asyncio.open_connection(
                    self._task.address, port, local_addr=(envoy_process.TCP_CLIENT, 0)
                )
            while outcome == OK and start < begin + seconds:
                writer.write(b"work\n")
                async with asyncio.timeout(ANSWERED_WITHIN):
                    outcome = OK if await reader.readline() else "connection closed"
                self._record.request(Request("held", start, start, self._record.now(), outcome, self._task.id))
                await asyncio.sleep(EVERY)
                start = self._record.now()
        except (OSError, TimeoutError) as error:
            self._record.request(Request("held", start, start, self._record.now(), repr(error), self._task.id))
        finally:
            if writer:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
