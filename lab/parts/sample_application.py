"""An application of a task: answers over HTTP/1.1, gRPC or bare TCP, and stops at once on SIGTERM, as most do.

SIGHUP restarts it, as a supervisor in the container would: it drops every connection, refuses new ones for a while, and
serves again. It says so on its output, one JSON object a line, since requests that fail meanwhile are its own fault.
"""

import argparse
import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from lab.parts.envoy_process import GRPC_HEALTH_PATH, HEALTH_PATH

WORK_PATH = "/work"
# asks for more than Envoy's health checks do, as `/health` of many a framework does, and answers 503
DEEP_HEALTH_PATH = "/health/deep"
GRPC_WORK_PATH = "/lab.Work/Do"
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}


@asynccontextmanager
async def serve_http(task: str, host: str, port: int) -> AsyncIterator[None]:
    """GET or POST /work?seconds=N answers the task's name after that time."""

    async def work(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query["seconds"]))
        return web.Response(text=task, headers={"x-task": task})

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="well")

    async def deep_health(request: web.Request) -> web.Response:
        return web.Response(status=503, text="something that this needs is down")

    application = web.Application()
    routes = {WORK_PATH: work, HEALTH_PATH: health, DEEP_HEALTH_PATH: deep_health}
    application.add_routes([web.get(path, handler) for path, handler in routes.items()])
    application.router.add_post(WORK_PATH, work)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=1024).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serve_grpc(task: str, host: str, port: int) -> AsyncIterator[None]:
    """A unary method that takes the seconds as text, and the standard health service; no generated code is needed."""
    import grpc

    async def work(request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("x-task", task),))
        await asyncio.sleep(float(request))
        return task.encode()

    async def health(request: bytes, context: Any) -> bytes:
        return _SERVING

    def service(path: str, method: Callable[[bytes, Any], Awaitable[bytes]]) -> Any:
        name, method_name = path[1:].split("/")
        handlers = {method_name: grpc.unary_unary_rpc_method_handler(method)}
        return grpc.method_handlers_generic_handler(name, handlers)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers((service(GRPC_WORK_PATH, work), service(GRPC_HEALTH_PATH, health)))
    server.add_insecure_port(f"{host}:{port}")
    await server.start()
    try:
        yield
    finally:
        await server.stop(grace=None)


@asynccontextmanager
async def serve_tcp(task: str, host: str, port: int) -> AsyncIterator[None]:
    """Answers each line with the task's name."""
    open_connections: set[asyncio.StreamWriter] = set()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_connections.add(writer)
        try:
            while await reader.readline():
                writer.write(f"{task}\n".encode())
                await writer.drain()
        except ConnectionError:
            pass  # dropped by a restart, or by the other side
        finally:
            open_connections.discard(writer)
            writer.close()

    server = await asyncio.start_server(talk, host, port)
    try:
        yield
    finally:
        server.close()
        for writer in open_connections:
            writer.transport.abort()


SERVERS = {"http1": serve_http, "http2": serve_http, "grpc": serve_grpc, "tcp": serve_tcp}
ON_STOP = ("leaves", "fails", "ignores")


def _say(event: str) -> None:
    print(json.dumps({"time": datetime.now(UTC).isoformat(), "event": event}), flush=True)


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", required=True, help="name that it answers with")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--lines-port", type=int, help="where it also answers lines over bare TCP")
    parser.add_argument("--protocol", choices=SERVERS, default="http1")
    parser.add_argument("--starts-in", type=float, default=0.0, help="seconds before it listens")
    parser.add_argument("--restart-takes", type=float, default=0.6, help="seconds for which it refuses after SIGHUP")
    parser.add_argument("--on-stop", choices=ON_STOP, default="leaves", help="with 0, with 1, or not at all")
    parser.add_argument("--stops-in", type=float, default=0.0, help="seconds for which it serves on after SIGTERM")
    options = parser.parse_args()
    again, stop = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, again.set)
    loop.add_signal_handler(signal.SIGTERM, (lambda: None) if options.on_stop == "ignores" else stop.set)
    await _either(stop, asyncio.sleep(options.starts_in))
    while not stop.is_set():
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(SERVERS[options.protocol](options.task, options.host, options.port))
            if options.lines_port:
                await stack.enter_async_context(serve_tcp(options.task, options.host, options.lines_port))
            _say("up")
            await _either(stop, again.wait())
            again.clear()
            if stop.is_set():
                await asyncio.sleep(options.stops_in)
                # at once, as a program does that handles nothing: no answer is waited for
                os._exit(1 if options.on_stop == "fails" else 0)
            _say("down")
        await _either(stop, asyncio.sleep(options.restart_takes))


async def _either(stop: asyncio.Event, other: Awaitable[Any]) -> None:
    """Until the stop, or the other."""
    waiting = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(other)]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for each in waiting:
        each.cancel()


if __name__ == "__main__":
    asyncio.run(main())
