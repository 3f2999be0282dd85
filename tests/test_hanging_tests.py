"""Tests that hang, in pytest under this project's own settings: alone, and side by side as make runs them."""

import os
import sys
from pathlib import Path

import pytest

from tests.helper.process.program import finished

ROOT = Path(__file__).parents[1]

HANGING = """
import asyncio, pathlib, subprocess, pytest
from tests.helper.process.program import started

@pytest.fixture
def resource():
    with started(["sh", "-c", "trap '' TERM; echo $$; while :; do sleep 1; done"], {}) as process:
        pathlib.Path("pid").write_text(process.stdout.readline())
        yield
    pathlib.Path("released").touch()

def test_hangs(resource):
    asyncio.run(asyncio.Event().wait())

def test_next():
    assert pathlib.Path("released").exists()
    assert not pathlib.Path("/proc/" + pathlib.Path("pid").read_text().strip()).exists()
"""

HANGING_AT_ITS_END = """
import threading, pytest

@pytest.fixture
def resource():
    yield
    threading.Event().wait()

def test_hangs(resource):
    raise AssertionError("its own failure")

def test_next():
    pass
"""

HANGING_IN_FINALLY = """
import asyncio, threading

def test_hangs():
    try:
        asyncio.run(asyncio.Event().wait())
    finally:
        threading.Event().wait()

def test_next():
    pass
"""

SIDE_BY_SIDE = ("--numprocesses", "1", "--dist", "worksteal")
ways = pytest.mark.parametrize("way", [(), SIDE_BY_SIDE], ids=["alone", "side by side"])


def run(folder: Path, text: str, *options: str) -> str:
    """What pytest prints of a file with these tests; it must end by itself."""
    (folder / "test_hanging.py").write_text(text)
    settings = ("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *settings, *options, "test_hanging.py"]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    environ["LAST_LIMIT"] = "5"
    (folder / "conftest.py").write_text("from tests.limits import *")
    done = finished(command, environ, folder, seconds=120)
    return done.stdout + done.stderr


@ways
def test_a_hanging_test_fails_alone(tmp_path: Path, way: tuple[str, ...]) -> None:
    """A test that hangs fails and shows where; the process that it has started is killed, and the next test runs."""
    printed = run(tmp_path, HANGING, *way, "--override-ini=timeout=5")

    assert "1 failed, 1 passed" in printed
    assert "Failed: Timeout" in printed
    assert "asyncio.Event().wait()" in printed


@ways
def test_a_fixture_that_hangs_at_its_end_ends_the_process(tmp_path: Path, way: tuple[str, ...]) -> None:
    """What no exception ends is ended with its process, which shows where; side by side the other tests still run."""
    printed = run(tmp_path, HANGING_AT_ITS_END, *way)

    assert "threading.py" in printed and "in resource" in printed
    if way:
        assert "crashed while running" in printed and "1 passed" in printed


@ways
def test_a_test_that_hangs_after_its_timeout_ends_the_process(tmp_path: Path, way: tuple[str, ...]) -> None:
    """A `finally` of the test itself may hang too: pytest-timeout raises only once for each test."""
    printed = run(tmp_path, HANGING_IN_FINALLY, *way, "--override-ini=timeout=2")

    assert "threading.py" in printed and "in test_hangs" in printed
    if way:
        assert "crashed while running" in printed and "1 passed" in printed


def test_every_test_has_a_timeout(pytestconfig: pytest.Config) -> None:
    """Every test has a timeout, however the tests are started."""
    assert float(pytestconfig.getini("timeout")) > 0
