"""Reading listeners from Envoy's configuration dumps."""

import json
from typing import Any

import msgspec
import pytest

from task_helper.listeners import Listener, open_admin, parse

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
HEALTH_CHECK = "type.googleapis.com/envoy.extensions.filters.http.health_check.v3.HealthCheck"


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

    assert Listener("lds_ingress_0.0.0.0_15000", True, False, True, ("ingress",), True, "0.0.0.0_15000") == found


@pytest.mark.parametrize(
    ("name", "direction", "inbound", "outbound"),
    [
        ("anything", "INBOUND", True, False),
        ("egress", "INBOUND", True, True),
        ("ingress", "OUTBOUND", False, True),
        ("listener_0", "UNSPECIFIED", True, False),
        ("lds_egress_0.0.0.0_15001", "UNSPECIFIED", False, True),
        ("prometheus", "UNSPECIFIED", False, False),
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


def test_default_filter_chain() -> None:
    """The default filter chain counts as the others do."""
    assert ("d",) == one(default_filter_chain={"filters": [manager("d")]}).prefixes


@pytest.mark.parametrize(
    ("fields", "stat_name"),
    [
        ({"address": address("10.0.0.1", 80)}, "10.0.0.1_80"),
        ({"address": address("::", 80)}, "[__]_80"),
        ({"address": address("10.0.0.1", 80), "stat_prefix": "mine"}, "mine"),
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
    ("host", "found"),
    [
        ("127.0.0.1", None),
        ("127.3.4.5", None),
        ("::1", None),
        ("0.0.0.0", "0.0.0.0:9901"),
        ("10.0.0.7", "10.0.0.7:9901"),
    ],
)
def test_open_admin(host: str, found: str | None) -> None:
    """An admin API on anything but loopback may be reached by other hosts."""
    dump = {"configs": [{"bootstrap": {"admin": {"address": address(host, 9901)}}}, {"version_info": ""}]}

    assert found == open_admin(json.dumps(dump).encode())


def test_admin_on_a_unix_socket() -> None:
    """A Unix socket is open to nobody else."""
    assert open_admin(b'{"configs":[{"bootstrap":{"admin":{"address":{"pipe":{"path":"/tmp/admin"}}}}}]}') is None
