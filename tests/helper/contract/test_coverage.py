"""Every configuration of Envoy in which traffic was once not counted, with a real Envoy.

Each test has a listener of one kind beside another listener, with something in progress on it, and reads the account.
"""

import asyncio
import http.client
import json
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest

from lab.parts import envoy_process as real
from lab.parts import processes
from lab.parts.certificate import self_signed
from lab.parts.processes import free_address, free_port, wait_for
from lab.shapes.configuration import SERVER_NAMES
from lab.shapes.configuration import downstream as http3_downstream
from task_helper.envoy.admin import Envoy, Observation
from task_helper.envoy.listeners import without_health_check_filter
from task_helper.envoy.traffic import Traffic
from task_helper.settings import admin_url

T = TypeVar("T")

WEB, TCP, UDP = 15010, 15011, 15012
MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
CHECK = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"
EXTENSION = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"


def ask(call: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(call)


class RunningEnvoy(NamedTuple):
    """An Envoy that runs, and where it is; its application accepts connections, and never answers on them."""

    envoy: Envoy
    address: str
    admin: Callable[[str, str], tuple[int, str]]

    def look(self) -> Observation:
        return ask(self.envoy.look())

    def open(self, port: int, data: bytes = b"", host: str | None = None) -> socket.socket:
        connection = socket.create_connection((host or self.address, port), timeout=30)
        connection.sendall(data)
        return connection

    def request(self, port: int, path: str = "/", host: str | None = None) -> socket.socket:
        """A request that stays in flight."""
        return self.open(port, f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode(), host)

    def answered(
        self, port: int, path: str = "/ok", host: str | None = None, headers: Mapping[str, str] | None = None
    ) -> int:
        connection = http.client.HTTPConnection(host or self.address, port, timeout=30)
        with closing(connection):
            connection.request("GET", path, headers=headers or {})
            return connection.getresponse().status


def soon(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    wait_for(lambda: None if condition() else "not yet")


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An application that accepts connections and never answers."""
    with socket.create_server((free_address(), real.APPLICATION_PORT)) as server:
        yield server.getsockname()


Run = Callable[..., Any]


@pytest.fixture
def run(silent: tuple[str, int], tmp_path: Path) -> Iterator[Run]:
    """Run Envoys whose static listeners are these, in a bootstrap with `more`; each answers when it is returned."""
    with ExitStack() as stack:

        def start(listeners: list[real.Json], address: str, *arguments: str, **more: Any) -> RunningEnvoy:
            config = real.bootstrap(address, listeners, [real.cluster("application", [silent])]) | more
            return stack.enter_context(running(config, address, tmp_path, *arguments))

        yield start


@contextmanager
def running(config: real.Json, address: str, folder: Path, *arguments: str) -> Iterator[RunningEnvoy]:
    name = f"{address}-{time.monotonic_ns()}"
    command = real.command(config, folder / f"{name}.json")
    if arguments:  # of a hot restart
        command.remove("--disable-hot-restart")
    process = processes.start([*command, *arguments], folder / f"{name}.log")
    options = real.EnvoyOptions(address, (address, 1))

    def not_ready() -> str | None:
        if process.poll() is not None:
            raise RuntimeError((folder / f"{name}.log").read_text())
        try:
            status, body = real.ask_admin(options, "GET", "/server_info")
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        info = json.loads(body) if status == 200 else {}
        epoch = arguments[arguments.index("--restart-epoch") + 1] if "--restart-epoch" in arguments else "0"
        there = str(info.get("command_line_options", {}).get("restart_epoch", 0)) == epoch
        return None if info.get("state") == "LIVE" and there else body

    try:
        wait_for(not_ready)
        envoy = Envoy(admin_url(f"http://{address}:{real.ADMIN_PORT}"))
        yield RunningEnvoy(envoy, address, lambda method, path: real.ask_admin(options, method, path))
    finally:
        processes.kill_group(process)
        process.wait()


def manager(prefix: str = "web", *filters: real.Json, codec: str = "AUTO") -> real.Json:
    routes: list[real.Json] = [
        {"match": {"prefix": "/ok"}, "direct_response": {"status": 200}},
        {"match": {"prefix": "/"}, "route": {"cluster": "application", "timeout": "0s"}},
    ]
    return real.http_manager(prefix, routes, list(filters), codec)


def proxy() -> real.Json:
    return real.tcp_proxy("lines", "application")


def listener(name: str, host: str, port: int, network_filter: real.Json, **fields: Any) -> real.Json:
    return real.listener(name, (host, port), network_filter) | fields


def inbound(address: str) -> real.Json:
    """Another listener, which nothing comes through."""
    return listener("inbound", address, real.INBOUND_PORT, manager("inbound"), traffic_direction="INBOUND")


CHECK_FILTER = real.typed(
    "envoy.filters.http.health_check",
    "extensions.filters.http.health_check.v3.HealthCheck",
    dict(pass_through_mode=False, headers=[{"name": ":path", "string_match": {"exact": "/health"}}]),
)


# 1. loopback and several addresses


def test_loopback_without_a_direction(run: Run) -> None:
    """A request through a listener on loopback without a direction is in flight, and in doubt."""
    address, port = free_address(), free_port()
    task_envoy = run([inbound(address), listener("web", "127.0.0.1", port, manager())], address)
    with task_envoy.request(port, host="127.0.0.1"):
        soon(lambda: bool((task_envoy.look().traffic.doubtful or Traffic()).in_flight))

        assert {"web": "it is on loopback"} == task_envoy.look().account.doubts


def test_loopback_that_is_declared_inbound(run: Run) -> None:
    """A request through a listener on loopback that is declared INBOUND is in no doubt."""
    address, port = free_address(), free_port()
    web = listener("web", "127.0.0.1", port, manager(), traffic_direction="INBOUND")
    task_envoy = run([inbound(address), web], address)
    with task_envoy.request(port, host="127.0.0.1"):
        soon(lambda: task_envoy.look().traffic.in_flight == 1)


@pytest.mark.parametrize("first", ["127.0.0.1", None])
def test_several_addresses(run: Run, first: str | None) -> None:
    """A listener with another address beside loopback is in no doubt, whichever is the first."""
    address, port = free_address(), free_port()
    places = (first or address, address if first else "127.0.0.1")
    more = [{"address": {"socket_address": {"address": places[1], "port_value": port}}}]
    task_envoy = run([inbound(address), listener("web", places[0], port, proxy(), additional_addresses=more)], address)
    with task_envoy.open(port, host=places[1]):
        soon(lambda: task_envoy.look().traffic.connections == 1)

        assert {} == task_envoy.look().account.doubts


# 2. never in service


@pytest.mark.parametrize("host", ["127.0.0.1", None])
@pytest.mark.parametrize("what", ["connection", "health check", "request"])
def test_used_since_start(run: Run, what: str, host: str | None) -> None:
    """A connection, a health check or a request shows that a listener was used, even after a reset of the counters."""
    address, port = free_address(), free_port()
    web = listener("web", host or address, port, proxy() if what == "connection" else manager("web", CHECK_FILTER))
    task_envoy = run([inbound(address), web], address)
    assert not task_envoy.look().traffic.whole.used

    if what == "connection":
        task_envoy.open(port, host=host).close()
    else:
        task_envoy.answered(port, "/health" if what == "health check" else "/ok", host)

    soon(lambda: task_envoy.look().traffic.whole.used)
    assert 200 == task_envoy.admin("POST", "/reset_counters")[0]
    assert task_envoy.look().traffic.whole.used


def test_health_checks_are_counted(run: Run) -> None:
    """Seven health checks and five requests are counted separately, also if the filter passes checks through."""
    address = free_address()
    through = CHECK_FILTER["typed_config"] | {"pass_through_mode": True}
    listeners = [
        listener("answers", address, WEB, manager("answers", CHECK_FILTER)),
        listener("passes", address, TCP, manager("passes", CHECK_FILTER | {"typed_config": through})),
    ]
    listeners[1]["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"][0][
        "match"
    ] = {"prefix": "/"}
    task_envoy = run(listeners, address)
    for port in (WEB, TCP):
        for path in 7 * ["/health"] + 5 * ["/ok"]:
            assert 200 == task_envoy.answered(port, path)

    soon(lambda: (task_envoy.look().traffic.completed, task_envoy.look().traffic.checks) == (10, 14))


# 3. hot restart


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_hot_restart(run: Run, kind: str) -> None:
    """Requests in progress in the process before a hot restart count, though `usedonly` leaves them out."""
    address = free_address()
    listeners = [listener("web", address, WEB, manager() if kind == "http" else proxy())]
    base = ("--base-id", str(free_port()), "--parent-shutdown-time-s", "60", "--drain-time-s", "30")
    task_envoy = run(listeners, address, *base)
    with task_envoy.request(WEB):
        soon(lambda: task_envoy.look().traffic.under_way)
        task_envoy = run(listeners, address, *base, "--restart-epoch", "1")

        soon(lambda: task_envoy.look().traffic.under_way)
        look = task_envoy.look()
        assert (1, None) == (look.traffic.in_flight + look.traffic.connections, look.uptime)


# 4. internal listeners

INTERNAL = {
    "bootstrap_extensions": [
        real.typed(
            "envoy.bootstrap.internal_listener", "extensions.bootstrap.internal_listener.v3.InternalListener", {}
        )
    ]
}


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_internal_listener(run: Run, kind: str) -> None:
    """Traffic through an internal listener counts, in doubt; the helper does not warn of its missing filter."""
    address = free_address()
    to_inner = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "inner:0"}}}}
    cluster = {
        "name": "inner",
        "load_assignment": {"cluster_name": "inner", "endpoints": [{"lb_endpoints": [to_inner]}]},
    }
    chain = {"filters": [manager("inner") if kind == "http" else proxy()]}
    inner = {"name": "inner:0", "internal_listener": {}, "filter_chains": [chain]}
    outer = listener("outer", address, TCP, real.tcp_proxy("outer", "inner"), traffic_direction="OUTBOUND")
    config = real.bootstrap(address, [inbound(address), inner, outer], [cluster])
    task_envoy = run(config["static_resources"]["listeners"], address, **INTERNAL)
    assert {} == task_envoy.look().account.uncounted
    assert "inner:0" not in without_health_check_filter(ask(task_envoy.envoy.listeners()))
    assert {"inner:0": "it is internal"} == task_envoy.look().account.doubts


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_traffic_of_an_internal_listener(silent: tuple[str, int], tmp_path: Path, kind: str) -> None:
    """A connection or request that comes to an internal listener is in progress there."""
    address = free_address()
    to_inner = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "inner:0"}}}}
    clusters = [real.cluster("application", [silent]), real.cluster("inner", [(address, 1)])]
    clusters[1]["load_assignment"]["endpoints"] = [{"lb_endpoints": [to_inner]}]
    inner = {
        "name": "inner:0",
        "internal_listener": {},
        "filter_chains": [{"filters": [manager("inner") if kind == "http" else proxy()]}],
    }
    outer = listener("outer", address, TCP, real.tcp_proxy("outer", "inner"), traffic_direction="OUTBOUND")
    config = real.bootstrap(address, [inbound(address), inner, outer], clusters) | INTERNAL
    with running(config, address, tmp_path) as task_envoy, task_envoy.request(TCP):
        soon(lambda: (task_envoy.look().traffic.doubtful or Traffic()).under_way)
        assert not task_envoy.look().traffic.under_way


# 5. UDP


def udp_listener(address: str, prefix: str) -> real.Json:
    route = {"@type": "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.Route", "cluster": "application"}
    fields = {
        "stat_prefix": prefix,
        "matcher": {"on_no_match": {"action": {"name": "route", "typed_config": route}}},
    }
    place = {"socket_address": {"protocol": "UDP", "address": address, "port_value": UDP}}
    filter = real.typed(
        "envoy.filters.udp_listener.udp_proxy", "extensions.filters.udp.udp_proxy.v3.UdpProxyConfig", fields
    )
    return {"name": "udp", "address": place, "udp_listener_config": {}, "listener_filters": [filter]}


def test_udp_session(run: Run) -> None:
    """A UDP session is counted while it lasts."""
    address = free_address()
    task_envoy = run([inbound(address), udp_listener(address, "datagrams://")], address)
    assert not task_envoy.look().traffic.used
    with socket.socket(type=socket.SOCK_DGRAM) as sender:
        sender.sendto(b"?", (address, UDP))

        soon(lambda: task_envoy.look().traffic.connections == 1)
        assert task_envoy.look().traffic.used


def test_udp_that_nothing_counts(run: Run) -> None:
    """A listener for DNS over UDP is uncounted."""
    address = free_address()
    dns = udp_listener(address, "x")
    fields = {"stat_prefix": "dns", "server_config": {"inline_dns_table": {}}}
    kind = "extensions.filters.udp.dns_filter.v3.DnsFilterConfig"
    dns["listener_filters"] = [real.typed("envoy.filters.udp.dns_filter", kind, fields)]

    uncounted = run([inbound(address), dns], address).look().account.uncounted

    assert {"udp": "it serves UDP, which Envoy counts only for a udp_proxy"} == uncounted


def test_udp_that_is_counted_in_part(run: Run) -> None:
    """A UDP proxy behind a filter for DNS does not see what that filter answers: the listener is uncounted."""
    address = free_address()
    both = udp_listener(address, "x")
    fields = {"stat_prefix": "dns", "server_config": {"inline_dns_table": {}}}
    kind = "extensions.filters.udp.dns_filter.v3.DnsFilterConfig"
    both["listener_filters"].insert(0, real.typed("envoy.filters.udp.dns_filter", kind, fields))

    assert {"udp"} == run([inbound(address), both], address).look().account.uncounted.keys()


# 6. large configurations


def routes(number: int) -> list[real.Json]:
    return [{"match": {"prefix": f"/{n:0100}"}, "route": {"cluster": "application"}} for n in range(number)]


def outbound(address: str, number: int, size: int, **fields: Any) -> real.Json:
    egress = listener(
        f"outbound-{number}", address, 20000 + number, real.http_manager(f"out-{number}", routes(size), [], "AUTO")
    )
    return egress | {"traffic_direction": "OUTBOUND", "bind_to_port": number < 3} | fields


@pytest.mark.slow
@pytest.mark.parametrize("by_lds", [False, True])
def test_more_listeners_than_fit_into_an_answer(run: Run, tmp_path: Path, by_lds: bool) -> None:
    """The inbound listener among 300 large ones is read, and what the application sends through others is excluded."""
    address = free_address()
    listeners = [inbound(address), *(outbound(address, number, 250) for number in range(300))]
    assert 16 * 2**20 < len(json.dumps(listeners, indent=1))
    lds = tmp_path / "lds.json"
    real.publish_listeners(lds, listeners)
    source = {"lds_config": {"path_config_source": {"path": str(lds)}, "resource_api_version": "V3"}}
    task_envoy = run([], address, dynamic_resources=source) if by_lds else run(listeners, address)
    with task_envoy.request(20001), task_envoy.request(real.INBOUND_PORT):
        soon(lambda: task_envoy.look().traffic.in_flight == 1)
        look = task_envoy.look()

        assert ((), None, {}) == (look.traffic.unknown, look.traffic.doubtful, look.account.uncounted)
    assert ["inbound"] == without_health_check_filter(ask(task_envoy.envoy.listeners()))


def test_listener_that_is_too_large_to_be_read(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single listener that is larger than an answer may be is uncounted; the others are counted."""
    monkeypatch.setattr("task_helper.http.LARGEST_BODY", 256 * 1024)
    address = free_address()
    large = listener("large", address, WEB, real.http_manager("large", routes(2500), [], "AUTO"))

    look = run([inbound(address), large], address).look()

    assert {"large": "its configuration could not be read"} == look.account.uncounted
    assert {"inbound"} == look.account.requests.keys()


# 7. names


@pytest.mark.parametrize(
    "prefix",
    ["admin", "admin.x", "x.worker_1", "x.main_thread", "a://b", "a:/b", "dots.", "worker_0", "with space", "é"],
)
@pytest.mark.parametrize("beside", ["x", "inbound"])
def test_names_of_connections(run: Run, prefix: str, beside: str) -> None:
    """With any stat_prefix of a TCP listener, its connection counts."""
    address = free_address()
    other = inbound(address) | {"stat_prefix": beside}
    task_envoy = run([other, listener("tcp", address, TCP, proxy(), stat_prefix=prefix)], address)
    with task_envoy.open(TCP):
        soon(lambda: task_envoy.look().traffic.connections == 1)


@pytest.mark.parametrize("prefix", ["admin.x", "a://b", "a:/b", "dots.", "x.worker_1", "with space", "é"])
def test_names_of_requests(run: Run, prefix: str) -> None:
    """With any stat_prefix of an HTTP listener, its requests count, and its idle connections do not."""
    address = free_address()
    web = listener("web", address, WEB, manager(prefix), traffic_direction="INBOUND")
    task_envoy = run([inbound(address), web], address)
    with task_envoy.request(WEB, "/ok") as idle, task_envoy.request(WEB):
        assert idle.recv(1000)
        soon(lambda: task_envoy.look().traffic.in_flight == 1)
        traffic = task_envoy.look().traffic
        assert (0, 1, None) == (traffic.connections, traffic.completed, traffic.doubtful)


def test_prefix_of_the_admin_api(run: Run) -> None:
    """A listener whose requests Envoy counts together with its admin API's is uncounted, not busy for ever."""
    address = free_address()
    task_envoy = run([inbound(address), listener("web", address, WEB, manager("admin"))], address)

    look = task_envoy.look()

    assert ["web"] == list(look.account.uncounted)
    assert not look.traffic.whole.under_way


@pytest.mark.parametrize("host", ["::1", "0:0:0:0:0:0:0:1", "::0:1"])
@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_ipv6(run: Run, host: str, kind: str) -> None:
    """However an IPv6 address is written, connections of TCP count, and idle ones of HTTP do not."""
    address, port = free_address(), free_port()
    six = listener("six", host, port, manager() if kind == "http" else proxy(), traffic_direction="INBOUND")
    task_envoy = run([inbound(address), six], address)
    with task_envoy.request(port, "/ok", host="::1"):
        soon(lambda: task_envoy.look().traffic.used)
        traffic = task_envoy.look().traffic
        assert (int(kind == "tcp"), None) == (traffic.connections, traffic.doubtful)


def test_pipe(run: Run, tmp_path: Path) -> None:
    """A connection to a listener on a Unix socket counts."""
    address = free_address()
    path = str(tmp_path / "in:socket")
    tcp = {"name": "pipe", "address": {"pipe": {"path": path}}, "filter_chains": [{"filters": [proxy()]}]}
    task_envoy = run([inbound(address), tcp], address)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        soon(lambda: task_envoy.look().traffic.connections == 1)


def discovered(tmp_path: Path, name: str, config: real.Json, kind: str) -> real.Json:
    """A filter of this name whose configuration comes by ECDS."""
    file = tmp_path / f"{name}.json"
    resource = {"@type": EXTENSION, "name": name, "typed_config": config["typed_config"]}
    file.write_text(json.dumps({"version_info": "1", "resources": [resource]}))
    source = {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}
    return {"name": name, "config_discovery": {"config_source": source, "type_urls": [kind]}}


def test_manager_by_discovery(run: Run, tmp_path: Path) -> None:
    """Requests through an HTTP connection manager that comes by network ECDS count, and its idle connections do not."""
    address = free_address()
    web = listener("web", address, WEB, discovered(tmp_path, "mine", manager("found"), MANAGER))
    task_envoy = run([inbound(address), web | {"traffic_direction": "INBOUND"}], address)
    # nothing is known to be its manager's before its first use
    assert {"web"} == task_envoy.look().account.uncounted.keys()
    with task_envoy.request(WEB, "/ok") as idle, task_envoy.request(WEB):
        assert idle.recv(1000)
        soon(lambda: task_envoy.look().traffic.in_flight == 1)
        assert {} == task_envoy.look().account.uncounted
        traffic = task_envoy.look().traffic
        assert (0, 1, None) == (traffic.connections, traffic.completed, traffic.doubtful)
    assert [True, True] == [each.inbound for each in ask(task_envoy.envoy.listeners())]


def test_http3(run: Run, tmp_path: Path) -> None:
    """A QUIC listener is counted by its requests. Its open connections are in doubt, also without a request."""
    address, downstream = free_address(), free_address()
    certificate, key = self_signed(tmp_path, SERVER_NAMES[0])
    pair = {"certificate_chain": {"filename": str(certificate)}, "private_key": {"filename": str(key)}}
    tls = real.typed(
        "tls",
        "extensions.transport_sockets.quic.v3.QuicDownstreamTransport",
        {"downstream_tls_context": {"common_tls_context": {"tls_certificates": [pair]}}},
    )
    quic = listener("quic", address, UDP, manager("quic", codec="HTTP3"))
    quic["address"]["socket_address"]["protocol"] = "UDP"
    quic["udp_listener_config"] = {"quic_options": {}}
    quic["filter_chains"][0]["transport_socket"] = tls

    task_envoy = run([inbound(address), quic], address)
    look = task_envoy.look()

    assert ({}, True, None) == (look.account.uncounted, "quic" in look.account.requests, look.traffic.doubtful)
    assert "udp" not in str(look.account.sessions)

    with running(http3_downstream(downstream, WEB), downstream, tmp_path) as other:
        request = {"x-envoy-original-dst-host": f"{address}:{UDP}"}
        assert 200 == other.answered(WEB, headers=request)
        soon(lambda: not task_envoy.look().traffic.in_flight)
        traffic = task_envoy.look().traffic
        assert (1, 0, Traffic(connections=1)) == (traffic.completed, traffic.connections, traffic.doubtful)


# What is in progress though Envoy's usual counts do not show it


@pytest.fixture
def large() -> Iterator[tuple[str, int]]:
    """An application that answers each connection with one response of 1 MB."""
    body = b"x" * 1_000_000
    with socket.create_server((free_address(), real.APPLICATION_PORT)) as server, ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            with suppress(OSError), ExitStack() as connections:  # the server is closed at the end
                while True:
                    connection, _ = server.accept()
                    connections.enter_context(connection).recv(1000)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)

        pool.submit(answer)
        yield server.getsockname()
        server.shutdown(socket.SHUT_RDWR)


def test_response_that_waits_in_the_buffer(large: tuple[str, int], tmp_path: Path) -> None:
    """The request of a slow reader is in flight until its last byte is sent, though Envoy counts it as ended."""
    address = free_address()
    small = {"socket_options": [{"level": socket.SOL_SOCKET, "name": socket.SO_SNDBUF, "int_value": 65536}]}
    web = listener("web", address, WEB, manager(), traffic_direction="INBOUND", **small)
    config = real.bootstrap(address, [web], [real.cluster("application", [large])])
    with running(config, address, tmp_path) as task_envoy, socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.connect((address, WEB))
        reader.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        soon(lambda: "http.web.downstream_rq_active: 0" in task_envoy.admin("GET", "/stats?filter=rq_active")[1])
        assert 1 == task_envoy.look().traffic.in_flight

        with ThreadPoolExecutor(1) as pool:
            pool.submit(read_all, reader, 1_000_000)
        soon(lambda: not task_envoy.look().traffic.under_way)
        assert 1 == task_envoy.look().traffic.requests


def read_all(connection: socket.socket, size: int) -> None:
    while size > 0 and (data := connection.recv(65536)):
        size -= len(data)


def test_request_whose_response_has_begun(tmp_path: Path) -> None:
    """A stream that ends hides no request that comes: each is one request, before and after its end."""
    address = free_address()
    with socket.create_server((free_address(), real.APPLICATION_PORT)) as server:
        web = listener("web", address, WEB, manager(), traffic_direction="INBOUND")
        config = real.bootstrap(address, [web], [real.cluster("application", [server.getsockname()])])
        with (
            running(config, address, tmp_path) as task_envoy,
            task_envoy.request(WEB) as downstream,
            server.accept()[0] as upstream,
        ):
            upstream.recv(1000)
            upstream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n")
            assert downstream.recv(1000)
            soon(lambda: (task_envoy.look().traffic.in_flight, task_envoy.look().traffic.completed) == (1, 1))
            assert 1 == task_envoy.look().traffic.requests
            upstream.sendall(b"done")
            soon(lambda: task_envoy.look().traffic.in_flight == 0)
            task_envoy.answered(WEB)

            soon(lambda: task_envoy.look().traffic.requests == 2)


def test_request_that_its_client_left(run: Run) -> None:
    """A request that its client left before the answer is a request, and no health check."""
    address = free_address()
    task_envoy = run([listener("web", address, WEB, manager("web", CHECK_FILTER))], address)
    with task_envoy.request(WEB):
        soon(lambda: task_envoy.look().traffic.in_flight == 1)

    soon(lambda: task_envoy.look().traffic.in_flight == 0)
    assert (1, 0) == (task_envoy.look().traffic.requests, task_envoy.look().traffic.checks)


PROXY_PROTOCOL = real.typed(
    "envoy.filters.listener.proxy_protocol", "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol", {}
)


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_connection_that_a_listener_filter_awaits(run: Run, kind: str) -> None:
    """A connection that has not sent its PROXY header yet shows use, and on a TCP listener it is open."""
    address = free_address()
    awaits = {"listener_filters": [PROXY_PROTOCOL], "listener_filters_timeout": "60s"}
    web = listener("web", address, WEB, manager() if kind == "http" else proxy(), traffic_direction="INBOUND", **awaits)
    task_envoy = run([inbound(address), web], address)
    assert not task_envoy.look().traffic.used
    with task_envoy.open(WEB):
        soon(lambda: task_envoy.look().traffic.used)

        assert int(kind == "tcp") == task_envoy.look().traffic.connections


def test_phones(run: Run) -> None:
    """Envoy counts the requests of phones by user agent as well; they count once, and belong to their listener."""
    address = free_address()
    task_envoy = run([listener("web", address, WEB, manager(), traffic_direction="INBOUND")], address)
    with task_envoy.open(WEB, b"GET /ok HTTP/1.1\r\nhost: x\r\nuser-agent: iOS\r\n\r\n") as phone:
        assert phone.recv(1000)
        assert "user_agent.ios" in task_envoy.admin("GET", "/stats?filter=downstream_rq_total")[1]
        look = task_envoy.look()

        assert (1, (), None) == (look.traffic.requests, look.traffic.unknown, look.traffic.doubtful)


def test_line_feed_in_a_prefix(run: Run) -> None:
    """Requests count if the stat_prefix has a line feed, too."""
    address = free_address()
    task_envoy = run([listener("web", address, WEB, manager("a\nb"), traffic_direction="INBOUND")], address)
    with task_envoy.request(WEB):
        soon(lambda: task_envoy.look().traffic.in_flight == 1)


def by_lds(lds: Path) -> real.Json:
    source = {"path_config_source": {"path": str(lds)}, "resource_api_version": "V3"}
    return {"dynamic_resources": {"lds_config": source}}


@pytest.mark.parametrize("first", ["http", "tcp"])
def test_filter_chains_that_an_update_replaces(run: Run, tmp_path: Path, first: str) -> None:
    """After an update that leaves the listener's version, its connections count; those of old chains are uncounted."""
    address, lds = free_address(), tmp_path / "lds.json"
    kinds = [listener("web", address, WEB, filter, traffic_direction="INBOUND") for filter in (manager(), proxy())]
    before, after = kinds if first == "http" else reversed(kinds)
    real.publish_listeners(lds, [before])
    task_envoy = run([], address, **by_lds(lds))
    account = task_envoy.look().account
    assert {} == account.uncounted
    with task_envoy.open(WEB, b"GET /ok HTTP/1.1\r\nhost: x\r\n\r\n"):
        soon(lambda: task_envoy.look().traffic.used)
        real.publish_listeners(lds, [after, inbound(address)])
        wait_for(lambda: None if "inbound" in task_envoy.admin("GET", "/listeners")[1] else "it is not there yet")

        assert {"replaced filter chains"} == task_envoy.look().account.uncounted.keys()
        assert task_envoy.look().traffic.updates > 1
        assert task_envoy.look().replaced
        with task_envoy.request(WEB):
            soon(lambda: task_envoy.look().traffic.under_way)


def test_listener_that_was_removed(run: Run, tmp_path: Path) -> None:
    """What a removed listener served is lost with its statistics: the look says so."""
    address, lds = free_address(), tmp_path / "lds.json"
    served = listener("web", address, WEB, manager(), traffic_direction="INBOUND")
    real.publish_listeners(lds, [served])
    base = ("--base-id", str(free_port()), "--drain-time-s", "1")
    task_envoy = run([], address, *base, **by_lds(lds))
    task_envoy.answered(WEB)
    assert (True, False) == (task_envoy.look().traffic.used, task_envoy.look().replaced)
    real.publish_listeners(lds, [inbound(address), listener("other", address, TCP, proxy())])

    soon(lambda: not task_envoy.look().traffic.used)
    assert task_envoy.look().replaced
    assert 200 == task_envoy.admin("POST", "/reset_counters")[0]
    assert task_envoy.look().replaced


def test_listener_that_was_removed_beside_a_stats_matcher(run: Run, tmp_path: Path) -> None:
    """The same if Envoy leaves out some statistics; before the removal nothing was replaced."""
    address, lds = free_address(), tmp_path / "lds.json"
    real.publish_listeners(lds, [listener("web", address, WEB, manager()), inbound(address)])
    matcher = {"stats_matcher": {"exclusion_list": {"patterns": [{"prefix": "cluster."}]}}}
    task_envoy = run([], address, stats_config=matcher, **by_lds(lds))
    assert not task_envoy.look().replaced
    real.publish_listeners(lds, [inbound(address)])

    soon(lambda: task_envoy.look().replaced)
    assert 200 == task_envoy.admin("POST", "/reset_counters")[0]
    assert task_envoy.look().replaced


# 10. the health_check filter


def test_filter_by_discovery(run: Run, tmp_path: Path) -> None:
    """A health_check filter that comes by ECDS under any name is there."""
    address = free_address()
    web = listener("web", address, WEB, manager("web", discovered(tmp_path, "mine", CHECK_FILTER, CHECK)))

    task_envoy = run([web], address)

    assert [] == without_health_check_filter(ask(task_envoy.envoy.listeners()))


def test_filter_that_is_disabled(run: Run) -> None:
    """With a disabled health_check filter health checks keep passing."""
    address = free_address()
    task_envoy = run([listener("web", address, WEB, manager("web", CHECK_FILTER | {"disabled": True}))], address)
    ask(task_envoy.envoy.fail_health_checks())

    assert ["web"] == without_health_check_filter(ask(task_envoy.envoy.listeners()))


# what is excluded


def test_outbound_is_excluded(run: Run) -> None:
    """Requests of the application through listeners declared OUTBOUND are not traffic of downstreams."""
    address = free_address()
    task_envoy = run(
        [
            inbound(address),
            listener("out", address, WEB, manager("out"), traffic_direction="OUTBOUND"),
            listener("out-tcp", address, TCP, proxy(), traffic_direction="OUTBOUND"),
        ],
        address,
    )
    with task_envoy.request(WEB), task_envoy.open(TCP), ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: task_envoy.answered(WEB), range(3)))
        look = task_envoy.look()

    assert (False, False, None) == (look.traffic.under_way, look.traffic.used, look.traffic.doubtful)


def test_listener_that_comes_later(run: Run, tmp_path: Path) -> None:
    """A listener that comes by LDS after the account was made counts, in doubt until the next look."""
    address = free_address()
    lds = tmp_path / "lds.json"
    real.publish_listeners(lds, [inbound(address)])
    source = {"lds_config": {"path_config_source": {"path": str(lds)}, "resource_api_version": "V3"}}
    task_envoy = run([], address, dynamic_resources=source)
    account = task_envoy.look().account
    real.publish_listeners(lds, [inbound(address), listener("later", address, TCP, proxy())])
    wait_for(lambda: None if "later" in task_envoy.admin("GET", "/listeners")[1] else "it is not there yet")
    with task_envoy.open(TCP):
        soon(lambda: bool(ask(task_envoy.envoy.traffic(account)).unknown))
        assert 1 == (ask(task_envoy.envoy.traffic(account)).doubtful or Traffic()).connections
        assert 1 == task_envoy.look().traffic.connections


@pytest.mark.parametrize("version", [{}, {"version_info": "1"}], ids=["no version", "version"])
def test_listener_that_envoy_rejects(run: Run, tmp_path: Path, version: dict[str, str]) -> None:
    """A listener that Envoy rejects is not there, and one that it accepts is there, with and without a version."""
    address = free_address()
    lds = tmp_path / "lds.json"
    kind = {"@type": "type.googleapis.com/envoy.config.listener.v3.Listener"}
    good, bad = inbound(address), listener("bad", address, TCP, proxy())
    bad["filter_chains"] *= 2  # Envoy accepts no two chains with the same match
    lds.write_text(json.dumps({**version, "resources": [kind | bad]}))
    source = {"lds_config": {"path_config_source": {"path": str(lds)}, "resource_api_version": "V3"}}
    task_envoy = run([], address, dynamic_resources=source)
    wait_for(
        lambda: None if '"error_state"' in task_envoy.admin("GET", "/config_dump")[1] else "it is not rejected yet"
    )
    assert [] == ask(task_envoy.envoy.listeners())

    draft = tmp_path / "lds.draft"
    draft.write_text(json.dumps({**version, "resources": [kind | bad, kind | good]}))
    draft.replace(lds)
    wait_for(lambda: None if "inbound" in task_envoy.admin("GET", "/listeners")[1] else "it is not there yet")
    assert [("inbound", True)] == [(each.name, each.detailed) for each in ask(task_envoy.envoy.listeners())]
