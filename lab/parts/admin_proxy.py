"""Stands between a helper and its Envoy's admin API, to fail on demand."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import aiohttp
from aiohttp import web

from lab.parts.envoy_process import ADMIN_PORT

PORT = ADMIN_PORT + 1

# errors: 500; hangs: no answer; stalls: the answer comes when the fault has ended; refuses: nothing listens
AdminFault = Literal["errors", "hangs", "stalls", "refuses"]


class AdminProxy:
    """Passes calls on to the admin API of the Envoy on `address`, or fails as `fault` says.

    place: where it listens, an address and a port or the path of a Unix socket; on_call: gets the path of each call
    """

    def __init__(
        self, address: str, place: tuple[str, int] | Path, on_call: Callable[[str], None] = lambda path: None
    ) -> None:
        self._address, self._place, self._on_call = address, place, on_call
        self._fault: AdminFault | None = None
        self._changed = asyncio.Event()

    @property
    def fault(self) -> AdminFault | None:
        return self._fault

    @fault.setter
    def fault(self, fault: AdminFault | None) -> None:
        self._fault = fault
        self._changed.set()
        self._changed = asyncio.Event()

    def end_fault(self) -> None:
        self.fault = None

    async def serve(self) -> None:
        """Runs until it is cancelled."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site: web.BaseSite | None = None
        try:
            while True:
                changed = self._changed
                if self._fault == "refuses" and site:
                    await site.stop()
                    site = None
                elif self._fault != "refuses" and not site:
                    site = self._site(runner)
                    await site.start()
                await changed.wait()
        finally:
            await runner.cleanup()

    def _site(self, runner: web.AppRunner) -> web.BaseSite:
        return web.UnixSite(runner, self._place) if isinstance(self._place, Path) else web.TCPSite(runner, *self._place)

    async def _pass_on(self, request: web.Request) -> web.Response:
        self._on_call(request.path)
        while self._fault == "stalls":
            await self._changed.wait()
        if self._fault:
            return await self._fail(request)
        url = f"http://{self._address}:{ADMIN_PORT}{request.raw_path}"
        # a connection kept alive would let calls pass where new ones are refused
        headers = {"connection": "close"}
        try:
            async with aiohttp.request(request.method, url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
                return web.Response(status=answer.status, body=await answer.read(), headers=headers)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=repr(error), headers=headers)

    async def _fail(self, request: web.Request) -> web.Response:
        if self._fault == "hangs":
            await asyncio.Event().wait()
        if self._fault == "refuses" and request.transport is not None:
            request.transport.abort()
        return web.Response(status=500, text="the lab's doing")
