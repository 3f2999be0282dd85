"""The order of the tests where several workers of xdist run them."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest

# fixtures of runs that several tests look at
SHARED_RUNS = {"demo", "thrice"}

# folders whose tests run in real time, beside real processes
REAL_TIME = {Path(__file__).parent / "helper" / "process"}

T = TypeVar("T")


def takes_long(item: pytest.Item) -> str | None:
    """A name for each test that takes long, the same for those that share a run; None for the others."""
    shared = SHARED_RUNS & set(getattr(item, "fixturenames", ()))
    if shared:
        return min(shared)
    return item.nodeid if item.get_closest_marker("slow") or item.path.parent in REAL_TIME else None


def spread(tests: Sequence[tuple[T, str | None]], workers: int) -> list[T]:
    """The tests, each with its name if it takes long, so that each worker begins with its share of those.

    At first each worker has as many tests as the others, in this order; later it takes some of another's. Unspread, one
    of them would still have several that take long when the others have nothing to do any more.
    """
    units: dict[str, list[T]] = {}
    for test, name in tests:
        if name is not None:
            units.setdefault(name, []).append(test)
    quick = [test for test, name in tests if name is None]
    shares = [[test for unit in list(units.values())[first::workers] for test in unit] for first in range(workers)]
    for first, share in enumerate(shares):
        left = len(quick) + sum(map(len, shares[first:]))
        wanted = max(0, left // (workers - first) - len(share))
        share += quick[:wanted]
        quick = quick[wanted:]
    return [test for share in shares for test in share] + quick
