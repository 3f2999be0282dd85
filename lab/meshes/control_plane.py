"""The programs of a mesh's own control plane: where they are, and its server process, as long as a run needs it."""

import asyncio
import os
import re
import signal
import subprocess  # nosec B404
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from lab.parts import processes
from lab.scenarios.scenario import ServerFault

UP_WITHIN = 60.0  # seconds


def program(name: str, control_plane: str) -> Path:
    """Where the program `name` is: as the variable of its name says, such as KUMA_DP, else beside the control plane's.

    Raises FileNotFoundError where it is not.
    """
    beside = Path(os.environ[_variable(control_plane)]).with_name(name)
    path = Path(os.environ.get(_variable(name)) or beside)
    if not os.access(path, os.X_OK):
        where = "" if name == control_plane else f", or it is to lie beside {control_plane}"
        raise FileNotFoundError(f"{path} is no program: {_variable(name)} is to name {name}{where}")
    return path.absolute()


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")


def version(command: list[str]) -> str:
    """What a program says of its version, such as 2.14.3; raises ValueError where it says none."""
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # nosec B603
    match = re.search(r"\d+\.\d+\.\d+\S*", answer.stdout + answer.stderr)
    if match is None:
        raise ValueError(f"{command} says no version, but {answer.stdout + answer.stderr!r}")
    return match[0]


class Server:
    """The server process, started at once; its output is in `log`. To be ended by `stop`."""

    def __init__(self, command: list[str], log: Path, environ: dict[str, str] | None = None) -> None:
        self._name, self._log = Path(command[0]).name, log
        self._start = partial(processes.start, command, log, environ)
        self._process = self._start()
        self._killed = False

    async def until(self, up: Callable[[], Awaitable[bool]]) -> None:
        """Wait until it is up. Raises RuntimeError where it ends, TimeoutError after a minute."""
        deadline = time.monotonic() + UP_WITHIN
        while not await up():
            self._see_that_it_runs()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {UP_WITHIN:g} s: {self._name} is up; see {self._log}")
            await asyncio.sleep(0.1)

    async def watch(self) -> None:
        """Runs until it is cancelled. Raises RuntimeError where the server ends by itself."""
        while True:
            self._see_that_it_runs()
            await asyncio.sleep(0.5)

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        """Kill or freeze the server, and return at once if it is to stay so (`seconds` 0), else when it runs again."""
        if fault == "dies":
            self._killed = True
            self.stop()
        else:
            processes.signal_group(self._process, signal.SIGSTOP)
        if not seconds:
            return
        await asyncio.sleep(seconds)
        if fault == "dies":
            self._process = self._start()
            self._killed = False
        else:
            processes.signal_group(self._process, signal.SIGCONT)

    def stop(self) -> None:
        processes.kill_group(self._process)
        self._process.wait()

    def _see_that_it_runs(self) -> None:
        if not self._killed and (code := self._process.poll()) is not None:
            raise RuntimeError(f"{self._name} exited with {code}: see {self._log.name} in {self._log.parent}")
