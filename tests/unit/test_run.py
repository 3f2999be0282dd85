"""Around the life: bad settings, early signals, and the last guard."""

import asyncio
from typing import NoReturn

import pytest

from task_helper import run
from task_helper.lifecycle import Exit, Lifecycle, Stop
from task_helper.settings import from_env


class Left(Exception):
    """The process would have exited with this code."""


@pytest.fixture(autouse=True)
def _stay(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(code: int) -> NoReturn:
        raise Left(code)

    monkeypatch.setattr(run, "leave", leave)


def test_a_fault_outside_every_other_guard(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A fault that nothing else has caught is logged, and ends with the exit code of faults."""

    async def live(self: Lifecycle) -> Exit:
        raise RuntimeError("oh")

    monkeypatch.setattr(Lifecycle, "live", live)

    with pytest.raises(Left, match=str(int(Exit.FAULT))):
        asyncio.run(run._live(from_env({}), {}, []))

    assert "fault" in caplog.messages


def test_early_signals() -> None:
    """A signal that came before the event loop ran requests the stop at the moment when it came."""

    async def listen() -> float:
        stop = Stop()
        run.listen(stop, [("SIGTERM", 12.5), ("SIGTERM", 13.0)])
        await stop.wait()
        return stop.at

    assert 12.5 == asyncio.run(listen())


def test_two_early_interrupts() -> None:
    """Two Ctrl-C before the event loop ran exit at once."""

    async def listen() -> None:
        run.listen(Stop(), [("SIGINT", 1.0), ("SIGINT", 2.0)])

    with pytest.raises(Left, match="130"):
        asyncio.run(listen())
