"""The judgement of measure/weight.py."""

import os

import pytest
from rich.console import Console

from measure.weight import HELPER, LINES, Samples, cpu_time, show


@pytest.mark.parametrize(
    ("idle", "broken"),
    [
        pytest.param([31, 32, 99], [], id="the median is at the bound"),
        pytest.param([31, 33, 99], ["resident memory, in service: 33.0 MB, bound 32 MB"], id="the median is above it"),
    ],
)
def test_broken_bounds(idle: list[float], broken: list[str]) -> None:
    """A bound is broken by the median of what was measured, and named with both figures."""
    results: dict[str, Samples] = {HELPER.name: {line.key: [0.0] for line in LINES} | {"idle": idle}, "other": {}}
    assert show(Console(quiet=True), results) == broken


def test_cpu_time() -> None:
    """The CPU time of a process is read as the kernel itself counts it."""
    times = os.times()
    before = times.user + times.system + times.children_user + times.children_system
    assert before - 0.05 <= cpu_time(os.getpid()) <= before + 0.5
