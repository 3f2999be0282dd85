"""Recognising the mesh that Envoy belongs to, and what is true there."""

import json
from typing import Any

import msgspec
import pytest

from task_helper.envoy.listeners import Listener, parse
from task_helper.envoy.mesh import Bootstrap, Mesh, bootstrap, hints, recognise
from task_helper.settings import from_env

# what Kuma's agent writes (pkg/xds/bootstrap/testdata of 2.13 and 2.14), as far as it matters
KUMAS_METADATA = {
    "dataplane.admin.address": "127.0.0.1",
    "dataplane.proxyType": "dataplane",
    "features": [],
    "version": {"envoy": {"version": "1.36.4"}, "kumaDp": {"version": "2.14.3"}},
}
HDS = {"api_type": "GRPC"}


def listeners(*names: str) -> list[Listener]:
    return parse([json.dumps({"configs": [{"listener": {"name": name}} for name in names]}).encode()])


def read(**fields: Any) -> Bootstrap:
    return bootstrap(json.dumps({"configs": [{"version_info": ""}, {"bootstrap": fields}]}).encode())


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ({"socket_address": {"address": "127.0.0.1", "port_value": 9901}}, None),
        ({"socket_address": {"address": "127.3.4.5", "port_value": 9901}}, None),
        ({"socket_address": {"address": "::1", "port_value": 9901}}, None),
        ({"socket_address": {"address": "0.0.0.0", "port_value": 9901}}, "0.0.0.0:9901"),
        ({"socket_address": {"address": "10.0.0.7", "port_value": 9901}}, "10.0.0.7:9901"),
        ({"pipe": {"path": "/tmp/admin"}}, None),
    ],
)
def test_open_admin(address: dict[str, Any], found: str | None) -> None:
    """An admin API on anything but loopback or a Unix socket may be reached by other hosts."""
    assert found == read(admin={"address": address}).open_admin


@pytest.mark.parametrize(
    ("fields", "of_kuma", "asked"),
    [
        ({"node": {"metadata": KUMAS_METADATA}, "hds_config": HDS}, True, True),
        ({"node": {"metadata": KUMAS_METADATA}}, True, False),
        ({"node": {"metadata": {"version": {"kumaDp": {}}}}, "hds_config": {}}, True, True),
        ({"node": {"metadata": {"version": None}}}, False, False),
        ({"node": {"metadata": {"namespace": "default", "partition": "default"}}}, False, False),
        ({"hds_config": HDS}, False, True),
        ({}, False, False),
    ],
)
def test_bootstrap(fields: dict[str, Any], of_kuma: bool, asked: bool) -> None:
    """Kuma's agent leaves its mark in the node's metadata; a control plane that asks for health is in hds_config."""
    found = read(**fields)

    assert (of_kuma, asked) == (found.of_kuma, found.asked_by_control_plane)


def test_no_bootstrap() -> None:
    """A dump without the bootstrap shows nothing; another answer than a dump is an error."""
    assert Bootstrap() == bootstrap(b"{}")
    with pytest.raises(msgspec.DecodeError):
        bootstrap(b"<html>")


@pytest.mark.parametrize(
    ("names", "started", "mesh"),
    [
        (["inbound:10.0.0.1:80", "kuma:readiness"], Bootstrap(None, True, True), Mesh("kuma", False)),
        (["self_inbound_dp_80"], Bootstrap(None, True, False), Mesh("kuma", True)),
        (["envoy_ready_listener", "public_listener:10.0.0.1:20000"], Bootstrap(), Mesh("consul", False)),
        (["lds_egress_0.0.0.0_15001", "lds_ingress_0.0.0.0_15000"], Bootstrap(), Mesh("app-mesh", True)),
        (["public_listener"], Bootstrap(), None),
        (["inbound:10.0.0.1:80"], Bootstrap(None, False, True), None),
        ([], Bootstrap(), None),
    ],
)
def test_recognise(names: list[str], started: Bootstrap, mesh: Mesh | None) -> None:
    """A mesh is recognised by what only it writes. Health checks matter if its downstreams check its listeners."""
    assert mesh == recognise(listeners(*names), started)


@pytest.mark.parametrize(
    ("mesh", "environ", "words"),
    [
        (Mesh("consul", False), {}, ["consul-ecs-health-sync", "DRAIN_LISTENERS=graceful"]),
        (Mesh("consul", False), {"DRAIN_LISTENERS": "graceful"}, ["consul-ecs-health-sync"]),
        (Mesh("kuma", False), {}, ["/ready"]),
        (Mesh("kuma", False), {"DRAIN_TIMEOUT": "auto"}, ["/ready", "HEALTH_CHECK_INTERVAL=7"]),
        (Mesh("kuma", False), {"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "7"}, ["/ready"]),
        (Mesh("kuma", True), {"DRAIN_TIMEOUT": "auto"}, []),
        (Mesh("app-mesh"), {}, []),
    ],
)
def test_hints(mesh: Mesh, environ: dict[str, str], words: list[str]) -> None:
    """Hints are true in the mesh, and name only settings that have their default."""
    found = hints(mesh, from_env(environ))

    assert len(words) == len(found)
    assert all(word in hint for word, hint in zip(words, found, strict=True))
