"""The task definition: Envoy, the application, and what each column has beside them, wired for a drain."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import aiohttp

from lab import admin, aws, envoy, processes
from lab.history import Recorder
from lab.rules import Condition
from lab.scenario import Column, Scenario
from lab.scheduler import ContainerSpec

TASK_HELPER = str(Path(sys.executable).with_name("task-helper"))

# `sleep infinity & wait` is what people write; short naps leave nothing behind when the lab is killed
TRAP = """
trap 'sleep $DRAIN_DELAY; curl -s -X POST $ENVOY_ADMIN_URL/healthcheck/fail; sleep $DRAIN_TIMEOUT; exit 0' TERM
while :; do sleep 1 & wait $!; done
"""


def missing(column: Column) -> str | None:
    """Why this column cannot be run here; None if it can."""
    if column == "trap" and shutil.which("curl") is None:
        return "shell trap: needs curl"
    return None


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


class TaskDefinition:
    """The containers of each new task.

    names: the task of an address; waiting: the tasks whose helpers have said that they wait for the application
    """

    def __init__(self, scenario: Scenario, column: Column, folder: Path, endpoint: str, record: Recorder) -> None:
        self.names: dict[str, str] = {}
        self.waiting: set[str] = set()
        self._scenario, self._column, self._folder = scenario, column, folder
        self._endpoint, self._record = endpoint, record
        self._checks = asyncio.Semaphore(2)  # at once: what health checks cost is not what is measured

    def containers(self, id: str, address: str) -> list[ContainerSpec]:
        """Those of the task with this id on this address."""
        is_new = len(self.names) >= self._scenario.tasks
        self.names[address] = id
        containers = [self._envoy(id, address), self._application(id, address, is_new)]
        if self._column == "trap":
            containers.append(self._holder(["bash", "-c", TRAP], address, {}))
        elif self._column != "none":
            containers.append(self._helper(id, address))
        return containers

    def _envoy(self, id: str, address: str) -> ContainerSpec:
        options = envoy.EnvoyOptions(address, (address, envoy.APPLICATION_PORT), self._scenario.protocol)
        return ContainerSpec(
            "envoy",
            envoy.command(envoy.configuration(options), self._folder / f"{id[:6]}-envoy.json"),
            os.environ,
            check=lambda: _answers(f"http://{address}:{envoy.ADMIN_PORT}/ready"),
        )

    def _application(self, id: str, address: str, is_new: bool) -> ContainerSpec:
        never = 3600.0
        starts_in = (never if self._scenario.starts_in is None else self._scenario.starts_in) if is_new else 0.0
        options = {
            "--task": id,
            "--host": address,
            "--port": str(envoy.APPLICATION_PORT),
            "--protocol": self._scenario.protocol,
            "--starts-in": str(starts_in),
        }
        return ContainerSpec(
            "application",
            [sys.executable, "-m", "lab.application", *(word for option in options.items() for word in option)],
            os.environ,
            depends_on={"envoy": "HEALTHY"},
            # the helper's health check is the gate; where there is none, the application has one of its own
            check=None if self._column in ("fixed", "auto") else lambda: _accepts(address, envoy.APPLICATION_PORT),
        )

    def _helper(self, id: str, address: str) -> ContainerSpec:
        environ = {
            "ECS_CONTAINER_METADATA_URI_V4": f"{self._endpoint}/v4/{id}/helper",
            "AWS_REGION": aws.REGION,
            **aws.environment(self._endpoint),
        }
        if self._scenario.protocol in ("http1", "http2"):
            environ["APP_HEALTH_URL"] = f"http://{address}:{envoy.APPLICATION_PORT}{envoy.HEALTH_PATH}"
        container = self._holder([TASK_HELPER, "run"], address, environ)
        return replace(
            container,
            check=lambda: self._succeeds([TASK_HELPER, "healthcheck"], container.environ),
            on_line=lambda line: self._heard(id, line),
        )

    def _holder(self, command: list[str], address: str, environ: Mapping[str, str]) -> ContainerSpec:
        """A container that ECS stops first, since it depends on both others, directly."""
        port = admin.PORT if self._scenario.admin_fault else envoy.ADMIN_PORT
        settings = helper_settings(self._scenario, self._column) | {"ENVOY_ADMIN_URL": f"http://{address}:{port}"}
        depends_on: dict[str, Condition] = {"envoy": "HEALTHY", "application": "START"}
        stop_timeout = self._scenario.times.stop_timeout
        return ContainerSpec(
            "helper", command, {**os.environ, **settings, **environ}, depends_on, stop_timeout=stop_timeout
        )

    def _heard(self, id: str, line: bytes) -> None:
        """A line of the helper's log: its events belong to the record."""
        try:
            said = json.loads(line)
        except ValueError:
            return  # a traceback; the whole log is in the folder
        clock, event = said.pop("time"), said.pop("event")
        if event == "waiting" and "application" in said.get("because", ""):
            self.waiting.add(id)
        self._record.event("helper", event, id, clock=clock, **said)

    async def _succeeds(self, command: list[str], environ: Mapping[str, str]) -> bool:
        async with self._checks:
            process = await asyncio.create_subprocess_exec(
                *processes.bound(command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL,
                env=environ,
            )
            return await process.wait() == 0


async def _answers(url: str) -> bool:
    """As `curl --fail` in a health check."""
    try:
        async with aiohttp.request("GET", url, timeout=aiohttp.ClientTimeout(total=2)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _accepts(address: str, port: int) -> bool:
    """Whether connections are accepted there, whatever is spoken."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 2)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
