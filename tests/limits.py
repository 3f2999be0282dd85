"""The last limit: for a test that hangs while it ends.

pytest-timeout raises an exception once for each test. A `finally` or a fixture that hangs after that exception would
hang for ever.
"""

import faulthandler
import os
from collections.abc import Generator
from typing import Any

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

# seconds for a test to end after its timeout, and for its fixtures to end; LAST_LIMIT is for the test of this module
LIMIT = float(os.environ.get("LAST_LIMIT", "600"))


def end_after(seconds: float, item: pytest.Item) -> None:
    """After this time print the traces of all threads and end the process: xdist starts another for the tests left.

    It replaces the time that was set before.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])


@pytest.hookimpl(wrapper=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: Any) -> Generator[None, object, object]:
    """With a test's timeout set the last limit of its set-up and of its function."""
    end_after(settings.timeout + LIMIT, item)
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Set the limit again for the fixtures' end: pytest cancels it for each exception that a test raises."""
    end_after(LIMIT, item)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
