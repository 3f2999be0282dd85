"""The proxy before an admin API, each of its faults."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from lab.parts.admin_proxy import PORT, AdminProxy
from lab.parts.envoy_process import ADMIN_PORT
from lab.parts.processes import free_address


def behind(place: Callable[[str], tuple[str, int] | Path], story: Callable[[AdminProxy, str], Awaitable[None]]) -> None:
    """Let a story happen to a proxy before an admin API that answers every path with LIVE."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="LIVE\n")

    async def play() -> None:
        address = free_address()
        api = web.Application()
        api.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(api, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, address, ADMIN_PORT).start()
        proxy = AdminProxy(address, place(address))
        serving = asyncio.create_task(proxy.serve())
        try:
            await until(lambda: ask(address), 200)
            await story(proxy, address)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            await runner.cleanup()

    asyncio.run(play())


async def ask(address: str) -> int | str:
    """The status of one call, or the name of what came instead."""
    try:
        timeout = aiohttp.ClientTimeout(total=0.5)
        async with aiohttp.request("GET", f"http://{address}:{PORT}/ready", timeout=timeout) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError) as error:
        return type(error).__name__


async def until(asked: Callable[[], Awaitable[int | str]], expected: int | str) -> None:
    async with asyncio.timeout(30):
        while await asked() != expected:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("fault", "found"), [("errors", 500), ("hangs", "TimeoutError"), ("refuses", "ClientConnectorError")]
)
def test_a_proxy_fails_until_its_fault_ends(fault: str, found: int | str) -> None:
    """While the fault lasts calls end like this, before and after it they pass."""

    async def story(proxy: AdminProxy, address: str) -> None:
        proxy.fault = fault  # type: ignore[assignment]
        await until(lambda: ask(address), found)
        proxy.end_fault()
        await until(lambda: ask(address), 200)

    behind(lambda address: (address, PORT), story)


def test_a_call_that_a_proxy_stalls_is_answered_in_the_end() -> None:
    """A call that comes while the proxy stalls gets its answer when that is over."""

    async def story(proxy: AdminProxy, address: str) -> None:
        proxy.fault = "stalls"
        async with aiohttp.ClientSession() as session:
            call = asyncio.ensure_future(session.get(f"http://{address}:{PORT}/ready"))
            done, _ = await asyncio.wait([call], timeout=0.3)
            assert not done
            proxy.end_fault()
            assert (await call).status == 200

    behind(lambda address: (address, PORT), story)
