"""The lab's Envoy does what its options say."""

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lab.parts import envoy_process
from lab.parts.processes import free_address, wait_for


class Application(BaseHTTPRequestHandler):
    """Answers every GET with its path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[tuple[str, int]]:
    address = free_address()
    with ThreadingHTTPServer((address, envoy_process.APPLICATION_PORT), Application) as server:
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield address, envoy_process.APPLICATION_PORT
        server.shutdown()
        thread.join()


def get(address: str, port: int, path: str) -> tuple[int, str | None, bytes]:
    """Status, `connection` header and body of one GET."""
    connection = http.client.HTTPConnection(address, port, timeout=60)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.getheader("connection"), answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(("with_filter", "status"), [(True, 503), (False, 200)])
def test_health_checks_fail_after_the_call_only_with_the_filter(
    upstream: tuple[str, int], tmp_path: Path, with_filter: bool, status: int
) -> None:
    """/healthcheck/fail fails the health check where the filter is, and other requests nowhere."""
    options = envoy_process.EnvoyOptions(upstream[0], upstream, health_check_filter=with_filter)
    with envoy_process.running(options, tmp_path) as proxy:
        assert get(upstream[0], envoy_process.INBOUND_PORT, envoy_process.HEALTH_PATH) == (200, None, b"/health")
        assert proxy.admin("POST", "/healthcheck/fail") == (200, "OK\n")
        assert get(upstream[0], envoy_process.INBOUND_PORT, envoy_process.HEALTH_PATH)[0] == status
        assert get(upstream[0], envoy_process.INBOUND_PORT, "/work") == (200, "close", b"/work")


@pytest.mark.parametrize(("drain", "header"), [("DEFAULT", "close"), ("MODIFY_ONLY", None)])
def test_an_egress_listener_drains_by_its_type(
    upstream: tuple[str, int], tmp_path: Path, drain: envoy_process.Drain, header: str | None
) -> None:
    """An egress listener of type DEFAULT closes connections after the call, one of type MODIFY_ONLY does not."""
    with envoy_process.running(envoy_process.EnvoyOptions(upstream[0], upstream, egress=drain), tmp_path) as proxy:
        proxy.admin("POST", "/healthcheck/fail")
        assert get(upstream[0], envoy_process.EGRESS_PORT, "/") == (200, header, b"egress")


def test_a_tcp_listener_passes_bytes_and_the_admin_api_is_on_a_unix_socket(
    upstream: tuple[str, int], tmp_path: Path
) -> None:
    """A TCP listener has no HTTP statistics, and the admin API answers on the Unix socket of the options."""
    options = envoy_process.EnvoyOptions(upstream[0], upstream, protocol="tcp", admin=tmp_path / "admin.sock")
    with envoy_process.running(options, tmp_path) as proxy:
        assert get(upstream[0], envoy_process.INBOUND_PORT, "/work") == (200, None, b"/work")
        assert proxy.admin_url == f"unix://{tmp_path}/admin.sock"
        assert "tcp.ingress.downstream_cx_total" in proxy.admin("GET", "/stats")[1]


@pytest.mark.parametrize("protocol", ["http2", "grpc"])
def test_http2_listeners_speak_http2(
    upstream: tuple[str, int], tmp_path: Path, protocol: envoy_process.Protocol
) -> None:
    """An HTTP/2 listener answers the connection preface with a SETTINGS frame."""
    with envoy_process.running(envoy_process.EnvoyOptions(upstream[0], upstream, protocol=protocol), tmp_path):
        with socket.create_connection((upstream[0], envoy_process.INBOUND_PORT), timeout=60) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            assert connection.recv(9)[3] == 4


@pytest.mark.parametrize("declared", [True, False])
def test_listeners_declare_their_direction(upstream: tuple[str, int], tmp_path: Path, declared: bool) -> None:
    """The listeners' traffic_direction is in Envoy's own configuration where the options say so."""
    options = envoy_process.EnvoyOptions(upstream[0], upstream, egress="DEFAULT", traffic_direction=declared)
    with envoy_process.running(options, tmp_path) as proxy:
        dump = json.loads(proxy.admin("GET", "/config_dump?resource=static_listeners")[1])
    directions = [each["listener"].get("traffic_direction") for each in dump["configs"]]
    assert directions == (["INBOUND", "OUTBOUND"] if declared else [None, None])


def test_the_admin_api_answers_the_allowed_paths_only(upstream: tuple[str, int], tmp_path: Path) -> None:
    """With allow_paths, what begins with none of them is denied."""
    options = envoy_process.EnvoyOptions(upstream[0], upstream, allow_paths=("/ready", "/server_info"))
    with envoy_process.running(options, tmp_path) as proxy:
        assert proxy.admin("GET", "/ready")[0] == 200
        assert proxy.admin("POST", "/healthcheck/fail")[0] == 403


def test_an_envoy_keeps_no_rejected_statistics(upstream: tuple[str, int], tmp_path: Path) -> None:
    """Statistics whose names begin with the rejected prefix are missing, others are there."""
    options = envoy_process.EnvoyOptions(upstream[0], upstream, rejected_stats="http.")
    with envoy_process.running(options, tmp_path) as proxy:
        get(upstream[0], envoy_process.INBOUND_PORT, "/work")
        names = [line.partition(":")[0] for line in proxy.admin("GET", "/stats")[1].splitlines()]
    assert not [name for name in names if name.startswith("http.")]
    assert [name for name in names if name.startswith("listener.")]


def test_outbound_listeners_beyond_the_first_bind_no_port(upstream: tuple[str, int], tmp_path: Path) -> None:
    """A mesh of many listeners costs no ports, and they stand in the configuration."""
    options = envoy_process.EnvoyOptions(upstream[0], upstream, egress="DEFAULT", egress_listeners=3)
    with envoy_process.running(options, tmp_path) as proxy:
        dump = json.loads(proxy.admin("GET", "/config_dump?resource=static_listeners")[1])
    ports = {each["listener"]["name"]: each["listener"].get("bind_to_port") for each in dump["configs"]}
    assert ports == {"inbound": None, "egress": None, "egress-1": False, "egress-2": False}


@pytest.mark.parametrize("tcp", ["listener", "chain", "later"])
def test_a_task_serves_tcp_beside_http(upstream: tuple[str, int], tmp_path: Path, tcp: envoy_process.Tcp) -> None:
    """On a listener of its own, on one that LDS brings later, or on the HTTP listener to certain clients."""
    options = envoy_process.EnvoyOptions(
        upstream[0], upstream, tcp=tcp, lds=tmp_path / "lds.json" if tcp == "later" else None
    )
    if options.lds:
        envoy_process.publish_listeners(options.lds, [])
    port = envoy_process.INBOUND_PORT if tcp == "chain" else envoy_process.TCP_PORT
    with (
        socket.create_server((upstream[0], envoy_process.LINES_PORT)) as application,
        envoy_process.running(options, tmp_path),
    ):
        application.settimeout(60)
        assert get(upstream[0], envoy_process.INBOUND_PORT, "/work")[0] == 200
        if options.lds:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((upstream[0], port), timeout=60)
            envoy_process.publish_listeners(options.lds, [envoy_process.tcp_listener(options)])

        def refused() -> str | None:
            try:
                connections.append(
                    socket.create_connection(
                        (upstream[0], port), timeout=60, source_address=(envoy_process.TCP_CLIENT, 0)
                    )
                )
            except ConnectionRefusedError as error:
                return repr(error)
            return None

        connections: list[socket.socket] = []
        wait_for(refused)
        with connections[0] as client, application.accept()[0] as served:
            client.sendall(b"not HTTP")
            assert served.recv(8) == b"not HTTP"
