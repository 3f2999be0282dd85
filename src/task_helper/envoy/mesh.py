"""Which mesh Envoy belongs to, by its own configuration, and what is true there. Pure: bytes in, facts out.

What moves downstreams is the mesh's business. On Kuma the control plane has Envoy ask the admin API's own `/ready` each
second and takes the task out of discovery when that fails (HDS; pkg/hds in its source, as of 2.14). Consul's Envoys
check nothing, and learn of a stop by discovery alone (hashicorp/consul#8304).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from task_helper.envoy.listeners import LOOPBACK, Address, Listener
from task_helper.settings import SETTINGS, Settings

# What stands at the beginning of a listener's name, with its address behind it: Consul's agent/xds/listeners.go,
# and App Mesh's own, as its users' configuration dumps have it.
_CONSULS: Final = "public_listener:"
_APP_MESHS: Final = ("lds_ingress_", "lds_egress_")

_DEFAULT_INTERVAL: Final = {each.name: each.default for each in SETTINGS}["HEALTH_CHECK_INTERVAL"]


class _Admin(msgspec.Struct):
    address: Address = msgspec.field(default_factory=Address)


class _Node(msgspec.Struct):
    metadata: Mapping[str, Any] = {}


class _Bootstrap(msgspec.Struct):
    admin: _Admin = msgspec.field(default_factory=_Admin)
    node: _Node = msgspec.field(default_factory=_Node)
    hds_config: Mapping[str, Any] | None = None
    stats_config: Mapping[str, Any] = {}
    dynamic_resources: Mapping[str, Any] = {}


class _Entry(msgspec.Struct):
    bootstrap: _Bootstrap | None = None


class _Dump(msgspec.Struct):
    configs: list[_Entry] = []


class Bootstrap(NamedTuple):
    """What Envoy was started with.

    `open_admin` is the admin API's address where other hosts can reach it, else None; `of_kuma` whether Kuma's agent
    has started it; `asked_by_control_plane` whether a control plane has it check health and report (HDS);
    `leaves_statistics_out` whether it has a stats_matcher; `has_lds` whether listeners come by discovery.
    """

    open_admin: str | None = None
    of_kuma: bool = False
    asked_by_control_plane: bool = False
    leaves_statistics_out: bool = False
    has_lds: bool = False


class Mesh(NamedTuple):
    """A mesh; `needs_filter` says whether health checks that the task's own listeners answer move its downstreams."""

    name: Literal["app-mesh", "consul", "kuma"]
    needs_filter: bool = True


def bootstrap(dump: bytes | bytearray) -> Bootstrap:
    """What is in an answer to `/config_dump?mask=bootstrap…`; raises msgspec.DecodeError where it is no such dump."""
    for entry in msgspec.json.decode(dump, type=_Dump).configs:
        if entry.bootstrap:
            metadata = entry.bootstrap.node.metadata
            return Bootstrap(
                open_admin=_open(entry.bootstrap.admin.address),
                # only its agent writes these (pkg/core/xds/metadata.go)
                of_kuma="dataplane.proxyType" in metadata or "kumaDp" in (metadata.get("version") or ()),
                asked_by_control_plane=entry.bootstrap.hds_config is not None,
                leaves_statistics_out="stats_matcher" in entry.bootstrap.stats_config,
                has_lds="lds_config" in entry.bootstrap.dynamic_resources,
            )
    return Bootstrap()


def _open(admin: Address) -> str | None:
    address = admin.socket_address
    if address.address and not address.address.startswith("127.") and address.address not in LOOPBACK:
        return f"{address.address}:{address.port_value}"
    return None


def recognise(listeners: Iterable[Listener], bootstrap: Bootstrap) -> Mesh | None:
    """The mesh that Envoy belongs to; None where nothing says so."""
    names = [each.name for each in listeners]
    if bootstrap.of_kuma:
        return Mesh("kuma", needs_filter=not bootstrap.asked_by_control_plane)
    if any(name.startswith(_CONSULS) for name in names):
        return Mesh("consul", needs_filter=False)
    if any(name.startswith(_APP_MESHS) for name in names):
        return Mesh("app-mesh")
    return None


def hints(mesh: Mesh, settings: Settings) -> list[str]:
    """What these settings leave to be had in `mesh`, or what has to be known there."""
    match mesh:
        case Mesh("consul"):
            told = ["peers check nothing: the stop of consul-ecs-health-sync tells them, which nobody may hold up"]
            if settings.drain_listeners != "graceful":
                told.append("only DRAIN_LISTENERS=graceful closes their idle connections")
            return told
        case Mesh("kuma", needs_filter=False):
            told = ["the control plane asks /ready, and has taken the task out of discovery within 6 s"]
            if (
                settings.plan.drain_timeout == "auto"
                and f"{settings.plan.health_check_interval:g}" == _DEFAULT_INTERVAL
            ):
                told.append("HEALTH_CHECK_INTERVAL=7 is enough where no MeshHealthCheck has peers check as well")
            return told
    return []
