"""What Envoy's own configuration says of its listeners, and what in it defeats the drain. Pure: bytes in, facts out.

Two questions, two answers. Whether downstreams' traffic may come in by a listener decides when a task is quiet, so all
do but what *surely* is for others (`for_others`). What is worth a warning goes by what is likely, names included.

Read from `/config_dump?resource=static_listeners` and `…dynamic_listeners` (envoy.config.listener.v3.Listener as JSON).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

HTTP: Final = ".http_connection_manager.v3.HttpConnectionManager"
HEALTH_CHECK: Final = ".health_check.v3.HealthCheck"

# Listeners that meshes make for themselves, by the names that only they give: Kuma's (pkg/xds/envoy/names; the newer
# ones of pkg/xds/generator/system_names and MeshMetric's), Consul's (agent/xds/listeners.go), and App Mesh's for what
# the application sends.
MADE_BY_MESHES: Final = (
    *("kuma:", "_kuma:", "system_envoy_admin", "system_probe_readiness", "system_dynamicconfig", "system_meshmetric_"),
    *("envoy_prometheus_metrics_listener", "envoy_ready_listener", "lds_egress_"),
)

# Words in the names of listeners that most likely serve no requests of downstreams.
UNLIKELY_INBOUND: Final = ("admin", "egress", "outbound", "metrics", "prometheus", "stats", "probe", "ready")

LOOPBACK: Final = ("127.0.0.1", "::1")


class SocketAddress(msgspec.Struct):
    address: str = ""
    port_value: int = 0


class Pipe(msgspec.Struct):
    path: str = ""


class Address(msgspec.Struct):
    socket_address: SocketAddress = msgspec.field(default_factory=SocketAddress)
    pipe: Pipe = msgspec.field(default_factory=Pipe)


class _Config(msgspec.Struct):
    type: str = msgspec.field(default="", name="@type")
    stat_prefix: str = ""
    http_filters: list[_Filter] = []
    check_drain_close: bool = False


class _Filter(msgspec.Struct):
    name: str = ""
    typed_config: _Config = msgspec.field(default_factory=_Config)


class _Chain(msgspec.Struct):
    filters: list[_Filter] = []


class _Listener(msgspec.Struct):
    name: str = ""
    address: Address = msgspec.field(default_factory=Address)
    stat_prefix: str = ""
    filter_chains: list[_Chain] = []
    default_filter_chain: _Chain = msgspec.field(default_factory=_Chain)
    drain_type: str = "DEFAULT"
    traffic_direction: str = "UNSPECIFIED"
    bind_to_port: bool = True


class _State(msgspec.Struct):
    listener: _Listener


class _Entry(msgspec.Struct):
    """A static listener stands in `listener`, a dynamic one in `active_state`, one not yet in use in neither."""

    listener: _Listener | None = None
    active_state: _State | None = None


class _Dump(msgspec.Struct):
    configs: list[_Entry] = []


class Listener(NamedTuple):
    """One listener, as far as draining is concerned.

    `inbound` and `outbound` are what it most likely is, `for_others` whether it surely is not for downstreams.
    `prefixes` are those of its HTTP connection managers' statistics; `other_protocols` says whether it has a filter
    chain without one, a TCP proxy for example. `place` is where to connect to it, None where nobody can. `cuts_tcp`
    says whether the drain ends its TCP connections in the middle of what is sent on them.
    """

    name: str
    inbound: bool
    outbound: bool
    for_others: bool
    declared_inbound: bool
    drains: bool
    prefixes: tuple[str, ...]
    other_protocols: bool
    fails_health_checks: bool
    stat_name: str
    place: tuple[str, int] | None
    cuts_tcp: bool = False


def parse(dumps: Iterable[bytes]) -> list[Listener]:
    """The listeners in answers to `/config_dump`; raises msgspec.DecodeError where an answer is none."""
    return [_listener(listener) for dump in dumps for listener in _listeners(dump)]


def for_downstreams(listeners: Sequence[Listener]) -> Sequence[Listener]:
    """Those by which downstreams' traffic may come in: where all are surely for others, that cannot be true."""
    return [each for each in listeners if not each.for_others] or listeners


def _listeners(dump: bytes) -> Iterator[_Listener]:
    for entry in msgspec.json.decode(dump, type=_Dump).configs:
        if entry.listener:
            yield entry.listener
        elif entry.active_state:
            yield entry.active_state.listener


def _listener(listener: _Listener) -> Listener:
    chains = [chain.filters for chain in (*listener.filter_chains, listener.default_filter_chain) if chain.filters]
    managers = [filter.typed_config for chain in chains for filter in chain if _is_http(filter)]
    address, direction = listener.address.socket_address, listener.traffic_direction
    host = f"[{address.address}]" if ":" in address.address else address.address
    # on loopback only the application connects
    within = direction == "UNSPECIFIED" and address.address in LOOPBACK
    prefixes = tuple(dict.fromkeys(as_in_stats(manager.stat_prefix) for manager in managers))
    names = " ".join((listener.name, *prefixes)).lower()
    likely = direction == "UNSPECIFIED" and not any(word in names for word in UNLIKELY_INBOUND)
    for_others = direction == "OUTBOUND" or within or listener.name.startswith(MADE_BY_MESHES)
    own_name = listener.address.pipe.path or f"{host}_{address.port_value}"
    drains = listener.drain_type != "MODIFY_ONLY"
    return Listener(
        name=listener.name,
        inbound=not for_others and (direction == "INBOUND" or likely),
        outbound=direction == "OUTBOUND" or "egress" in listener.name or "outbound" in listener.name,
        for_others=for_others,
        declared_inbound=direction == "INBOUND",
        drains=drains,
        prefixes=prefixes,
        other_protocols=any(not any(map(_is_http, chain)) for chain in chains),
        fails_health_checks=bool(managers)
        and all(any(_is_health_check(each) for each in manager.http_filters) for manager in managers),
        stat_name=as_in_stats(listener.stat_prefix or own_name),
        place=(address.address, address.port_value) if address.port_value and listener.bind_to_port else None,
        cuts_tcp=drains and any(filter.typed_config.check_drain_close for chain in chains for filter in chain),
    )


def as_in_stats(name: str) -> str:
    """A name as Envoy has it in those of its statistics."""
    return name.replace(":", "_")


def _is_http(network_filter: _Filter) -> bool:
    return network_filter.typed_config.type.endswith(HTTP)


def _is_health_check(http_filter: _Filter) -> bool:
    """By its type, or where that comes from discovery, by its name."""
    type = http_filter.typed_config.type
    return type.endswith(HEALTH_CHECK) or (not type and "health_check" in http_filter.name)


def without_health_check_filter(listeners: Iterable[Listener]) -> list[str]:
    """Names of the inbound HTTP listeners on which health checks will go on passing after `/healthcheck/fail`."""
    return [each.name for each in listeners if each.inbound and each.prefixes and not each.fails_health_checks]


def draining_egress(listeners: Iterable[Listener]) -> list[str]:
    """Names of the outbound HTTP listeners that `/healthcheck/fail` drains too, cutting the application's own calls."""
    return [each.name for each in listeners if each.outbound and each.prefixes and each.drains]
