"""Stands between a helper and its Envoy's admin API, to fail on demand."""

import asyncio
from typing import Literal

import aiohttp
from aiohttp import web

from lab.envoy import ADMIN_PORT
from lab.history import Recorder
from lab.scheduler import Scheduler

PORT = ADMIN_PORT + 1

# errors: 500; hangs: no answer; refuses: nobody listens
Fault = Literal["errors", "hangs", "refuses"]


async def guard(scheduler: Scheduler, fault: Fault, seconds: float, record: Recorder) -> None:
    """Put a door before the admin API of every task. Runs until it is cancelled."""
    guarded: set[str] = set()
    while True:
        change = scheduler.change
        for task in scheduler.tasks.values():
            if task.id not in guarded:
                guarded.add(task.id)
                scheduler.spawn(AdminDoor(task.id, task.address, fault, seconds, record).serve())
        await change.wait()


class AdminDoor:
    """Passes calls on to the admin API of the Envoy on the same address.

    But with the first call of /healthcheck/fail, which is when it hurts, a fault begins that lasts some seconds.
    """

    def __init__(self, task: str, address: str, fault: Fault, seconds: float, record: Recorder) -> None:
        self._task, self._address, self._fault, self._seconds, self._record = task, address, fault, seconds, record
        self._ends: float | None = None

    async def serve(self) -> None:
        """Runs until it is cancelled."""
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", self._pass_on)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            while True:
                site = web.TCPSite(runner, self._address, PORT)
                await site.start()
                while not (self._fault == "refuses" and self._failing()):
                    await asyncio.sleep(0.02)
                await site.stop()
                while self._failing():
                    await asyncio.sleep(0.02)
        finally:
            await runner.cleanup()

    def _failing(self) -> bool:
        return self._ends is not None and self._record.now() < self._ends

    async def _pass_on(self, request: web.Request) -> web.Response:
        if request.path == "/healthcheck/fail" and self._ends is None:
            self._ends = self._record.now() + self._seconds
            self._record.event("admin", self._fault, self._task, seconds=self._seconds)
        if self._failing():
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
