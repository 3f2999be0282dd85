"""The programs of the runtime's tests: the table in memory does what a real shell does."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from lab.ecs.engine import Process, Start, start
from tests.helper import virtual
from tests.lab.playing import ENVIRON, Program, is_frozen, start_fake, until


class Life:
    """A program that runs, and the lines that it has said."""

    def __init__(self, process: Process, lines: list[str]) -> None:
        self.process, self.lines = process, lines

    async def says(self, number: int) -> None:
        """Wait until it has said so many lines."""
        await until(lambda: len(self.lines) >= number)

    async def freezes(self) -> None:
        self.process.send_signal(signal.SIGSTOP)
        await until(lambda: is_frozen(self.process))


Story = Callable[[Life], Awaitable[None]]


async def live(program: Program, folder: Path, start_process: Start, story: Story) -> tuple[int, list[str]]:
    """The exit code and the lines of a program, to which the story happens once it has said that it is ready."""
    lines: list[str] = []
    log = folder / "log"
    process = await start_process(program.command, ENVIRON, log, lambda line: lines.append(line.decode()), None)
    reading = asyncio.ensure_future(process.read())
    try:
        life = Life(process, lines)
        await life.says(1)
        assert process.returncode is None
        await story(life)
        async with asyncio.timeout(60):
            code = await process.wait()
        assert process.returncode == code
        with pytest.raises(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
    finally:
        process.kill()
    await reading
    assert "".join(lines) == log.read_text()
    return code, lines


async def asked(life: Life) -> None:
    life.process.send_signal(signal.SIGTERM)


async def asked_thrice(life: Life) -> None:
    for number in (2, 3, 4):
        life.process.send_signal(signal.SIGTERM)
        await life.says(number)


async def asked_in_vain(life: Life) -> None:
    life.process.send_signal(signal.SIGTERM)
    await life.says(2)
    await asyncio.sleep(0.2)
    assert life.process.returncode is None
    life.process.kill()


async def asked_while_frozen(life: Life) -> None:
    await life.freezes()
    for _ in range(2):
        life.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    assert life.lines == ["ready\n"] and life.process.returncode is None and is_frozen(life.process)
    life.process.send_signal(signal.SIGCONT)
    await life.says(2)
    assert not is_frozen(life.process)
    life.process.send_signal(signal.SIGTERM)


async def killed_while_frozen(life: Life) -> None:
    await life.freezes()
    life.process.send_signal(signal.SIGTERM)
    life.process.kill()


async def killed(life: Life) -> None:
    life.process.send_signal(signal.SIGKILL)


@pytest.mark.parametrize(
    ("program", "story", "code", "asks"),
    [
        pytest.param(Program(3), asked, 3, 1, id="leaves when asked"),
        pytest.param(Program(143, after=0.3), asked, 143, 1, id="leaves a while later"),
        pytest.param(Program(33, asks=3), asked_thrice, 33, 3, id="leaves when asked for the third time"),
        pytest.param(Program(33, asks=2), asked_in_vain, -9, 1, id="must be asked twice"),
        pytest.param(Program(None), asked_in_vain, -9, 1, id="never leaves"),
        pytest.param(Program(), killed, -9, 0, id="is killed"),
        pytest.param(Program(33, asks=2), asked_while_frozen, 33, 2, id="hears one SIGTERM of two after its thaw"),
        pytest.param(Program(), killed_while_frozen, -9, 0, id="is killed while it is frozen"),
    ],
)
@pytest.mark.parametrize("real", [True, False], ids=["real", "fake"])
def test_program(program: Program, story: Story, code: int, asks: int, real: bool, tmp_path: Path) -> None:
    """A program reports that it is ready, and exits as `Program` says; a signal after its end has no effect."""
    run = asyncio.run if real else virtual.run

    assert (code, ["ready\n", *["asked\n"] * asks]) == run(
        live(program, tmp_path, start if real else start_fake, story)
    )
