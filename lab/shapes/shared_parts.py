"""What all trials share: the application, a metadata endpoint, and a downstream that speaks HTTP/3."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from lab.parts import envoy_process, processes
from lab.parts.probes import accepts, until
from lab.shapes.application import serving
from lab.shapes.configuration import Certificate, Endpoint, EnvoySurroundings, Upstream, downstream, new_certificate

# where other versions of Envoy are: `make test-envoys` installs them
ENVOYS: Final = Path(__file__).parents[2] / ".envoys"

# trials that start at the same moment
STARTING: Final = 4


class SharedParts:
    """metadata: by trial, what answers the task metadata endpoint for its helper
    starting: a lock that a trial takes while it starts: all at once would be late
    upstream: where the application answers, while these are `running`
    """

    upstream: Upstream

    def __init__(self, folder: Path, *, http3: bool, keeps_files: bool = False) -> None:
        self.metadata: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {}
        self.starting = asyncio.Semaphore(STARTING)
        self.certificate: Certificate = new_certificate(folder)
        self.downstream = Endpoint(processes.free_address(), envoy_process.INBOUND_PORT)
        self._folder, self._http3, self._keeps_files = folder, http3, keeps_files
        self._ports: set[int] = set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """It is there when the block begins."""
        routes = web.RouteTableDef()
        routes.get("/v4/{trial}/helper")(self._answer_metadata)
        routes.get("/v4/{trial}/helper/{what}")(self._answer_metadata)
        async with serving(processes.free_address(), routes) as self.upstream:
            if not self._http3:
                yield
                return
            config = downstream(*self.downstream[:2])
            command = envoy_process.command(config, self._folder / "downstream.json")
            process = processes.start(command, self._folder / "downstream.log")
            try:
                await until(lambda: accepts(*self.downstream[:2]))
                yield
            finally:
                processes.kill_group(process)
                process.wait()

    async def _answer_metadata(self, request: web.Request) -> web.Response:
        answer = self.metadata.get(request.match_info["trial"])
        if answer is None:
            raise web.HTTPNotFound()
        return await answer(request)

    def metadata_url(self, trial: str) -> str:
        return f"http://{self.upstream.http.address}:{self.upstream.http.port}/v4/{trial}/helper"

    def free_port(self) -> int:
        """A port that is free on every address, and that no other trial has."""
        while (port := processes.free_port()) in self._ports:
            pass
        self._ports.add(port)
        return port

    @staticmethod
    def binary(version: str) -> str:
        """That version's, where it is installed, else the usual one."""
        installed = ENVOYS / version / "envoy" / "_bin" / "envoy"
        return str(installed) if installed.exists() else envoy_process.binary()

    def forget(self, around: EnvoySurroundings) -> None:
        """Remove the files of a trial."""
        base = around.file("base-id")
        if base.exists():
            # what Envoys share in a hot restart, which they leave behind
            for shared in Path("/dev/shm").glob(f"envoy_shared_memory_{base.read_text().strip()}*"):  # nosec B108
                shared.unlink(missing_ok=True)
        if not self._keeps_files:
            for file in self._folder.glob(f"{around.name}-*"):
                file.unlink()
