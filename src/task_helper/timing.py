"""Racing what may happen against each other and against the clock of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Literal, Never, TypeVar

T = TypeVar("T")


def now() -> float:
    return asyncio.get_running_loop().time()


def waited_for_cpu() -> float | None:
    """Seconds in which this process's main thread could have run but others did, since it started; None if unknown.

    Also the time in which a CPU quota held it back. Source: /proc/PID/schedstat,
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
    """Wait for what cannot happen: a rival that never wins."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody sets this future")


async def say_no() -> Literal[False]:
    """The answer of whoever cannot tell that something is so."""
    return False


async def first(*rivals: Coroutine[Any, Any, T]) -> T:
    """The result of the one that ends first, or what it raises; the others are cancelled."""
    tasks = [asyncio.ensure_future(rival) for rival in rivals]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(task for task in tasks if task.done())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return winner.result()
