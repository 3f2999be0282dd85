"""Envoy's own configuration, where it stands in the task definition: `--config-yaml`, as YAML or JSON.

Only what the helper's work depends on is read. What has another shape than Envoy's is left out: Envoy refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, NamedTuple

from task_helper_taskdef.formats import json_text, yaml_text
from task_helper_taskdef.formats.tree import NotATaskDefinition

HEALTH_CHECK_FILTER: Final = "envoy.filters.http.health_check"
# a cluster whose hosts are whatever a name resolves to, in its older and its newer form
_STRICT_DNS: Final = "STRICT_DNS"
_DNS_CLUSTER: Final = "envoy.clusters.dns"


class Listener(NamedTuple):
    """`clusters` are those that it sends to, as far as its routes are in it."""

    name: str
    outbound: bool
    http: bool
    health_check_filter: bool
    modify_only: bool
    clusters: frozenset[str]


class Cluster(NamedTuple):
    name: str
    by_dns: bool
    checked: bool


class Bootstrap(NamedTuple):
    """An Envoy's configuration; `dynamic` where a control plane or a file adds to it."""

    dynamic: bool
    admin: tuple[int | None, str]
    listeners: tuple[Listener, ...]
    clusters: tuple[Cluster, ...]

    @property
    def upstreams(self) -> list[Cluster]:
        """The clusters found by DNS that the application calls: those that an outbound listener sends to."""
        wanted = frozenset().union(*(listener.clusters for listener in self.listeners if listener.outbound))
        return [cluster for cluster in self.clusters if cluster.by_dns and cluster.name in wanted]


def read_bootstrap(words: list[str]) -> Bootstrap | None:
    """The configuration in Envoy's command line; None where it is elsewhere, or cannot be read."""
    texts = [following for word, following in pairwise(words) if word == "--config-yaml"]
    texts += [word.partition("=")[2] for word in words if word.startswith("--config-yaml=")]
    return _read(str(texts[-1])) if texts else None


@lru_cache(maxsize=64)
def _read(text: str) -> Bootstrap | None:
    document = _parsed(text)
    if not isinstance(document, dict):
        return None
    static = document.get("static_resources")
    return Bootstrap(
        "dynamic_resources" in document or not isinstance(static, dict),
        _admin(document),
        tuple(_listener(each) for each in _objects(_under(static, "listeners"))),
        tuple(_cluster(each) for each in _objects(_under(static, "clusters"))),
    )


def _parsed(text: str) -> Any:
    """The value of JSON, and of YAML where PyYAML is there to read it; else None."""
    for format_ in (json_text, yaml_text):
        with suppress(NotATaskDefinition):
            return format_.parse(text).value
    return None


def _admin(document: dict[str, Any]) -> tuple[int | None, str]:
    """The port and the socket of the admin API, None and empty where they are not there."""
    port = _under(document, "admin", "address", "socket_address", "port_value")
    path = _under(document, "admin", "address", "pipe", "path")
    return (int(port) if re.fullmatch("[1-9][0-9]{0,4}", str(port)) else None), path if isinstance(path, str) else ""


def _listener(listener: dict[str, Any]) -> Listener:
    direction = listener.get("traffic_direction")
    host = str(_under(listener, "address", "socket_address", "address"))
    filters = {str(name) for name in _all(listener, "name")}
    return Listener(
        str(listener.get("name", "")),
        direction == "OUTBOUND" or (direction is None and host in ("127.0.0.1", "::1", "localhost")),
        "http_filters" in _keys(listener),
        HEALTH_CHECK_FILTER in filters,
        listener.get("drain_type") == "MODIFY_ONLY",
        frozenset(name for name in _all(listener, "cluster") if isinstance(name, str)),
    )


def _cluster(cluster: dict[str, Any]) -> Cluster:
    by_dns = cluster.get("type") == _STRICT_DNS or _under(cluster, "cluster_type", "name") == _DNS_CLUSTER
    return Cluster(str(cluster.get("name", "")), by_dns, bool(cluster.get("health_checks")))


def _under(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Each key and its value, at every depth."""
    if isinstance(value, dict):
        yield from value.items()
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(item)


def _all(value: Any, key: str) -> list[Any]:
    return [item for name, item in _walk(value) if name == key]


def _keys(value: Any) -> set[str]:
    return {name for name, _ in _walk(value)}
