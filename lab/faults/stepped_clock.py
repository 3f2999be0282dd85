"""The helper's program on a machine whose wall clock steps: `python -m lab.faults.stepped_clock run`.

Linux has no wall clock of a process's own: a time namespace covers CLOCK_MONOTONIC and CLOCK_BOOTTIME alone
(time_namespaces(7)), and a step of the real clock would hit everything on the machine. So this shifts what Python
reads, `time.time`, `time.time_ns` and `datetime.now`, by the seconds that STEPPED_CLOCK's file contains at that moment.
Timers and the event loop read CLOCK_MONOTONIC, which a step does not change, as on a real machine. What C code reads
for itself is not shifted; the helper has no such code.

The shell trap needs none of this: `sleep` and curl's timeouts do not read the wall clock.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import runpy
import struct
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Final

STEPPED_CLOCK: Final = "STEPPED_CLOCK"
_SECONDS = struct.Struct("d")


def write(file: Path, seconds: float) -> None:
    """From now on the clock of programs that have this file is so many seconds ahead. A program may have it open."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(_SECONDS.pack(seconds))


def shift(file: Path) -> None:
    """Shift the wall clock of this process from now on by the seconds that the file contains; raises OSError."""
    with file.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), _SECONDS.size, access=mmap.ACCESS_READ)

    def ahead() -> float:
        return float(_SECONDS.unpack(mapped[:])[0])

    real_time, real_time_ns, real_now = time.time, time.time_ns, datetime.now

    def now(zone: tzinfo | None = None, tz: tzinfo | None = None) -> datetime:
        return real_now(zone or tz) + timedelta(seconds=ahead())

    time.time = lambda: real_time() + ahead()
    time.time_ns = lambda: real_time_ns() + round(ahead() * 1e9)
    # Python does not let a type of C be changed, and a type in its place would not be the one that msgspec decodes to.
    names: dict[str, Any] = gc.get_referents(datetime.__dict__)[0]
    names["now"] = staticmethod(now)
    ctypes.pythonapi.PyType_Modified(ctypes.py_object(datetime))


if __name__ == "__main__":
    shift(Path(os.environ[STEPPED_CLOCK]))
    runpy.run_module("task_helper", run_name="__main__")
