"""The installed `task-helper` as a process, and what it logs."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from lab.parts.processes import die_with_parent, free_address, kill_group, wait_for

# the program of the checkout, or the one that TASK_HELPER names: `make test-wheel`
PROGRAM = Path(os.environ.get("TASK_HELPER") or Path(sys.executable).with_name("task-helper")).absolute()
# seconds that a test waits for one fact: far more than a busy machine needs, and less than the test's own limit
PATIENCE = 60


class Helper:
    """A running helper, or what started it (`process`), and its log so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.log: list[dict[str, Any]] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def event(self, name: str) -> dict[str, Any]:
        """The next line with this event. Raises AssertionError with the log so far if none comes in time."""
        why = "it has ended"
        try:
            while (line := self._lines.get(timeout=PATIENCE)) is not None:
                self.log.append(json.loads(line))
                if self.log[-1]["event"] == name:
                    return self.log[-1]
        except queue.Empty:
            why = f"silent for {PATIENCE} s"
        raise AssertionError(f"no {name!r}, {why}; logged so far: {self.log}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def exit(self) -> int:
        """Its exit code, once it has ended."""
        return self.process.wait(PATIENCE)

    def close(self) -> None:
        end(self.process)
        self._reader.join()


def environment(**settings: str) -> dict[str, str]:
    """A container's environment: what is given, and of this process's own only what measures coverage."""
    return {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")} | settings


@contextmanager
def started(
    command: Sequence[str | Path],
    settings: Mapping[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: int | None = subprocess.PIPE,
    stderr: int | None = None,
    cwd: Path | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Start a process in its own group; after any exception, kill the group. A test starts its processes so.

    It does not use `with Popen(...)`, which waits for the process: the test may have failed to end it.
    """
    process = subprocess.Popen(
        command,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        text=True,
        env=environment(**settings),
        cwd=cwd,
        process_group=0,
        preexec_fn=die_with_parent,
    )
    try:
        yield process
    finally:
        end(process)
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


def end(process: subprocess.Popen[str]) -> None:
    """Kill what still runs of the process and its group. The children of a process that was waited for run on."""
    kill_group(process)
    process.wait()


def finished(
    command: Sequence[str | Path], settings: Mapping[str, str], cwd: Path | None = None, seconds: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end; after any exception, TimeoutExpired included, kill also what the command has started.

    It ends when nothing holds the command's output any more.
    """
    with started(command, settings, stderr=subprocess.PIPE, cwd=cwd) as process:
        output, errors = process.communicate(timeout=seconds)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@contextmanager
def running(prefix: tuple[str, ...] = (), stdin: int = subprocess.DEVNULL, /, **settings: str) -> Iterator[Helper]:
    """Run `task-helper run` with these settings, `prefix` being a command to run it with."""
    with started([*prefix, PROGRAM, "run"], settings, stdin) as process:
        helper = Helper(process)
        try:
            yield helper
        finally:
            helper.close()


@contextmanager
def metadata_of(containers: list[dict[str, object]], task: Mapping[str, object] | None = None) -> Iterator[str]:
    """The address of a task metadata endpoint, for a task with these containers and these other fields."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(
                {"Containers": containers, **(task or {})} if self.path.endswith("/task") else {}
            ).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((address := free_address(), 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://{address}:{server.server_port}/v4/helper"
        finally:
            server.shutdown()
            thread.join()


def wait_until_armed(pid: int) -> None:
    """Wait until the kernel reports that the process catches SIGTERM."""

    def not_armed() -> str | None:
        status = Path(f"/proc/{pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16)
        return None if caught >> (signal.SIGTERM - 1) & 1 else f"SigCgt {caught:x}"

    wait_for(not_armed)


def command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run another of its commands to the end."""
    return finished([PROGRAM, *arguments], settings)
