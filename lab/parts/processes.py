"""Child processes that never outlive the lab, and loopback addresses that collide with no others."""

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess  # nosec B404
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)
# not the module's own numbers: a test that seeds those would draw the addresses of another process that does the same
_DICE = random.SystemRandom()


def free_address() -> str:
    """A loopback address of one's own, such as 127.83.20.7: every port on it is free.

    Drawn from 16 million, so that runs beside each other need no agreement; 127.0.x.x is left to the machine.
    """
    while True:
        address = f"127.{_DICE.randint(1, 254)}.{_DICE.randint(0, 255)}.{_DICE.randint(1, 254)}"
        with socket.socket() as probe:
            try:
                probe.bind((address, 15000))
            except OSError:
                continue
        return address


def free_port() -> int:
    """A port that is free on every address, for programs that take no address; not one that the kernel gives out."""
    while True:
        port = _DICE.randint(10_000, 32_767)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
        return port


def bound(command: Sequence[str]) -> list[str]:
    """The command, run so that the kernel kills it when the thread that starts it ends, even by SIGKILL.

    setpriv, of util-linux, becomes the command, so the process ID is the command's own. It takes 1 ms; a `preexec_fn`
    takes 13 ms, and the load's event loop would stand still for that long.
    """
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]


def die_with_parent() -> None:
    """The same for `preexec_fn`, where the process must be the program itself from its first moment."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def start(command: list[str], log: Path, environ: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """Start `command` in a process group of its own, its output appended to `log`; `environ` None inherits ours."""
    with log.open("ab") as output:
        return subprocess.Popen(  # nosec B603
            bound(command),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environ,
            process_group=0,
        )


class Started(Protocol):
    """A process that leads a group of its own, as `subprocess` and `asyncio` return it."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None:
        """None until the process has been waited for."""


def signal_group(process: Started, number: signal.Signals) -> None:
    """A signal to the process and its group, unless it has been waited for: then its number may be another's by now."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)


def kill_group(process: Started) -> None:
    """SIGKILL to the process and its group, unless it has been waited for."""
    signal_group(process, signal.SIGKILL)


def wait_for(fact: Callable[[], str | None], seconds: float = 60.0) -> None:
    """Wait until `fact` returns None; raise TimeoutError with what it last returned: the reason why not yet."""
    deadline = time.monotonic() + seconds
    while (reason := fact()) is not None:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {reason}")
        time.sleep(0.02)
