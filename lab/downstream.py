"""The downstream: a real Envoy that learns of the tasks from a file, health checks them, and never retries."""

import asyncio
import contextlib
import json
import os
from pathlib import Path
from typing import Any

import aiohttp

from lab.envoy import (
    ADMIN_PORT,
    HEALTH_PATH,
    HTTP2_UPSTREAM,
    INBOUND_PORT,
    Json,
    Protocol,
    bootstrap,
    http_manager,
    listener,
    protocol_options,
    tcp_proxy,
)
from lab.history import Recorder

# a request with this header leaves over a connection of its own
NEW_CONNECTION_HEADER = "x-new-connection"
_PERSISTENT, _NEW = "service", "service-new-connections"


def configuration(
    address: str, endpoints: Path, protocol: Protocol, check_interval: float, panic_threshold: float | None = None
) -> Json:
    """The bootstrap configuration: two clusters of the same tasks, with persistent and with new connections.

    panic_threshold: percent of healthy tasks below which all of them get requests; Envoy's own is 50
    """
    persistent = _cluster(_PERSISTENT, endpoints, protocol, check_interval, panic_threshold)
    if protocol == "tcp":
        # A listener that drains refuses connections until the checks have noticed. To connect elsewhere then is no
        # retry of a request, and the rule for TCP: App Mesh's own default.
        proxy = tcp_proxy("downstream", _PERSISTENT, connect_attempts=5)
        return bootstrap(address, [listener("downstream", (address, INBOUND_PORT), proxy)], [persistent])
    if protocol != "http1":
        persistent |= HTTP2_UPSTREAM
    common = protocol_options(
        {
            "common_http_protocol_options": {"max_requests_per_connection": 1},
            "explicit_http_config": {"http_protocol_options" if protocol == "http1" else "http2_protocol_options": {}},
        }
    )
    routes = [_route(_NEW, [{"name": NEW_CONNECTION_HEADER, "present_match": True}]), _route(_PERSISTENT, [])]
    manager = http_manager("downstream", routes, [], "AUTO")
    clusters = [persistent, _cluster(_NEW, endpoints, protocol, check_interval, panic_threshold) | common]
    config = bootstrap(address, [listener("downstream", (address, INBOUND_PORT), manager)], clusters)
    return config


def _route(cluster: str, headers: list[Json]) -> Json:
    # the host and the number of the connection to it, also for failures: the record names them
    told = {"x-host": "%UPSTREAM_HOST%", "x-connection": "%UPSTREAM_CONNECTION_ID%"}
    return {
        "match": {"prefix": "/", "headers": headers},
        "route": {"cluster": cluster, "timeout": "0s"},
        "response_headers_to_add": [{"header": {"key": key, "value": value}} for key, value in told.items()],
    }


def _cluster(
    name: str, endpoints: Path, protocol: Protocol, check_interval: float, panic_threshold: float | None
) -> Json:
    kinds: dict[str, Json] = {
        "http1": {"http_health_check": {"path": HEALTH_PATH}},
        "http2": {"http_health_check": {"path": HEALTH_PATH, "codec_client_type": "HTTP2"}},
        "grpc": {"grpc_health_check": {}},
        "tcp": {"tcp_health_check": {}},
    }
    check = {
        "interval": f"{check_interval}s",
        "no_traffic_interval": f"{check_interval}s",
        "timeout": "2s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 2,
        **kinds[protocol],
    }
    source = {"path_config_source": {"path": str(endpoints)}, "resource_api_version": "V3"}
    return {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"service_name": _PERSISTENT, "eds_config": source},
        "connect_timeout": "1s",
        "health_checks": [check],
        **(
            {}
            if panic_threshold is None
            else {"common_lb_config": {"healthy_panic_threshold": {"value": panic_threshold}}}
        ),
    }


def publish(endpoints: Path, addresses: list[str]) -> None:
    """Tell the downstream these addresses. It watches the file for being moved into place."""
    hosts = [
        {"endpoint": {"address": {"socket_address": {"address": address, "port_value": INBOUND_PORT}}}}
        for address in addresses
    ]
    kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    assignment = {"@type": kind, "cluster_name": _PERSISTENT, "endpoints": [{"lb_endpoints": hosts}]}
    draft = endpoints.with_suffix(".draft")
    draft.write_text(json.dumps({"version_info": "", "resources": [assignment]}))
    os.replace(draft, endpoints)


class View:
    """What the downstream makes of each task: `serving`, `failed`, or not there at all; by address."""

    def __init__(self, address: str, record: Recorder) -> None:
        self.hosts: dict[str, str] = {}
        self._url = f"http://{address}:{ADMIN_PORT}/clusters?format=json"
        self._record = record

    async def watch(self, names: dict[str, str]) -> None:
        """Runs until it is cancelled; `names` gives the task of an address. Changes go into the record."""
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                # not up yet, or slow: the next look tells
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(self._url) as answer:
                        self._note(_hosts(await answer.json(content_type=None)), names)
                await asyncio.sleep(0.25)

    def _note(self, hosts: dict[str, str], names: dict[str, str]) -> None:
        for address in self.hosts.keys() | hosts.keys():
            now = hosts.get(address, "gone")
            if now != self.hosts.get(address, "gone"):
                self._record.event("downstream", now, names.get(address, address))
        self.hosts = hosts


def _hosts(clusters: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for each in clusters["cluster_statuses"]:
        if each["name"] == _PERSISTENT:
            for host in each.get("host_statuses", []):
                health = host["health_status"]
                failed = health.get("failed_active_health_check", False)
                found[host["address"]["socket_address"]["address"]] = "failed" if failed else "serving"
    return found
