"""Waiting for the first of several events, and for moments of the event loop's clock."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal, Never, TypeVar

T = TypeVar("T")


def now() -> float:
    return asyncio.get_running_loop().time()


def waited_for_cpu() -> float | None:
    """Seconds since its start in which this process's main thread waited for the CPU; None if unknown.

    They include the time in which a CPU quota paused it. Source: /proc/PID/schedstat,
    https://docs.kernel.org/scheduler/sched-stats.html.
    """
    try:
        with open("/proc/self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return None


async def sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - now()))


async def forever() -> Never:
    """Wait without end: in a race, a rival that never wins."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("this future is never set")


async def say_no() -> Literal[False]:
    """The answer False, for a fact that the helper cannot detect."""
    return False


async def first(*rivals: Coroutine[Any, Any, T]) -> T:
    """The result of the coroutine that ends first, or the error that it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(rival) for rival in rivals]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return winner.result()
