"""The application of a task: answers over HTTP/1.1, gRPC or bare TCP, and stops at once on SIGTERM, as most do."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from lab.envoy import GRPC_HEALTH_PATH, HEALTH_PATH

WORK_PATH = "/work"
GRPC_WORK_PATH = "/lab.Work/Do"
_SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse{status: SERVING}


async def serve_http(task: str, host: str, port: int) -> None:
    """GET /work?seconds=N answers the task's name after that time."""

    async def work(request: web.Request) -> web.Response:
        await asyncio.sleep(float(request.query["seconds"]))
        return web.Response(text=task, headers={"x-task": task})

    async def health(request: web.Request) -> web.Response:
        return web.Response(text="well")

    application = web.Application()
    application.add_routes([web.get(WORK_PATH, work), web.get(HEALTH_PATH, health)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port, backlog=1024).start()


async def serve_grpc(task: str, host: str, port: int) -> None:
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
    await server.wait_for_termination()


async def serve_tcp(task: str, host: str, port: int) -> None:
    """Answers each line with the task's name."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(f"{task}\n".encode())
            await writer.drain()
        writer.close()

    await asyncio.start_server(talk, host, port)


SERVERS = {"http1": serve_http, "http2": serve_http, "grpc": serve_grpc, "tcp": serve_tcp}


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", required=True, help="name that it answers with")
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--protocol", choices=SERVERS, default="http1")
    parser.add_argument("--starts-in", type=float, default=0.0, help="seconds before it listens")
    options = parser.parse_args()
    await asyncio.sleep(options.starts_in)
    await SERVERS[options.protocol](options.task, options.host, options.port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
