"""One run of a scenario: sets the stage, lets the change happen, and leaves the record."""

import asyncio
import platform
import subprocess  # nosec B404
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from lab.ecs import aws
from lab.ecs.runtime import Runtime, Service
from lab.ecs.state import TaskState
from lab.meshes import Mesh, Surroundings, mesh_class
from lab.parts import downstream, envoy_process, load, processes
from lab.parts.history import Recorder, Run, began_now
from lab.parts.serving import served
from lab.run import admin_fault, hazards, peers
from lab.run.narrator import Narrator
from lab.run.task_definition import TaskDefinition, helper_settings
from lab.scenarios.scenario import Column, Scenario

BASELINE, TAIL = 4.0, 4.0  # seconds of load before the change, and after the last task has stopped


def run_of(scenario: Scenario, column: Column, mesh: type[Mesh]) -> Run:
    """The first line of the record."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    described = subprocess.run(git, capture_output=True, text=True, timeout=30)  # nosec B603
    revision = described.stdout.strip() or "unknown"
    versions = {
        "python": platform.python_version(),
        "envoy": envoy_process.version(),
        "task-helper": version("ecs-task-helper"),
        "kernel": platform.release(),
        **mesh.versions(),
        **peers.versions(column),
    }
    settings = asdict(scenario) | {"helper": helper_settings(scenario, column, mesh)}
    for key in ("name", "title"):
        del settings[key]
    return Run(revision, versions, scenario.name, scenario.title, column, settings, began_now())


class Stage:
    """The stage of one run. `say` gets what happens, in sentences."""

    def __init__(self, scenario: Scenario, column: Column, folder: Path, say: Callable[[str], None]) -> None:
        self.scenario, self.column, self.folder = scenario, column, folder
        mesh = mesh_class(scenario.mesh)
        self.record = Recorder(folder / "record.jsonl", run_of(scenario, column, mesh), Narrator(say).hear)
        self.mesh = mesh(scenario, column, folder, self.record)
        self.downstream_address, self.aws_address = processes.free_address(), processes.free_address()
        endpoint = f"http://{self.aws_address}:{aws.PORT}"
        self.definition = TaskDefinition(scenario, column, folder, endpoint, self.record, self.mesh)

    async def play(self) -> None:
        """The whole run; raises TimeoutError where something that was waited for did not happen."""
        times = self.scenario.times
        service = Service(
            self.scenario.tasks,
            maximum=self.scenario.maximum,
            unchecked_wait=times.unchecked,
            spot_notice=times.spot_notice,
            stop_signals=self.scenario.stop_signals,
            bake=times.bake if self.scenario.change == "blue/green" else None,
            agent=self.mesh.agent(),
        )
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                containers, target_group = self.definition.containers, self.mesh.target_group
                self.runtime = Runtime(service, containers, self.folder, self.record, group, target_group)
                self.view = downstream.View(self.downstream_address, self.record, self.mesh.downstream_admin)
                listed = self.mesh.cloud_map.instances if self.mesh.cloud_map else None
                api = aws.Aws(self.runtime, listed, self.record)
                # as in ECS, the task metadata endpoint is there before any container
                async with self.mesh.running(), served(api.application(), self.aws_address, aws.PORT):
                    try:
                        await self._play(api)
                    finally:
                        await self.runtime.kill()
        finally:
            self.record.close()
            self.definition.close()

    async def _play(self, api: aws.Aws) -> None:
        self._phase("starting")
        api.faults.update(self.scenario.api_faults)
        works = [
            self._run_downstream(),
            self.runtime.keep_count(),
            self.mesh.follow(Surroundings(self.runtime, self.view, self._options)),
            self.view.watch(self.definition.names),
        ]
        if self.scenario.admin_fault:
            works.append(admin_fault.inject(self.runtime, *self.scenario.admin_fault, self.record))
        background = [self._group.create_task(work) for work in works]
        try:
            await self._until_served()
            stop = asyncio.Event()
            calling = self._group.create_task(self._call(stop))
            self._phase("baseline")
            await asyncio.sleep(BASELINE)
            self.mesh.begin_lag()
            api.settled = frozenset(self.runtime.tasks)
            old = list(self.runtime.tasks.values())
            await hazards.inject(self.scenario.hazards, old, self.runtime, self.definition, self.record, self.mesh)
            self._phase("change")
            await self._change()
            await self._until_settled()
            self._phase("tail")
            await asyncio.sleep(TAIL)
            stop.set()
            await calling
            self._phase("finished")
        finally:
            for task in background:
                task.cancel()

    async def _change(self) -> None:
        first = next(iter(self.runtime.tasks.values()))
        match self.scenario.change:
            case "update" | "blue/green":
                self.runtime.update()
            case "scale-in":
                self.runtime.scale(self.scenario.tasks - 1)
            case "sidecar crashes":
                self.runtime.crash(first, "sidecar")
            case "application crashes":
                self.runtime.crash(first, "application")
            case "envoy crashes":
                self.runtime.crash(first, "envoy")
            case "stop task":
                self.runtime.stop_task(first)
            case "spot":
                self.runtime.interrupt(first)
            case "rebalancing":
                self.runtime.rebalance(first)
            case "application unwell":
                self.definition.fall_ill(first.id)
            case "stop before in service":
                self.runtime.scale(self.scenario.tasks + 1)
                await self._until(self._a_new_task_waits, "a new task's helper waits for its application")
                self.runtime.scale(self.scenario.tasks)

    def _a_new_task_waits(self) -> bool:
        new = list(self.runtime.tasks.values())[self.scenario.tasks :]
        return any(task.id in self.definition.waiting for task in new)

    async def _until_served(self) -> None:
        def serving() -> bool:
            tasks = self.runtime.tasks.values()
            if any(task.desired == "STOPPED" for task in tasks):
                raise RuntimeError(f"a task stopped while it started: see the logs in {self.folder}")
            # ECS is the first to stop what it does not know to be healthy
            if any(task.health != "HEALTHY" for task in tasks):
                return False
            # a listener that accepts connections proves no application behind it
            listening = self.definition.up.issuperset(self.runtime.tasks)
            return listening and list(self.view.hosts.values()).count("serving") == self.scenario.tasks

        await self._until(serving, "all tasks are healthy to ECS, and the downstream has them in service")
        if self.scenario.panic_threshold is not None:
            # health checks have passed, but the downstream merges that within a second; its panic would serve meanwhile
            deadline = time.monotonic() + 30
            while not await load.answered(self.downstream_address):
                if time.monotonic() > deadline:
                    raise TimeoutError("not within 30 s: the downstream sends requests to the tasks")
                await asyncio.sleep(0.05)

    async def _until_settled(self) -> None:
        """Every task that is to stop has stopped, and the downstream has those that are to stay."""

        def settled() -> bool:
            tasks = self.runtime.tasks.values()
            staying = [task for task in tasks if task.desired == "RUNNING"]
            stopped = all(task.status == "STOPPED" for task in tasks if task not in staying)
            serving = all(self.view.hosts.get(task.address) == "serving" for task in staying)
            changed = any(task.desired == "STOPPED" for task in tasks)
            return changed and stopped and serving and len(staying) == self.runtime.desired

        times = self.scenario.times
        await self._until(settled, "old tasks stopped, new ones in service", 120 + times.stop_timeout + times.cloud_map)

    async def _until(self, fact: Callable[[], bool], what: str, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not fact():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {seconds:g} s: {what}; downstream: {self.view.hosts}")
            await asyncio.sleep(0.05)

    def _phase(self, name: str) -> None:
        self.record.event("phase", name)

    # around the tasks

    async def _call(self, stop: asyncio.Event) -> None:
        scenario, names = self.scenario, self.definition.names
        streams = load.Load(scenario.streams, scenario.protocol, self.mesh.passes_connections)
        await load.call(streams, self.downstream_address, self.record, names, stop)

    def _options(self, task: TaskState) -> envoy_process.EnvoyOptions:
        return self.definition.options(task.id, task.address)

    async def _run_downstream(self) -> None:
        command = self.mesh.downstream(self.downstream_address)
        process = processes.start(command, self.folder / "downstream.log")
        try:
            while (code := process.poll()) is None:
                await asyncio.sleep(0.5)
            raise RuntimeError(f"the downstream exited with {code}: see downstream.log in {self.folder}")
        finally:
            processes.kill_group(process)
            process.wait()
