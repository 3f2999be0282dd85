"""Which mesh Envoy belongs to, by its own configuration, and what is true in that mesh. Pure: bytes in, facts out.

Each mesh makes downstreams stop sending in its own way. In Kuma the control plane makes Envoy check the admin API's own
`/ready` each second. If that fails, it removes the task from discovery (HDS; pkg/hds in its source, as of 2.14).
Consul's Envoys do not health check. Only discovery makes them stop sending (hashicorp/consul#8304).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple

import msgspec

from task_helper.envoy.listeners import LOOPBACK, Address, Listener
from task_helper.settings import SETTINGS, Settings

# The beginning of a listener's name, before its address. Consul: agent/xds/listeners.go. App Mesh: as the configuration
# dumps of its users show.
_CONSULS: Final = "public_listener:"
_APP_MESHS: Final = ("lds_ingress_", "lds_egress_")

# what to know about a mesh, and which settings would improve the drain there
_HEALTH_SYNC: Final = (
    "downstreams do not health check: they stop sending when ECS stops consul-ecs-health-sync, so no container may"
    " depend on it"
)
_IDLE_CONNECTIONS: Final = "only DRAIN_LISTENERS=graceful closes idle connections of downstreams"
_READY: Final = "the control plane checks Envoy's /ready, and removes the task from discovery within 6 s"
_INTERVAL: Final = "HEALTH_CHECK_INTERVAL=7 is enough, unless a MeshHealthCheck makes downstreams health check too"

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
    """What Envoy's bootstrap configuration shows.

    `open_admin` is the admin API's address if other hosts can reach it, otherwise None. `of_kuma` is whether Kuma's
    agent has started Envoy. `asked_by_control_plane` is whether a control plane makes Envoy check health and report it
    (HDS). `leaves_statistics_out` is whether it has a stats_matcher. `has_lds` is whether discovery delivers listeners.
    """

    open_admin: str | None = None
    of_kuma: bool = False
    asked_by_control_plane: bool = False
    leaves_statistics_out: bool = False
    has_lds: bool = False


class Mesh(NamedTuple):
    """A mesh. `needs_filter` is whether its downstreams stop sending because the task's own listeners fail health
    checks.
    """

    name: Literal["app-mesh", "consul", "kuma"]
    needs_filter: bool = True


def bootstrap(dump: bytes | bytearray) -> Bootstrap:
    """What an answer to `/config_dump?mask=bootstrap…` shows. Raises msgspec.DecodeError if it is not such a dump."""
    for entry in msgspec.json.decode(dump, type=_Dump).configs:
        if entry.bootstrap:
            metadata = entry.bootstrap.node.metadata
            return Bootstrap(
                open_admin=_open(entry.bootstrap.admin.address),
                # only Kuma's agent writes these (pkg/core/xds/metadata.go)
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
    """The mesh that Envoy belongs to; None if nothing shows it."""
    names = [each.name for each in listeners]
    if bootstrap.of_kuma:
        return Mesh("kuma", needs_filter=not bootstrap.asked_by_control_plane)
    if any(name.startswith(_CONSULS) for name in names):
        return Mesh("consul", needs_filter=False)
    if any(name.startswith(_APP_MESHS) for name in names):
        return Mesh("app-mesh")
    return None


def hints(mesh: Mesh, settings: Settings) -> list[str]:
    """What to know about `mesh`, and which settings would improve the drain there."""
    match mesh:
        case Mesh("consul"):
            return [_HEALTH_SYNC] if settings.drain_listeners == "graceful" else [_HEALTH_SYNC, _IDLE_CONNECTIONS]
        case Mesh("kuma", needs_filter=False):
            by_default = f"{settings.plan.health_check_interval:g}" == _DEFAULT_INTERVAL
            return [_READY, _INTERVAL] if settings.plan.drain_timeout == "auto" and by_default else [_READY]
    return []
