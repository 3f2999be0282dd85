"""A test that hangs, in pytest under this project's own settings."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

HANGING = """
import asyncio, pathlib, pytest

@pytest.fixture
def resource():
    yield
    pathlib.Path("released").touch()

def test_hangs(resource):
    asyncio.run(asyncio.Event().wait())

def test_next():
    assert pathlib.Path("released").exists()
"""


def test_a_hanging_test_fails_alone(tmp_path: Path) -> None:
    """A test that hangs fails and shows where; what it has started is released, and the next test runs."""
    (tmp_path / "test_hanging.py").write_text(HANGING)
    options = ("-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--override-ini", "timeout=1", "test_hanging.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert "1 failed, 1 passed" in done.stdout
    assert "Failed: Timeout" in done.stdout
    assert "asyncio.Event().wait()" in done.stdout


def test_every_test_has_a_timeout(pytestconfig: pytest.Config) -> None:
    """Whoever runs the tests, each of them has an end."""
    assert float(pytestconfig.getini("timeout")) > 0
