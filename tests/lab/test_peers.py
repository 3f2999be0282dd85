"""Other programs in the helper's place: how a container runs them, and where they cannot be played."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from lab.parts.envoy_process import EnvoyOptions
from lab.run import peers
from lab.run.task_definition import missing
from lab.scenarios.beside_peers import ROWS
from lab.scenarios.scenario import Column
from tests.helper.process.program import started, wait_until_armed

ROW = next(row for row in ROWS if row.name == "peers-update")
DELAYED = next(row for row in ROWS if row.name == "peers-update-delay")
OPTIONS = EnvoyOptions("127.83.20.7", ("127.83.20.7", 8080))


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with programs that write down their arguments, and how they find `localhost`."""
    for column, variable in peers.PROGRAMS.items():
        path = tmp_path / column
        path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\ncat /etc/hosts > {tmp_path}/hosts-seen\n')
        path.chmod(0o755)
        monkeypatch.setenv(variable, str(path))
    return tmp_path


@pytest.mark.parametrize("column", peers.PROGRAMS)
def test_a_peer_that_is_not_given_is_left_out(column: Column, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variable of the missing program."""
    monkeypatch.delenv(peers.PROGRAMS[column], raising=False)
    assert f"needs {peers.PROGRAMS[column]}" in (missing(column) or "")


def test_a_peer_that_is_no_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that names nothing is an error, not a column that is left out."""
    monkeypatch.setenv("CONTOUR", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="nowhere is no program: CONTOUR is to name one"):
        missing("contour")


def stopped(command: list[str], written: Path) -> list[str]:
    """The words of what the container has run at its SIGTERM."""
    with started(command, os.environ, stdout=None) as container:
        wait_until_armed(container.pid)
        container.send_signal(signal.SIGTERM)
        assert container.wait(30) == 0
    return written.read_text().split()


def test_contours_manager_is_run_at_sigterm(programs: Path) -> None:
    """It gets the admin API's socket, its interval in the row's times, and a delay only where the row has one."""
    options = replace(OPTIONS, admin=programs / "admin.sock")
    command = peers.command(ROW, "contour", options, programs)
    words = ["envoy", "shutdown", f"--admin-address={programs}/admin.sock", f"--ready-file={programs}/ok"]
    assert stopped(command, programs / "arguments") == [*words, "--check-interval=1s"]
    command = peers.command(DELAYED, "contour", options, programs)
    assert stopped(command, programs / "arguments") == [*words, "--check-interval=1s", "--drain-delay=8s"]


def test_envoy_gateways_manager_calls_the_task_as_localhost(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no option for the address, so `localhost` is the task's in a mount namespace of its own."""
    if why := missing("gateway"):
        pytest.skip(why)
    # in the namespace /tmp is empty, and what is written there is not seen outside
    monkeypatch.setattr(peers, "_IN_NAMESPACE", peers._IN_NAMESPACE.replace("mount -t tmpfs none /tmp", "true"))
    command = peers.command(DELAYED, "gateway", OPTIONS, programs)
    words = ["envoy", "shutdown", "--min-drain-duration=2s", "--drain-timeout=20s", "--health-check-failure-delay=8s"]
    assert stopped(command, programs / "arguments") == words
    assert (programs / "hosts-seen").read_text() == "127.83.20.7 localhost\n"
