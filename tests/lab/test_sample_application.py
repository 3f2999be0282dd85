"""The lab's application, as a process: it restarts on SIGHUP, and stops as its options say."""

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lab.parts.envoy_process import APPLICATION_PORT, HEALTH_PATH
from lab.parts.processes import free_address, kill_group, start, wait_for
from lab.parts.sample_application import DEEP_HEALTH_PATH, WORK_PATH


@contextmanager
def application(folder: Path, *options: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """An application that is up, and its URL; what it says is in `log`."""
    host = free_address()
    place = ("--task", "one", "--host", host, "--port", str(APPLICATION_PORT))
    process = start([sys.executable, "-m", "lab.parts.sample_application", *place, *options], folder / "log")
    try:
        wait_for(lambda: None if "up" in events(folder) else (folder / "log").read_text())
        yield process, f"http://{host}:{APPLICATION_PORT}"
    finally:
        kill_group(process)
        process.wait()


def events(folder: Path) -> list[str]:
    lines: list[dict[str, Any]] = [json.loads(line) for line in (folder / "log").read_text().splitlines()]
    return [line["event"] for line in lines]


def get(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_it_answers_its_health_in_two_ways(tmp_path: Path) -> None:
    """What Envoy's checks ask is well, what asks for more is not."""
    with application(tmp_path) as (_, url):
        assert get(url + HEALTH_PATH) == 200
        assert get(url + DEEP_HEALTH_PATH) == 503


def test_it_refuses_while_it_restarts(tmp_path: Path) -> None:
    """From its `down` to its `up` its port refuses, and then it serves again."""
    with application(tmp_path, "--restart-takes", "1") as (process, url):

        def not_refused() -> str | None:
            """A try that came too late, on a busy machine, is made again."""
            before = len(events(tmp_path))
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: None if len(events(tmp_path)) > before else "not down yet")
            refused = refuses(url)
            wait_for(lambda: None if len(events(tmp_path)) > before + 1 else "not up again")
            assert events(tmp_path)[before:] == ["down", "up"]
            return None if refused else "it answered"

        wait_for(not_refused)
        assert get(f"{url}{WORK_PATH}?seconds=0") == 200


def refuses(url: str) -> bool:
    """Whether no connection can be made."""
    place = urllib.parse.urlsplit(url)
    try:
        socket.create_connection((place.hostname or "", place.port or 0), timeout=60).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize(("on_stop", "code"), [("leaves", 0), ("fails", 1)])
def test_it_stops_as_its_options_say(tmp_path: Path, on_stop: str, code: int) -> None:
    """On SIGTERM it leaves with 0 or fails with 1."""
    with application(tmp_path, "--on-stop", on_stop) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == code


def test_it_may_serve_on_while_it_stops(tmp_path: Path) -> None:
    """An application that needs time to stop serves meanwhile."""
    with application(tmp_path, "--stops-in", "60") as (process, url):
        process.send_signal(signal.SIGTERM)
        assert get(url + HEALTH_PATH) == 200
        assert process.poll() is None
