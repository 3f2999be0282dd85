"""The last limit: for a fixture that hangs while it ends.

pytest-timeout raises an exception once for each test. A fixture that hangs after that exception would hang for ever.
"""

import faulthandler
import os
from collections.abc import Generator

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

# seconds for all fixtures of a test to end; TEARDOWN_LIMIT is for the test of this module
LIMIT = float(os.environ.get("TEARDOWN_LIMIT", "600"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """After the limit print the traces of all threads and end the process: xdist starts another for the tests left."""
    faulthandler.dump_traceback_later(LIMIT, exit=True, file=item.config.stash[fault_handler_stderr_fd_key])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
