"""The application behind all shapes' Envoys, in this process: HTTP with streams and websockets, lines, datagrams."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final, cast

from aiohttp import web

from lab.parts.envoy_process import APPLICATION_PORT, HEALTH_PATH, LINES_PORT
from lab.parts.sample_application import DEEP_HEALTH_PATH, WORK_PATH, serve_tcp
from lab.parts.serving import served
from lab.shapes.configuration import Endpoint, Upstream

STREAM_PATH: Final = "/stream"
LARGE_PATH: Final = "/large"
WEBSOCKET_PATH: Final = "/websocket"

# bytes of the answer at LARGE_PATH: Envoy's buffer for a connection, 1 MiB, takes it whole
LARGE_SIZE: Final = 1_000_000

# between two pieces of a stream, in seconds
PIECE_EVERY: Final = 0.4


@contextlib.asynccontextmanager
async def serving(address: str, more: web.RouteTableDef) -> AsyncIterator[Upstream]:
    """It answers from the first moment of the block until its end, as do the routes `more`."""
    application = web.Application()
    application.add_routes(
        [
            web.get(HEALTH_PATH, _health),
            web.get(DEEP_HEALTH_PATH, _unwell),
            web.get(WORK_PATH, _work),
            web.get(STREAM_PATH, _stream),
            web.get(LARGE_PATH, _large),
            web.get(WEBSOCKET_PATH, _websocket),
        ]
    )
    application.add_routes(more)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(_Echo, (address, LINES_PORT))
    try:
        async with served(application, address, APPLICATION_PORT), serve_tcp("task", address, LINES_PORT):
            yield Upstream(
                Endpoint(address, APPLICATION_PORT), Endpoint(address, LINES_PORT), Endpoint(address, LINES_PORT)
            )
    finally:
        transport.close()


async def _health(request: web.Request) -> web.Response:
    return web.Response(text="well")


async def _unwell(request: web.Request) -> web.Response:
    return web.Response(status=400, text="that is not how to ask")


async def _work(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query["seconds"]))
    return web.Response(text="done")


async def _large(request: web.Request) -> web.Response:
    return web.Response(body=bytes(LARGE_SIZE))


async def _stream(request: web.Request) -> web.StreamResponse:
    loop = asyncio.get_running_loop()
    ends = loop.time() + float(request.query["seconds"])
    answer = web.StreamResponse()
    with contextlib.suppress(ConnectionError):  # Envoy has stopped
        await answer.prepare(request)
        while (left := ends - loop.time()) > 0:
            await answer.write(b"piece\n")
            await asyncio.sleep(min(left, PIECE_EVERY))
        await answer.write_eof()
    return answer


async def _websocket(request: web.Request) -> web.WebSocketResponse:
    messages = web.WebSocketResponse()
    await messages.prepare(request)
    async for message in messages:
        await messages.send_str(str(message.data))
    return messages


class _Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # asyncio's own, which is no subclass of it before Python 3.12
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(data, addr)
