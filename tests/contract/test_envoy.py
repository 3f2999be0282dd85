"""What the helper relies on in Envoy, held to a real one and to the fake that stands for it elsewhere.

The first part runs on both; the second shows on real Envoys alone what no fake could prove.
"""

import asyncio
import http.client
import socket
import threading
from collections.abc import Coroutine, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import pytest

from lab import envoy as real
from lab.processes import free_address, wait_for
from task_helper.envoy import AdminError, Envoy
from task_helper.http import REFUSED
from task_helper.listeners import draining_egress, without_health_check_filter
from task_helper.quiet import Traffic
from task_helper.settings import admin_url
from tests.fakes import ENVOY, FakeApplication, FakeEnvoy, FakeMetadata, Network

T = TypeVar("T")


def ask(call: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(call)


class _Application(BaseHTTPRequestHandler):
    """Answers at once, but `/slow` only when the test lets it."""

    protocol_version = "HTTP/1.1"
    let_go = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/slow":
            self.let_go.wait(60)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[str, int]]:
    server = ThreadingHTTPServer((free_address(), real.APPLICATION_PORT), _Application)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[0], server.server_address[1]  # type: ignore[misc]
    _Application.let_go.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(params=["fake", "tcp", "unix"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[True, False], ids=["filter", "no filter"])
def envoy(request: pytest.FixtureRequest, kind: str, upstream: tuple[str, int], tmp_path: Path) -> Iterator[Envoy]:
    """An Envoy with or without the health_check filter, and an egress listener that drains."""
    if kind == "fake":
        fake = FakeEnvoy(health_check_filter=request.param, egress="DEFAULT")
        yield Envoy(ENVOY, Network(fake, FakeApplication(), FakeMetadata()).request)
        return
    options = real.EnvoyOptions(
        free_address(),
        upstream,
        health_check_filter=request.param,
        egress="DEFAULT",
        admin="tcp" if kind == "tcp" else tmp_path / "admin.sock",
    )
    with real.running(options, tmp_path) as running:
        yield Envoy(admin_url(running.admin_url))


def test_admin(envoy: Envoy, request: pytest.FixtureRequest) -> None:
    """Failing health checks makes a live Envoy DRAINING, passing them LIVE again, and each may be said twice."""
    states = [ask(envoy.state())]
    for call in (
        envoy.fail_health_checks,
        envoy.fail_health_checks,
        envoy.pass_health_checks,
        envoy.pass_health_checks,
    ):
        ask(call())
        states.append(ask(envoy.state()))

    assert ["LIVE", "DRAINING", "DRAINING", "LIVE", "LIVE"] == states


def test_configuration(envoy: Envoy, request: pytest.FixtureRequest) -> None:
    """The configuration tells which inbound listeners cannot fail health checks, and which egress ones drain."""
    has_filter = request.node.callspec.params["envoy"]

    listeners = ask(envoy.listeners())

    assert [("inbound", True, False), ("egress", False, True)] == [
        (each.name, each.inbound, each.outbound) for each in listeners
    ]
    assert ([] if has_filter else ["inbound"]) == without_health_check_filter(listeners)
    assert ["egress"] == draining_egress(listeners)
    assert ask(envoy.open_admin()) is None


def test_traffic_of_an_idle_envoy(envoy: Envoy) -> None:
    """An Envoy that serves nobody has no traffic, though its admin API is being asked."""
    assert Traffic(0, 0, 0) == ask(envoy.traffic(ask(envoy.listeners())))
    assert Traffic(0, 0, 0) == ask(envoy.traffic([]))


def test_unknown_target(envoy: Envoy) -> None:
    """What the admin API does not know is an AdminError that names the target and the status."""
    with pytest.raises(AdminError, match="/nowhere answered 404"):
        ask(envoy._ask("GET", "/nowhere"))


# real Envoys alone


def get(options: real.EnvoyOptions, path: str, port: int = real.INBOUND_PORT) -> int:
    connection = http.client.HTTPConnection(options.address, port, timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.parametrize("has_filter", [True, False])
def test_health_checks_fail(has_filter: bool, upstream: tuple[str, int], tmp_path: Path) -> None:
    """Once told, Envoy fails its health checks and serves on; without the filter they go on passing."""
    options = real.EnvoyOptions(free_address(), upstream, health_check_filter=has_filter)
    with real.running(options, tmp_path) as running:
        ask(Envoy(admin_url(running.admin_url)).fail_health_checks())

        assert (503 if has_filter else 200) == get(options, real.HEALTH_PATH)
        assert 200 == get(options, "/")


@pytest.mark.parametrize("direction", [True, False])
def test_what_counts_as_traffic(direction: bool, upstream: tuple[str, int], tmp_path: Path) -> None:
    """Inbound requests count, in flight and completed; health checks, egress and admin requests do not."""
    options = real.EnvoyOptions(free_address(), upstream, egress="MODIFY_ONLY", traffic_direction=direction)
    with real.running(options, tmp_path) as running:
        envoy = Envoy(admin_url(running.admin_url))
        listeners = ask(envoy.listeners())
        for path in ("/", "/", real.HEALTH_PATH):
            get(options, path)
        get(options, "/", real.EGRESS_PORT)
        slow = threading.Thread(target=get, args=(options, "/slow"))
        slow.start()

        def not_in_flight() -> str | None:
            traffic = ask(envoy.traffic(listeners))
            return None if traffic == Traffic(in_flight=1, completed=2, connections=0) else str(traffic)

        wait_for(not_in_flight)
        assert Traffic(in_flight=1, completed=2, connections=0) == ask(envoy.traffic([]))
        _Application.let_go.set()
        slow.join()
        _Application.let_go.clear()
        wait_for(lambda: None if ask(envoy.traffic(listeners)) == Traffic(0, 3, 0) else "still in flight")


@pytest.mark.parametrize("protocol", ["http2", "grpc"])
def test_http2_configuration(protocol: real.Protocol, upstream: tuple[str, int], tmp_path: Path) -> None:
    """A listener for HTTP/2 or gRPC is judged as one for HTTP/1.1 is."""
    with real.running(real.EnvoyOptions(free_address(), upstream, protocol=protocol), tmp_path) as running:
        (listener,) = ask(Envoy(admin_url(running.admin_url)).listeners())

    assert (True, True, ("ingress",)) == (listener.inbound, listener.fails_health_checks, listener.prefixes)


def test_tcp_listener(upstream: tuple[str, int], tmp_path: Path) -> None:
    """A TCP listener has no requests; its open connections count, and `drain_listeners` refuses new ones."""
    options = real.EnvoyOptions(free_address(), upstream, protocol="tcp")
    with real.running(options, tmp_path) as running:
        envoy = Envoy(admin_url(running.admin_url))
        listeners = ask(envoy.listeners())
        with closing(http.client.HTTPConnection(options.address, real.INBOUND_PORT, timeout=30)) as held:
            held.request("GET", "/")
            assert 200 == held.getresponse().status
            wait_for(lambda: None if ask(envoy.traffic(listeners)) == Traffic(0, 0, 1) else "not counted")

            ask(envoy.drain_listeners())

            wait_for(lambda: refusal(options))  # Envoy's workers close the listener a moment after the answer
            wait_for(lambda: None if ask(envoy.traffic(listeners)) == Traffic(0, 0, 1) else "others are open")


def refusal(options: real.EnvoyOptions) -> str | None:
    """None once the inbound listener refuses connections."""
    try:
        with socket.create_connection((options.address, real.INBOUND_PORT), timeout=30):
            return "it accepts"
    except ConnectionRefusedError:
        return None


@pytest.mark.parametrize("admin", ["tcp", "unix"])
def test_dead_envoy(admin: str, upstream: tuple[str, int], tmp_path: Path) -> None:
    """An Envoy that is dead refuses, over TCP and over the Unix socket that it leaves behind."""
    options = real.EnvoyOptions(free_address(), upstream, admin="tcp" if admin == "tcp" else tmp_path / "admin.sock")
    with real.running(options, tmp_path) as running:
        envoy = Envoy(admin_url(running.admin_url))
        assert "LIVE" == ask(envoy.state())
        running.process.kill()
        running.process.wait()

        with pytest.raises(REFUSED):
            ask(envoy.state())


def test_socket_that_is_not_there(tmp_path: Path) -> None:
    """An Envoy that has not made its Unix socket yet refuses too."""
    with pytest.raises(REFUSED):
        ask(Envoy(admin_url(f"unix://{tmp_path}/admin.sock")).state())
