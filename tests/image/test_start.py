"""SIGTERM while the image's container starts, as PID 1: whenever it comes, the helper begins its plan.

Two nets catch it. The entry point blocks the signal before it executes Python, so the kernel keeps it (`signal`). What
comes before the entry point's first instruction is lost; ECS's metadata then report the stop (`metadata`).
"""

import http.client
import itertools
import json
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from lab.parts.processes import free_address
from tests.image.engine import LABEL, Engine

# seconds after the engine has reported the start, in which the signals come: Python needs some 0.03 s, the helper 0.1 s
SPREAD = 0.2

# at a time; more would wait for each other
WORKERS = 2

# microseconds: the kernel's own, which container engines keep
CPU_PERIOD = 100_000

PORT = 8000


class Connection(http.client.HTTPConnection):
    """To the engine's API: the command line takes longer than a helper needs to start."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"))


def call(method: str, path: str, body: object = None) -> tuple[int, bytes]:
    connection = Connection("docker", timeout=60)
    try:
        connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


class Metadata:
    """The task metadata endpoint of many tasks: /ID/task is that of task ID."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.stopping: set[str] = set()

    def uri(self, task: str) -> str:
        return f"http://{self.address}:{PORT}/{task}"

    def answer(self, path: str) -> dict[str, Any]:
        task = path.split("/")[1]
        return {"DesiredStatus": "STOPPED" if task in self.stopping else "RUNNING", "Containers": []}


@pytest.fixture
def metadata() -> Iterator[Metadata]:
    metadata = Metadata(free_address())

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(metadata.answer(self.path)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError):  # the container was removed
                self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((metadata.address, PORT), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield metadata
        server.shutdown()
        thread.join()


@contextmanager
def created(image: str, cpu: float | None, metadata_uri: str) -> Iterator[str]:
    """A container that is not yet started; its ID."""
    environ = {"ENVOY_ADMIN_URL": f"http://{free_address()}:9901", "ECS_CONTAINER_METADATA_URI_V4": metadata_uri}
    host: dict[str, Any] = {"NetworkMode": "host", "ReadonlyRootfs": True, "CapDrop": ["ALL"]}
    if cpu:
        host |= {"CpuPeriod": CPU_PERIOD, "CpuQuota": round(cpu * CPU_PERIOD)}
    variables = [f"{name}={value}" for name, value in environ.items()]
    body = {"Image": image, "Env": variables, "HostConfig": host, "Labels": {LABEL: ""}}
    status, answer = call("POST", "/containers/create", body)
    assert status == 201, answer
    id: str = json.loads(answer)["Id"]
    try:
        yield id
    finally:
        call("DELETE", f"/containers/{id}?force=1")


def stopped_by(image: str, cpu: float | None, metadata: Metadata, task: str, after: float) -> str:
    """Which net caught a SIGTERM that came so many seconds after the start, or what became of the container."""
    with created(image, cpu, metadata.uri(task)) as id:
        assert call("POST", f"/containers/{id}/start")[0] == 204
        time.sleep(after)
        metadata.stopping.add(task)  # which ECS's agent does before it signals
        assert call("POST", f"/containers/{id}/kill?signal=TERM")[0] == 204
        for _ in range(300):
            log = call("GET", f"/containers/{id}/logs?stdout=1&stderr=1")[1]
            if b'"signal":"SIGTERM"' in log.partition(b'"event":"sigterm"')[2].partition(b"\n")[0]:
                return "signal"
            if b'"event":"sigterm"' in log:
                return "metadata"
            state = json.loads(call("GET", f"/containers/{id}/json")[1])["State"]
            if not state["Running"]:
                # the engine's own program, which had not yet executed the entry point, ended by the signal
                return f"ended with {state['ExitCode']}"
            time.sleep(0.1)
        return f"lost, {1000 * after:.0f} ms after the start"


@pytest.mark.slow
@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize(("count", "cpu"), [(500, None), (50, 0.1)], ids=["500", "50 at 0.1 CPU"])
def test_no_signal_is_lost(image: str, metadata: Metadata, count: int, cpu: float | None) -> None:
    """Of so many SIGTERMs in the first moments none is lost; the tasks' stop is caught by one net or the other."""
    moments = [SPREAD * n / count for n in range(count)]
    random.shuffle(moments)
    numbers = itertools.count()

    def stop(after: float) -> str:
        return stopped_by(image, cpu, metadata, f"task-{next(numbers)}", after)

    with ThreadPoolExecutor(WORKERS) as pool:
        outcomes = Counter(pool.map(stop, moments))
    print(f"{count} stops: {dict(outcomes)}")
    assert not [outcome for outcome in outcomes if outcome.startswith("lost")]
    # with little CPU the engine takes longer until it executes the entry point, and the metadata catch more
    assert outcomes["signal"] > (0.9 if cpu is None else 0.5) * count


def test_no_signal_is_blocked(engine: Engine, image: str) -> None:
    """What the entry point blocks the helper unblocks."""
    with engine.container(image) as container:
        container.wait_for_event("waiting")
        status = engine.docker("exec", container.name, "python3", "-c", "print(open('/proc/1/status').read())")
        assert int(status.partition("SigBlk:")[2].split()[0], 16) == 0
