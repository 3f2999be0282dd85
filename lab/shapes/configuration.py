"""The configuration of a shape's Envoy, as JSON values, and where its clients connect to."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from lab.parts import envoy_process
from lab.parts.certificate import self_signed
from lab.parts.envoy_process import ADMIN_PORT, HEALTH_PATH, Json, typed
from lab.shapes.shape import LARGE, Chain, ListenerShape, Shape

# the server names of a TLS listener's chains
SERVER_NAMES: Final = ("a.test", "b.test")

_HTTP: Final = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_HEALTH_CHECK: Final = "extensions.filters.http.health_check.v3.HealthCheck"
_TLS: Final = "extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_QUIC: Final = "extensions.transport_sockets.quic.v3.QuicDownstreamTransport"
_CODECS: Final = {"http1": "HTTP1", "http2": "HTTP2", "http3": "HTTP3"}

# the file of LDS
_LISTENERS: Final = "listeners.json"

# bytes of the kernel's buffer for a connection that is read slowly, so that Envoy keeps the rest in its own
_SMALL: Final = 32 * 1024

# bytes that a downstream takes by HTTP/3 before its client reads them
_WINDOW: Final = 64 * 1024

# how long a listener filter awaits a PROXY header: longer than any trial
_AWAITS: Final = "120s"

# virtual hosts of each of LARGE outbound listeners, which make 50 KB of it
_VIRTUAL_HOSTS: Final = 150


class Endpoint(NamedTuple):
    """An address with its port, or the path of a Unix socket."""

    address: str = ""
    port: int = 0
    path: str = ""

    def as_envoy(self, protocol: str = "TCP") -> Json:
        if self.path:
            return {"pipe": {"path": self.path}}
        compatible = {"ipv4_compat": True} if self.address == "::" else {}
        return {
            "socket_address": {"address": self.address, "port_value": self.port, "protocol": protocol, **compatible}
        }


class Entrance(NamedTuple):
    """How clients of one listener connect.

    listens: its own place; connects: where clients connect to; target: what they name as the original destination
    """

    listens: Endpoint
    connects: Endpoint
    target: Endpoint | None = None


class Certificate(NamedTuple):
    """A certificate for SERVER_NAMES and its key, in PEM."""

    chain: str
    key: str


class Upstream(NamedTuple):
    """Where the application answers: HTTP, lines over TCP, and datagrams."""

    http: Endpoint
    lines: Endpoint
    datagrams: Endpoint


class EnvoySurroundings(NamedTuple):
    """What a shape's Envoy has around it; `folder` is for its files, `name` the prefix of their names."""

    address: str
    folder: Path
    name: str
    entrances: tuple[Entrance, ...]
    upstream: Upstream
    certificate: Certificate

    def file(self, name: str) -> Path:
        return self.folder / f"{self.name}-{name}"

    @property
    def admin_socket(self) -> Path:
        return self.file("admin.sock")


def configuration(shape: Shape, around: EnvoySurroundings) -> Json:
    """The whole bootstrap; files that it names are written."""
    listeners = _all_listeners(shape, around)
    admin = around.admin_socket if shape.unix_admin else (around.address, ADMIN_PORT)
    config = envoy_process.bootstrap(admin, [] if shape.lds else listeners, _clusters(shape, around), shape.allow_paths)
    if shape.lds:
        envoy_process.publish_listeners(around.file(_LISTENERS), listeners)
        config["dynamic_resources"] = {"lds_config": _by_file(around.file(_LISTENERS))}
    if any(each.way == "internal" for each in shape.listeners):
        kind = "extensions.bootstrap.internal_listener.v3.InternalListener"
        config["bootstrap_extensions"] = [typed("envoy.bootstrap.internal_listener", kind, {})]
    if shape.stats_left_out:
        patterns = [{"prefix": shape.stats_left_out}]
        config["stats_config"] = {"stats_matcher": {"exclusion_list": {"patterns": patterns}}}
    elif shape.stats_kept:
        patterns = [{"prefix": shape.stats_kept}]
        config["stats_config"] = {"stats_matcher": {"inclusion_list": {"patterns": patterns}}}
    return config


def change_listeners(shape: Shape, around: EnvoySurroundings) -> None:
    """By LDS each listener gets other statistics; what it serves already it keeps serving with those it had."""
    changed = [
        each._replace(chains=tuple(chain._replace(stat_prefix=f"{chain.stat_prefix}2") for chain in each.chains))
        for each in shape.listeners
    ]
    envoy_process.publish_listeners(
        around.file(_LISTENERS), _all_listeners(shape._replace(listeners=tuple(changed)), around)
    )


def update_listeners(shape: Shape, around: EnvoySurroundings) -> None:
    """By LDS listeners are replaced and removed, as the shape says."""
    updated = shape._replace(
        listeners=tuple(
            each._replace(chains=(each.becomes,), becomes=None) if each.becomes else each for each in shape.listeners
        )
    )
    listeners = [each for each in _all_listeners(updated, around) if each.get("name", "") not in shape.removed]
    envoy_process.publish_listeners(around.file(_LISTENERS), listeners)


def _all_listeners(shape: Shape, around: EnvoySurroundings) -> list[Json]:
    listeners = [each for number in range(len(shape.listeners)) for each in _listeners(shape, around, number)]
    return listeners + [_outbound(shape, around, number) for number in range(shape.outbound)]


def _clusters(shape: Shape, around: EnvoySurroundings) -> list[Json]:
    http, lines, datagrams = around.upstream
    clusters = [
        envoy_process.cluster("application", [(http.address, http.port)]),
        envoy_process.cluster("lines", [(lines.address, lines.port)]),
        envoy_process.cluster("datagrams", [(datagrams.address, datagrams.port)]),
    ]
    for number, listener in enumerate(shape.listeners):
        if listener.way == "internal":
            host = {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": listener.name}}}}
            name = f"internal-{number}"
            clusters.append(
                {
                    "name": name,
                    "type": "STATIC",
                    "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
                }
            )
    return clusters


def _listeners(shape: Shape, around: EnvoySurroundings, number: int) -> Iterator[Json]:
    """The listener itself, and where there is one, that which passes on to it."""
    listener, entrance = shape.listeners[number], around.entrances[number]
    protocols = {chain.protocol for chain in listener.chains}
    over_udp = bool(protocols & {"http3", "udp"})
    own: Json = {"name": listener.name} if listener.name else {}
    own |= {"address": entrance.listens.as_envoy("UDP" if over_udp else "TCP")}
    if listener.stat_prefix:
        own["stat_prefix"] = listener.stat_prefix
    if "udp" in protocols:
        own |= {"udp_listener_config": {}, "listener_filters": [_udp_proxy(listener.chains[0])]}
    else:
        own["filter_chains"] = [_chain(listener, at, around, number) for at in range(len(listener.chains))]
    if listener.default_chain:
        own["default_filter_chain"] = own.pop("filter_chains")[0]
    if "http3" in protocols:
        own["udp_listener_config"] = {"quic_options": {}, "downstream_socket_config": {"prefer_gro": True}}
    if listener.way == "tls":
        kind = "extensions.filters.listener.tls_inspector.v3.TlsInspector"
        own["listener_filters"] = [typed("envoy.filters.listener.tls_inspector", kind, {})]
    if listener.way == "additional":
        own["additional_addresses"] = [{"address": entrance.connects.as_envoy()}]
    if listener.proxied:
        own |= {"listener_filters": [_proxy_protocol()], "listener_filters_timeout": _AWAITS}
    if listener.slow and listener.way in ("direct", "tls") and not over_udp:
        own |= _small_buffer()
    if listener.way == "internal":
        del own["address"]
        own["internal_listener"] = {}
        yield _before(listener, number, entrance, {"cluster": f"internal-{number}"})
    if listener.way == "original_dst":
        own["bind_to_port"] = False
        redirect = _before(listener, number, entrance, {"cluster": "lines"})
        # a PROXY header names the original destination, as iptables would
        yield redirect | {"use_original_dst": True, "listener_filters": [_proxy_protocol()]}
    yield _declared(listener, own)


def _declared(listener: ListenerShape, own: Json) -> Json:
    return own if listener.direction == "nothing" else own | {"traffic_direction": listener.direction}


def _before(listener: ListenerShape, number: int, entrance: Entrance, to: Json) -> Json:
    """A TCP listener that clients connect to in its place."""
    proxy = envoy_process.tcp_proxy(f"before-{number}", to["cluster"])
    place = (entrance.connects.address, entrance.connects.port)
    small = _small_buffer() if listener.slow else {}
    return _declared(listener, envoy_process.listener(f"before-{number}", place, proxy)) | small


def _proxy_protocol() -> Json:
    kind = "extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
    return typed("envoy.filters.listener.proxy_protocol", kind, {})


def _small_buffer() -> Json:
    return {"socket_options": [{"level": socket.SOL_SOCKET, "name": socket.SO_SNDBUF, "int_value": _SMALL}]}


def _chain(listener: ListenerShape, at: int, around: EnvoySurroundings, number: int) -> Json:
    chain = listener.chains[at]
    if chain.protocol == "tcp":
        found: Json = {"filters": [envoy_process.tcp_proxy(chain.stat_prefix, "lines")]}
    else:
        found = {"filters": [_manager(chain, around, f"{number}-{at}")]}
    if listener.way == "tls":
        context = {"common_tls_context": {"tls_certificates": [_certificate(around.certificate)]}}
        found["filter_chain_match"] = {"server_names": [SERVER_NAMES[at]]}
        found["transport_socket"] = typed("envoy.transport_sockets.tls", _TLS, context)
    elif chain.protocol == "http3":
        context = {"common_tls_context": {"tls_certificates": [_certificate(around.certificate)]}}
        found["transport_socket"] = typed("envoy.transport_sockets.quic", _QUIC, {"downstream_tls_context": context})
    return found


def _certificate(certificate: Certificate) -> Json:
    return {
        "certificate_chain": {"inline_string": certificate.chain},
        "private_key": {"inline_string": certificate.key},
    }


def _manager(chain: Chain, around: EnvoySurroundings, id: str) -> Json:
    forward: Json = {"match": {"prefix": "/"}, "route": {"cluster": "application", "timeout": "0s"}}
    filters = [] if chain.health_check == "none" else [_health_check(chain, around, id)]
    manager = envoy_process.http_manager(chain.stat_prefix, [forward], filters, _CODECS[chain.protocol])
    manager["typed_config"]["upgrade_configs"] = [{"upgrade_type": "websocket"}]
    config = manager["typed_config"]
    match chain.manager:
        case "ecds":
            return _discovered(around.file(f"manager-{id}.json"), f"manager-{id}", config)
        case "typed_struct":
            kind = "type.googleapis.com/xds.type.v3.TypedStruct"
            struct = {"@type": kind, "type_url": config.pop("@type"), "value": config}
            return {"name": manager["name"], "typed_config": struct}
    return manager


def _health_check(chain: Chain, around: EnvoySurroundings, id: str) -> Json:
    headers = [{"name": ":path", "string_match": {"exact": HEALTH_PATH}}]
    fields = dict(pass_through_mode=True, headers=headers)
    usual = typed("envoy.filters.http.health_check", _HEALTH_CHECK, fields)
    if chain.health_check == "ecds":
        # under a name that does not show what it is
        return _discovered(around.file(f"filter-{id}.json"), f"first-{id}", usual["typed_config"])
    return usual | ({"disabled": True} if chain.health_check == "disabled" else {})


def _discovered(file: Path, name: str, config: Json) -> Json:
    """A filter of this name whose configuration comes by ECDS, from a file."""
    kind = "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig"
    resource = {"@type": kind, "name": name, "typed_config": config}
    file.write_text(json.dumps({"version_info": "1", "resources": [resource]}))
    return {"name": name, "config_discovery": {"config_source": _by_file(file), "type_urls": [config["@type"]]}}


def _by_file(file: Path) -> Json:
    return {"path_config_source": {"path": str(file)}, "resource_api_version": "V3"}


def _udp_proxy(chain: Chain) -> Json:
    route = typed("route", "extensions.filters.udp.udp_proxy.v3.Route", {"cluster": "datagrams"})
    proxy = {"stat_prefix": chain.stat_prefix, "matcher": {"on_no_match": {"action": route}}}
    return typed("envoy.filters.udp_listener.udp_proxy", "extensions.filters.udp.udp_proxy.v3.UdpProxyConfig", proxy)


def _outbound(shape: Shape, around: EnvoySurroundings, number: int) -> Json:
    """As meshes have them: no client connects to it, and but for the first it does not bind its port."""
    answer: Json = {"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "egress"}}}
    manager = envoy_process.http_manager(shape.egress_prefix, [answer], [], "AUTO")
    if shape.outbound >= LARGE:
        hosts = [
            {
                "name": f"service-{n}",
                "domains": [f"service-{n}.namespace-{number}.svc.example.local"],
                "routes": [answer],
            }
            for n in range(_VIRTUAL_HOSTS)
        ]
        manager["typed_config"]["route_config"]["virtual_hosts"] = hosts
    listener = envoy_process.listener(f"outbound-{number}", (around.address, 20000 + number), manager)
    return listener | {"traffic_direction": "OUTBOUND", "drain_type": "MODIFY_ONLY", "bind_to_port": not number}


def downstream(address: str, port: int) -> Json:
    """The configuration of a downstream Envoy that speaks HTTP/3 to what each request names.

    It keeps little of a response that its client reads slowly: the rest waits in the Envoy of the task.
    """
    route = {"match": {"prefix": "/"}, "route": {"cluster": "http3", "timeout": "0s"}}
    manager = envoy_process.http_manager("downstream", [route], [], "HTTP1")
    trusting = {"common_tls_context": {"validation_context": {"trust_chain_verification": "ACCEPT_UNTRUSTED"}}}
    quic = "extensions.transport_sockets.quic.v3.QuicUpstreamTransport"
    windows = {"initial_stream_window_size": _WINDOW, "initial_connection_window_size": _WINDOW}
    http3: Json = {"explicit_http_config": {"http3_protocol_options": {"quic_protocol_options": windows}}}
    cluster = {
        "name": "http3",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "3s",
        "original_dst_lb_config": {"use_http_header": True},
        "transport_socket": typed(
            "envoy.transport_sockets.quic",
            quic,
            {"upstream_tls_context": trusting | {"sni": SERVER_NAMES[0]}},
        ),
        "per_connection_buffer_limit_bytes": _WINDOW,
    } | envoy_process.protocol_options(http3)
    listener = envoy_process.listener("downstream", (address, port), manager) | _small_buffer()
    listener["per_connection_buffer_limit_bytes"] = _WINDOW
    return envoy_process.bootstrap(address, [listener], [cluster])


def new_certificate(folder: Path) -> Certificate:
    """Signed by itself, for a day, its files in `folder`; raises CalledProcessError where openssl cannot make it."""
    chain, key = self_signed(folder, *SERVER_NAMES)
    return Certificate(chain.read_text(), key.read_text())
