"""What all trials share: a downstream Envoy with a slot for each, a task that replaces, and a metadata endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import aiohttp
from aiohttp import web

from lab.faults.schedule import CHECK_INTERVAL, MERGE
from lab.parts import downstream, envoy_process, processes
from lab.parts.probes import until
from lab.parts.sample_application import WORK_PATH

METADATA_PORT: Final = 8000

# the request's header that chooses the slot, and the answer's that names the task
SLOT, HOST = "x-slot", "x-host"


class Slot(NamedTuple):
    """One cluster of the downstream."""

    name: str
    endpoints: Path

    def publish(self, *addresses: str) -> None:
        """From now on discovery has these tasks."""
        downstream.publish(self.endpoints, dict.fromkeys(addresses, True))


class SharedParts:
    """`session` is for requests by way of the downstream, at `url`; `replacement` is the address of a task that serves.

    metadata: by trial, what answers the task metadata endpoint for its helpers
    starting: a lock that a trial takes while it starts: all at once would be late
    """

    def __init__(self, folder: Path, trials: int) -> None:
        self.replacement, self._downstream, self._own = (processes.free_address() for _ in range(3))
        self.url = f"http://{self._downstream}:{envoy_process.INBOUND_PORT}"
        self.metadata: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {}
        self.starting = asyncio.Semaphore(2)
        self._folder = folder
        self._retiring: set[str] = set()
        self._free: dict[bool, asyncio.Queue[Slot]] = {panics: asyncio.Queue() for panics in (True, False)}
        self._slots = [(panics, self._new_slot(panics, number)) for number in range(trials) for panics in self._free]

    def _new_slot(self, panics: bool, number: int) -> Slot:
        name = f"{'panics' if panics else 'steady'}-{number}"
        slot = Slot(name, self._folder / f"{name}.json")
        self._free[panics].put_nowait(slot)
        return slot

    def metadata_url(self, trial: str, container: str) -> str:
        return f"http://{self._own}:{METADATA_PORT}/v4/{trial}/{container}"

    @asynccontextmanager
    async def slot(self, panics: bool) -> AsyncIterator[Slot]:
        """A slot of its own, without tasks; `panics`: where all of its tasks have failed it sends to them."""
        slot = await self._free[panics].get()
        try:
            yield slot
        finally:
            # what discovery has no more is left once its health checks fail
            slot.publish()
            self._retiring.add(slot.name)
            await until(lambda: self._is_empty(slot))
            self._retiring.remove(slot.name)
            self._free[panics].put_nowait(slot)

    async def _is_empty(self, slot: Slot) -> bool:
        async with self.session.get(self.url, headers={SLOT: slot.name}) as answer:
            return HOST not in answer.headers or answer.headers[HOST] == "-"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It is there when the block begins."""
        connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout) as self.session, self._serving():
            command = envoy_process.command(self._configuration(), self._folder / "downstream.json")
            process = processes.start(command, self._folder / "downstream.log")
            try:
                ready = f"http://{self._downstream}:{envoy_process.ADMIN_PORT}/ready"
                try:
                    await until(lambda: answers(self.session, ready))
                except TimeoutError as error:
                    output = (self._folder / "downstream.log").read_text()[-2000:]
                    raise RuntimeError(f"the downstream did not come up; its log: {output}") from error
                yield
            finally:
                processes.kill_group(process)
                process.wait()

    @asynccontextmanager
    async def _serving(self) -> AsyncIterator[None]:
        """The metadata endpoint, and a task to which nothing happens."""
        application = web.Application()
        application.router.add_get("/v4/{trial}/{container}", self._answer_metadata)
        application.router.add_get("/v4/{trial}/{container}/{what}", self._answer_metadata)
        application.router.add_get(envoy_process.HEALTH_PATH, self._answer_health)
        application.router.add_get(WORK_PATH, _work)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._own, METADATA_PORT).start()
            await web.TCPSite(runner, self.replacement, envoy_process.INBOUND_PORT, backlog=1024).start()
            yield
        finally:
            await runner.cleanup()

    async def _answer_metadata(self, request: web.Request) -> web.Response:
        answer = self.metadata.get(request.match_info["trial"])
        if answer is None:
            raise web.HTTPNotFound()
        return await answer(request)

    async def _answer_health(self, request: web.Request) -> web.Response:
        """Envoy's health checks name their cluster: those of a slot that is to become empty fail."""
        return web.Response(status=503 if request.host in self._retiring else 200)

    def _configuration(self) -> envoy_process.Json:
        for _, slot in self._slots:
            slot.publish()
        routes = [
            {
                "match": {"prefix": "/", "headers": [{"name": SLOT, "string_match": {"exact": slot.name}}]},
                "route": {"cluster": slot.name, "timeout": "0s"},
                "response_headers_to_add": [{"header": {"key": HOST, "value": "%UPSTREAM_HOST%"}}],
            }
            for _, slot in self._slots
        ]
        manager = envoy_process.http_manager("downstream", routes, [], "HTTP1")
        serving = envoy_process.listener("downstream", (self._downstream, envoy_process.INBOUND_PORT), manager)
        return envoy_process.bootstrap(
            self._downstream, [serving], [_cluster(slot, panics) for panics, slot in self._slots]
        )


def _cluster(slot: Slot, panics: bool) -> envoy_process.Json:
    source = {"path_config_source": {"path": str(slot.endpoints)}, "resource_api_version": "V3"}
    common: envoy_process.Json = {"update_merge_window": f"{MERGE}s"}
    if not panics:
        common["healthy_panic_threshold"] = {"value": 0}
    check = {
        "interval": f"{CHECK_INTERVAL}s",
        "no_traffic_interval": f"{CHECK_INTERVAL}s",
        # what a busy machine makes slow is not what is looked for
        "timeout": "5s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 1,
        "http_health_check": {"path": envoy_process.HEALTH_PATH},
    }
    return {
        "name": slot.name,
        "type": "EDS",
        "eds_cluster_config": {"service_name": "service", "eds_config": source},
        "connect_timeout": "5s",
        "common_lb_config": common,
        "health_checks": [check],
    }


async def _work(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query["seconds"]))
    return web.Response(text="new")


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
