"""Reading listeners from Envoy's configuration dumps."""

import json
import re
from typing import Any

import msgspec
import pytest

from task_helper.envoy.listeners import (
    Listener,
    counted,
    draining_egress,
    expression,
    key,
    may_come_in,
    parse,
    unread,
    versions,
    without_health_check_filter,
)

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HEALTH_CHECK = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"

PROXY = {
    "name": "t",
    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"},
}


def manager(prefix: str, *http_filters: str) -> dict[str, Any]:
    filters = [{"name": "f", "typed_config": {"@type": kind}} for kind in http_filters]
    return {"name": "m", "typed_config": {"@type": MANAGER, "stat_prefix": prefix, "http_filters": filters}}


def address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def one(**fields: Any) -> Listener:
    """The listener with these fields, read from a dynamic dump."""
    entry = {"name": "l", "active_state": {"version_info": "1", "listener": {"name": "l", **fields}}}
    (listener,) = parse([json.dumps({"configs": [entry]}).encode()])
    return listener


def test_app_mesh_listener() -> None:
    """An ingress listener of App Mesh is inbound by its name, and its connections are counted by its address."""
    chain = {"filters": [manager("ingress", HEALTH_CHECK)]}

    found = one(name="lds_ingress_0.0.0.0_15000", address=address("0.0.0.0", 15000), filter_chains=[chain])

    expected = Listener(
        name="lds_ingress_0.0.0.0_15000",
        inbound=True,
        outbound=False,
        excluded=False,
        declared_inbound=False,
        doubt=None,
        drains=True,
        prefixes=("ingress",),
        other_protocols=False,
        fails_health_checks=True,
        stat_name="0.0.0.0_15000",
        places=(("0.0.0.0", 15000),),
        dynamic=True,
    )
    assert expected == found


@pytest.mark.parametrize(
    ("name", "direction", "inbound", "outbound"),
    [
        ("anything", "INBOUND", True, False),
        ("egress", "INBOUND", True, True),
        ("ingress", "OUTBOUND", False, True),
        ("listener_0", "UNSPECIFIED", True, False),
        ("lds_egress_0.0.0.0_15001", "UNSPECIFIED", False, True),
        ("prometheus", "UNSPECIFIED", False, False),
        ("outbound_orders", "UNSPECIFIED", False, True),
    ],
)
def test_direction(name: str, direction: str, inbound: bool, outbound: bool) -> None:
    """The traffic direction decides if there is one, otherwise the name."""
    found = one(name=name, traffic_direction=direction)

    assert (inbound, outbound) == (found.inbound, found.outbound)


@pytest.mark.parametrize(
    ("chains", "fails"),
    [
        ([{"filters": [manager("a", HEALTH_CHECK)]}], True),
        ([{"filters": [manager("a")]}], False),
        ([{"filters": [manager("a", HEALTH_CHECK)]}, {"filters": [manager("b")]}], False),
        ([], False),
    ],
)
def test_fails_health_checks(chains: list[Any], fails: bool) -> None:
    """A listener fails health checks only where each of its HTTP filter chains has the filter."""
    assert fails == one(filter_chains=chains).fails_health_checks


def discovered(name: str, *kinds: str) -> dict[str, Any]:
    return {"name": name, "config_discovery": {"type_urls": list(kinds)}}


def typed_struct(kind: str, **fields: Any) -> dict[str, Any]:
    """A configuration without the type that Envoy has for it, as control planes in other languages send it."""
    struct = {"@type": "type.googleapis.com/xds.type.v3.TypedStruct", "type_url": kind, "value": fields}
    return {"name": "f", "typed_config": struct}


COMPOSITE = "type.googleapis.com/envoy.extensions.filters.http.composite.v3.Composite"
MATCHER = "type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher"
HTTP_FILTERS: dict[str, tuple[list[dict[str, Any]], bool | None]] = {
    "none": ([], False),
    "by its type": ([{"name": "x", "typed_config": {"@type": HEALTH_CHECK}}], True),
    "by the type in a TypedStruct": ([typed_struct(HEALTH_CHECK)], True),
    "by its name alone": ([{"name": "envoy.filters.http.health_check"}], True),
    "another type, whatever its name": ([{"name": "health_check", "typed_config": {"@type": "Lua"}}], False),
    "another one by its name": ([{"name": "envoy.filters.http.router"}], False),
    "disabled": ([{"name": "x", "typed_config": {"@type": HEALTH_CHECK}, "disabled": True}], False),
    "by discovery": ([discovered("mine", HEALTH_CHECK)], True),
    "by discovery, it or another one": ([discovered("mine", HEALTH_CHECK, "Lua")], None),
    "by discovery, another one": ([discovered("health_check", "Lua")], False),
    "maybe in a composite filter": ([{"name": "x", "typed_config": {"@type": COMPOSITE}}], None),
    "maybe behind a matcher": ([{"name": "x", "typed_config": {"@type": MATCHER}}], None),
    "a composite filter that is disabled": (
        [{"name": "x", "typed_config": {"@type": COMPOSITE}, "disabled": True}],
        False,
    ),
    "beside one that may be it": ([discovered("a", HEALTH_CHECK, "Lua"), discovered("b", HEALTH_CHECK)], True),
}


@pytest.mark.parametrize("name", HTTP_FILTERS)
def test_health_check_filter(name: str) -> None:
    """The filter is known by its type, wherever that stands; what may be the filter is not missing."""
    filters, expected = HTTP_FILTERS[name]
    chain = manager("a")
    chain["typed_config"]["http_filters"] = filters
    found = one(filter_chains=[{"filters": [chain]}])

    assert expected is found.fails_health_checks
    assert (["l"] if expected is False else []) == without_health_check_filter([found])


def test_managers_of_which_one_may_have_the_filter() -> None:
    """One manager without the filter is enough to warn, one that may have it is not."""
    has, may_have, has_not = manager("a", HEALTH_CHECK), manager("b", COMPOSITE), manager("c")

    assert one(filter_chains=[{"filters": [has]}, {"filters": [may_have]}]).fails_health_checks is None
    assert one(filter_chains=[{"filters": [may_have]}, {"filters": [has_not]}]).fails_health_checks is False


def test_manager_that_is_discovered() -> None:
    """An HTTP connection manager by network ECDS has no other protocol, a prefix and filters that are unknown."""
    found = one(filter_chains=[{"filters": [discovered("m", MANAGER)]}])

    assert (("m",), (), False, None) == (
        found.discovered_managers,
        found.prefixes,
        found.other_protocols,
        found.fails_health_checks,
    )


def test_filter_that_may_be_a_manager() -> None:
    """A filter that may be an HTTP connection manager is counted by its connections."""
    found = one(filter_chains=[{"filters": [discovered("m", MANAGER, "Redis")]}])

    assert ((), True) == (found.discovered_managers, found.other_protocols)


def test_manager_in_a_typed_struct() -> None:
    """An HTTP connection manager whose configuration is a TypedStruct is read like any other."""
    fields = {"stat_prefix": "s", "http_filters": [{"name": "h", "typed_config": {"@type": HEALTH_CHECK}}]}
    found = one(filter_chains=[{"filters": [typed_struct(MANAGER, **fields)]}])

    assert (("s",), False, True) == (found.prefixes, found.other_protocols, found.fails_health_checks)


@pytest.mark.parametrize(
    ("host", "direction", "inbound"),
    [
        ("127.0.0.1", "UNSPECIFIED", False),
        ("::1", "UNSPECIFIED", False),
        ("127.0.0.1", "INBOUND", True),
        ("0.0.0.0", "UNSPECIFIED", True),
    ],
)
def test_listener_on_loopback(host: str, direction: str, inbound: bool) -> None:
    """A listener on loopback serves the application, not downstreams, unless it is declared inbound."""
    assert inbound == one(name="postgres", traffic_direction=direction, address=address(host, 5432)).inbound


@pytest.mark.parametrize(
    ("name", "direction", "host", "excluded"),
    [
        ("ready-app", "UNSPECIFIED", "0.0.0.0", False),
        ("egress-gateway", "UNSPECIFIED", "0.0.0.0", False),
        ("admin_portal", "UNSPECIFIED", "0.0.0.0", False),
        ("envoy_ready", "UNSPECIFIED", "0.0.0.0", False),
        ("anything", "INBOUND", "127.0.0.1", False),
        ("anything", "OUTBOUND", "0.0.0.0", True),
        ("anything", "UNSPECIFIED", "127.0.0.1", False),
        ("lds_egress_0.0.0.0_15001", "UNSPECIFIED", "0.0.0.0", True),
        ("envoy_ready_listener", "UNSPECIFIED", "0.0.0.0", True),
        ("envoy_prometheus_metrics_listener", "UNSPECIFIED", "0.0.0.0", True),
        ("kuma:metrics:prometheus", "INBOUND", "0.0.0.0", True),
        ("kuma:dns", "UNSPECIFIED", "127.0.0.1", True),
        ("kuma:envoy:admin", "INBOUND", "10.0.0.1", True),
        # a listener of a MeshGateway whose name is `kuma`
        ("kuma:HTTP:8080", "UNSPECIFIED", "0.0.0.0", False),
        ("_kuma:metrics:prometheus:default-backend", "INBOUND", "0.0.0.0", True),
        ("system_envoy_admin", "INBOUND", "10.0.0.1", True),
        ("system_probe_readiness", "UNSPECIFIED", "10.0.0.1", True),
        ("system_meshmetric_prometheus_default-backend", "INBOUND", "10.0.0.1", True),
        ("system_dynamicconfig", "UNSPECIFIED", "", True),
        ("system_orders", "INBOUND", "10.0.0.1", False),
        ("self_inbound_dp_80", "INBOUND", "10.0.0.1", False),
    ],
)
def test_excluded(name: str, direction: str, host: str, excluded: bool) -> None:
    """Only a declaration excludes a listener: its direction, or a name that only a mesh gives."""
    assert excluded == one(name=name, traffic_direction=direction, address=address(host, 15000)).excluded


def test_counted() -> None:
    """Downstreams may send through what no declaration excludes; if that leaves nothing, through any."""
    out, front = one(name="out", traffic_direction="OUTBOUND"), one(name="front")

    assert [front] == counted([out, front])
    assert [out] == counted([out])
    assert [] == counted([])


DOUBTS: dict[str, tuple[dict[str, Any], str | None]] = {
    "on loopback": ({"address": address("127.0.0.1", 80)}, "it is on loopback"),
    "on IPv6's loopback": ({"address": address("::1", 80)}, "it is on loopback"),
    "on all addresses": ({"address": address("0.0.0.0", 80)}, None),
    "on loopback and another address": (
        {"address": address("127.0.0.1", 80), "additional_addresses": [{"address": address("10.0.0.1", 80)}]},
        None,
    ),
    "on loopback twice": (
        {"address": address("127.0.0.1", 80), "additional_addresses": [{"address": address("::1", 80)}]},
        "it is on loopback",
    ),
    "internal": ({"internal_listener": {}}, "it is internal"),
    "a name": ({"name": "Prometheus-9090", "address": address("0.0.0.0", 80)}, "its name has 'prometheus'"),
    "a prefix": ({"filter_chains": [{"filters": [manager("egress_http")]}]}, "its name has 'egress'"),
    "declared": ({"address": address("127.0.0.1", 80), "traffic_direction": "INBOUND"}, None),
    "excluded": ({"address": address("127.0.0.1", 80), "traffic_direction": "OUTBOUND"}, None),
    "made by a mesh": ({"name": "system_envoy_admin", "address": address("127.0.0.1", 80)}, None),
}


@pytest.mark.parametrize("name", DOUBTS)
def test_doubt(name: str) -> None:
    """A listener without a declaration may be for other traffic by its address or its name."""
    fields, doubt = DOUBTS[name]

    assert doubt == one(**fields).doubt


FILTERING = {"filter_chains": [{"filters": [manager("a", HEALTH_CHECK)]}]}


@pytest.mark.parametrize(
    ("listeners", "alone", "while_more_come"),
    [
        ([], False, False),
        ([one(name="in", traffic_direction="INBOUND")], True, True),
        ([one(name="in")], True, True),
        ([one(name="in")._replace(dynamic=False)], True, False),
        ([one(name="in", **FILTERING)._replace(dynamic=False)], True, True),
        ([one(name="metrics")], True, False),
        ([one(name="metrics", **FILTERING)], True, True),
        ([one(name="out", traffic_direction="OUTBOUND")], True, False),
        ([one(name="kuma:dns", traffic_direction="INBOUND")], True, False),
    ],
)
def test_may_come_in(listeners: list[Listener], alone: bool, while_more_come: bool) -> None:
    """Requests can come in through any listener; where more come by LDS, through one that surely is for them."""
    found = [may_come_in(listeners, more_come=more) for more in (False, True)]

    assert [alone, while_more_come] == found


@pytest.mark.parametrize(
    ("chains", "other_protocols"),
    [
        ([{"filters": [manager("a")]}], False),
        ([{"filters": [{"name": "rbac", "typed_config": {"@type": "RBAC"}}, manager("a")]}], False),
        ([{"filters": [manager("a")]}, {"filters": [PROXY]}], True),
        ([{"filters": [PROXY]}], True),
        ([{"filters": []}], True),
        ([], True),
    ],
)
def test_other_protocols(chains: list[Any], other_protocols: bool) -> None:
    """A filter chain without an HTTP connection manager serves another protocol; so may a listener without chains."""
    assert other_protocols == one(filter_chains=chains).other_protocols


def test_prefix_with_colons() -> None:
    """Envoy writes colons in a prefix as underscores in the names of its statistics."""
    assert ("ready_8080",) == one(filter_chains=[{"filters": [manager("ready:8080")]}]).prefixes


UDP = {"socket_address": {"protocol": "UDP", "address": "0.0.0.0", "port_value": 80}}


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({"address": address("0.0.0.0", 80)}, [("0.0.0.0", 80)]),
        (
            {"address": address("0.0.0.0", 80), "additional_addresses": [{"address": address("::1", 81)}]},
            [("0.0.0.0", 80), ("::1", 81)],
        ),
        ({"address": address("0.0.0.0", 80), "bind_to_port": False}, []),
        ({"address": {"pipe": {"path": "/tmp/x"}}}, []),
        ({"address": UDP}, []),
    ],
)
def test_places(fields: dict[str, Any], places: list[tuple[str, int]]) -> None:
    """A listener has no place to connect to if it is not bound to its port, is on a Unix socket, or is for UDP."""
    assert places == list(one(**fields).places)


UDP_PROXY = "type.googleapis.com/envoy.extensions.filters.udp.udp_proxy.v3.UdpProxyConfig"


def udp_filter(kind: str, prefix: str) -> dict[str, Any]:
    return {"name": "u", "typed_config": {"@type": kind, "stat_prefix": prefix}}


@pytest.mark.parametrize(
    ("fields", "sessions", "uncountable"),
    [
        ({"listener_filters": [udp_filter(UDP_PROXY, "a:b")]}, ("a_b",), False),
        ({"listener_filters": [udp_filter("dns", "a")]}, (), True),
        ({"listener_filters": [udp_filter("dns", "a"), udp_filter(UDP_PROXY, "b")]}, ("b",), True),
        ({}, (), True),
        ({"filter_chains": [{"filters": [manager("quic")]}]}, (), False),
    ],
)
def test_udp(fields: dict[str, Any], sessions: tuple[str, ...], uncountable: bool) -> None:
    """UDP is counted by the sessions of a udp_proxy, HTTP/3 by its requests, and nothing else can be counted."""
    found = one(address=UDP, **fields)

    assert (sessions, uncountable, False) == (found.sessions, bool(found.uncountable), found.other_protocols)


def test_prefix_of_the_admin_api() -> None:
    """Requests that Envoy counts together with its admin API's cannot be counted."""
    assert "stat_prefix is 'admin'" in (one(filter_chains=[{"filters": [manager("admin")]}]).uncountable or "")
    assert one(filter_chains=[{"filters": [manager("admins")]}]).uncountable is None


def test_cheap_fields() -> None:
    """If a listener's details were not read, missing fields prove nothing."""
    dump = json.dumps({"configs": [{"listener": {"name": "l", "address": address("0.0.0.0", 80)}}]}).encode()
    (found,) = parse([dump], detailed=False)

    assert (False, False, None) == (found.detailed, found.other_protocols, found.fails_health_checks)
    assert "its configuration could not be read" == found.uncountable == unread("x").uncountable
    assert ("x", True) == (unread("x").name, unread("x").dynamic)
    assert [] == without_health_check_filter([found])


def test_states() -> None:
    """A listener that Envoy replaces is there in both versions, and one without a configuration is not."""
    states = {"active_state": {"version_info": "2", "listener": {"name": "l"}}, "error_state": {}}
    states["draining_state"] = {"version_info": "1", "listener": {"name": "l", "stat_prefix": "old"}}
    dump = json.dumps({"configs": [{"name": "l", **states}, {"name": "m", "warming_state": {}}]}).encode()

    assert ["_0", "old"] == [
        f"_{each.stat_name}" if each.stat_name == "0" else each.stat_name for each in parse([dump])
    ]
    assert {"l": ("2", "1"), "m": ("",)} == versions(dump)


def test_update_that_only_replaces_filter_chains() -> None:
    """Such an update leaves the version as it is; the moment of the update distinguishes the two."""
    found = [
        versions(b'{"configs":[{"name":"l","active_state":{"version_info":"1","last_updated":"%s"}}]}' % moment)
        for moment in (b"2026-01-01T00:00:00Z", b"2026-01-01T00:00:01Z")
    ]

    assert found[0] != found[1]


def test_versions_of_rejected_listeners() -> None:
    """A dynamic listener that Envoy rejected has an error and no state, and maybe no name: it is not there."""
    dump = (
        b'{"configs":[{"name":"bad","error_state":{"details":"x"}},{"error_state":{}},{"name":"m","active_state":{}}]}'
    )

    assert {"m": ("",)} == versions(dump)


def test_whole_dump() -> None:
    """Static and dynamic listeners in one answer are both read."""
    whole = {
        "static_listeners": [{"listener": {"name": "s"}}],
        "dynamic_listeners": [{"name": "d", "active_state": {"listener": {"name": "d"}}}],
    }
    found = parse([json.dumps({"configs": [whole]}).encode()])

    assert [("s", False), ("d", True)] == [(each.name, each.dynamic) for each in found]


@pytest.mark.parametrize(("drains", "outbound", "named"), [(True, True, ["l"]), (False, True, []), (True, False, [])])
def test_draining_egress(drains: bool, outbound: bool, named: list[str]) -> None:
    """An outbound HTTP listener that drains with the others is named."""
    chain = {"filters": [manager("a")]}
    found = one(filter_chains=[chain])._replace(drains=drains, outbound=outbound)

    assert named == draining_egress([found])
    assert [] == draining_egress([found._replace(prefixes=())])


@pytest.mark.parametrize(
    ("configured", "in_statistics"),
    [("a://b", "a_b"), ("a:/b", "a_b"), ("a:b", "a_b"), ("a:b", "a:b"), ("dot.", "dot"), ("/x/y.sock", "/x/y.sock")],
)
def test_key(configured: str, in_statistics: str) -> None:
    """A name in the configuration and its form in Envoy's statistics have the same key."""
    assert key(configured) == key(in_statistics)


def test_keys_that_differ() -> None:
    """Other characters distinguish names."""
    assert len({"a.b", "ab", "a-b", "a b", "a_b"}) == len({key(each) for each in ("a.b", "ab", "a-b", "a b", "a_b")})


def matching(pattern: str, names: set[str]) -> set[str]:
    return {name for name in names if re.fullmatch(pattern, name)}


def test_expression_for_few() -> None:
    """A few names are matched one by one, with any characters in them."""
    names = {"a.b|c", "a", "x[0]"}
    pattern, group = expression(names, {*names, "aXb"}, 8)

    assert {"a"} == group == matching(pattern, {*names, "aXb"})
    assert (r"^a\.b\|c$", {"a.b|c"}) == expression({"a.b|c"}, set(), 8)


def test_expression_for_a_long_name() -> None:
    """For a name that would make too large an expression, only its end is matched, which is short in bytes."""
    for name in ("x" * 200 + "end", "é" * 100):
        pattern, group = expression({name}, set(), 8)

        assert {name} == group == matching(pattern, {name, "other"})
        assert len(pattern.encode()) < 100


@pytest.mark.parametrize("most", [1, 7, 64, 250])
def test_expressions_for_many(most: int) -> None:
    """Many names are matched in groups by their endings, each group's names exactly, until none is left."""
    among = {*(f"outbound-{n}" for n in range(500)), *(f"{n}.internal" for n in range(50)), "0", "10", "inbound"}
    among |= {f"X{n}" for n in range(50)}
    names = {name for name in among if "1" in name or name == "inbound"}
    left, steps = set(names), 0
    while left:
        pattern, group = expression(left, among, most)
        assert group == matching(pattern, among) or len(left) <= 16
        assert 0 < len(group) <= most
        assert len(pattern) < 100
        left -= group
        steps += 1
    assert steps <= min(len(names), 2 * len(among) / most + 16), "groups are half full at least, except the last names"


@pytest.mark.parametrize("most", [1, 7, 250])
def test_expressions_for_names_that_are_endings_of_others(most: int) -> None:
    """A name that is the ending of other names is matched, too."""
    left = {"x" * length for length in range(1, 51)}
    while left:
        _, group = expression(left, left, most)
        assert group
        left -= group


def test_default_filter_chain() -> None:
    """The default filter chain counts as the others do."""
    assert ("d",) == one(default_filter_chain={"filters": [manager("d")]}).prefixes


@pytest.mark.parametrize(
    ("fields", "in_statistics"),
    [
        ({"address": address("10.0.0.1", 80)}, "10.0.0.1_80"),
        ({"address": address("::", 80)}, "[__]_80"),
        ({"address": address("0:0:0:0:0:0:0:1", 80)}, "[__1]_80"),
        ({"address": address("::ffff:1.2.3.4", 80)}, "[__ffff_1.2.3.4]_80"),
        ({"address": address("fe80::1%eth0", 80)}, "[fe80__1%eth0]_80"),
        ({"address": address("10.0.0.1", 80), "stat_prefix": "mine:1"}, "mine_1"),
        ({"address": {"pipe": {"path": "/tmp/x:y.sock"}}}, "/tmp/x_y.sock"),
        ({"name": "in:0", "internal_listener": {}}, "envoy_internal_in_0"),
        ({"name": "in", "internal_listener": {}, "stat_prefix": "p"}, "p"),
    ],
)
def test_stat_name(fields: dict[str, Any], in_statistics: str) -> None:
    """A listener's statistics are named by its stat_prefix, or by its name if it is internal, or by its address."""
    assert key(in_statistics) == one(**fields).stat_name


def test_no_dump() -> None:
    """An answer that is no dump is an error."""
    with pytest.raises(msgspec.DecodeError):
        parse([b"no such config"])


@pytest.mark.parametrize(
    ("proxy", "drain_type", "cuts"),
    [
        ({"check_drain_close": True}, "DEFAULT", True),
        ({"check_drain_close": True}, "MODIFY_ONLY", False),
        ({"check_drain_close": False}, "DEFAULT", False),
        ({}, "DEFAULT", False),
    ],
)
def test_tcp_that_is_cut(proxy: dict[str, Any], drain_type: str, cuts: bool) -> None:
    """A TCP proxy that looks whether it drains cuts its connections, if its listener drains with the health checks."""
    kind = PROXY["typed_config"] | proxy  # type: ignore[operator]
    chain = {"filters": [{"name": "t", "typed_config": kind}]}

    assert cuts == one(filter_chains=[chain], drain_type=drain_type).cuts_tcp
