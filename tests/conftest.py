"""Where tests run: their tier, their order, and how long one may take before it counts as hanging."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.limits import pytest_runtest_teardown, pytest_timeout_set_timer  # noqa: F401 (hooks of pytest)
from tests.spreading import spread, takes_long

# How long an example takes says something of the machine, and nothing of what is tested; the bound is pytest's.
# All runs of one revision try the same random examples, so a failure shows that a change broke something. EXPLORE=1
# tries new ones.
settings.register_profile("any machine", deadline=None, derandomize=not os.environ.get("EXPLORE"))
settings.load_profile("any machine")

# seconds, by folder: rolling updates in real time; an engine that is to be installed, and two images to be built
LONGER = {"lab": 600, "image": 1800}
# the tier of a whole folder
TIERS = {"image": pytest.mark.docker, "wheel": pytest.mark.wheel}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in LONGER and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LONGER[folder]))
        if folder in TIERS:
            item.add_marker(TIERS[folder])
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    items[:] = spread([(item, takes_long(item)) for item in items], workers)
