"""One run of a scenario: sets the stage, lets the change happen, and leaves the record."""

import asyncio
import json
import os
import platform
import shutil
import subprocess  # nosec B404
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import aiohttp
from aiohttp import web

from lab import admin, aws, callers, downstream, envoy, processes
from lab.discovery import Discovery
from lab.history import Recorder, Run, began_now
from lab.rules import Condition
from lab.scenario import Column, Scenario
from lab.scheduler import ContainerSpec, Scheduler, Service

BASELINE, TAIL = 4.0, 4.0  # seconds of load before the change, and after the last task has stopped
TASK_HELPER = str(Path(sys.executable).with_name("task-helper"))

# `sleep infinity & wait` is what people write; short naps leave nothing behind when the lab is killed
TRAP = """
trap 'sleep $DRAIN_DELAY; curl -s -X POST $ENVOY_ADMIN_URL/healthcheck/fail; sleep $DRAIN_TIMEOUT; exit 0' TERM
while :; do sleep 1 & wait $!; done
"""


def auto_is_known() -> bool:
    """Whether this task-helper can `auto`."""
    environ = {**os.environ, "DRAIN_DELAY": "auto"}
    command = [TASK_HELPER, "plan"]
    return subprocess.run(command, env=environ, capture_output=True, timeout=30).returncode == 0  # nosec B603


def missing(column: Column) -> str | None:
    """Why this column cannot be run here; None if it can."""
    if column == "trap" and shutil.which("curl") is None:
        return "needs curl"
    if column == "auto" and not auto_is_known():
        return "auto: not available"
    return None


def run_of(scenario: Scenario, column: Column) -> Run:
    """The first line of the record."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    revision = subprocess.run(git, capture_output=True, text=True, timeout=30).stdout.strip()  # nosec B603
    versions = {
        "python": platform.python_version(),
        "envoy": envoy.version(),
        "task-helper": version("ecs-task-helper"),
        "kernel": platform.release(),
    }
    settings = asdict(scenario) | {"helper": helper_settings(scenario, column)}
    for key in ("name", "title"):
        del settings[key]
    return Run(revision or "unknown", versions, scenario.name, scenario.title, column, settings, began_now())


def helper_settings(scenario: Scenario, column: Column) -> dict[str, str]:
    """The variables of the helper's container that are the same in every task."""
    times = scenario.times
    delay, timeout = ("auto", "auto") if column == "auto" else (f"{times.delay:g}", f"{times.timeout:g}")
    return {
        "DRAIN_DELAY": delay,
        "DRAIN_TIMEOUT": timeout,
        "STOP_TIMEOUT": f"{times.stop_timeout:g}",
        "HEALTH_CHECK_INTERVAL": f"{times.checks:g}",
        # what Cloud Map and the push take, and the first health check
        "DISCOVERY_LAG": f"{times.cloud_map + times.push + 1:g}",
        **scenario.settings,
    }


class Stage:
    """The stage of one run. `say` is told each phase."""

    def __init__(self, scenario: Scenario, column: Column, folder: Path, say: Callable[[str], None]) -> None:
        self.scenario, self.column, self.folder, self._say = scenario, column, folder, say
        self.record = Recorder(folder / "record.jsonl", run_of(scenario, column))
        self.downstream_address, self.aws_address = processes.free_address(), processes.free_address()
        self.names: dict[str, str] = {}  # the task of an address
        self.helpers_waiting: set[str] = set()  # for their applications
        self.doors: dict[str, admin.AdminDoor] = {}
        self._endpoints = folder / "endpoints.json"
        self._checks = asyncio.Semaphore(2)  # health checks at once: what they cost is not what is measured

    async def play(self) -> None:
        """The whole run; raises TimeoutError where something that was waited for did not happen."""
        times = self.scenario.times
        service = Service(
            self.scenario.tasks,
            unchecked_wait=times.unchecked,
            spot_notice=times.spot_notice,
            stop_signals=self.scenario.stop_signals,
        )
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self.scheduler = Scheduler(service, self.define, self.folder, self.record, group)
                self.discovery = Discovery(self.scheduler, self.record, times.cloud_map, times.push, self.publish)
                self.view = downstream.View(self.downstream_address, self.record)
                try:
                    await self._play()
                finally:
                    await self.scheduler.kill()
        finally:
            self.record.close()

    async def _play(self) -> None:
        self._phase("starting")
        api = aws.Aws(self.scheduler, self.discovery, self.record)
        api.faults.update(self.scenario.api_faults)
        background = [
            self._group.create_task(each)
            for each in (
                self._serve(api.application(), self.aws_address, aws.PORT),
                self._run_downstream(),
                self.scheduler.keep_count(),
                self.discovery.follow(),
                self.view.watch(self.names),
                self._fail_admin_when_stopped(),
            )
        ]
        try:
            await self._until_served()
            stop = asyncio.Event()
            calls = callers.call(
                self.scenario.callers, self.scenario.protocol, self.downstream_address, self.record, self.names, stop
            )
            calling = self._group.create_task(calls)
            self._phase("baseline")
            await asyncio.sleep(BASELINE)
            self.discovery.begin_lag()
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
        first = next(iter(self.scheduler.tasks.values()))
        match self.scenario.change:
            case "update":
                self.scheduler.update()
            case "scale-in":
                self.scheduler.scale(self.scenario.tasks - 1)
            case "application crashes":
                self.scheduler.crash(first, "application")
            case "envoy crashes":
                self.scheduler.crash(first, "envoy")
            case "spot":
                self.scheduler.interrupt(first)
            case "stop before in service":
                self.scheduler.scale(self.scenario.tasks + 1)
                await self._until(self._a_new_task_waits, "a new task's helper waits for its application")
                self.scheduler.scale(self.scenario.tasks)

    def _a_new_task_waits(self) -> bool:
        new = list(self.scheduler.tasks.values())[self.scenario.tasks :]
        return any(task.id in self.helpers_waiting for task in new)

    async def _until_served(self) -> None:
        def serving() -> bool:
            if any(task.desired == "STOPPED" for task in self.scheduler.tasks.values()):
                raise RuntimeError(f"a task stopped while it started: see the logs in {self.folder}")
            return list(self.view.hosts.values()).count("serving") == self.scenario.tasks

        await self._until(serving, "the downstream has all tasks in service")

    async def _until_settled(self) -> None:
        """Every task that is to stop has stopped, and the downstream has those that are to stay."""

        def settled() -> bool:
            tasks = self.scheduler.tasks.values()
            staying = [task for task in tasks if task.desired == "RUNNING"]
            stopped = all(task.state == "STOPPED" for task in tasks if task not in staying)
            serving = all(self.view.hosts.get(task.address) == "serving" for task in staying)
            changed = any(task.desired == "STOPPED" for task in tasks)
            return changed and stopped and serving and len(staying) == self.scheduler.desired

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
        self._say(name)

    # a task

    def define(self, id: str, address: str) -> list[ContainerSpec]:
        """The containers of a new task, wired as `task-helper taskdef add` would."""
        self.names[address] = id
        scenario, environ = self.scenario, dict(os.environ)
        is_new = len(self.scheduler.tasks) >= scenario.tasks
        starts_in = (3600.0 if scenario.starts_in is None else scenario.starts_in) if is_new else 0.0
        options = envoy.EnvoyOptions(address, (address, envoy.APPLICATION_PORT), scenario.protocol)
        serve = [sys.executable, "-m", "lab.application", "--task", id, "--host", address]
        serve += ["--port", str(envoy.APPLICATION_PORT), "--protocol", scenario.protocol, "--starts-in", str(starts_in)]
        containers = [
            ContainerSpec(
                "envoy",
                envoy.command(envoy.configuration(options), self.folder / f"{id[:6]}-envoy.json"),
                environ,
                check=lambda: self._answers(f"http://{address}:{envoy.ADMIN_PORT}/ready"),
            ),
            ContainerSpec(
                "application",
                serve,
                environ,
                depends_on={"envoy": "HEALTHY"},
                # the helper's health check is the gate; where there is none, the application has one of its own
                check=None if self.column in ("fixed", "auto") else lambda: self._accepts(address),
            ),
        ]
        if self.column == "none":
            return containers
        admin_port = envoy.ADMIN_PORT
        if scenario.admin_fault:
            admin_port = admin.PORT
            door = self.doors[id] = admin.AdminDoor(address)
            self.scheduler.spawn(door.serve())
        environ |= helper_settings(scenario, self.column) | {"ENVOY_ADMIN_URL": f"http://{address}:{admin_port}"}
        stop_timeout = scenario.times.stop_timeout
        depends_on: dict[str, Condition] = {"envoy": "HEALTHY", "application": "START"}
        if self.column == "trap":
            command = ["bash", "-c", TRAP]
            return [*containers, ContainerSpec("helper", command, environ, depends_on, stop_timeout=stop_timeout)]
        endpoint = f"http://{self.aws_address}:{aws.PORT}"
        environ |= {
            "ECS_CONTAINER_METADATA_URI_V4": f"{endpoint}/v4/{id}/helper",
            "AWS_ENDPOINT_URL_ECS": endpoint,
            "AWS_ENDPOINT_URL_SERVICEDISCOVERY": endpoint,
            "AWS_DISABLE_HOST_PREFIX_INJECTION": "true",
            "AWS_ACCESS_KEY_ID": "lab",  # nosec B105
            "AWS_SECRET_ACCESS_KEY": "lab",  # nosec B105
            "AWS_REGION": aws.REGION,
        }
        if scenario.protocol in ("http1", "http2"):
            environ["APP_HEALTH_URL"] = f"http://{address}:{envoy.APPLICATION_PORT}{envoy.HEALTH_PATH}"
        helper = ContainerSpec(
            "helper",
            [TASK_HELPER, "run"],
            environ,
            depends_on,
            stop_timeout=stop_timeout,
            check=lambda: self._succeeds([TASK_HELPER, "healthcheck"], environ),
            on_line=lambda line: self._heard(id, line),
        )
        return [*containers, helper]

    def _heard(self, id: str, line: bytes) -> None:
        """A line of the helper's log: its events belong to the record."""
        try:
            said = json.loads(line)
        except ValueError:
            return  # a traceback; the whole log is in the folder
        clock, event = said.pop("time"), said.pop("event")
        if event == "waiting" and "application" in said.get("because", ""):
            self.helpers_waiting.add(id)
        self.record.event("helper", event, id, clock=clock, **said)

    async def _answers(self, url: str) -> bool:
        """As `curl --fail` in a health check."""
        try:
            async with aiohttp.request("GET", url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _accepts(self, address: str) -> bool:
        """Whether the application accepts connections, whatever it speaks."""
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(address, envoy.APPLICATION_PORT), 2)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    async def _succeeds(self, command: list[str], environ: dict[str, str]) -> bool:
        async with self._checks:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=environ,
                preexec_fn=processes.die_with_parent,
            )
            return await process.wait() == 0

    # around the tasks

    def publish(self, addresses: list[str]) -> None:
        downstream.publish(self._endpoints, addresses)

    async def _run_downstream(self) -> None:
        self.publish([])
        scenario, address = self.scenario, self.downstream_address
        config = downstream.configuration(address, self._endpoints, scenario.protocol, scenario.times.checks)
        command = envoy.command(config, self.folder / "downstream.json")
        process = processes.start(command, self.folder / "downstream.log")
        try:
            while (code := process.poll()) is None:
                await asyncio.sleep(0.5)
            raise RuntimeError(f"the downstream exited with {code}: see downstream.log in {self.folder}")
        finally:
            processes.kill_group(process.pid)
            process.wait()

    async def _serve(self, application: web.Application, address: str, port: int) -> None:
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, address, port).start()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    async def _fail_admin_when_stopped(self) -> None:
        if self.scenario.admin_fault is None:
            return
        failing: set[str] = set()
        while True:
            change = self.scheduler.change
            for task in self.scheduler.tasks.values():
                if task.desired == "STOPPED" and task.id in self.doors and task.id not in failing:
                    failing.add(task.id)
                    self.scheduler.spawn(self.doors[task.id].fail(*self.scenario.admin_fault))
            await change.wait()
