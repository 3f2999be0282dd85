"""The programs of the scheduler's tests: the table in memory does what a real shell does."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lab.ecs.engine import ContainerProcess, Start, start
from tests.helper import virtual
from tests.lab.playing import ENVIRON, Program, start_fake

Story = Callable[[ContainerProcess], Awaitable[None]]


async def live(program: Program, folder: Path, start_process: Start, story: Story) -> tuple[int, str]:
    """The exit code and the output of a program, to which the story happens once it has said that it is ready."""
    ready = asyncio.Event()
    process = await start_process(program.command, ENVIRON, folder / "log", lambda line: ready.set(), None)
    reading = asyncio.ensure_future(process.read())
    try:
        async with asyncio.timeout(60):
            await ready.wait()
            assert process.returncode is None
            await story(process)
            code = await process.wait()
            assert process.returncode == code
            with pytest.raises(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
    finally:
        process.kill()
    await reading
    return code, (folder / "log").read_text()


async def asked(process: ContainerProcess) -> None:
    process.send_signal(signal.SIGTERM)


async def asked_thrice(process: ContainerProcess) -> None:
    for _ in range(3):
        await asyncio.sleep(0.5)
        process.send_signal(signal.SIGTERM)


async def asked_in_vain(process: ContainerProcess) -> None:
    process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.5)
    assert process.returncode is None
    process.kill()


async def killed(process: ContainerProcess) -> None:
    process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("program", "story", "code"),
    [
        pytest.param(Program(3), asked, 3, id="leaves when asked"),
        pytest.param(Program(143, after=0.3), asked, 143, id="leaves a while later"),
        pytest.param(Program(33, asks=3), asked_thrice, 33, id="leaves when asked for the third time"),
        pytest.param(Program(33, asks=2), asked_in_vain, -9, id="must be asked twice"),
        pytest.param(Program(None), asked_in_vain, -9, id="never leaves"),
        pytest.param(Program(), killed, -9, id="is killed"),
    ],
)
@pytest.mark.parametrize("real", [True, False], ids=["real", "fake"])
def test_program(program: Program, story: Story, code: int, real: bool, tmp_path: Path) -> None:
    """A program says that it is ready, and leaves as it is told; a signal after its end finds nobody."""
    run = asyncio.run if real else virtual.run

    assert (code, "ready\n") == run(live(program, tmp_path, start if real else start_fake, story))
