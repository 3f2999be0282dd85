"""Stands between a helper and its Envoy's admin API, to fail on demand."""

import asyncio
from typing import Literal

import aiohttp
from aiohttp import web

from lab.envoy import ADMIN_PORT
from lab.scheduler import Scheduler

PORT = ADMIN_PORT + 1

# errors: 500; hangs: no answer; refuses: nobody listens
Fault = Literal["errors", "hangs", "refuses"]


async def fail(scheduler: Scheduler, fault: Fault, begin: float, end: float) -> None:
    """A door for each task, that fails from and to these seconds after the task's stop. Runs until it is cancelled."""
    doors: dict[str, AdminDoor] = {}
    stopped: set[str] = set()
    while True:
        change = scheduler.change
        for task in scheduler.tasks.values():
            if task.id not in doors:
                doors[task.id] = AdminDoor(task.address)
                scheduler.spawn(doors[task.id].serve())
            if task.desired == "STOPPED" and task.id not in stopped:
                stopped.add(task.id)
                scheduler.spawn(doors[task.id].fail(fault, begin, end))
        await change.wait()


class AdminDoor:
    """Passes calls on to the admin API of the Envoy on the same address, but for the time of a fault."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._fault: Fault | None = None

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
                while self._fault != "refuses":
                    await asyncio.sleep(0.05)
                await site.stop()
                while self._fault == "refuses":
                    await asyncio.sleep(0.05)
        finally:
            await runner.cleanup()

    async def fail(self, fault: Fault, begin: float, end: float) -> None:
        """Fail from `begin` until `end`, seconds from now."""
        await asyncio.sleep(begin)
        self._fault = fault
        await asyncio.sleep(end - begin)
        self._fault = None

    async def _pass_on(self, request: web.Request) -> web.Response:
        if self._fault == "errors":
            return web.Response(status=500, text="the lab's doing")
        if self._fault == "hangs":
            await asyncio.Event().wait()
        url = f"http://{self._address}:{ADMIN_PORT}{request.raw_path}"
        # a connection kept alive would let calls pass where new ones are refused
        headers = {"connection": "close"}
        try:
            async with aiohttp.request(request.method, url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
                return web.Response(status=answer.status, body=await answer.read(), headers=headers)
        except aiohttp.ClientError as error:
            return web.Response(status=502, text=repr(error), headers=headers)
