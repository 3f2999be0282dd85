"""What Envoy's own configuration says of its listeners, and what in it defeats the drain. Pure: bytes in, facts out.

Read from `/config_dump?resource=static_listeners` and `…dynamic_listeners` (envoy.config.listener.v3.Listener as JSON).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

HTTP: Final = ".http_connection_manager.v3.HttpConnectionManager"
HEALTH_CHECK: Final = ".health_check.v3.HealthCheck"

# Words in the names of listeners and stat prefixes that serve no requests of downstreams: Envoy's own admin API, and
# what meshes put beside it (App Mesh `egress`, Kuma `kuma:metrics`, Consul `envoy_prometheus_metrics`, `envoy_ready`).
NOT_INBOUND: Final = ("admin", "egress", "outbound", "metrics", "prometheus", "stats", "probe", "ready")

LOOPBACK: Final = ("127.0.0.1", "::1")


class SocketAddress(msgspec.Struct):
    address: str = ""
    port_value: int = 0


class Address(msgspec.Struct):
    socket_address: SocketAddress = msgspec.field(default_factory=SocketAddress)


class _Config(msgspec.Struct):
    type: str = msgspec.field(default="", name="@type")
    stat_prefix: str = ""
    http_filters: list[_Filter] = []


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


class _State(msgspec.Struct):
    listener: _Listener


class _Entry(msgspec.Struct):
    """A static listener stands in `listener`, a dynamic one in `active_state`, one not yet in use in neither."""

    listener: _Listener | None = None
    active_state: _State | None = None


class _Dump(msgspec.Struct):
    configs: list[_Entry] = []


class Listener(NamedTuple):
    """One listener, as far as draining is concerned; `prefixes` are those of its HTTP connection managers' stats."""

    name: str
    inbound: bool
    outbound: bool
    drains: bool
    prefixes: tuple[str, ...]
    fails_health_checks: bool
    stat_name: str


def is_inbound_name(name: str) -> bool:
    """Whether a listener or stat prefix, by its name alone, serves the requests of downstreams."""
    return not any(word in name.lower() for word in NOT_INBOUND)


def parse(dumps: Iterable[bytes]) -> list[Listener]:
    """The listeners in answers to `/config_dump`; raises msgspec.DecodeError where an answer is none."""
    return [_listener(listener) for dump in dumps for listener in _listeners(dump)]


def _listeners(dump: bytes) -> Iterator[_Listener]:
    for entry in msgspec.json.decode(dump, type=_Dump).configs:
        if entry.listener:
            yield entry.listener
        elif entry.active_state:
            yield entry.active_state.listener


def _listener(listener: _Listener) -> Listener:
    chains = [*listener.filter_chains, listener.default_filter_chain]
    managers = [
        filter.typed_config for chain in chains for filter in chain.filters if filter.typed_config.type.endswith(HTTP)
    ]
    prefixes = tuple(dict.fromkeys(manager.stat_prefix for manager in managers))
    address = listener.address.socket_address
    host = f"[{address.address}]" if ":" in address.address else address.address
    # on loopback only the application connects
    by_name = address.address not in LOOPBACK and all(is_inbound_name(name) for name in (listener.name, *prefixes))
    return Listener(
        name=listener.name,
        inbound=listener.traffic_direction == "INBOUND" or (listener.traffic_direction == "UNSPECIFIED" and by_name),
        outbound=listener.traffic_direction == "OUTBOUND" or "egress" in listener.name or "outbound" in listener.name,
        drains=listener.drain_type != "MODIFY_ONLY",
        prefixes=prefixes,
        fails_health_checks=bool(managers)
        and all(any(_is_health_check(each) for each in manager.http_filters) for manager in managers),
        stat_name=(listener.stat_prefix or f"{host}_{address.port_value}").replace(":", "_"),
    )


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


class _Admin(msgspec.Struct):
    address: Address = msgspec.field(default_factory=Address)


class _Bootstrap(msgspec.Struct):
    admin: _Admin = msgspec.field(default_factory=_Admin)


class _BootstrapEntry(msgspec.Struct):
    bootstrap: _Bootstrap = msgspec.field(default_factory=_Bootstrap)


class _BootstrapDump(msgspec.Struct):
    configs: list[_BootstrapEntry] = []


def open_admin(dump: bytes) -> str | None:
    """The admin API's address where other hosts can reach it, from `/config_dump?mask=bootstrap.admin`; else None.

    Raises msgspec.DecodeError where the answer is no such dump.
    """
    for entry in msgspec.json.decode(dump, type=_BootstrapDump).configs:
        address = entry.bootstrap.admin.address.socket_address
        if address.address and not address.address.startswith("127.") and address.address not in LOOPBACK:
            return f"{address.address}:{address.port_value}"
    return None
