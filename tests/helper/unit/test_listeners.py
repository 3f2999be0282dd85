"""Reading listeners from Envoy's configuration dumps."""

import json
from typing import Any

import msgspec
import pytest

from task_helper.envoy.listeners import Listener, for_downstreams, parse

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
        for_others=False,
        declared_inbound=False,
        drains=True,
        prefixes=("ingress",),
        other_protocols=False,
        fails_health_checks=True,
        stat_name="0.0.0.0_15000",
        place=("0.0.0.0", 15000),
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
    """The traffic direction decides where there is one, the name where there is none."""
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


def test_filter_that_is_discovered() -> None:
    """A filter whose configuration Envoy discovers is known by its name."""
    discovered = {"name": "my_health_check", "config_discovery": {"type_urls": [HEALTH_CHECK]}}
    chain = manager("a")
    chain["typed_config"]["http_filters"] = [discovered]

    assert one(filter_chains=[{"filters": [chain]}]).fails_health_checks


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
    """A listener on loopback serves the application, not downstreams, unless it says that it is inbound."""
    assert inbound == one(name="postgres", traffic_direction=direction, address=address(host, 5432)).inbound


@pytest.mark.parametrize(
    ("name", "direction", "host", "for_others"),
    [
        ("ready-app", "UNSPECIFIED", "0.0.0.0", False),
        ("egress-gateway", "UNSPECIFIED", "0.0.0.0", False),
        ("admin_portal", "UNSPECIFIED", "0.0.0.0", False),
        ("envoy_ready", "UNSPECIFIED", "0.0.0.0", False),
        ("anything", "INBOUND", "127.0.0.1", False),
        ("anything", "OUTBOUND", "0.0.0.0", True),
        ("anything", "UNSPECIFIED", "127.0.0.1", True),
        ("lds_egress_0.0.0.0_15001", "UNSPECIFIED", "0.0.0.0", True),
        ("envoy_ready_listener", "UNSPECIFIED", "0.0.0.0", True),
        ("envoy_prometheus_metrics_listener", "UNSPECIFIED", "0.0.0.0", True),
        ("kuma:metrics:prometheus", "INBOUND", "0.0.0.0", True),
        ("_kuma:metrics:prometheus:default-backend", "INBOUND", "0.0.0.0", True),
        ("system_envoy_admin", "INBOUND", "10.0.0.1", True),
        ("system_probe_readiness", "UNSPECIFIED", "10.0.0.1", True),
        ("system_meshmetric_prometheus_default-backend", "INBOUND", "10.0.0.1", True),
        ("system_dynamicconfig", "UNSPECIFIED", "", True),
        ("system_orders", "INBOUND", "10.0.0.1", False),
        ("self_inbound_dp_80", "INBOUND", "10.0.0.1", False),
    ],
)
def test_for_others(name: str, direction: str, host: str, for_others: bool) -> None:
    """Only what says so, is on loopback, or has a name that only a mesh gives, surely is not for downstreams."""
    assert for_others == one(name=name, traffic_direction=direction, address=address(host, 15000)).for_others


def test_for_downstreams() -> None:
    """Downstreams come in by what is not surely for others; where that leaves nothing, by any."""
    out, front = one(name="out", traffic_direction="OUTBOUND"), one(name="front")

    assert [front] == for_downstreams([out, front])
    assert [out] == for_downstreams([out])
    assert [] == for_downstreams([])


@pytest.mark.parametrize(
    ("chains", "other_protocols"),
    [
        ([{"filters": [manager("a")]}], False),
        ([{"filters": [{"name": "rbac", "typed_config": {"@type": "RBAC"}}, manager("a")]}], False),
        ([{"filters": [manager("a")]}, {"filters": [PROXY]}], True),
        ([{"filters": [PROXY]}], True),
        ([{"filters": []}], False),
        ([], False),
    ],
)
def test_other_protocols(chains: list[Any], other_protocols: bool) -> None:
    """A filter chain without an HTTP connection manager serves another protocol."""
    assert other_protocols == one(filter_chains=chains).other_protocols


def test_filter_of_another_type() -> None:
    """A filter that is configured is known by its type, whatever it is called."""
    chain = manager("a")
    chain["typed_config"]["http_filters"] = [{"name": "my_health_check", "typed_config": {"@type": "Lua"}}]

    assert not one(filter_chains=[{"filters": [chain]}]).fails_health_checks


def test_prefix_with_colons() -> None:
    """Envoy writes colons in a prefix as underscores in the names of its statistics."""
    assert ("ready_8080",) == one(filter_chains=[{"filters": [manager("ready:8080")]}]).prefixes


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"address": address("0.0.0.0", 80)}, ("0.0.0.0", 80)),
        ({"address": address("0.0.0.0", 80), "bind_to_port": False}, None),
        ({"address": {"pipe": {"path": "/tmp/x"}}}, None),
    ],
)
def test_place(fields: dict[str, Any], place: tuple[str, int] | None) -> None:
    """Nobody connects to a listener that is not bound to its port, nor over TCP to one on a Unix socket."""
    assert place == one(**fields).place


def test_default_filter_chain() -> None:
    """The default filter chain counts as the others do."""
    assert ("d",) == one(default_filter_chain={"filters": [manager("d")]}).prefixes


@pytest.mark.parametrize(
    ("fields", "stat_name"),
    [
        ({"address": address("10.0.0.1", 80)}, "10.0.0.1_80"),
        ({"address": address("::", 80)}, "[__]_80"),
        ({"address": address("10.0.0.1", 80), "stat_prefix": "mine:1"}, "mine_1"),
        ({"address": {"pipe": {"path": "/tmp/x:y.sock"}}}, "/tmp/x_y.sock"),
    ],
)
def test_stat_name(fields: dict[str, Any], stat_name: str) -> None:
    """A listener's statistics go by its address, colons replaced, or by its own prefix."""
    assert stat_name == one(**fields).stat_name


def test_listener_that_is_not_in_use() -> None:
    """A listener that is still warming, or in error, is passed over."""
    assert [] == parse(
        [b'{"configs":[{"name":"l","warming_state":{"listener":{}}},{"name":"x","error_state":{}}]}', b"{}"]
    )


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
