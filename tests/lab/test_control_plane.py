"""A control plane's server process: it dies or freezes on demand, and runs again."""

import asyncio
from pathlib import Path

import pytest

from lab.meshes.control_plane import Server
from lab.parts import processes


def state(pid: int) -> str:
    """As the kernel has it: T for stopped, Z for a zombie."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_a_server_that_dies_is_back_after_its_time(tmp_path: Path) -> None:
    """It is another process then, and that it was killed is no fault of the run."""

    async def run() -> None:
        server = Server(["sleep", "60"], tmp_path / "log")
        try:
            first = server._process.pid
            watching = asyncio.create_task(server.watch())
            failing = asyncio.create_task(server.fail("dies", 0.7))
            while server._process.poll() is None:
                await asyncio.sleep(0.01)
            assert not watching.done()
            await failing
            assert server._process.pid != first and server._process.poll() is None and not watching.done()
            watching.cancel()
        finally:
            server.stop()

    asyncio.run(run())


def test_a_server_that_dies_for_good_stays_dead(tmp_path: Path) -> None:
    """Without a time nothing starts it again."""
    server = Server(["sleep", "60"], tmp_path / "log")
    asyncio.run(server.fail("dies", 0))
    assert server._process.poll() is not None


def test_a_server_that_freezes_thaws(tmp_path: Path) -> None:
    """It does nothing meanwhile, and is the same process after."""

    async def run() -> None:
        server = Server(["sleep", "60"], tmp_path / "log")
        pid = server._process.pid
        try:
            failing = asyncio.create_task(server.fail("freezes", 0.5))
            while state(pid) != "T":
                await asyncio.sleep(0.01)
            await failing
            assert server._process.pid == pid
            processes.wait_for(lambda: None if state(pid) != "T" else "it thaws")
        finally:
            server.stop()

    asyncio.run(run())


def test_a_server_that_ends_by_itself_ends_the_run(tmp_path: Path) -> None:
    """Only what the scenario has killed may be down."""
    server = Server(["true"], tmp_path / "log")
    with pytest.raises(RuntimeError, match="true exited with 0: see log"):
        asyncio.run(server.watch())
