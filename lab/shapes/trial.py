"""One trial of a shape beside the helper or the trap: a real Envoy, a real holder, and a record of each use."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import aiohttp
from aiohttp import web

from lab.ecs import aws
from lab.ecs.state import ContainerState, TaskState
from lab.parts import envoy_process, processes
from lab.parts.container_process import ContainerProcess
from lab.parts.envoy_process import ADMIN_PORT, HEALTH_PATH
from lab.parts.probes import until
from lab.parts.sample_application import DEEP_HEALTH_PATH
from lab.run.task_definition import TASK_HELPER, TRAP_COMMAND
from lab.shapes.clients import Client, Clock, Route
from lab.shapes.configuration import (
    SERVER_NAMES,
    Entrance,
    Endpoint,
    EnvoySurroundings,
    change_listeners,
    configuration,
    update_listeners,
)
from lab.shapes.outcome import Outcome, Use, starved
from lab.shapes.shape import PAUSED, ListenerShape, Shape
from lab.shapes.shared_parts import SharedParts

Holder = Literal["trap", "helper"]

# seconds: how long clients are there before the stop; how long a helper is given to come into service, and where
# it never will; how often time is looked at
BEFORE, COMES_INTO_SERVICE, NEVER_COMES, CLOCK_EVERY = 1.2, 5.0, 1.0, 0.1

# An Envoy that restarts keeps the one before it for longer than any trial.
HOT_RESTART: Final = ("--drain-time-s", "100", "--parent-shutdown-time-s", "200")

# an Envoy whose listeners are removed before the stop keeps them for this long, in whole seconds
REMOVED_AFTER: Final = 1

FIRST_PORT: Final = 15000


class Trial:
    """The trial of one shape; `play` it once."""

    def __init__(self, shared: SharedParts, shape: Shape, holder: Holder, folder: Path) -> None:
        self._shared, self._shape, self._holder = shared, shape, holder
        self._id = f"{shape.number}-{holder}"
        self._address, self._other_address = processes.free_address(), processes.free_address()
        self._around = EnvoySurroundings(
            self._address,
            folder,
            self._id,
            tuple(self._entrance(number, folder) for number in range(len(shape.listeners))),
            shared.upstream,
            shared.certificate,
        )
        self._envoys: list[ContainerProcess] = []
        self._container: ContainerProcess | None = None
        self._uses: list[Use] = []
        self._late = 0.0
        self._task = self._metadata_task()
        self._began = time.time()

    def _entrance(self, number: int, folder: Path) -> Entrance:
        listener, port = self._shape.listeners[number], FIRST_PORT + number
        own = self._place(listener, number, folder)
        match listener.way:
            case "additional":
                return Entrance(own, Endpoint(self._other_address, port))
            case "internal":
                return Entrance(Endpoint(), Endpoint(self._address, port))
            case "original_dst":
                return Entrance(own, Endpoint(self._other_address, port), target=own)
        if listener.proxied:
            return Entrance(own, own, target=own)
        if own.path or listener.place == "own":
            return Entrance(own, own)
        return Entrance(own, Endpoint("::1" if listener.place in ("ipv6", "odd ipv6") else "127.0.0.1", own.port))

    def _place(self, listener: ListenerShape, number: int, folder: Path) -> Endpoint:
        match listener.place:
            case "own":
                return Endpoint(self._address, FIRST_PORT + number)
            case "pipe":
                return Endpoint(path=str(folder / f"{self._id}-{number}.sock"))
            case place:
                addresses = {"loopback": "127.0.0.1", "any": "0.0.0.0", "any ipv6": "::", "ipv6": "::1"}  # nosec B104
                return Endpoint(addresses.get(place, "0:0:0:0:0:0:0:1"), self._shared.free_port())

    async def play(self) -> Outcome:
        self._shared.metadata[self._id] = self._answer_metadata
        try:
            async with self._shared.starting:
                await self._start_envoy()
                container = await self._start_holder()
            in_service = self._holder == "trap" or await self._comes_into_service(container)
            return await self._live(container, in_service)
        finally:
            for process in [*self._envoys, *([self._container] if self._container else [])]:
                await process.kill()
                process.close()
            self._shared.forget(self._around)
            del self._shared.metadata[self._id]

    async def _live(self, container: ContainerProcess, in_service: bool) -> Outcome:
        shape = self._shape
        clock = Clock(BEFORE)
        clients = [asyncio.create_task(client.run()) for client in self._clients(clock)]
        watching = asyncio.create_task(self._watch_clock())
        updating = asyncio.create_task(self._update(clock))
        try:
            await clock.sleep_until(PAUSED)
            if shape.hot_restart:
                await self._start_envoy()
            if shape.changes:
                change_listeners(shape, self._around)
            if shape.update_at == PAUSED:
                await self._remove_listeners()
            if shape.resets:
                await self._ask_envoy("POST", "/reset_counters")
            clock.begin()
            self._task.desired = "STOPPED"
            sent = time.time()
            container.send(signal.SIGTERM)
            code = await container.ends(shape.stop_timeout)
            exit = None if code is None else clock.now()
            self._late = max(self._late, starved(container.lines, sent, time.time()))
            if code is None:
                await container.kill()
            for envoy in self._envoys:
                envoy.send(signal.SIGTERM)
            for envoy in self._envoys:
                if await envoy.ends(5) is None:
                    await envoy.kill()
            await asyncio.wait(clients or [watching], timeout=shape.stop_timeout + 30 if clients else 0)
        finally:
            watching.cancel()
            updating.cancel()
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
        return Outcome(
            holder=self._holder,
            uses=tuple(sorted(self._uses, key=lambda use: use.begins)),
            exit=exit,
            code=code,
            in_service=in_service,
            late=self._late,
            log=tuple(container.lines),
        )

    def _clients(self, clock: Clock) -> list[Client]:
        return [
            Client(
                (number, at, client),
                traffic,
                self._route(number, at),
                chain.protocol,
                self._shape.interval,
                clock,
                self._uses.append,
            )
            for number, listener in enumerate(self._shape.listeners)
            for at, chain in enumerate(listener.all_chains)
            for client, traffic in enumerate(chain.traffic)
        ]

    def _route(self, number: int, at: int) -> Route:
        listener, entrance = self._shape.listeners[number], self._around.entrances[number]
        if listener.all_chains[at].protocol == "http3":
            place = entrance.connects
            host = f"[{place.address}]" if ":" in place.address else place.address
            return Route(self._shared.downstream, http3=f"{host}:{place.port}")
        return Route(entrance.connects, entrance.target, server_name=SERVER_NAMES[at] if listener.way == "tls" else "")

    async def _update(self, clock: Clock) -> None:
        if self._shape.update_at is not None and self._shape.update_at > PAUSED:
            await clock.sleep_until(self._shape.update_at)
            update_listeners(self._shape, self._around)

    async def _remove_listeners(self) -> None:
        """They have ended when this returns, with all their statistics."""
        update_listeners(self._shape, self._around)

        async def are_gone() -> bool:
            _, dump = await self._ask_envoy("GET", "/config_dump?resource=dynamic_listeners")
            return not self._shape.removed & {each["name"] for each in json.loads(dump).get("configs", [])}

        await until(are_gone, 30)

    async def _watch_clock(self) -> None:
        """A machine that stood still wakes everybody at once."""
        while True:
            due = time.monotonic() + CLOCK_EVERY
            await asyncio.sleep(CLOCK_EVERY)
            self._late = max(self._late, time.monotonic() - due)

    # its processes

    async def _start_process(self, name: str, command: list[str], environ: Mapping[str, str]) -> ContainerProcess:
        process = ContainerProcess(command, environ, self._around.file(f"{name}.log"))
        await process.start()
        return process

    async def _start_envoy(self) -> None:
        """It serves when this returns; the second one takes over from the first."""
        epoch, base = len(self._envoys), self._around.file("base-id")
        file = self._around.file(f"envoy-{epoch}.json")
        drain_time = REMOVED_AFTER if self._shape.update_at == PAUSED else None
        command = envoy_process.command(configuration(self._shape, self._around), file, drain_time)
        command[0] = self._shared.binary(self._shape.version)
        command[command.index("--concurrency") + 1] = str(self._shape.threads)
        if self._shape.hot_restart:
            command.remove("--disable-hot-restart")
            command += HOT_RESTART
            if epoch:
                command += ["--base-id", base.read_text().strip(), "--restart-epoch", str(epoch)]
            else:
                command += ["--use-dynamic-base-id", "--base-id-path", str(base)]
        self._envoys.append(await self._start_process(f"envoy-{epoch}", command, os.environ))
        await until(self._serves, 60)

    async def _serves(self) -> bool:
        if await self._envoys[-1].ends(0) is not None:
            log = self._around.file(f"envoy-{len(self._envoys) - 1}.log").read_text()
            raise RuntimeError(f"Envoy did not start: {log[-1500:]}")
        try:
            status, body = await self._ask_envoy("GET", "/ready")
        except (aiohttp.ClientError, TimeoutError):
            return False
        # where its state may not be asked for, it answers that once it is there
        return status == 403 or body.strip() == "LIVE"

    async def _ask_envoy(self, method: str, path: str) -> tuple[int, str]:
        """The answer of its admin API; raises aiohttp.ClientError and TimeoutError."""
        socket = self._shape.unix_admin and self._around.admin_socket
        connector = aiohttp.UnixConnector(str(socket)) if socket else None
        url = "http://localhost" if socket else f"http://{self._address}:{ADMIN_PORT}"
        timeout = aiohttp.ClientTimeout(total=5)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
            session.request(method, url + path) as answer,
        ):
            return answer.status, await answer.text()

    async def _start_holder(self) -> ContainerProcess:
        """It handles SIGTERM when this returns."""
        command = TRAP_COMMAND if self._holder == "trap" else [TASK_HELPER, "run"]
        container = self._container = await self._start_process("holder", command, self._environ())

        async def handles_sigterm() -> bool:
            return container.handles(signal.SIGTERM)

        await until(handles_sigterm)
        return container

    async def _comes_into_service(self, helper: ContainerProcess) -> bool:
        async def is_in_service() -> bool:
            return any('"in_service"' in line for line in helper.lines)

        try:
            await until(is_in_service, NEVER_COMES if self._shape.never_in_service else COMES_INTO_SERVICE)
        except TimeoutError:
            return False
        return True

    def _environ(self) -> dict[str, str]:
        shape, helper = self._shape, self._holder == "helper"
        application = f"http://{self._shared.upstream.http.address}:{self._shared.upstream.http.port}"
        health = {
            "application": f"{application}{HEALTH_PATH}",
            "unwell": f"{application}{DEEP_HEALTH_PATH}",
            "nobody": f"http://{self._address}:1/",
        }
        url = f"http://{self._address}:{ADMIN_PORT}"
        socket = self._around.admin_socket
        environ = {
            **os.environ,
            "DRAIN_DELAY": "auto" if shape.auto_delay and helper else f"{shape.delay:g}",
            "DRAIN_TIMEOUT": "auto" if shape.auto_timeout and helper else f"{shape.timeout:g}",
            # AWS cannot be asked, so that `auto` has this to go by
            "DISCOVERY_LAG": f"{shape.delay:g}",
            **aws.environment(f"http://{self._address}:1"),
            "STOP_TIMEOUT": f"{shape.stop_timeout:g}",
            "HEALTH_CHECK_INTERVAL": f"{shape.interval:g}",
            "ENVOY_ADMIN_URL": f"unix://{socket}" if shape.unix_admin else url,
            # as curl takes it
            "ADMIN": f"--unix-socket {socket} http://localhost" if shape.unix_admin else url,
        }
        if shape.app_health in health:
            environ["APP_HEALTH_URL"] = health[shape.app_health]
        if shape.metadata:
            environ["ECS_CONTAINER_METADATA_URI_V4"] = self._shared.metadata_url(self._id)
        return environ

    # what ECS says of it

    def _metadata_task(self) -> TaskState:
        containers = {
            name: ContainerState(name, checked=name == "helper") for name in ("envoy", "application", "helper")
        }
        containers["helper"].restart_count = 0
        for container in containers.values():
            container.status, container.started_at, container.health = "RUNNING", -60.0, "HEALTHY"
        return TaskState(self._id, self._address, "ecs-svc/1", containers)

    async def _answer_metadata(self, request: web.Request) -> web.Response:
        def stamp(at: float) -> str:
            return datetime.fromtimestamp(self._began + at, UTC).isoformat()

        if request.match_info.get("what") == "task":
            return web.json_response(aws.task_metadata(self._task, stamp))
        return web.json_response(aws.container_metadata(self._task, "helper", stamp))
