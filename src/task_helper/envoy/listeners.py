"""What Envoy's configuration reports about its listeners, and what in it defeats the drain. Pure: bytes in, facts out.

The source is `/config_dump` (envoy.config.listener.v3.Listener as JSON). Only a declaration excludes a listener from
those through which downstreams may send: `traffic_direction: OUTBOUND`, or a name that only a mesh gives. A listener
without a declaration counts. If its address or its name suggests other traffic, it has a `doubt`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from typing import Final, Literal, NamedTuple

import msgspec

HTTP: Final = ".http_connection_manager.v3.HttpConnectionManager"
HEALTH_CHECK: Final = ".health_check.v3.HealthCheck"
_UDP_PROXY: Final = ".udp_proxy.v3.UdpProxyConfig"

# HTTP filters that may contain any other filter, including the health_check filter
_CONTAINERS: Final = (".ExtensionWithMatcher", ".composite.v3.Composite", ".ExecuteFilterAction")

# Listeners that meshes create for themselves, by names that only they give.
# Kuma: pkg/xds/envoy/names; newer names in pkg/xds/generator/system_names and those of MeshMetric.
# Consul: agent/xds/listeners.go. App Mesh: the listener for what the application sends.
MADE_BY_MESHES: Final = (
    *(
        "kuma:dns",
        "kuma:envoy:",
        "kuma:metrics:",
        "kuma:readiness",
        "_kuma:",
        "system_envoy_admin",
        "system_probe_readiness",
        "system_dynamicconfig",
        "system_meshmetric_",
    ),
    *("envoy_prometheus_metrics_listener", "envoy_ready_listener", "lds_egress_"),
)

# words in the names of listeners that most likely serve no requests of downstreams
UNLIKELY_INBOUND: Final = ("admin", "egress", "outbound", "metrics", "prometheus", "stats", "probe", "ready")

LOOPBACK: Final = ("127.0.0.1", "::1")

# the fields of static listeners that the mask of `/config_dump` selects: all except those that may be large
CHEAP_FIELDS: Final = (
    *("name", "address", "additional_addresses", "stat_prefix", "traffic_direction", "drain_type", "bind_to_port"),
    *("internal_listener", "udp_listener_config"),
)

Direction = Literal["UNSPECIFIED", "INBOUND", "OUTBOUND"]


class SocketAddress(msgspec.Struct):
    address: str = ""
    port_value: int = 0
    protocol: str = "TCP"


class Pipe(msgspec.Struct):
    path: str = ""


class Address(msgspec.Struct):
    socket_address: SocketAddress = msgspec.field(default_factory=SocketAddress)
    pipe: Pipe = msgspec.field(default_factory=Pipe)


class _Additional(msgspec.Struct):
    address: Address = msgspec.field(default_factory=Address)


class _Config(msgspec.Struct):
    """The configuration of a network, listener or HTTP filter. A TypedStruct has it in `value`, with its type in
    `type_url`.
    """

    type: str = msgspec.field(default="", name="@type")
    type_url: str = ""
    value: _Config | None = None
    stat_prefix: str = ""
    http_filters: list[_Filter] = []
    check_drain_close: bool = False


class _Discovery(msgspec.Struct):
    type_urls: list[str] = []


class _Filter(msgspec.Struct):
    name: str = ""
    typed_config: _Config = msgspec.field(default_factory=_Config)
    config_discovery: _Discovery | None = None
    disabled: bool = False

    @property
    def config(self) -> _Config:
        return self.typed_config.value or self.typed_config

    @property
    def types(self) -> list[str]:
        """The filter's type. If discovery (ECDS) delivers its configuration, all types that it may have; empty if
        unknown.
        """
        if self.config_discovery:
            return self.config_discovery.type_urls
        type = self.typed_config.type_url or self.typed_config.type
        return [type] if type else []

    def is_a(self, kind: str) -> bool | None:
        """Whether the filter's type ends in `kind`; None if it may or may not."""
        answers = {type.endswith(kind) for type in self.types}
        return answers.pop() if len(answers) == 1 else None


class _Chain(msgspec.Struct):
    filters: list[_Filter] = []


class _Anything(msgspec.Struct):
    """An object whose fields do not matter."""


class _Listener(msgspec.Struct):
    name: str = ""
    address: Address = msgspec.field(default_factory=Address)
    additional_addresses: list[_Additional] = []
    stat_prefix: str = ""
    filter_chains: list[_Chain] = []
    default_filter_chain: _Chain = msgspec.field(default_factory=_Chain)
    listener_filters: list[_Filter] = []
    drain_type: str = "DEFAULT"
    traffic_direction: Direction = "UNSPECIFIED"
    bind_to_port: bool = True
    internal_listener: _Anything | None = None


class _State(msgspec.Struct):
    """An update that only replaces filter chains leaves `version_info` as it is, but not `last_updated`."""

    version_info: str = ""
    last_updated: str = ""
    listener: _Listener | None = None


class _Entry(msgspec.Struct):
    """An entry of the dump. A static listener is in `listener`, a dynamic one in up to three states."""

    name: str = ""
    listener: _Listener | None = None
    active_state: _State | None = None
    draining_state: _State | None = None
    warming_state: _State | None = None
    static_listeners: list[_Entry] = []
    dynamic_listeners: list[_Entry] = []

    @property
    def states(self) -> list[_State]:
        return [each for each in (self.active_state, self.draining_state, self.warming_state) if each]


class _Dump(msgspec.Struct):
    configs: list[_Entry] = []


class Listener(NamedTuple):
    """One listener, as far as the drain is concerned.

    `inbound` and `outbound` are its most likely purpose. `excluded` is whether a declaration excludes it. `doubt` is
    why it may serve other traffic than that of downstreams.

    `prefixes` are the statistics' prefixes of its HTTP connection managers, `sessions` those of its UDP proxies.
    `discovered_managers` are the names of the managers that come from discovery (ECDS); their prefixes are unknown.
    `other_protocols` is whether it has a filter chain without HTTP, for example a TCP proxy. `uncountable` is why no
    statistic covers it.

    `fails_health_checks` is None if unknown. `stat_name` is its name in statistics (`key`). `places` are the addresses
    to which downstreams connect. `cuts_tcp` is whether the drain cuts its TCP connections while they send. If it is not
    `detailed`, only the cheap fields are known.
    """

    name: str
    inbound: bool
    outbound: bool
    excluded: bool
    declared_inbound: bool
    doubt: str | None
    drains: bool
    prefixes: tuple[str, ...]
    other_protocols: bool
    fails_health_checks: bool | None
    stat_name: str
    places: tuple[tuple[str, int], ...] = ()
    sessions: tuple[str, ...] = ()
    discovered_managers: tuple[str, ...] = ()
    uncountable: str | None = None
    cuts_tcp: bool = False
    detailed: bool = True
    dynamic: bool = False


def parse(dumps: Iterable[bytes | bytearray], *, detailed: bool = True) -> list[Listener]:
    """The listeners in answers to `/config_dump`. Raises msgspec.DecodeError if one is not such an answer.

    A listener that Envoy is replacing appears more than once. Without `detailed` the answers have only CHEAP_FIELDS.
    """
    return [
        _listener(listener, detailed, dynamic)
        for dump in dumps
        for entry in _entries(dump)
        for listener, dynamic in _listeners(entry)
    ]


def versions(dump: bytes | bytearray) -> dict[str, tuple[str, ...]]:
    """The names of dynamic listeners, and the versions of each. Raises msgspec.DecodeError if `dump` is not a dump.

    A listener that Envoy rejected has no state, and is left out.
    """
    return {
        entry.name: tuple(f"{each.version_info} {each.last_updated}".strip() for each in entry.states)
        for entry in _entries(dump)
        if entry.states
    }


def unread(name: str) -> Listener:
    """A dynamic listener of this name whose other fields could not be read."""
    return _listener(_Listener(name=name), detailed=False, dynamic=True)


# Envoy refuses regular expressions (RE2) whose program has more than 100 instructions: one for each byte, and some
# more.
_LONGEST_ENDING: Final = 60
_EXACTLY: Final = 16


def expression(names: Set[str], among: Set[str], most: int) -> tuple[str, Set[str]]:
    """A regular expression that matches some of `names`, and the names that it matches: at most `most`, if possible.

    If there are few names, it matches one whole name. Otherwise it matches an ending. Then it also matches the names
    with this ending in `among`, which are all names.
    """
    if len(names) <= _EXACTLY:
        name = min(names)
        return _exactly(name), {name}
    return next((pattern, group) for pattern, group in _by_ending(among | names, "", most) if group & names)


def _exactly(name: str) -> str:
    ending = name
    while len(ending.encode()) > _LONGEST_ENDING:
        ending = ending[1:]
    return f"^{'' if ending == name else '.*'}{re.escape(ending)}$"


def _by_ending(names: Set[str], ending: str, most: int) -> Iterator[tuple[str, Set[str]]]:
    """Split `names`, which all have this `ending`, by the character before it."""
    by_character: dict[str, set[str]] = {}
    for name in names - {ending}:
        by_character.setdefault(name[-len(ending) - 1], set()).add(name)
    if ending in names:
        yield _exactly(ending), {ending}
    together: dict[str, set[str]] = {}
    for character, group in sorted(by_character.items()):
        if len(group) > most and len(ending.encode()) < _LONGEST_ENDING:
            yield from _by_ending(group, character + ending, most)
            continue
        if together and sum(map(len, together.values())) + len(group) > most:
            yield _one_of(together, ending)
            together = {}
        together[character] = group
    if together:
        yield _one_of(together, ending)


def _one_of(groups: Mapping[str, Set[str]], ending: str) -> tuple[str, Set[str]]:
    characters = "".join(map(re.escape, groups))
    return f"^.*[{characters}]{re.escape(ending)}$", set().union(*groups.values())


def _entries(dump: bytes | bytearray) -> Iterator[_Entry]:
    for entry in msgspec.json.decode(dump, type=_Dump).configs:
        yield entry
        yield from entry.static_listeners
        yield from entry.dynamic_listeners


def _listeners(entry: _Entry) -> Iterator[tuple[_Listener, bool]]:
    if entry.listener:
        yield entry.listener, False
    for state in entry.states:
        if state.listener:
            yield state.listener, True


def counted(listeners: Sequence[Listener]) -> Sequence[Listener]:
    """The listeners through which downstreams may send: all that no declaration excludes.

    If declarations exclude all of them, that cannot be true, and all count.
    """
    return [each for each in listeners if not each.excluded] or listeners


def may_come_in(listeners: Sequence[Listener], *, more_come: bool) -> bool:
    """Whether requests can come in yet: through a listener that is declared INBOUND or has the health_check filter.

    Without one, any listener that counts is enough. If LDS delivers more listeners (`more_come`), only a dynamic one
    without a doubt is enough.
    """
    ours = [each for each in listeners if not each.excluded]
    if any(each.declared_inbound or each.fails_health_checks for each in ours):
        return True
    if more_come:
        return any(each.dynamic and not each.doubt for each in ours)
    return bool(counted(listeners))


def _listener(listener: _Listener, detailed: bool, dynamic: bool) -> Listener:
    chains = [chain.filters for chain in (*listener.filter_chains, listener.default_filter_chain) if chain.filters]
    managers = [filter for chain in chains for filter in chain if filter.is_a(HTTP)]
    http_chains = [any(filter.is_a(HTTP) for filter in chain) for chain in chains]
    addresses = [listener.address, *(each.address for each in listener.additional_addresses)]
    direction = listener.traffic_direction
    prefixes = tuple(dict.fromkeys(key(each.config.stat_prefix) for each in managers if not each.config_discovery))
    is_udp = listener.address.socket_address.protocol == "UDP"
    proxies = [filter.config.stat_prefix for filter in listener.listener_filters if filter.is_a(_UDP_PROXY)]
    excluded = direction == "OUTBOUND" or listener.name.startswith(MADE_BY_MESHES)
    doubt = _doubt(listener, addresses, prefixes) if direction == "UNSPECIFIED" and not excluded else None
    drains = listener.drain_type != "MODIFY_ONLY"
    return Listener(
        name=listener.name,
        inbound=not excluded and doubt is None,
        outbound=direction == "OUTBOUND" or "egress" in listener.name or "outbound" in listener.name,
        excluded=excluded,
        declared_inbound=direction == "INBOUND",
        doubt=doubt,
        drains=drains,
        prefixes=prefixes,
        other_protocols=detailed and not is_udp and (not chains or not all(http_chains)),
        fails_health_checks=_fails_health_checks(managers) if detailed else None,
        stat_name=_stat_name(listener),
        places=tuple(
            (each.socket_address.address, each.socket_address.port_value)
            for each in addresses
            if each.socket_address.port_value and listener.bind_to_port and not is_udp
        ),
        sessions=tuple(map(key, proxies)),
        discovered_managers=tuple(dict.fromkeys(each.name for each in managers if each.config_discovery)),
        uncountable=_uncountable(
            detailed, is_udp and not any(http_chains), len(proxies), len(listener.listener_filters), prefixes
        ),
        cuts_tcp=drains and any(filter.config.check_drain_close for chain in chains for filter in chain),
        detailed=detailed,
        dynamic=dynamic,
    )


def _doubt(listener: _Listener, addresses: Sequence[Address], prefixes: Sequence[str]) -> str | None:
    """Why a listener without a declaration may serve other traffic than that of downstreams."""
    if listener.internal_listener is not None:
        return "it is internal"
    if all(each.socket_address.address in LOOPBACK for each in addresses):
        return "it is on loopback"
    names = " ".join((listener.name, *prefixes)).lower()
    return next((f"its name has '{word}'" for word in UNLIKELY_INBOUND if word in names), None)


def _uncountable(detailed: bool, is_udp: bool, proxies: int, filters: int, prefixes: Sequence[str]) -> str | None:
    if not detailed:
        return "its configuration could not be read"
    if is_udp and (not proxies or proxies < filters):  # any other filter may answer datagrams itself
        return "it serves UDP, which Envoy counts only for a udp_proxy"
    if key(ADMIN) in prefixes:
        return f"its stat_prefix is '{ADMIN}', as is that of Envoy's admin API; give it another one"
    return None


# the name of Envoy's own admin API in statistics
ADMIN: Final = "admin"


def key(name: str) -> str:
    """The common part of a statistic's name and the name in the configuration.

    Envoy replaces `://`, `:/` and `:`, since 1.37 also in a stat_prefix, and leaves out a dot at the end.
    """
    return re.sub(r"[:/_]+", "_", name).strip("_.")


def _stat_name(listener: _Listener) -> str:
    """The name of its connections in statistics. It comes from the first address, even if there are several."""
    if listener.stat_prefix:
        return key(listener.stat_prefix)
    if listener.internal_listener is not None:
        return key(f"envoy_internal_{listener.name}")
    if listener.address.pipe.path:
        return key(listener.address.pipe.path)
    host = listener.address.socket_address.address
    if ":" in host:
        with suppress(OSError):  # Envoy writes the address as the system does
            host = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))
        host = f"[{host}]"
    return key(f"{host}_{listener.address.socket_address.port_value}")


def _fails_health_checks(managers: Sequence[_Filter]) -> bool | None:
    """Whether each of them has the health_check filter; None if unknown."""
    answers = [None if each.config_discovery else _has_health_check(each.config.http_filters) for each in managers]
    if False in answers or not answers:
        return False
    return None if None in answers else True


def _has_health_check(filters: Sequence[_Filter]) -> bool | None:
    enabled = [each for each in filters if not each.disabled]
    answers = [each.is_a(HEALTH_CHECK) if each.types else "health_check" in each.name for each in enabled]
    if True in answers:
        return True
    contains = any(type.endswith(_CONTAINERS) for each in enabled for type in each.types)
    return None if None in answers or contains else False


def without_health_check_filter(listeners: Iterable[Listener]) -> list[str]:
    """Names of the inbound HTTP listeners whose health checks keep passing after `/healthcheck/fail`."""
    return [each.name for each in listeners if each.inbound and each.prefixes and each.fails_health_checks is False]


def draining_egress(listeners: Iterable[Listener]) -> list[str]:
    """Names of the outbound HTTP listeners that `/healthcheck/fail` also drains, which cuts the application's own
    requests.
    """
    return [each.name for each in listeners if each.outbound and each.prefixes and each.drains]
