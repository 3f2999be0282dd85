"""Looks from outside whether something answers, as health checks do."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

TIMEOUT = 2.0  # seconds


async def answers(url: str, socket: Path | None = None) -> bool:
    """Whether it answers 200, as `curl --fail` in a health check; `socket` is a Unix socket's path."""
    connector = aiohttp.UnixConnector(str(socket)) if socket else None
    try:
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:
            async with session.get(url) as answer:
                return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def accepts(address: str, port: int) -> bool:
    """Whether connections are accepted there, whatever is spoken."""
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address, port), TIMEOUT)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def until(fact: Callable[[], Awaitable[bool]], seconds: float = 60.0) -> None:
    """Wait until it is the case; raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await fact():
            await asyncio.sleep(0.05)
