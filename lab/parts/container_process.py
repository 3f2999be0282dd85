"""A container's process, whose output can be left unread."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

from lab.parts import processes


class ContainerProcess:
    """A container's process: its output is kept, until the lab stops reading it."""

    def __init__(self, command: list[str], environ: Mapping[str, str], log: Path) -> None:
        self.lines: list[str] = []
        self._command, self._environ, self._log = command, environ, log
        self._rest = b""
        self._ends: list[int] = []
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        self._read_end, write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        # opened anew: that this end does not block is its own
        self._fill_end = os.open(f"/proc/self/fd/{write_end}", os.O_WRONLY | os.O_NONBLOCK)
        self._ends = [self._read_end, self._fill_end]
        with self._log.open("ab") as errors:
            self._process = await asyncio.create_subprocess_exec(
                *processes.bound(self._command),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_end,
                stderr=errors,
                env=self._environ,
                process_group=0,
            )
        os.close(write_end)
        asyncio.get_running_loop().add_reader(self._read_end, self._read)

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError):
            *whole, self._rest = (self._rest + os.read(self._read_end, 65536)).split(b"\n")
            self.lines += [line.decode(errors="replace") for line in whole]

    def block_output(self) -> None:
        """Nothing reads its output from now on, and the pipe is full."""
        asyncio.get_running_loop().remove_reader(self._read_end)
        for piece in (b"\n" * 4096, b"\n"):
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(self._fill_end, piece)

    def handles(self, number: signal.Signals) -> bool:
        """Whether it has a handler for that signal. As PID 1 of a container it loses a signal without a handler."""
        if self._process is None:
            return False
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) & 1 << (number - 1))

    @property
    def is_there(self) -> bool:
        """Whether it has been started, and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def stop_running(self, stopped: bool) -> None:
        """Stop all of its processes by SIGSTOP, or let them run again; a signal that comes meanwhile waits for them."""
        if self._process:
            processes.signal_group(self._process, signal.SIGSTOP if stopped else signal.SIGCONT)

    def send(self, number: signal.Signals) -> None:
        if self._process and self.is_there:
            with contextlib.suppress(ProcessLookupError):
                # not Popen's: that takes the exit code of one that has just ended away from the event loop
                os.kill(self._process.pid, number)

    async def ends(self, seconds: float) -> int | None:
        """Its exit code, or None where it is still there after these seconds."""
        if self._process is None:
            return None
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            return None

    async def kill(self) -> None:
        """SIGKILL to its group, unless it has ended: what it left behind runs on."""
        if self._process:
            processes.kill_group(self._process)
            await self._process.wait()

    def close(self) -> None:
        """The reader of its output is closed."""
        for end in self._ends:
            asyncio.get_running_loop().remove_reader(end)
            os.close(end)
        self._ends = []


def logged(lines: Iterable[str]) -> list[tuple[float, str]]:
    """When each event in a program's log was, in seconds since the epoch, and its name. It skips lines without JSON."""
    entries = [json.loads(line) for line in lines if line.startswith("{")]
    return [(datetime.fromisoformat(each["time"]).timestamp(), each["event"]) for each in entries]
