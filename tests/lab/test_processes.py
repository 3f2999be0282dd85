"""The lab's processes, and its addresses and ports."""

import asyncio
import os
import random
from pathlib import Path

import pytest

from lab.ecs import engine
from lab.parts.processes import free_address, free_port, kill_group, start, wait_for

# a shell that leaves a process behind: it writes that one's process ID and goes on, or ends
LEAVES_BEHIND = 'sleep 600 & echo $! >"$0"'


def test_addresses_do_not_depend_on_a_seed() -> None:
    """Two processes that seed their random numbers alike, as tests do, draw different addresses and ports."""
    drawn = []
    for _ in range(2):
        random.seed(0)
        drawn.append((free_address(), free_address(), free_port(), free_port()))

    assert drawn[0][:2] != drawn[1][:2]
    assert drawn[0][2:] != drawn[1][2:]


def wait_until_dead(file: Path) -> None:
    """Wait until the process with the ID in this file runs no more."""

    def runs() -> str | None:
        try:
            status = Path(f"/proc/{file.read_text().strip()}/stat").read_text()
        except FileNotFoundError:
            return None
        return None if status.rpartition(") ")[2][0] == "Z" else status

    wait_for(runs)


def wait_until_written(file: Path) -> None:
    """Wait until the shell has written the process ID."""
    wait_for(lambda: None if file.exists() and file.read_text().endswith("\n") else "no process ID yet")


def no_signal(pid: int, number: int) -> None:
    raise AssertionError(f"signal {number} to group {pid}")


def test_the_whole_group_is_killed(tmp_path: Path) -> None:
    """SIGKILL to a group ends the process that leads it and those that this has started."""
    file = tmp_path / "pid"
    process = start(["sh", "-c", f"{LEAVES_BEHIND}; wait", str(file)], tmp_path / "log")
    try:
        wait_until_written(file)
    finally:
        kill_group(process)

    assert process.wait() == -9
    wait_until_dead(file)


def test_the_group_of_another_process_is_never_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No signal is sent to the group of a process that has been waited for: the kernel gives its number to others."""
    process = start(["true"], tmp_path / "log")
    process.wait()
    monkeypatch.setattr(os, "killpg", no_signal)

    kill_group(process)


def test_what_a_container_leaves_behind_is_killed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a container's process has ended, what it has left behind is killed; after that its number is another's."""
    file = tmp_path / "pid"

    async def play() -> None:
        command = ["sh", "-c", LEAVES_BEHIND, str(file)]
        process = await engine.start(command, {}, tmp_path / "log", None, None)
        try:
            assert await process.wait() == 0
        finally:
            process.kill()
        wait_until_dead(file)
        monkeypatch.setattr(os, "killpg", no_signal)
        process.kill()

    asyncio.run(play())


def test_the_lab_starts_groups(tmp_path: Path) -> None:
    """Every process that the lab starts leads a group of its own, so to kill the group reaches no other process."""
    process = start(["sleep", "600"], tmp_path / "log")
    try:
        assert os.getpgid(process.pid) == process.pid
    finally:
        kill_group(process)
        process.wait()


def test_a_killed_process_can_be_killed_again(tmp_path: Path) -> None:
    """A process that has ended, and has not been waited for, is no error."""
    process = start(["true"], tmp_path / "log")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    kill_group(process)

    assert process.wait() == 0
