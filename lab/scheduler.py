"""Runs a service's tasks as ECS does, each container a process: the rules are in `rules`, the doing here."""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from lab import processes
from lab.history import Recorder
from lab.processes import free_address
from lab.rules import Condition, Container, Step, Task, counts_as_healthy, must_stop, next_step, startable, stoppable


@dataclass(frozen=True)
class ContainerSpec:
    """A container of the task definition.

    check: the health check, run every `check_interval` seconds; on_line: gets each line that the container prints
    stop_signal: the image's STOPSIGNAL
    asked_after: seconds by which its stop comes later than those of others that nobody holds: ECS asks all at once, and
        the container engine takes one after the other
    unread: its output goes into a pipe that nobody reads, as with a log driver that hangs
    """

    name: str
    command: list[str]
    environ: Mapping[str, str]
    depends_on: Mapping[str, Condition] = field(default_factory=dict)
    essential: bool = True
    stop_timeout: float = 30.0
    check: Callable[[], Awaitable[bool]] | None = None
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
    """

    desired: int
    minimum_healthy: float = 100
    maximum: float = 200
    unchecked_wait: float = 40.0
    spot_notice: float = 120.0
    check_interval: float = 1.0
    stop_signals: int = 1


# the containers of a new task, from its id and its address
Definition = Callable[[str, str], list[ContainerSpec]]


class TargetGroup(Protocol):
    """What ECS asks of a load balancer, where a service has one."""

    def is_healthy(self, task: Task) -> bool:
        """Whether the target gets requests: else the task does not count as healthy."""

    async def until_unused(self, task: Task) -> None:
        """Deregister the target, and wait until its deregistration delay is over: so long the task is not stopped."""


class Scheduler:
    """Keeps a service at its desired count while `keep_count` runs; `kill` ends every process at once.

    Its work runs in `group`, the containers' logs go into `folder`.
    """

    def __init__(
        self,
        service: Service,
        definition: Definition,
        folder: Path,
        record: Recorder,
        group: asyncio.TaskGroup,
        target_group: TargetGroup | None = None,
    ) -> None:
        self.service = service
        self.desired = service.desired
        self.definition = definition
        self.deployments = ["ecs-svc/1"]  # the last is PRIMARY
        self.tasks: dict[str, Task] = {}
        self.change = asyncio.Event()  # set at the next change; take it before you look, or one is missed
        self._folder, self._record, self._group = folder, record, group
        self._target_group = target_group
        self._specs: dict[tuple[str, str], ContainerSpec] = {}
        self._processes: dict[tuple[str, str], asyncio.subprocess.Process] = {}
        self._unread: dict[tuple[str, str], tuple[int, int]] = {}
        self._work: set[asyncio.Task[None]] = set()

    async def kill(self) -> None:
        """End every process and all work."""
        for work in self._work:
            work.cancel()
        for process in self._processes.values():
            if process.returncode is None:
                processes.kill_group(process.pid)
                await process.wait()
        for pipe in self._unread.values():
            for end in pipe:
                os.close(end)

    # what happens to a service

    def update(self) -> None:
        """A new deployment: every task is to be replaced."""
        self.deployments.append(f"ecs-svc/{len(self.deployments) + 1}")
        self._tell()

    def scale(self, desired: int) -> None:
        self.desired = desired
        self._tell()

    def stop_task(self, task: Task, code: str = "UserInitiated") -> None:
        """StopTask; ECS's scheduler stops tasks in the same way."""
        task.desired = "STOPPED"
        task.deactivating = False
        task.stop_code = code
        task.stopping_at = self._record.now()
        self._record.event("task", "stopping", task.id, code=code)
        self._tell()

    def interrupt(self, task: Task) -> None:
        """A Spot interruption: the task is told to stop, and gone at the end of the notice."""
        self.stop_task(task, "SpotInterruption")
        self.spawn(self._kill_after(task, self.service.spot_notice))

    def crash(self, task: Task, container: str) -> None:
        """The container's process dies."""
        self._record.event("container", "crashed", task.id, container=container)
        processes.kill_group(self._processes[task.id, container].pid)

    def signal(self, task: Task, container: str, number: signal.Signals) -> None:
        """A signal that is none of ECS's doing: only the container's own process gets it."""
        self._record.event("container", number.name, task.id, container=container)
        self._processes[task.id, container].send_signal(number)

    def fill_output(self, task: Task, container: str) -> None:
        """The pipe that nobody reads is full from now on."""
        self._record.event("container", "output full", task.id, container=container)
        write_end = self._unread[task.id, container][1]
        for piece in (b"\n" * 4096, b"\n"):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(write_end, piece)

    # how it goes on

    async def keep_count(self) -> None:
        while True:
            change, now = self.change, self._record.now()
            healthy = frozenset(
                task.id
                for task in self.tasks.values()
                if counts_as_healthy(task, now, self.service.unchecked_wait)
                and (self._target_group is None or self._target_group.is_healthy(task))
            )
            service = self.service
            step = next_step(
                list(self.tasks.values()),
                self.deployments[-1],
                self.desired,
                service.minimum_healthy,
                service.maximum,
                healthy,
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

    def _retire(self, task: Task) -> None:
        """ECS's own scheduler lets go of a task. Its containers hear of it once the load balancer has left it."""
        if self._target_group is None:
            self.stop_task(task, "ServiceSchedulerInitiated")
        else:
            task.desired, task.deactivating = "STOPPED", True
            self._record.event("task", "deactivating", task.id)
            self.spawn(self._stop_when_unused(task, self._target_group))
            self._tell()

    async def _stop_when_unused(self, task: Task, target_group: TargetGroup) -> None:
        await target_group.until_unused(task)
        self.stop_task(task, "ServiceSchedulerInitiated")

    def _launch(self) -> None:
        id, address = secrets.token_hex(16), free_address()
        specs = self.definition(id, address)
        self._specs.update({(id, spec.name): spec for spec in specs})
        containers = {
            spec.name: Container(spec.name, spec.depends_on, spec.essential, spec.check is not None, spec.stop_timeout)
            for spec in specs
        }
        task = Task(id, address, self.deployments[-1], containers, self._record.now())
        self.tasks[id] = task
        self._record.event("task", "created", id, deployment=task.deployment, address=address)
        self.spawn(self._live(task))

    async def _live(self, task: Task) -> None:
        """Start and stop the containers of one task in ECS's order, until all have stopped."""
        stopping: set[str] = set()
        while task.state != "STOPPED":
            change = self.change
            for container in startable(task):
                await self._start(task, container)
            if must_stop(task):
                self.stop_task(task, "EssentialContainerExited")
            for container in stoppable(task):
                if container.name not in stopping:
                    stopping.add(container.name)
                    self._stop(task, container)
            await change.wait()
        self._record.event("task", "stopped", task.id)

    async def _start(self, task: Task, container: Container) -> None:
        spec = self._specs[task.id, container.name]
        log = self._folder / f"{task.id[:6]}-{container.name}.log"
        with log.open("ab") as output:
            pipe = self._unread_pipe(task, container) if spec.unread else None
            stdout = asyncio.subprocess.PIPE if spec.on_line else output.fileno()
            process = await asyncio.create_subprocess_exec(
                *processes.bound(spec.command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=stdout if pipe is None else pipe,
                stderr=output,
                env=spec.environ,
                process_group=0,
            )
        if pipe is not None:
            os.close(pipe)
        self._processes[task.id, container.name] = process
        container.state, container.started_at = "RUNNING", self._record.now()
        self._record.event("container", "running", task.id, container=container.name)
        self.spawn(self._watch(task, container, process))
        if process.stdout and spec.on_line:
            self.spawn(_read_lines(process, spec.on_line, log))
        if spec.check:
            self.spawn(self._check(task, container, spec.check))
        self._tell()

    def _unread_pipe(self, task: Task, container: Container) -> int:
        """The container's end. `fill_output` gets one of its own, opened anew: that it does not block is its own."""
        read_end, write_end = os.pipe()
        own = os.open(f"/proc/self/fd/{write_end}", os.O_WRONLY | os.O_NONBLOCK)
        self._unread[task.id, container.name] = (read_end, own)
        return write_end

    async def _watch(self, task: Task, container: Container, process: asyncio.subprocess.Process) -> None:
        code = await process.wait()
        # as a container engine tells an end by a signal
        container.exit_code = code if code >= 0 else 128 - code
        container.state, container.finished_at = "STOPPED", self._record.now()
        processes.kill_group(process.pid)  # what the container's process has left behind
        self._record.event("container", "stopped", task.id, container=container.name, exit_code=container.exit_code)
        self._tell()

    async def _check(self, task: Task, container: Container, check: Callable[[], Awaitable[bool]]) -> None:
        """UNHEALTHY is left out: no scenario is about ECS replacing a sick task, and starting slowly is no sickness."""
        while container.state == "RUNNING" and task.desired == "RUNNING":
            if container.health == "UNKNOWN" and await check():
                container.health = "HEALTHY"
                self._record.event("container", "healthy", task.id, container=container.name)
                if task.health == "HEALTHY":
                    self._record.event("task", "healthy", task.id)
                self._tell()
            await asyncio.sleep(self.service.check_interval)

    def _stop(self, task: Task, container: Container) -> None:
        if container.state == "PENDING":
            container.state = "STOPPED"
            self._tell()
        else:
            self.spawn(self._signal(task, container))

    async def _signal(self, task: Task, container: Container) -> None:
        """SIGTERM, and SIGKILL when the container's stopTimeout, which begins with its own stop, has run out."""
        process = self._processes[task.id, container.name]
        await asyncio.sleep(self._specs[task.id, container.name].asked_after)
        for _ in range(self.service.stop_signals):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(self._specs[task.id, container.name].stop_signal)
            self._record.event("container", "sigterm", task.id, container=container.name)
            await asyncio.sleep(0.2)
        try:
            async with asyncio.timeout(container.stop_timeout):
                await process.wait()
        except TimeoutError:
            self._record.event("container", "sigkill", task.id, container=container.name)
            processes.kill_group(process.pid)

    async def _kill_after(self, task: Task, seconds: float) -> None:
        await asyncio.sleep(seconds)
        for container in task.containers.values():
            if container.state == "RUNNING":
                self._record.event("container", "sigkill", task.id, container=container.name)
                processes.kill_group(self._processes[task.id, container.name].pid)
            elif container.state == "PENDING":
                container.state = "STOPPED"
        self._tell()

    # bookkeeping

    def _tell(self) -> None:
        self.change.set()
        self.change = asyncio.Event()

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Do this beside everything else, until `kill`."""
        task = self._group.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)


async def _read_lines(process: asyncio.subprocess.Process, on_line: Callable[[bytes], None], log: Path) -> None:
    if process.stdout is None:
        raise ValueError("the container's output is not a pipe")
    with log.open("ab") as output:
        async for line in process.stdout:
            output.write(line)
            output.flush()
            on_line(line)
