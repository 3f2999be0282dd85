"""Around the life: bad settings, early signals, and the last guard."""

import asyncio
from typing import NoReturn

import pytest

from task_helper import run
from task_helper.life.lifecycle import Lifecycle, Stop
from task_helper.life.record import Exit
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


@pytest.mark.parametrize("at_a_terminal", [True, False])
def test_two_early_interrupts(at_a_terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two Ctrl-C before the event loop ran exit at once; elsewhere than at a terminal they are as one."""
    monkeypatch.setattr("os.isatty", lambda descriptor: at_a_terminal and descriptor == 0)

    async def listen() -> float:
        stop = Stop()
        run.listen(stop, [("SIGINT", 1.0), ("SIGINT", 2.0)])
        return stop.at

    if at_a_terminal:
        with pytest.raises(Left, match="130"):
            asyncio.run(listen())
    else:
        assert 1.0 == asyncio.run(listen())
