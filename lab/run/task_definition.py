"""The task definition: Envoy, the application, perhaps a sidecar, and what each column has beside them to drain."""

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lab.ecs import aws
from lab.ecs.runtime import ContainerSpec
from lab.ecs.state import Condition
from lab.meshes import Mesh
from lab.parts import admin_proxy, cpu_quota, cpu_shares, envoy_process, processes
from lab.parts.history import Recorder
from lab.parts.probes import accepts, answers
from lab.parts.sample_application import DEEP_HEALTH_PATH
from lab.run import peers
from lab.scenarios.scenario import COLUMN_TITLES, AppHealth, Column, Scenario

TASK_HELPER = str(Path(sys.executable).with_name("task-helper"))

# `sleep infinity & wait` is what people write; short naps leave nothing behind when the lab is killed. ADMIN is the URL
# of the admin API, for a Unix socket as curl wants it; INT and QUIT are for where one of them is STOPSIGNAL.
TRAP = """
trap 'sleep $DRAIN_DELAY; curl -s -X POST $ADMIN/healthcheck/fail; sleep $DRAIN_TIMEOUT; exit 0' TERM INT QUIT
while :; do sleep 1 & wait $!; done
"""
# a shell in the background starts its programs deaf to SIGINT, and they cannot trap what they never hear
TRAP_COMMAND = ["env", "--default-signal=INT", "bash", "-c", TRAP]

# The intervals of the containers' health checks, of the application's too where there is no helper, and the period of
# the helper's restart policy, in seconds of real time
CHECKS, HELPER_CHECKS, RESTART_PERIOD = 5.0, 10.0, 60.0

# what ECS stops first, and in a chain what it stops then
HELPER, SECOND_HELPER = "helper", "helper-2"

SIDECAR_PORT = 8082
WRONG_PORT = 9999


def missing(column: Column) -> str | None:
    """Why this column cannot be run here; None if it can."""
    if column == "trap" and shutil.which("curl") is None:
        return "shell trap: needs curl"
    if column in peers.PROGRAMS and (why := peers.missing(column)):
        return f"{COLUMN_TITLES[column]}: {why}"
    return None


def missing_for(scenario: Scenario) -> str | None:
    """Why this scenario cannot be run here; None if it can."""
    if scenario.cpu is not None and cpu_quota.hierarchy() is None:
        return f"{scenario.name}: needs a control group `cpu` in which this user may make others"
    return None


def helper_settings(scenario: Scenario, column: Column, mesh: type[Mesh]) -> dict[str, str]:
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
        **mesh.settings(scenario, column),
        **scenario.settings,
    }


class TaskDefinition:
    """The containers of each new task.

    Close it when the tasks have stopped.

    names: the task of an address; waiting: the tasks whose helpers have said that they wait for the application;
    up: those whose application has said that it listens
    """

    def __init__(
        self, scenario: Scenario, column: Column, folder: Path, endpoint: str, record: Recorder, mesh: Mesh
    ) -> None:
        self.names: dict[str, str] = {}
        self.waiting: set[str] = set()
        self.up: set[str] = set()
        self._scenario, self._column, self._folder = scenario, column, folder
        self._endpoint, self._record, self._mesh = endpoint, record, mesh
        self._checks = asyncio.Semaphore(2)  # at once: what health checks cost is not what is measured
        # the path of a Unix socket has 107 characters at most, and the folder is anywhere
        self._sockets = tempfile.TemporaryDirectory(prefix="lab-")
        self._groups: dict[str, Path] = {}
        self._neighbour: cpu_shares.BusyNeighbour | None = None
        self._unwell: set[str] = set()
        self._gated = scenario.gate and column in ("fixed", "auto")
        self._unix_admin = mesh.unix_admin or scenario.admin == "unix" or column == "contour"

    def close(self) -> None:
        self._sockets.cleanup()
        if self._neighbour:
            self._neighbour.close()
        else:
            for group in self._groups.values():
                cpu_quota.remove(group)

    def fall_ill(self, id: str) -> None:
        """From now on the health check that the application's container has finds it unwell, though it serves."""
        self._unwell.add(id)
        self._record.event("hazard", "application unwell", id)

    def options(self, id: str, address: str) -> envoy_process.EnvoyOptions:
        """What the task's Envoy is like."""
        scenario = self._scenario
        options = envoy_process.EnvoyOptions(
            address,
            (address, envoy_process.APPLICATION_PORT),
            scenario.protocol,
            # Envoy Gateway's has one port for it, and no option
            admin_port=peers.GATEWAY_ADMIN_PORT if self._column == "gateway" else self._mesh.admin_port,
            **scenario.envoy,
        )
        if self._unix_admin:
            options = replace(options, admin=self.admin_socket(id))
        if options.tcp == "later":
            options = replace(options, lds=self._folder.absolute() / f"{id[:6]}-listeners.json")
        return self._mesh.options(options)

    def admin_socket(self, id: str) -> Path:
        return Path(self._sockets.name) / f"{id[:6]}.sock"

    def containers(self, id: str, address: str) -> list[ContainerSpec]:
        """Those of the task with this id on this address."""
        is_new = len(self.names) >= self._scenario.tasks
        self.names[address] = id
        containers = [
            *self._mesh.containers(id, address, f"{self._endpoint}/v4/{id}"),
            self._envoy(id, address),
            self._application(id, address, is_new),
        ]
        if self._scenario.sidecar:
            # first, as ECS may stop it first of all on which no container depends
            containers.insert(0, self._sidecar(id, address))
        if self._column == "trap":
            containers.append(self._holder(id, TRAP_COMMAND, address, {}))
        elif self._column in peers.PROGRAMS:
            files = Path(self._sockets.name) / f"{id[:6]}-peer"
            files.mkdir()
            command = peers.command(self._scenario, self._column, self.options(id, address), files)
            containers.append(self._holder(id, command, address, {}))
        elif self._column != "none":
            containers += self._helpers(id, address)
        return containers

    def _envoy(self, id: str, address: str) -> ContainerSpec:
        options = self.options(id, address)
        if options.lds:
            envoy_process.publish_listeners(options.lds, [])
        socket = options.admin if isinstance(options.admin, Path) else None
        return ContainerSpec(
            self._mesh.envoy_container,
            self._mesh.envoy(id, options),
            os.environ,
            depends_on=self._mesh.envoy_depends_on,
            check=lambda: answers(f"http://{address}:{options.admin_port}/ready", socket),
            check_interval=CHECKS * self._scenario.times.scale,
        )

    def _application(self, id: str, address: str, is_new: bool) -> ContainerSpec:
        never = 3600.0
        starts_in = (never if self._scenario.starts_in is None else self._scenario.starts_in) if is_new else 0.0
        has_check = not self._gated or self._mesh.checks_application or self._scenario.change == "application unwell"

        async def check() -> bool:
            return await accepts(address, envoy_process.APPLICATION_PORT) and id not in self._unwell

        options = {
            "--task": id,
            "--host": address,
            "--port": str(envoy_process.APPLICATION_PORT),
            "--lines-port": str(envoy_process.LINES_PORT),
            "--protocol": self._scenario.protocol,
            "--starts-in": str(starts_in),
            "--stops-in": str(self._scenario.stops_in),
        }
        return ContainerSpec(
            "application",
            [
                sys.executable,
                "-m",
                "lab.parts.sample_application",
                *(word for option in options.items() for word in option),
            ],
            os.environ,
            depends_on={self._mesh.envoy_container: "HEALTHY"},
            # the helper's health check is the gate; where there is none, the application has one of its own
            check=check if has_check else None,
            check_interval=CHECKS * self._scenario.times.scale,
            on_line=lambda line: self._record_application(id, line),
        )

    def _sidecar(self, id: str, address: str) -> ContainerSpec:
        """It could be anything; that it answers requests for health serves APP_HEALTH_URL."""
        sidecar = self._scenario.sidecar
        if sidecar is None:
            raise ValueError("the scenario has no sidecar")
        options = {"--task": id, "--host": address, "--port": str(SIDECAR_PORT), "--on-stop": sidecar.on_stop}
        command = [
            sys.executable,
            "-m",
            "lab.parts.sample_application",
            *(word for option in options.items() for word in option),
        ]
        return ContainerSpec("sidecar", command, os.environ, stop_timeout=sidecar.stop_timeout)

    def _helpers(self, id: str, address: str) -> list[ContainerSpec]:
        """One, or two in a chain: the first depends on the second."""
        if not self._scenario.chain:
            return [self._helper(id, address, HELPER, {})]
        stop_timeout = f"{self._scenario.times.stop_timeout:g}"
        first = self._helper(id, address, HELPER, {"HANDS_OVER_TO": f"{SECOND_HELPER}:{stop_timeout}"})
        second = self._helper(id, address, SECOND_HELPER, {"TAKES_OVER_FROM": f"{HELPER}:{stop_timeout}"})
        return [replace(first, depends_on={**first.depends_on, SECOND_HELPER: "START"}), second]

    def _helper(self, id: str, address: str, name: str, settings: Mapping[str, str]) -> ContainerSpec:
        environ = {
            "ECS_CONTAINER_METADATA_URI_V4": f"{self._endpoint}/v4/{id}/{name}",
            "AWS_REGION": aws.REGION,
            **aws.environment(self._endpoint),
            **settings,
        }
        if health := _health_urls(address)[self._scenario.app_health]:
            if self._scenario.protocol in ("http1", "http2"):
                environ["APP_HEALTH_URL"] = health
        container = self._holder(id, [TASK_HELPER, "run"], address, environ)
        healthcheck = self._limited(id, [TASK_HELPER, "healthcheck"])
        return replace(
            container,
            name=name,
            check=(lambda: self._succeeds(healthcheck, container.environ)) if self._gated else None,
            check_interval=HELPER_CHECKS * self._scenario.times.scale,
            # a process each time: five times as often as in real time it would be a load of its own
            recheck_interval=HELPER_CHECKS,
            on_line=None if container.unread else lambda line: self._record_helper(id, line),
        )

    def _holder(self, id: str, command: list[str], address: str, environ: Mapping[str, str]) -> ContainerSpec:
        """A container that ECS stops first, since it depends directly on all that it keeps running."""
        scenario = self._scenario
        depends_on: dict[str, Condition] = {self._mesh.envoy_container: "HEALTHY", "application": "START"}
        if scenario.sidecar and scenario.sidecar.held:
            depends_on["sidecar"] = "START"
        depends_on |= dict.fromkeys(self._mesh.kept_running, "START")
        return ContainerSpec(
            HELPER,
            self._limited(id, command),
            {
                **os.environ,
                **helper_settings(scenario, self._column, type(self._mesh)),
                **self._admin(id, address),
                **environ,
            },
            depends_on,
            stop_timeout=scenario.times.stop_timeout,
            restart_period=RESTART_PERIOD * scenario.times.scale,
            asked_after=scenario.sidecar.ahead if scenario.sidecar else 0.0,
            stop_signal=signal.Signals[scenario.stop_signal],
            unread=any(hazard.kind == "log is not read" for hazard in scenario.hazards),
        )

    def _limited(self, id: str, command: list[str]) -> list[str]:
        """The command, with the CPU quota or shares that the scenario gives the holder's container, if any."""
        if self._scenario.cpu is None:
            return command
        if id not in self._groups:
            self._groups[id] = self._make_group(id, self._scenario.cpu)
        return cpu_quota.within(self._groups[id], command)

    def _make_group(self, id: str, quota: float) -> Path:
        """A control group for the holder's container of a task; all tasks have one busy neighbour."""
        if self._scenario.shares is None:
            return cpu_quota.make(f"lab-{id}", quota)
        own, busy = self._scenario.shares
        self._neighbour = self._neighbour or cpu_shares.BusyNeighbour(f"lab-{id}", quota, busy)
        return self._neighbour.container(id, own)

    def _admin(self, id: str, address: str) -> dict[str, str]:
        """Where the admin API is: for the helper, and as curl takes it."""
        socket = self.options(id, address).admin
        if isinstance(socket, Path):
            return {"ENVOY_ADMIN_URL": f"unix://{socket}", "ADMIN": f"--unix-socket {socket} http://localhost"}
        port = admin_proxy.PORT if self._scenario.admin_fault else self._mesh.admin_port
        url = f"http://{address}:{WRONG_PORT if self._scenario.admin == 'wrong port' else port}"
        return {"ENVOY_ADMIN_URL": url, "ADMIN": url}

    def _record_application(self, id: str, line: bytes) -> None:
        """When the application itself was down belongs to the record: what fails then is not for others to answer."""
        try:
            entry = json.loads(line)
        except ValueError:
            return  # a traceback; the whole log is in the folder
        if entry["event"] == "up":
            self.up.add(id)
        self._record.event("application", entry["event"], id, clock=entry["time"])

    def _record_helper(self, id: str, line: bytes) -> None:
        """A line of the helper's log: its events belong to the record."""
        try:
            entry = json.loads(line)
        except ValueError:
            return  # a traceback; the whole log is in the folder
        clock, event = entry.pop("time"), entry.pop("event")
        if event == "waiting" and "application" in entry.get("cause", ""):
            self.waiting.add(id)
        self._record.event("helper", event, id, clock=clock, **entry)

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


def _health_urls(address: str) -> dict[AppHealth, str | None]:
    application = f"http://{address}:{envoy_process.APPLICATION_PORT}"
    return {
        "application": application + envoy_process.HEALTH_PATH,
        "unwell": application + DEEP_HEALTH_PATH,
        "sidecar": f"http://{address}:{SIDECAR_PORT}{envoy_process.HEALTH_PATH}",
        "none": None,
    }
