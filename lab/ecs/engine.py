"""The container engine beneath the agent: each container is a process of this machine."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from lab.parts import processes

OnLine = Callable[[bytes], None]


class Process(Protocol):
    """A container's process, which `Start` has started. The tests have one in virtual time."""

    @property
    def returncode(self) -> int | None:
        """Its exit code, -N after signal N; None while it runs."""

    async def wait(self) -> int:
        """Its exit code, once it has ended."""

    def send_signal(self, number: signal.Signals) -> None:
        """A signal to it alone; raises ProcessLookupError once it has ended."""

    def kill(self) -> None:
        """SIGKILL to it and to all that it has started, which may have ended already."""

    async def read(self) -> None:
        """Give each line that it prints to its `on_line`, if it has one, until its output ends."""


# starts a container: its command, its environment, the file for its output, what hears each line of that, and the pipe
# that takes the output instead of both
Start = Callable[[Sequence[str], Mapping[str, str], Path, OnLine | None, int | None], Awaitable[Process]]


async def start(
    command: Sequence[str], environ: Mapping[str, str], log: Path, on_line: OnLine | None, pipe: int | None
) -> "OsProcess":
    """Start a process in a group of its own, which ends with this one."""
    with log.open("ab") as output:
        stdout = asyncio.subprocess.PIPE if on_line else output.fileno()
        process = await asyncio.create_subprocess_exec(
            *processes.bound(command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout if pipe is None else pipe,
            stderr=output,
            env=environ,
            process_group=0,
        )
    return OsProcess(process, log, on_line)


class OsProcess:
    """A process of this machine."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path, on_line: OnLine | None) -> None:
        self._process, self._log, self._on_line = process, log, on_line
        self.pid = process.pid
        self._group_ended = False

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    async def wait(self) -> int:
        return await self._process.wait()

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is not None:
            raise ProcessLookupError
        # not Popen's: that takes the exit code of one that has just ended away from the event loop
        os.kill(self.pid, number)

    def kill(self) -> None:
        # What it has left behind is killed once, right after its end. Later the number of its group may be another's:
        # the kernel gives it out again after some 32,000 others.
        if not self._group_ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        self._group_ended = self.returncode is not None

    async def read(self) -> None:
        if self._process.stdout is None or self._on_line is None:
            return
        with self._log.open("ab") as output:
            async for line in self._process.stdout:
                output.write(line)
                output.flush()
                self._on_line(line)
