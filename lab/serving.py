"""Serves what the lab itself answers: AWS's APIs, a catalog."""

import asyncio

from aiohttp import web


async def serve(application: web.Application, address: str, port: int) -> None:
    """Runs until it is cancelled."""
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, address, port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
