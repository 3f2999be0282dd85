"""As Consul on ECS: `consul-ecs-health-sync` moves discovery on its own SIGTERM, and downstreams check nothing."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from aiohttp import web

from lab.ecs.runtime import ContainerSpec
from lab.meshes import health_sync
from lab.meshes.mesh import Mesh, Surroundings
from lab.parts import downstream, processes
from lab.parts.envoy_process import INBOUND_PORT, EnvoyOptions, Json
from lab.parts.history import Recorder
from lab.parts.serving import served
from lab.scenarios.scenario import Column, Scenario, ServerFault

PORT = 8500
# seconds in real time: between two looks of health-sync at its task, and its stopTimeout, which the module does not set
LOOKS, STOP_TIMEOUT = 1.0, 30.0
# What follows the leader's death, in seconds: until its clients are connected to another server, and until that, which
# keeps its clients waiting, has a new leader. Seen with three servers of 1.21.0 and a raft_multiplier of 1.
RECONNECTED, ELECTED = 1.0, 2.0


class Consul(Mesh):
    """No downstream reacts to `/healthcheck/fail`. A container that depends on health-sync delays its report.

    Consul's servers are imitated: their catalog, and that each change of it is pushed a while later.
    """

    preset = "consul"
    admin_port = 19000
    checks_application = True

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        self._address = processes.free_address()
        self._catalog: dict[str, tuple[str, bool]] = {}
        self._changes = asyncio.Queue[dict[str, bool]]()
        self._refuses, self._answers = False, asyncio.Event()
        self._answers.set()

    def options(self, options: EnvoyOptions) -> EnvoyOptions:
        return replace(
            options, health_check_filter=False, listener_name=f"public_listener:{options.address}:{INBOUND_PORT}"
        )

    def containers(self, id: str, address: str, metadata: str) -> list[ContainerSpec]:
        options = {
            "--consul": f"http://{self._address}:{PORT}",
            "--metadata": f"{metadata}/{health_sync.CONTAINER}",
            "--task": id,
            "--address": address,
            "--port": str(INBOUND_PORT),
            "--interval": str(LOOKS * self.scenario.times.scale),
        }
        followed = ["--containers", self.envoy_container, self.followed()]
        words = [word for option in options.items() for word in option]
        command = [sys.executable, "-m", "lab.meshes.health_sync", *words, *followed]
        return [
            ContainerSpec(
                health_sync.CONTAINER, command, os.environ, essential=False, stop_timeout=self.health_sync_stop_timeout
            )
        ]

    @property
    def health_sync_stop_timeout(self) -> float:
        given = self.scenario.health_sync_stop_timeout
        return STOP_TIMEOUT * self.scenario.times.scale if given is None else given

    def followed(self) -> str:
        """The container whose health check health-sync follows, beside Envoy's."""
        return "application"

    def finding(self) -> Json:
        # What is critical stays in the assignment as UNHEALTHY, and there is no panic.
        return self.by_file() | downstream.panicking_below(0)

    async def follow(self, around: Surroundings) -> None:
        async with served(self._application(), self._address, PORT), asyncio.TaskGroup() as group:
            while True:
                group.create_task(self.push(await self._changes.get()))

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_put("/v1/catalog/register", self._register)
        application.router.add_put("/v1/catalog/deregister", self._deregister)
        return application

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        """The only server: dead, it refuses; frozen, it lets clients wait. Without `seconds` it never comes back."""
        if fault == "dies":
            self._refuses = True
        else:
            self._answers.clear()
        if seconds:
            await asyncio.sleep(seconds)
            self._refuses = False
            self._answers.set()

    async def _until_it_answers(self) -> None:
        if self._refuses:
            raise web.HTTPInternalServerError
        await self._answers.wait()

    async def _register(self, request: web.Request) -> web.Response:
        await self._until_it_answers()
        registration = await request.json()
        passing = registration["Check"]["Status"] == "passing"
        self._catalog[registration["Node"]] = (registration["Address"], passing)
        return self._changed("healthy" if passing else "critical", registration["Node"])

    async def _deregister(self, request: web.Request) -> web.Response:
        await self._until_it_answers()
        task = (await request.json())["Node"]
        self._catalog.pop(task, None)
        return self._changed("deregistered", task)

    def _changed(self, how: str, task: str) -> web.Response:
        self.record.event("discovery", how, task)
        self._changes.put_nowait(dict(self._catalog.values()))
        return web.json_response(True)


class ConsulOfThree(Consul):
    """Three servers: what happens to one happens to their leader, and another one leads soon."""

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        """A dead leader refuses, and then clients wait for another one; a frozen one lets them wait until it thaws."""
        self._answers.clear()
        if fault == "dies":
            self._refuses = True
            await asyncio.sleep(RECONNECTED)
            self._refuses = False
            await asyncio.sleep(ELECTED - RECONNECTED)
        else:
            await asyncio.sleep(seconds)
        self._answers.set()


class ConsulHeld(Consul):
    """The wrong wiring: the helper depends on health-sync, so downstreams learn of the stop only after the drain."""

    kept_running = (health_sync.CONTAINER,)


class ConsulFollowsHelper(Consul):
    """The wrong wiring: healthSyncContainers has the helper, so that its restart takes the task out of the mesh."""

    def followed(self) -> str:
        return "helper" if self.scenario.gate and self.column in ("fixed", "auto") else super().followed()
