"""Runs a service's tasks as ECS does, each container a process.

`scheduler_rules` decides which tasks start and stop, and `agent_rules` decides which containers do.

Each task has an agent of its own, as on Fargate; what is beneath the agent, the container engine, runs without it.
"""

import asyncio
import contextlib
import os
import random
import secrets
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab.ecs.agent_rules import NOTICED_AFTER, AgentTimes, must_stop, restarts, startable, stoppable, waits_for_health
from lab.ecs.engine import Process, Start, start
from lab.ecs.scheduler_rules import Step, counts_as_healthy, next_step
from lab.ecs.state import Condition, ContainerState, Health, Status, TaskState
from lab.parts.history import Recorder
from lab.parts.processes import free_address

# HealthCheck's retries: failures in a row that make a container UNHEALTHY, 3 where the definition does not say
RETRIES = 3
# between a container's end and its restart in place, in seconds; measured
RESTARTS_AFTER = 0.13


@dataclass(frozen=True)
class ContainerSpec:
    """A container of the task definition.

    check: the health check, run `check_interval` seconds after the start and after each other, as a container engine
        does; recheck_interval: the same once it has passed; None: no other
    start_timeout: seconds that others wait for its HEALTHY; restart_period: of its restart policy; None without one
    on_line: gets each line that the container prints
    stop_signal: the image's STOPSIGNAL
    asked_after: seconds by which its stop comes later than those of others on which no container depends: ECS stops
        all at once, and the container engine takes one after the other
    unread: its output goes into a pipe without a reader, as with a log driver that hangs
    """

    name: str
    command: list[str]
    environ: Mapping[str, str]
    depends_on: Mapping[str, Condition] = field(default_factory=dict)
    essential: bool = True
    stop_timeout: float = 30.0
    check: Callable[[], Awaitable[bool]] | None = None
    check_interval: float = 1.0
    recheck_interval: float | None = None
    start_timeout: float | None = None
    restart_period: float | None = None
    on_line: Callable[[bytes], None] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    asked_after: float = 0.0
    unread: bool = False


@dataclass(frozen=True)
class Service:
    """A service's numbers. Seconds and percent.

    unchecked_wait: how long after RUNNING a task without health checks counts as healthy; 40 s in ECS
    spot_notice: from a Spot interruption until everything of the task is killed; 120 s on Fargate
    stop_signals: how often a stop request is repeated; the agent does so when the first call fails
    bake: of a blue/green deployment, how long its tasks are HEALTHY before all old ones stop; None: a rolling update
    """

    desired: int
    minimum_healthy: float = 100
    maximum: float = 200
    unchecked_wait: float = 40.0
    spot_notice: float = 120.0
    stop_signals: int = 1
    bake: float | None = None
    agent: AgentTimes = AgentTimes()


# the containers of a new task, from its id and its address
ContainerSpecs = Callable[[str, str], list[ContainerSpec]]


class TargetGroup(Protocol):
    """What ECS asks of a load balancer, where a service has one."""

    def is_healthy(self, task: TaskState) -> bool:
        """Whether the target gets requests: else the task does not count as healthy."""

    async def until_unused(self, task: TaskState) -> None:
        """Deregister the target, and wait until its deregistration delay is over: so long the task is not stopped."""


class Runtime:
    """Keeps a service at its desired count while `keep_count` runs; `kill` ends every process at once.

    Its work runs in `group`, the containers' logs go into `folder`.
    """

    def __init__(
        self,
        service: Service,
        definition: ContainerSpecs,
        folder: Path,
        record: Recorder,
        group: asyncio.TaskGroup,
        target_group: TargetGroup | None = None,
        start_process: Start = start,
    ) -> None:
        self.service = service
        self.desired = service.desired
        self.definition = definition
        self.deployments = ["ecs-svc/1"]  # the last is PRIMARY
        self.tasks: dict[str, TaskState] = {}
        self.change = asyncio.Event()  # set at the next change; take it before you look, or one is missed
        self._folder, self._record, self._group = folder, record, group
        self._target_group, self._start_process = target_group, start_process
        self._specs: dict[tuple[str, str], ContainerSpec] = {}
        self._processes: dict[tuple[str, str], Process] = {}
        self._unread: dict[tuple[str, str], tuple[int, int]] = {}
        self._work: set[asyncio.Task[None]] = set()
        self._agents: dict[str, asyncio.Event] = {}  # of each task, set while it is up
        self._stopping: set[tuple[str, str]] = set()  # containers that the engine has been asked to stop
        self._leaving: set[str] = set()  # tasks that rebalancing moves elsewhere
        self._baked_at = 0.0  # when a blue/green deployment's bake time is over

    async def kill(self) -> None:
        """End every process and all work."""
        for work in self._work:
            work.cancel()
        for process in self._processes.values():
            if process.returncode is None:
                process.kill()
                await process.wait()
        for pipe in self._unread.values():
            for end in pipe:
                os.close(end)

    # what happens to a service

    def update(self) -> None:
        """A new deployment: every task is to be replaced."""
        self.deployments.append(f"ecs-svc/{len(self.deployments) + 1}")
        self._notify()

    def scale(self, desired: int) -> None:
        self.desired = desired
        self._notify()

    def rebalance(self, task: TaskState) -> None:
        """Its availability zone has a task too many: another comes first, and then it is stopped."""
        self._leaving.add(task.id)
        self._notify()

    def stop_task(self, task: TaskState, code: str = "UserInitiated") -> None:
        """StopTask; ECS's scheduler stops tasks in the same way."""
        task.desired, task.deactivating, task.stop_code = "STOPPED", False, code
        self._begin_stop(task, code)

    def _begin_stop(self, task: TaskState, code: str) -> None:
        if task.stopping_at is None:
            task.stopping_at = self._record.now()
            self._record.event("task", "stopping", task.id, code=code)
        self._notify()

    def interrupt(self, task: TaskState) -> None:
        """A Spot interruption: the task is asked to stop, and killed at the end of the notice."""
        self.stop_task(task, "SpotInterruption")
        self.spawn(self._kill_after(task, self.service.spot_notice))

    def crash(self, task: TaskState, container: str) -> None:
        """The container's process dies."""
        self._record.event("container", "crashed", task.id, container=container)
        self._processes[task.id, container].kill()

    def signal(self, task: TaskState, container: str, number: signal.Signals) -> None:
        """A signal that is none of ECS's doing: only the container's own process gets it."""
        self._record.event("container", number.name, task.id, container=container)
        self._processes[task.id, container].send_signal(number)

    async def restart_agent(self, task: TaskState) -> None:
        """The task's agent is killed and comes back.

        Nothing is started, stopped, noticed or reported meanwhile, and the metadata do not answer. Stops that are under
        way continue: back again it repeats them, and their stopTimeout still counts from the first time.
        """
        self._record.event("agent", "down", task.id)
        self._agents[task.id].clear()
        await asyncio.sleep(self.service.agent.restart)
        self._record.event("agent", "up", task.id)
        self._agents[task.id].set()
        for container in task.containers.values():
            if (task.id, container.name) in self._stopping:
                self._send_stop(task, container)
            if container.health_since is not None:
                container.health_since = self._record.now()

    def has_agent(self, task: TaskState) -> bool:
        """Whether the task's agent is up. One that never began, in a test, is."""
        agent = self._agents.get(task.id)
        return agent is None or agent.is_set()

    def fill_output(self, task: TaskState, container: str) -> None:
        """The pipe without a reader is full from now on."""
        self._record.event("container", "output full", task.id, container=container)
        write_end = self._unread[task.id, container][1]
        for piece in (b"\n" * 4096, b"\n"):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(write_end, piece)

    # what happens next

    async def keep_count(self) -> None:
        while True:
            change, now = self.change, self._record.now()
            tasks, service, group = list(self.tasks.values()), self.service, self._target_group
            counting = [task for task in tasks if counts_as_healthy(task, now, service.unchecked_wait)]
            healthy = {task.id for task in counting if group is None or group.is_healthy(task)}
            unhealthy = {task.id for task in tasks if task.health == "UNHEALTHY"}
            step = next_step(
                tasks,
                self.deployments[-1],
                self.desired,
                service.minimum_healthy,
                service.maximum,
                healthy,
                leaving=self._leaving | unhealthy,
                keep_old=not self._is_baked(healthy),
            )
            for id in step.stop:
                self._retire(self.tasks[id])
            for _ in range(step.start):
                self._launch()
            if step == Step():
                # time counts too: for tasks without health checks
                # not `wait_for`, which in Python 3.11 forgets that it was cancelled where the event comes as well
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await change.wait()

    def _is_baked(self, healthy: set[str]) -> bool:
        """Whether old tasks may go: in a blue/green deployment when all the new ones have been healthy for a while."""
        if self.service.bake is None:
            return True
        new = [id for id in healthy if self.tasks[id].deployment == self.deployments[-1]]
        if len(new) < self.desired:
            self._baked_at = self._record.now() + self.service.bake
        return self._record.now() >= self._baked_at

    def _retire(self, task: TaskState) -> None:
        """ECS's own scheduler lets go of a task. Its containers hear of it once the load balancer has left it."""
        if self._target_group is None:
            self.stop_task(task, "ServiceSchedulerInitiated")
        else:
            task.desired, task.deactivating = "STOPPED", True
            self._record.event("task", "deactivating", task.id)
            self.spawn(self._stop_when_unused(task, self._target_group))
            self._notify()

    async def _stop_when_unused(self, task: TaskState, target_group: TargetGroup) -> None:
        await target_group.until_unused(task)
        self.stop_task(task, "ServiceSchedulerInitiated")

    def _launch(self) -> None:
        id, address = secrets.token_hex(16), free_address()
        specs = self.definition(id, address)
        self._specs.update({(id, spec.name): spec for spec in specs})
        containers = {
            spec.name: ContainerState(
                spec.name,
                spec.depends_on,
                spec.essential,
                spec.check is not None,
                spec.stop_timeout,
                start_timeout=spec.start_timeout,
                restart_period=spec.restart_period,
                restart_count=None if spec.restart_period is None else 0,
            )
            for spec in specs
        }
        task = TaskState(id, address, self.deployments[-1], containers, self._record.now())
        self.tasks[id] = task
        self._record.event("task", "created", id, deployment=task.deployment, address=address)
        self._agents[id] = asyncio.Event()
        self._agents[id].set()
        self.spawn(self._live(task))
        self.spawn(self._report_health(task))

    async def _live(self, task: TaskState) -> None:
        """The agent: starts and stops the containers of one task in ECS's order, until all have stopped."""
        while task.status != "STOPPED":
            change = self.change
            await self._agents[task.id].wait()
            for container in startable(task):
                await self._start(task, container)
            if must_stop(task, self._record.now()):
                task.ends_itself = True
                self._begin_stop(task, "EssentialContainerExited")
            for container in stoppable(task):
                if (task.id, container.name) not in self._stopping:
                    self._stop(task, container)
            if waits_for_health(task):
                await asyncio.sleep(self.service.agent.look)
            else:
                await change.wait()
        self._record.event("task", "stopped", task.id)

    async def _start(self, task: TaskState, container: ContainerState) -> None:
        await self._run(task, container)
        container.status, container.started_at = "RUNNING", self._record.now()
        self._record.event("container", "running", task.id, container=container.name)
        self._changed(task, container)

    async def _run(self, task: TaskState, container: ContainerState) -> None:
        """A process of the container, the first one or that of a restart."""
        spec = self._specs[task.id, container.name]
        log = self._folder / f"{task.id[:6]}-{container.name}.log"
        pipe = self._unread_pipe(task, container) if spec.unread else None
        process = await self._start_process(spec.command, spec.environ, log, spec.on_line, pipe)
        if pipe is not None:
            os.close(pipe)
        self._processes[task.id, container.name] = process
        self.spawn(self._watch(task, container, process))
        self.spawn(process.read())
        if spec.check:
            self.spawn(self._check(task, container, spec, process))

    def _unread_pipe(self, task: TaskState, container: ContainerState) -> int:
        """The container's end. `fill_output` gets one of its own, opened anew: that it does not block is its own."""
        read_end, write_end = os.pipe()
        own = os.open(f"/proc/self/fd/{write_end}", os.O_WRONLY | os.O_NONBLOCK)
        self._unread[task.id, container.name] = (read_end, own)
        return write_end

    async def _watch(self, task: TaskState, container: ContainerState, process: Process) -> None:
        code = await process.wait()
        container.finished_at = self._record.now()
        process.kill()  # what the container's process has left behind
        await asyncio.sleep(NOTICED_AFTER)
        await self._agents[task.id].wait()
        if restarts(task, container, container.finished_at):
            await self._restart(task, container)
        else:
            # as a container engine reports an end by a signal
            container.exit_code = code if code >= 0 else 128 - code
            container.status, container.noticed_at = "STOPPED", self._record.now()
            if container.checked:
                self._set_health(container, "UNHEALTHY")
            self._record.event("container", "stopped", task.id, container=container.name, exit_code=container.exit_code)
            self._changed(task, container)

    async def _restart(self, task: TaskState, container: ContainerState) -> None:
        """In place, by its restart policy; the count is reported before the new process is there."""
        container.restart_count = (container.restart_count or 0) + 1
        container.restarted_at = self._record.now()
        self._set_health(container, "UNKNOWN")
        await asyncio.sleep(RESTARTS_AFTER - NOTICED_AFTER)
        await self._run(task, container)
        self._record.event("container", "restarted", task.id, container=container.name)
        self._notify()
        if (task.id, container.name) in self._stopping:
            self.spawn(self._signal(task, container))  # the stop came before the new process

    async def _check(self, task: TaskState, container: ContainerState, spec: ContainerSpec, process: Process) -> None:
        """The container engine's health check. To start slowly is no sickness: as with a startPeriod without end."""
        if spec.check is None:
            raise ValueError(f"{spec.name} has no health check")
        failures, interval = 0, spec.check_interval
        while not task.stops:
            await asyncio.sleep(interval)
            passed = await spec.check()
            failures = 0 if passed else failures + 1
            interval = spec.recheck_interval if passed and spec.recheck_interval else spec.check_interval
            await self._agents[task.id].wait()
            if process.returncode is not None:
                return
            health: Health = "HEALTHY" if passed else "UNHEALTHY"
            if health != container.health and (passed or (container.health == "HEALTHY" and failures >= RETRIES)):
                self._set_health(container, health)
                self._record.event("container", health.lower(), task.id, container=container.name)
                self._notify()

    def _set_health(self, container: ContainerState, health: Health) -> None:
        container.health, container.health_since = health, self._record.now()

    def _stop(self, task: TaskState, container: ContainerState) -> None:
        self._stopping.add((task.id, container.name))
        if container.status == "PENDING":
            # what was never started is reported to have stopped like this
            container.status, container.exit_code = "STOPPED", 128 + signal.SIGTERM
            self._changed(task, container)
        else:
            self.spawn(self._signal(task, container))

    async def _signal(self, task: TaskState, container: ContainerState) -> None:
        """SIGTERM, and SIGKILL when the container's stopTimeout, which begins with its own stop, has run out.

        The container engine does it: it keeps running while the agent is down.
        """
        process = self._processes[task.id, container.name]
        await asyncio.sleep(self._specs[task.id, container.name].asked_after)
        try:
            async with asyncio.timeout(container.stop_timeout):
                for repeated in range(self.service.stop_signals):
                    await asyncio.sleep(0.2 if repeated else 0)
                    self._send_stop(task, container)
                await process.wait()
        except TimeoutError:
            self._record.event("container", "sigkill", task.id, container=container.name)
            process.kill()

    def _send_stop(self, task: TaskState, container: ContainerState) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._processes[task.id, container.name].send_signal(self._specs[task.id, container.name].stop_signal)
            self._record.event("container", "sigterm", task.id, container=container.name)

    async def _kill_after(self, task: TaskState, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for container in task.containers.values():
            if container.status == "RUNNING":
                self._record.event("container", "sigkill", task.id, container=container.name)
                self._processes[task.id, container.name].kill()
            elif container.status == "PENDING":
                container.status = "STOPPED"
        self._changed(task, container)

    # what the agents report to ECS

    def _changed(self, task: TaskState, container: ContainerState) -> None:
        """A container has started or stopped. Where that changes the task, ECS gets all its containers."""
        if task.status != task.reported_status:
            task.reported_status = task.status
            for each in task.containers.values():
                each.reported_status = each.status
            self._take_report(task)
        else:
            self.spawn(self._report_status_later(task, container, container.status))
        self._notify()

    async def _report_status_later(self, task: TaskState, container: ContainerState, status: Status) -> None:
        await asyncio.sleep(random.uniform(*self.service.agent.lone_change))  # nosec B311
        await self._agents[task.id].wait()
        if container.reported_status != "STOPPED":  # else the task's own change was faster
            container.reported_status = status
            self._take_report(task)

    def _take_report(self, task: TaskState) -> None:
        """ECS wants a task stopped, and another in its place, once it hears that an essential container has stopped."""
        stopped = any(each.essential and each.reported_status == "STOPPED" for each in task.containers.values())
        if task.desired == "RUNNING" and stopped:
            self.stop_task(task, "EssentialContainerExited")

    async def _report_health(self, task: TaskState) -> None:
        """Every so often, at a time of the agent's own; nothing of containers that have stopped."""
        await asyncio.sleep(random.uniform(0, self.service.agent.health))  # nosec B311
        while task.status != "STOPPED":
            await self._agents[task.id].wait()
            before = task.health
            for container in task.containers.values():
                if container.status == "RUNNING":
                    container.reported_health = container.health
            if task.health != before:
                self._record.event("task", task.health.lower(), task.id)
                self._notify()
            await asyncio.sleep(self.service.agent.health)

    # bookkeeping

    def _notify(self) -> None:
        self.change.set()
        self.change = asyncio.Event()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do this beside everything else, until `kill`."""
        task = self._group.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)
