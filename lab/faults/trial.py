"""One trial of a task by a schedule: real processes, a real downstream, and a record of what became of each request."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
from aiohttp import web

from lab.ecs import aws
from lab.ecs.agent_rules import NOTICED_AFTER
from lab.ecs.state import ContainerState, TaskState
from lab.faults import stepped_clock
from lab.faults.outcome import OK, Outcome, Sent
from lab.faults.schedule import ADMIN_FAULTS, CHECK_INTERVAL, DEATHS, FROM_START, OF_HELPER, Happening, Kind, Schedule
from lab.faults.shared_parts import HOST, SLOT, SharedParts, Slot, answers
from lab.parts import admin_proxy, envoy_process, processes
from lab.parts.container_process import ContainerProcess, logged
from lab.parts.probes import accepts, until
from lab.run.task_definition import HELPER, SECOND_HELPER, TASK_HELPER, TRAP_COMMAND

Holder = Literal["trap", "helper"]

# requests a second, of each kind
SHORT_RATE, LONG_RATE, SHORT_TAKES = 8.0, 1.0, 0.02

# a TCP connection has something to say so often, and is closed so long before the trap's plan ends
TALKS_EVERY, CLOSES_BEFORE = 0.3, 1.0

# how long requests flow before the stop, and after the holder has exited
BASELINE, TAIL = 0.7, 1.5

# how long the helper is given to come into service; in some schedules it never does
COMES_INTO_SERVICE: Final = 2.0

# from the stop until discovery has taken the old task away, where it does so at once
PUSH: Final = 0.2

# between two looks at whether time passes as it should
CLOCK_EVERY: Final = 0.1

# A starved helper runs for its share of each such period, as with a CPU quota (sched-bwc), and is stopped for the rest.
# That needs no right to make control groups; SIGSTOP is all that it needs.
QUOTA_PERIOD: Final = 0.1

# the header of every answer of an Envoy that fails its health checks
FAILING: Final = "x-envoy-immediate-health-check-fail"

PROXY_FAULTS: Final[Mapping[Kind, admin_proxy.AdminFault]] = {
    "admin hangs": "hangs",
    "admin stalls": "stalls",
    "admin errors": "errors",
    "admin refuses": "refuses",
}
SIDECAR_CODES: Final = {"sidecar dies": 137, "sidecar fails": 1, "sidecar leaves": 0}


class Trial:
    """The trial of one task; `play` it once."""

    def __init__(self, shared: SharedParts, schedule: Schedule, holder: Holder, folder: Path) -> None:
        self._shared, self._schedule, self._holder, self._folder = shared, schedule, holder, folder
        self._id = f"{schedule.number}-{holder}"
        self._address = processes.free_address()
        self._options = self._envoy_options()
        self._admin_proxy = (
            admin_proxy.AdminProxy(self._address, self._proxy_place()) if schedule.has(*ADMIN_FAULTS) else None
        )
        self._processes: dict[str, ContainerProcess] = {}
        # what ECS stops first, and in a chain what it stops then
        chain = holder == "helper" and schedule.first_stop_timeout is not None
        self._holders = (HELPER, SECOND_HELPER) if chain else (HELPER,)
        self._clock = folder / f"{self._id}-clock"
        self._stepped_at = math.inf
        # why the holders do not run at the moment: they are frozen, or have used up their share of the CPU
        self._standing: set[Literal["frozen", "starved"]] = set()
        self._deaths: list[tuple[int, float]] = []
        self._task = self._metadata_task()
        self._metadata_fault: str | None = None
        self._admin_fault: admin_proxy.AdminFault | None = None
        self._envoy_is_down = False
        self._sent: list[Sent] = []
        self._late = 0.0
        self._outages: list[tuple[float, float]] = []
        self._died: list[tuple[float, float]] = []
        self._zero, self._wall_zero = time.monotonic(), time.time()

    def _now(self) -> float:
        """Seconds since the stop."""
        return time.monotonic() - self._zero

    # what the task is

    def _envoy_options(self) -> envoy_process.EnvoyOptions:
        kind = self._schedule.envoy
        # where there is a proxy, the socket is the proxy's
        own_socket = kind.unix_admin and not self._schedule.has(*ADMIN_FAULTS)
        return envoy_process.EnvoyOptions(
            self._address,
            (self._address, envoy_process.APPLICATION_PORT),
            egress="MODIFY_ONLY" if kind.egress_prefix else None,
            egress_prefix=kind.egress_prefix or "egress",
            admin=self._socket if own_socket else "tcp",
            traffic_direction=kind.says != "nothing",
            inbound_says="OUTBOUND" if kind.says == "OUTBOUND" else "INBOUND",
            stat_prefix=kind.stat_prefix,
            listener_name=kind.listener_name,
            asks_application=kind.asks_application,
            rejected_stats=kind.rejected_stats,
            allow_paths=kind.allow_paths,
            lds=self._folder / f"{self._id}-listeners.json" if kind.lds else None,
            tcp=kind.tcp,
        )

    @property
    def _socket(self) -> Path:
        return self._folder / f"{self._id}.sock"

    def _proxy_place(self) -> tuple[str, int] | Path:
        return self._socket if self._schedule.envoy.unix_admin else (self._address, admin_proxy.PORT)

    def _admin(self) -> dict[str, str]:
        """Where the admin API is: for the helper, and as curl takes it."""
        if self._schedule.envoy.unix_admin:
            socket = self._socket
            by_curl = f"--unix-socket {socket} http://localhost"
            return {"ENVOY_ADMIN_URL": f"unix://{socket}", "ADMIN": by_curl}
        url = f"http://{self._address}:{admin_proxy.PORT if self._admin_proxy else envoy_process.ADMIN_PORT}"
        return {"ENVOY_ADMIN_URL": url, "ADMIN": url}

    def _environ(self, name: str) -> dict[str, str]:
        """Those of the holder in the container of this name."""
        schedule = self._schedule
        auto = self._holder == "helper" and schedule.auto_timeout
        environ = {
            **os.environ,
            "DRAIN_DELAY": "auto" if schedule.auto_delay and self._holder == "helper" else f"{schedule.delay:g}",
            "DRAIN_TIMEOUT": "auto" if auto else f"{schedule.timeout:g}",
            # AWS cannot be asked, so that `auto` has this to go by
            "DISCOVERY_LAG": f"{schedule.delay:g}",
            **aws.environment(f"http://{self._address}:1"),
            "STOP_TIMEOUT": f"{schedule.stop_timeout:g}",
            **self._chain(name),
            "HEALTH_CHECK_INTERVAL": f"{CHECK_INTERVAL:g}",
            **self._admin(),
            **dict(schedule.settings),
        }
        if schedule.step:
            environ[stepped_clock.STEPPED_CLOCK] = str(self._clock)
        application = f"http://{self._address}:{envoy_process.APPLICATION_PORT}"
        health = {
            "application": f"{application}/health",
            "unwell": f"{application}/health/deep",
            "nobody": f"http://{self._address}:1/health",
        }
        if schedule.app_health in health:
            environ["APP_HEALTH_URL"] = health[schedule.app_health]
        if schedule.metadata == "there":
            environ["ECS_CONTAINER_METADATA_URI_V4"] = self._shared.metadata_url(self._id, name)
        return environ

    def _chain(self, name: str) -> dict[str, str]:
        """What a helper of a chain knows of the other one."""
        if len(self._holders) == 1:
            return {}
        first, second = (f"{each:g}" for each in self._schedule.stop_timeouts)
        if name == HELPER:
            return {"STOP_TIMEOUT": first, "HANDS_OVER_TO": f"{SECOND_HELPER}:{second}"}
        return {"STOP_TIMEOUT": second, "TAKES_OVER_FROM": f"{HELPER}:{first}"}

    # its trial

    async def play(self) -> Outcome:
        async with self._shared.slot(self._schedule.panic) as slot, asyncio.TaskGroup() as group:
            self._shared.metadata[self._id] = self._answer_metadata
            background: list[asyncio.Task[None]] = []

            def beside(work: Coroutine[Any, Any, None]) -> None:
                background.append(group.create_task(work))

            try:
                if self._admin_proxy:
                    beside(self._admin_proxy.serve())
                async with self._shared.starting:
                    await self._start(slot)
                return await self._live(slot, beside)
            finally:
                for task in background:
                    task.cancel()
                for process in self._processes.values():
                    await process.kill()
                    process.close()
                del self._shared.metadata[self._id]

    async def _start(self, slot: Slot) -> None:
        """Envoy, the application, the holder, and the downstream's first request."""
        await self._start_envoy()
        place = ("--task", "old", "--host", self._address, "--port", str(envoy_process.APPLICATION_PORT))
        more = ("--restart-takes", f"{self._schedule.restart_takes:g}", "--lines-port", str(envoy_process.LINES_PORT))
        await self._start_process(
            "application", [sys.executable, "-m", "lab.parts.sample_application", *place, *more], os.environ
        )
        session = self._shared.session
        await until(
            lambda: answers(session, f"http://{self._address}:{envoy_process.INBOUND_PORT}{envoy_process.HEALTH_PATH}")
        )
        for happening in self._schedule.happenings:
            if happening.at == FROM_START and not happening.kind.startswith("log"):
                await self._happens(happening)
        stepped_clock.write(self._clock, 0.0)
        for name in self._holders:
            await self._start_holder(name)
        if self._schedule.known:
            slot.publish(self._address)
            await until(lambda: self._routed(slot))
        if self._holder == "helper":
            with contextlib.suppress(TimeoutError):
                await until(self._in_service, COMES_INTO_SERVICE)
        for happening in self._schedule.happenings:
            if happening.at == FROM_START and happening.kind.startswith("log"):
                await self._happens(happening)

    async def _live(self, slot: Slot, beside: Callable[[Coroutine[Any, Any, None]], None]) -> Outcome:
        """Requests flow, the stop comes, and the schedule happens; when the holder has exited, ECS stops the rest."""
        schedule = self._schedule
        before = max([BASELINE, *(-each.at + 0.1 for each in schedule.happenings if -10 < each.at < 0)])
        self._zero, self._wall_zero = time.monotonic() + before, time.time() + before
        enough, calling = asyncio.Event(), []
        if schedule.known:
            for rate, wanted in ((SHORT_RATE, SHORT_TAKES), (LONG_RATE, schedule.long)):
                calling.append(asyncio.create_task(self._call(slot, rate, wanted, enough)))
            if schedule.envoy.tcp != "none":
                calling.append(asyncio.create_task(self._converse()))
        for happening in schedule.happenings:
            if happening.at != FROM_START:
                beside(self._happens_later(happening))
            else:
                beside(self._ends_later(happening))
        beside(self._discovery(slot))
        beside(self._watch_clock())
        try:
            await self._sleep_until(0)
            self._task.desired = "STOPPED"
            await until(self._holder_handles_sigterm)
            self._processes[HELPER].send(signal.SIGTERM)
            self._late = max(self._late, self._now())
            stop_timeout = schedule.stop_timeout if len(self._holders) == 1 else schedule.stop_timeouts[0]
            code, exit = first_code, first_exit = await self._holder_ends(HELPER, stop_timeout)
            if len(self._holders) == 2 and self._processes[SECOND_HELPER].is_there:
                code, exit = await self._second_goes_on(first_code)
            drained = await self._is_drained()
            ended = self._now()
            await self._stop_the_rest()
            await asyncio.sleep(max(ended, schedule.replaced + 0.5) + TAIL - self._now())
        finally:
            enough.set()
            await asyncio.gather(*calling)
        return Outcome(
            holder=self._holder,
            sent=tuple(sorted(self._sent, key=lambda sent: sent.at)),
            downs=tuple(self._downs(ended)),
            outages=tuple(self._outages),
            exit=exit,
            code=code,
            drained=drained,
            late=self._late,
            log=tuple(line for name in self._holders for line in self._processes[name].lines),
            first_exit=first_exit,
            first_code=first_code,
            deaths=tuple(self._deaths),
        )

    async def _holder_ends(self, name: str, stop_timeout: float) -> tuple[int | None, float | None]:
        """Its exit code, and when it ended; None where ECS had to kill it at the end of its stopTimeout."""
        code = await self._processes[name].ends(stop_timeout)
        exit = None if code is None else self._now()
        if code is None:
            await self._processes[name].kill()
        return code, exit

    async def _second_goes_on(self, first_code: int | None) -> tuple[int | None, float | None]:
        """As ECS does when the first helper of a chain has ended."""
        self._stopped(HELPER, 137 if first_code is None or first_code < 0 else first_code)
        await asyncio.sleep(NOTICED_AFTER)
        self._processes[SECOND_HELPER].send(signal.SIGTERM)
        return await self._holder_ends(SECOND_HELPER, self._schedule.stop_timeouts[1])

    async def _stop_the_rest(self) -> None:
        """As ECS does: Envoy after the application, which depends on it."""
        for name in ("application", "envoy"):
            self._processes[name].send(signal.SIGTERM)
            await self._processes[name].ends(5)

    async def _discovery(self, slot: Slot) -> None:
        if self._schedule.deregistered:
            await self._sleep_until(PUSH)
            slot.publish()
        await self._sleep_until(self._schedule.replaced)
        slot.publish(self._shared.replacement)

    async def _sleep_until(self, at: float) -> None:
        await asyncio.sleep(at - self._now())
        self._late = max(self._late, self._now() - at)

    async def _watch_clock(self) -> None:
        """A machine that stood still wakes everybody at once, and who waited for a process finds its time run out."""
        while True:
            await self._sleep_until(self._now() + CLOCK_EVERY)

    # its processes

    async def _start_process(self, name: str, command: list[str], environ: Mapping[str, str]) -> None:
        self._processes[name] = ContainerProcess(command, environ, self._folder / f"{self._id}-{name}.log")
        await self._processes[name].start()

    async def _start_holder(self, name: str) -> None:
        command = [TASK_HELPER, "run"]
        if self._holder == "trap":
            command = TRAP_COMMAND
        elif self._schedule.step:
            command = [sys.executable, "-m", "lab.faults.stepped_clock", "run"]
        await self._start_process(name, command, self._environ(name))

    async def _start_envoy(self) -> None:
        """It is live when this returns."""
        config = envoy_process.configuration(self._options)
        if self._options.lds:
            envoy_process.publish_listeners(self._options.lds, config["static_resources"]["listeners"])
            config["static_resources"]["listeners"] = []
        command = envoy_process.command(config, self._folder / f"{self._id}-envoy.json")
        await self._start_process("envoy", command, os.environ)
        # its listener takes connections; whether the admin API can be asked is the schedule's business
        await until(lambda: accepts(self._address, envoy_process.INBOUND_PORT), 30)

    async def _in_service(self) -> bool:
        return all(
            any('"in_service"' in line or "in_service" in line.split() for line in self._processes[name].lines)
            for name in self._holders
        )

    async def _holder_handles_sigterm(self) -> bool:
        return self._processes[HELPER].handles(signal.SIGTERM)

    async def _is_drained(self) -> bool:
        url = f"http://{self._address}:{envoy_process.INBOUND_PORT}{envoy_process.HEALTH_PATH}"
        try:
            async with self._shared.session.get(url, timeout=aiohttp.ClientTimeout(total=3)) as answer:
                return FAILING in answer.headers
        except (aiohttp.ClientError, TimeoutError):
            return False

    def _downs(self, ended: float) -> list[tuple[float, float]]:
        """From when to when the application was down, by its own word, before ECS stopped it."""
        downs: list[tuple[float, float]] = []
        for wall, event in logged(self._processes["application"].lines):
            at = wall - self._wall_zero
            if event == "down":
                downs.append((at, math.inf))
            elif downs:
                downs[-1] = (downs[-1][0], at)
        return [(begin, end) for begin, end in (*downs, *self._died) if begin < ended]

    # what happens to it

    async def _happens_later(self, happening: Happening) -> None:
        await self._sleep_until(happening.at)
        await self._happens(happening)
        await self._ends_later(happening)

    async def _ends_later(self, happening: Happening) -> None:
        """What is in the way of a call ends by itself; what else there is has ended, or does not."""
        if happening.kind in PROXY_FAULTS:
            await self._sleep_until(happening.at + happening.seconds)
            self._admin_fault = None
            self._set_proxy_fault()
        elif happening.kind.startswith("metadata"):
            await self._sleep_until(happening.at + happening.seconds)
            self._metadata_fault = None
        elif happening.kind == "helper is frozen":
            await self._sleep_until(happening.at + happening.seconds)
            self._stand("frozen", False)
        elif happening.kind == "helper is starved":
            await self._starve(happening.at + happening.seconds)

    def _stand(self, why: Literal["frozen", "starved"], stands: bool) -> None:
        """The holders do not run while there is any reason why."""
        (self._standing.add if stands else self._standing.discard)(why)
        for name in self._holders:
            self._processes[name].stop_running(bool(self._standing))

    async def _starve(self, end: float) -> None:
        """Let the holders run for their share of the time, until then."""
        runs = self._schedule.cpu * QUOTA_PERIOD
        while self._now() < end:
            self._stand("starved", True)
            await asyncio.sleep(QUOTA_PERIOD - runs)
            self._stand("starved", False)
            await asyncio.sleep(runs)

    async def _dies(self, name: str) -> None:
        if self._processes[name].is_there:
            self._deaths.append((self._holders.index(name) + 1, self._now()))
            await self._processes[name].kill()
            self._stopped(name, 137)

    async def _restarts(self, name: str) -> None:
        """By its restart policy."""
        await self._processes[name].kill()
        self._processes[name].close()
        self._task.containers[name].restart_count = 1
        await self._start_holder(name)

    async def _happens(self, happening: Happening) -> None:
        kind = happening.kind
        if kind in OF_HELPER and self._holder == "trap":
            pass
        elif kind in PROXY_FAULTS:
            self._admin_fault = PROXY_FAULTS[kind]
            self._set_proxy_fault()
        elif kind.startswith("metadata"):
            self._metadata_fault = kind
        elif kind.startswith("SIG"):
            self._processes[HELPER].send(signal.Signals[kind])
        elif kind in SIDECAR_CODES:
            self._stopped("sidecar", SIDECAR_CODES[kind])
        elif kind == "application restarts":
            self._processes["application"].send(signal.SIGHUP)
        elif kind == "application dies":
            self._died.append((self._now(), math.inf))
            await self._processes["application"].kill()
            self._stopped("application", 137)
        elif kind in ("envoy dies", "envoy restarts"):
            await self._end_envoy(happening)
        elif kind == "admin socket is removed":
            self._socket.unlink(missing_ok=True)
        elif kind == "log is not read":
            self._processes[HELPER].block_output()
        elif kind == "log is closed":
            self._processes[HELPER].close()
        elif kind == "helper restarts":
            await self._restarts(HELPER)
        elif kind == "second helper restarts":
            await self._restarts(SECOND_HELPER)
        elif kind in DEATHS:
            await self._dies(HELPER if kind == "first helper dies" else SECOND_HELPER)
        elif kind == "helper is frozen":
            self._stand("frozen", True)
        elif kind == "helper is starved":
            pass  # `_ends_later` starves the helper until the end of the starvation
        elif kind == "clock steps":
            self._stepped_at = self._now()
            stepped_clock.write(self._clock, self._schedule.step)
        elif kind in ("listener is added", "listener is changed"):
            self._change_listeners(kind)
        else:
            raise ValueError(f"a trial cannot make this happen: {kind}")

    async def _end_envoy(self, happening: Happening) -> None:
        """Killed; where its supervisor starts it anew it has forgotten everything."""
        begin = self._now()
        self._outages.append((begin, math.inf))
        self._envoy_is_down = True
        self._set_proxy_fault()
        await self._processes["envoy"].kill()
        if happening.kind == "envoy dies":
            self._stopped("envoy", 137)
            return
        await asyncio.sleep(happening.seconds)
        self._processes["envoy"].close()
        await self._start_envoy()
        self._envoy_is_down = False
        self._set_proxy_fault()
        self._outages[-1] = (begin, self._now())

    def _set_proxy_fault(self) -> None:
        """Where there is no Envoy the proxy refuses connections too."""
        if self._admin_proxy:
            self._admin_proxy.fault = "refuses" if self._envoy_is_down else self._admin_fault

    def _change_listeners(self, kind: str) -> None:
        """By discovery: one more, or the inbound one with another name for its statistics."""
        options, lds = self._options, self._options.lds
        if lds is None:
            raise ValueError("the schedule has no listener discovery")
        if kind == "listener is changed":
            changed = replace(options, stat_prefix=f"{options.stat_prefix}_2")
            envoy_process.publish_listeners(lds, envoy_process.configuration(changed)["static_resources"]["listeners"])
        else:
            listeners = envoy_process.configuration(options)["static_resources"]["listeners"]
            egress = envoy_process.EnvoyOptions(
                self._address, options.upstream, egress="MODIFY_ONLY", egress_listeners=2
            )
            more = envoy_process.configuration(egress)["static_resources"]["listeners"][-1]
            envoy_process.publish_listeners(lds, [*listeners, more])

    # what ECS says of it

    def _metadata_task(self) -> TaskState:
        names = ["envoy", "application", *self._holders]
        if self._schedule.has("sidecar dies", "sidecar fails", "sidecar leaves"):
            names.append("sidecar")
        containers = {name: ContainerState(name, checked=name == "envoy" or name in self._holders) for name in names}
        for name in self._holders:
            containers[name].restart_count = 0
        for container in containers.values():
            container.status, container.started_at, container.health = "RUNNING", -60.0, "HEALTHY"
        return TaskState(self._id, self._address, "ecs-svc/1", containers)

    def _stopped(self, name: str, code: int) -> None:
        container = self._task.containers[name]
        container.status, container.finished_at, container.exit_code = "STOPPED", self._now(), code
        container.noticed_at = container.finished_at + NOTICED_AFTER

    def _stamp(self, at: float) -> str:
        """The text of a time, by the clock of the machine, which the helper reads too."""
        ahead = self._schedule.skew + (self._schedule.step if at >= self._stepped_at else 0.0)
        return datetime.fromtimestamp(self._wall_zero + at + ahead, UTC).isoformat()

    async def _answer_metadata(self, request: web.Request) -> web.Response:
        match self._metadata_fault:
            case "metadata hangs":
                await asyncio.sleep(60)
            case "metadata errors":
                return web.Response(status=500)
            case "metadata breaks off" if request.transport:
                request.transport.abort()
            case "metadata is garbage":
                return web.Response(text='{"Containers": [{"Name": 7}, ')
        if request.match_info.get("what") != "task":
            return web.json_response(aws.container_metadata(self._task, request.match_info["container"], self._stamp))
        answer = aws.task_metadata(self._task, self._stamp)
        lie = {
            "metadata says the application has stopped": "application",
            "metadata says Envoy has stopped": "envoy",
        }.get(self._metadata_fault or "")
        for container in answer["Containers"]:
            if container["Name"] == lie:
                stamp = self._stamp(min(self._now(), -1.0))
                container |= {"KnownStatus": "STOPPED", "ExitCode": 137, "FinishedAt": stamp}
                answer["ExecutionStoppedAt"] = stamp
        return web.json_response(answer)

    # its requests

    async def _call(self, slot: Slot, rate: float, wanted: float, enough: asyncio.Event) -> None:
        """Requests are due at fixed times, whatever became of the last."""
        due = self._now()
        async with asyncio.TaskGroup() as group:
            while not enough.is_set():
                group.create_task(self._send(slot, wanted))
                due += 1 / rate
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(due - self._now()):
                        await enough.wait()

    async def _send(self, slot: Slot, wanted: float) -> None:
        at = self._now()
        host, outcome = "", OK
        timeout = aiohttp.ClientTimeout(total=wanted + 10)
        try:
            async with self._shared.session.get(
                f"{self._shared.url}/work?seconds={wanted:g}", headers={SLOT: slot.name}, timeout=timeout
            ) as answer:
                host, text = answer.headers.get(HOST, ""), await answer.text()
                outcome = OK if answer.status == 200 else f"{answer.status} {text[:100]}"
        except (aiohttp.ClientError, TimeoutError) as error:
            outcome = repr(error)
        known = {self._address: "old", self._shared.replacement: "new"}
        self._sent.append(Sent(at, wanted, self._now(), outcome, known.get(host.partition(":")[0], "")))

    async def _converse(self) -> None:
        """A TCP connection to the task that stays open for as long as the trap's plan lasts, and then closes."""
        chain = self._schedule.envoy.tcp == "chain"
        port = envoy_process.INBOUND_PORT if chain else envoy_process.TCP_PORT
        reader, writer = await asyncio.open_connection(self._address, port, local_addr=(envoy_process.TCP_CLIENT, 0))
        outcome = OK
        try:
            while outcome == OK and self._now() < self._schedule.delay + self._schedule.timeout - CLOSES_BEFORE:
                at = self._now()
                try:
                    writer.write(b"work\n")
                    async with asyncio.timeout(10):
                        outcome = OK if await reader.readline() else "TCP connection closed"
                except (OSError, TimeoutError) as error:
                    outcome = repr(error)
                self._sent.append(Sent(at, 0.0, self._now(), outcome, "old"))
                await asyncio.sleep(TALKS_EVERY)
        finally:
            writer.close()

    async def _routed(self, slot: Slot) -> bool:
        url = f"{self._shared.url}/work?seconds=0"
        async with self._shared.session.get(url, headers={SLOT: slot.name}) as answer:
            return answer.status == 200
