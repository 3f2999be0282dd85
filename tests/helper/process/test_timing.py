"""The kernel's report about this process's time, beside a busy process."""

import os
import sys

import pytest

from lab.parts.processes import wait_for
from task_helper.timing import waited_for_cpu
from tests.helper.process.program import started


def test_waiting_for_the_cpu_is_counted() -> None:
    """Beside a busy process on the same core the time grows in which this one had to wait."""
    before = waited_for_cpu()
    if before is None:
        pytest.skip("THIS KERNEL HAS NO /proc/PID/schedstat: late signals are not tried")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})

    def not_yet() -> str | None:
        sum(range(1_000_000))
        waited = waited_for_cpu()
        assert waited is not None
        return None if waited > before + 0.1 else f"{waited - before} s"

    try:
        with started([sys.executable, "-c", "while True: pass"], {}):
            wait_for(not_yet, 60)
    finally:
        os.sched_setaffinity(0, cores)
