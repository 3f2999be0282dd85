"""What the helper relies on in Envoy, tested with a real one and with the fake that other tests use.

The first part runs with both; the second shows with real Envoys what no fake could prove.
"""

import asyncio
import http.client
import signal
import socket
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import h2.connection
import h2.events
import pytest
import yaml

from lab.parts import envoy_process as real
from lab.parts import processes
from lab.parts.processes import free_address, free_port, wait_for
from task_helper.envoy.accounting import Account
from task_helper.envoy.admin import AdminError, Denied, Envoy
from task_helper.envoy.listeners import draining_egress, without_health_check_filter
from task_helper.envoy.mesh import Bootstrap
from task_helper.envoy.traffic import Traffic
from task_helper.life.startup import CLOSES_IDLE
from task_helper.settings import admin_url
from tests.helper.fakes import ENVOY, FakeApplication, FakeEnvoy, FakeMetadata, Network

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
        self.send_response(500 if self.path == "/error" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def upstream() -> Iterator[tuple[str, int]]:
    server = ThreadingHTTPServer((free_address(), real.APPLICATION_PORT), _Application)
    server.daemon_threads = True
    _Application.let_go.clear()  # the test before has set it
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
        network = Network(fake, FakeApplication(), FakeMetadata())
        yield Envoy(ENVOY, network.request, network.accepts)
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
    """The configuration shows which inbound listeners cannot fail health checks, and which egress ones drain."""
    has_filter = request.node.callspec.params["envoy"]

    listeners = ask(envoy.listeners())

    assert [("inbound", True, False), ("egress", False, True)] == [
        (each.name, each.inbound, each.outbound) for each in listeners
    ]
    assert ([] if has_filter else ["inbound"]) == without_health_check_filter(listeners)
    assert ["egress"] == draining_egress(listeners)
    assert Bootstrap() == ask(envoy.bootstrap())


def test_traffic_of_an_idle_envoy(envoy: Envoy) -> None:
    """An Envoy that serves no requests has no traffic, though the helper calls its admin API."""
    look = ask(envoy.look())

    idle = Traffic(updates=len(ask(envoy.listeners())))
    assert (idle, {}, False) == (look.traffic, look.account.uncounted, look.replaced)
    assert idle == ask(envoy.traffic(look.account))
    assert look.uptime is not None


def test_listeners_accept(envoy: Envoy) -> None:
    """An Envoy that is there answers and accepts connections of downstreams."""
    listeners = ask(envoy.listeners())

    assert (True, True) == (ask(envoy.answers()), ask(envoy.accepts(listeners)))
    assert ask(envoy.accepts([])) is False
    assert 0 <= ask(envoy.about()).uptime


def test_unknown_target(envoy: Envoy) -> None:
    """For an unknown target the AdminError names the target and the status."""
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
    """After the call Envoy fails its health checks and keeps serving; without the filter they keep passing."""
    options = real.EnvoyOptions(free_address(), upstream, health_check_filter=has_filter)
    with real.running(options, tmp_path) as running:
        ask(Envoy(admin_url(running.admin_url)).fail_health_checks())

        assert (503 if has_filter else 200) == get(options, real.HEALTH_PATH)
        assert 200 == get(options, "/")


def test_what_counts_as_traffic(upstream: tuple[str, int], tmp_path: Path) -> None:
    """Inbound requests count, in flight, completed and failed; health checks, egress and admin requests do not."""
    options = real.EnvoyOptions(free_address(), upstream, egress="MODIFY_ONLY")
    with real.running(options, tmp_path) as running:
        envoy = Envoy(admin_url(running.admin_url))
        account = ask(envoy.look()).account
        for path in ("/", "/error", real.HEALTH_PATH):
            get(options, path)
        get(options, "/", real.EGRESS_PORT)
        slow = threading.Thread(target=get, args=(options, "/slow"))
        slow.start()

        wait_for(lambda: differs(Traffic(in_flight=1, completed=2, failed=1, connections=0), envoy, account))
        _Application.let_go.set()
        slow.join()
        _Application.let_go.clear()
        wait_for(lambda: differs(Traffic(in_flight=0, completed=3, failed=1, connections=0), envoy, account))


def differs(expected: Traffic, envoy: Envoy, account: Account) -> str | None:
    """None if the traffic in progress, completed and failed is as expected."""
    traffic = ask(envoy.traffic(account)).whole
    return None if traffic[:4] == expected[:4] else str(traffic)


@pytest.mark.parametrize("name", ["ready-app", "admin_portal", "ready:8080", "egress"])
def test_odd_names(name: str, upstream: tuple[str, int], tmp_path: Path) -> None:
    """With any name of a listener and its statistics, its requests count."""
    options = real.EnvoyOptions(free_address(), upstream, stat_prefix=name, traffic_direction=False)
    config = real.configuration(options)
    config["static_resources"]["listeners"][0]["name"] = name
    with running_with(config, options, tmp_path) as envoy:
        account = ask(envoy.look()).account
        get(options, "/")

        wait_for(lambda: differs(Traffic(0, 1, 0, 0), envoy, account))


def test_statistics_that_are_left_out(upstream: tuple[str, int], tmp_path: Path) -> None:
    """A listener of whose requests Envoy keeps no statistics is uncounted; its requests are not zero."""
    options = real.EnvoyOptions(free_address(), upstream)
    left_out = {"exclusion_list": {"patterns": [{"prefix": "http."}]}}
    config = real.configuration(options) | {"stats_config": {"stats_matcher": left_out}}
    with running_with(config, options, tmp_path) as envoy:
        uncounted = ask(envoy.look()).account.uncounted

    assert "Envoy has no statistic http.ingress.downstream_rq_active" in uncounted["inbound"]


@contextmanager
def allowing(paths: list[dict[str, str]], options: real.EnvoyOptions, folder: Path) -> Iterator[Envoy]:
    """Run an Envoy whose admin API allows only these paths; skips the test where its version cannot."""
    config = real.configuration(options)
    config["admin"]["allow_paths"] = paths
    try:
        with running_with(config, options, folder) as envoy:
            yield envoy
    except RuntimeError as error:
        if "allow_paths" not in str(error):
            raise
        pytest.skip("this version of Envoy has no allow_paths")


def test_denied_paths(upstream: tuple[str, int], tmp_path: Path) -> None:
    """What the admin API does not allow is denied, which an Envoy that is down would not say."""
    options = real.EnvoyOptions(free_address(), upstream)
    with allowing([{"prefix": "/healthcheck"}], options, tmp_path) as envoy:
        with pytest.raises(Denied, match="GET /ready is denied"):
            ask(envoy.state())
        ask(envoy.fail_health_checks())
        assert 503 == get(options, real.HEALTH_PATH)
        assert ask(envoy.answers())


def test_paths_to_allow(upstream: tuple[str, int], tmp_path: Path) -> None:
    """With the paths that docs/use/envoy.md allows, Envoy denies the helper no call."""
    page = (Path(__file__).parents[3] / "docs/use/envoy.md").read_text()
    blocks = [each.partition("```")[0] for each in page.split("```yaml\n")[1:]]
    (block,) = [each for each in blocks if "allow_paths" in each]
    paths = yaml.safe_load(block)["admin"]["allow_paths"]

    async def call_all(envoy: Envoy) -> None:
        await envoy.fail_health_checks()
        assert "DRAINING" == await envoy.state()
        await envoy.pass_health_checks()
        await envoy.drain_listeners(graceful=False)
        await envoy.about()
        await envoy.bootstrap()
        await envoy.look()

    with allowing(paths, real.EnvoyOptions(free_address(), upstream), tmp_path) as envoy:
        ask(call_all(envoy))


@contextmanager
def running_with(config: real.Json, options: real.EnvoyOptions, folder: Path, *more: str) -> Iterator[Envoy]:
    """Run an Envoy with this whole configuration, which `options` describe, and `more` options of its command line;
    its admin API answers."""
    process = processes.start([*real.command(config, folder / "envoy.json"), *more], folder / "envoy.log")

    def silent() -> str | None:
        if process.poll() is not None:
            raise RuntimeError((folder / "envoy.log").read_text())
        try:
            real.ask_admin(options, "GET", "/ready")
        except OSError as error:
            return repr(error)
        return refusal_of(options)

    try:
        wait_for(silent)
        yield Envoy(admin_url(f"http://{options.address}:{real.ADMIN_PORT}"))
    finally:
        processes.kill_group(process)
        process.wait()


def refusal_of(options: real.EnvoyOptions) -> str | None:
    """None once the inbound listener accepts connections."""
    return None if refusal(options) else "it refuses"


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
        account = ask(envoy.look()).account
        with closing(http.client.HTTPConnection(options.address, real.INBOUND_PORT, timeout=30)) as kept:
            kept.request("GET", "/")
            assert 200 == kept.getresponse().status
            wait_for(lambda: differs(Traffic(0, 0, 0, 1), envoy, account))

            ask(envoy.drain_listeners(graceful=False))

            wait_for(lambda: refusal(options))  # Envoy's workers close the listener a moment after the answer
            wait_for(lambda: differs(Traffic(0, 0, 0, 1), envoy, account))


def test_listener_with_http_and_tcp(upstream: tuple[str, int], tmp_path: Path) -> None:
    """If a listener has HTTP and another protocol, its connections without HTTP count."""
    options = real.EnvoyOptions(free_address(), upstream)
    config = real.configuration(options)
    (inbound,) = config["static_resources"]["listeners"]
    inbound["filter_chains"][0]["filter_chain_match"] = {"source_ports": [port := free_port()]}
    inbound["filter_chains"].append({"filters": [real.tcp_proxy("tcp", cluster="application")]})
    with running_with(config, options, tmp_path) as envoy:
        account = ask(envoy.look()).account
        place = (options.address, real.INBOUND_PORT)
        with socket.create_connection(place, source_address=(options.address, port)) as idle_http:
            idle_http.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert idle_http.recv(1000).startswith(b"HTTP/1.1 200")
            with socket.create_connection(place):
                wait_for(lambda: differs(Traffic(0, 1, 0, 1), envoy, account))
            wait_for(lambda: differs(Traffic(0, 1, 0, 0), envoy, account))


DRAIN_TIME = 2  # seconds; its last third leaves a drain_timeout of 0.2 s some time, and one of 0.7 s none


class Idle:
    """A connection over HTTP/1.1 or HTTP/2 on which one request was answered, and that is idle since."""

    def __init__(self, options: real.EnvoyOptions, port: int, http2: bool) -> None:
        self.socket = socket.create_connection((options.address, port), timeout=30)
        self.h2 = h2.connection.H2Connection() if http2 else None
        if self.h2 is None:
            self.socket.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            assert self.socket.recv(1000).startswith(b"HTTP/1.1 200")
            return
        self.h2.initiate_connection()
        names = {":method": "GET", ":path": "/", ":scheme": "http", ":authority": "x"}
        self.h2.send_headers(1, list(names.items()), end_stream=True)
        answered = False
        while not answered:
            self.socket.sendall(self.h2.data_to_send())
            answered = any(isinstance(event, h2.events.StreamEnded) for event in self.h2.receive_data(self._read()))
        self.socket.sendall(self.h2.data_to_send())

    def _read(self) -> bytes:
        data = self.socket.recv(65536)
        assert data, "Envoy has closed the connection"
        return data

    def end(self, within: float) -> str:
        """The end of the connection `within` seconds: "closed", or "GOAWAY" before that; "open" if it does not end."""
        self.socket.settimeout(within)
        try:
            data = self.socket.recv(65536)
        except TimeoutError:
            return "open"
        if data and self.h2:
            return "GOAWAY" if _terminates(self.h2.receive_data(data)) else repr(data)
        return repr(data) if data else "closed"


def _terminates(events: list[h2.events.Event]) -> bool:
    return any(isinstance(event, h2.events.ConnectionTerminated) for event in events)


@pytest.mark.parametrize(
    ("drain_listeners", "drain_timeout", "http1", "http2", "accepts"),
    [
        (None, 0.2, "open", "open", True),
        ("graceful", 0.2, "closed", "GOAWAY", True),
        ("graceful", 0.7, "open", "open", True),
        ("true", 0.2, "closed", "GOAWAY", False),
    ],
)
def test_idle_connections(
    drain_listeners: str | None,
    drain_timeout: float,
    http1: str,
    http2: str,
    accepts: bool,
    upstream: tuple[str, int],
    tmp_path: Path,
) -> None:
    """From 1.40 on a graceful drain closes idle inbound connections in the last third of --drain-time-s.

    Envoy's drain_timeout has to be shorter than that third. Older versions leave idle connections open.
    """
    options = real.EnvoyOptions(free_address(), upstream, egress="DEFAULT")
    config = real.configuration(options)
    manager = config["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    manager |= {"codec_type": "AUTO", "drain_timeout": f"{drain_timeout}s"}
    with running_with(config, options, tmp_path, "--drain-time-s", str(DRAIN_TIME)) as envoy:
        about = ask(envoy.about())
        idle = [
            Idle(options, real.INBOUND_PORT, http2=False),
            Idle(options, real.INBOUND_PORT, http2=True),
            Idle(options, real.EGRESS_PORT, http2=False),
        ]
        ask(envoy.fail_health_checks())
        if drain_listeners:
            ask(envoy.drain_listeners(graceful=drain_listeners == "graceful"))

        closes = about.version is not None and about.version >= CLOSES_IDLE
        expected = [*((http1, http2) if closes else ("open", "open")), "open"]
        within = [DRAIN_TIME + 3 if end == "open" else 60 for end in expected]
        with ThreadPoolExecutor() as pool:
            ends = list(pool.map(Idle.end, idle, within))
        for each in idle:
            each.socket.close()

        assert expected == ends
        assert accepts == (refusal(options) is not None)
        assert (DRAIN_TIME, real.version().split(".")[:2]) == (about.drain_time, [str(n) for n in about.version or ()])


@pytest.mark.parametrize("check", [True, False])
def test_tcp_that_checks_whether_it_drains(check: bool, upstream: tuple[str, int], tmp_path: Path) -> None:
    """With check_drain_close what is sent after `/healthcheck/fail` ends its TCP connection, and gets no answer."""
    options = real.EnvoyOptions(free_address(), upstream, protocol="tcp", check_drain_close=check)
    try:
        with running_with(real.configuration(options), options, tmp_path) as envoy:
            (listener,) = ask(envoy.listeners())
            with closing(http.client.HTTPConnection(options.address, real.INBOUND_PORT, timeout=30)) as kept:
                kept.request("GET", "/")
                assert kept.getresponse().read() == b""
                ask(envoy.fail_health_checks())
                kept.request("GET", "/")
                if check:
                    # RemoteDisconnected is one, too
                    with pytest.raises(ConnectionError):
                        kept.getresponse()
                else:
                    assert 200 == kept.getresponse().status
            assert check == listener.cuts_tcp
    except RuntimeError as error:
        if "check_drain_close" not in str(error):
            raise
        pytest.skip("this version of Envoy has no check_drain_close")


@pytest.mark.parametrize("asked", [True, False])
def test_bootstrap_of_kuma(asked: bool, upstream: tuple[str, int], tmp_path: Path) -> None:
    """The bootstrap shows Kuma's agent, and a control plane that checks health, but no secret."""
    options = real.EnvoyOptions(free_address(), upstream)
    config = real.configuration(options)
    config["node"]["metadata"] = {"dataplane.proxyType": "dataplane", "version": {"kumaDp": {"version": "2.14.3"}}}
    if asked:
        token = [{"key": "authorization", "value": "secret"}]
        service = {"envoy_grpc": {"cluster_name": "application"}, "initial_metadata": token}
        config["hds_config"] = {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [service]}
        config["static_resources"]["clusters"][0] |= real.HTTP2_UPSTREAM
    with running_with(config, options, tmp_path) as envoy:
        assert Bootstrap(None, True, asked) == ask(envoy.bootstrap())


def refusal(options: real.EnvoyOptions) -> str | None:
    """None once the inbound listener refuses connections."""
    try:
        with socket.create_connection((options.address, real.INBOUND_PORT), timeout=30):
            return "it accepts"
    except ConnectionRefusedError:
        return None


@pytest.mark.parametrize("admin", ["tcp", "unix"])
def test_dead_envoy(admin: str, upstream: tuple[str, int], tmp_path: Path) -> None:
    """A dead Envoy does not answer or accept, over TCP and over the Unix socket that it leaves behind."""
    options = real.EnvoyOptions(free_address(), upstream, admin="tcp" if admin == "tcp" else tmp_path / "admin.sock")
    with real.running(options, tmp_path) as running:
        envoy = Envoy(admin_url(running.admin_url))
        listeners = ask(envoy.listeners())
        running.process.kill()
        running.process.wait()

        with pytest.raises(ConnectionRefusedError):
            ask(envoy.state())
        assert (False, False) == (ask(envoy.answers()), ask(envoy.accepts(listeners)))


def test_frozen_envoy(upstream: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a frozen Envoy it is unknown whether its admin API answers; its listeners accept connections."""
    options = real.EnvoyOptions(free_address(), upstream)
    with real.running(options, tmp_path) as running:
        envoy = Envoy(admin_url(running.admin_url))
        listeners = ask(envoy.listeners())
        running.process.send_signal(signal.SIGSTOP)
        monkeypatch.setattr("task_helper.envoy.admin.CALL_TIMEOUT", 1.0)

        assert (None, True) == (ask(envoy.answers()), ask(envoy.accepts(listeners)))


def test_socket_file_that_is_removed(upstream: tuple[str, int], tmp_path: Path) -> None:
    """An Envoy whose Unix socket's file was removed does not answer, but accepts downstreams' connections as before."""
    options = real.EnvoyOptions(free_address(), upstream, admin=tmp_path / "admin.sock")
    with real.running(options, tmp_path) as running:
        envoy = Envoy(admin_url(running.admin_url))
        listeners = ask(envoy.listeners())
        (tmp_path / "admin.sock").unlink()

        with pytest.raises(FileNotFoundError):
            ask(envoy.state())
        assert (False, True) == (ask(envoy.answers()), ask(envoy.accepts(listeners)))


_MONITOR = "envoy.resource_monitors.global_downstream_max_connections"
_MOST = {"max_active_downstream_connections": 3}
_LIMITS: dict[str, dict[str, Any]] = {
    "runtime key": {
        "layered_runtime": {
            "layers": [{"name": "limit", "static_layer": {"overload": {"global_downstream_max_connections": 3}}}]
        }
    },
    "resource monitor": {
        "overload_manager": {
            "resource_monitors": [
                real.typed(
                    _MONITOR,
                    "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                    _MOST,
                )
            ]
        }
    },
}


@pytest.mark.parametrize(
    ("limit", "ignored", "answers"),
    [
        ("runtime key", False, False),
        ("runtime key", True, True),
        ("resource monitor", False, True),
    ],
)
def test_global_limit_of_connections(
    limit: str, ignored: bool, answers: bool, upstream: tuple[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An Envoy at the connection limit of its runtime key resets calls, unless its admin API ignores the limit."""
    options = real.EnvoyOptions(free_address(), upstream)
    config = real.configuration(options)
    config["admin"]["ignore_global_conn_limit"] = ignored
    monkeypatch.setattr(real, "configuration", lambda _: config | _LIMITS[limit])
    with real.running(options, tmp_path) as running, ExitStack() as open:
        connections = []

        def not_full() -> str | None:
            connection = open.enter_context(socket.create_connection((options.address, real.INBOUND_PORT), 60))
            connection.settimeout(60)
            connections.append(connection)
            try:
                connection.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                return None if not connection.recv(1) else f"{len(connections)} connections are served"
            except ConnectionResetError:
                return None

        wait_for(not_full)
        envoy = Envoy(admin_url(running.admin_url))
        if answers:
            ask(envoy.fail_health_checks())
        else:
            with pytest.raises(OSError):
                ask(envoy.fail_health_checks())
