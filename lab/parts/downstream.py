"""The downstream: a real Envoy that finds the tasks as their mesh has it, and never retries."""

import asyncio
import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp

from lab.parts.envoy_process import (
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
from lab.parts.history import Recorder

# a request with this header leaves over a connection of its own
NEW_CONNECTION_HEADER = "x-new-connection"
# headers of each answer: the host and the number of the connection to it, also for failures: the record names them
ANSWER_HEADERS = {"x-host": "%UPSTREAM_HOST%", "x-connection": "%UPSTREAM_CONNECTION_ID%"}
SERVICE, _NEW = "service", "service-new-connections"


def configuration(address: str, protocol: Protocol, finding: Json) -> Json:
    """The bootstrap configuration: two clusters of the same tasks, with persistent and with new connections.

    finding: how they find the tasks, and whether they check them: fields of a cluster
    """
    persistent = _cluster(SERVICE, finding)
    if protocol == "tcp":
        # A listener that drains refuses connections until the checks have noticed. To connect elsewhere then is no
        # retry of a request, and the rule for TCP: App Mesh's own default.
        return _passing_on(address, persistent, connect_attempts=5)
    if protocol != "http1":
        persistent |= HTTP2_UPSTREAM
    common = protocol_options(
        {
            "common_http_protocol_options": {"max_requests_per_connection": 1},
            "explicit_http_config": {"http_protocol_options" if protocol == "http1" else "http2_protocol_options": {}},
        }
    )
    clusters = [persistent, _cluster(_NEW, finding) | common]
    return bootstrap(address, [http_listener(address, SERVICE, _NEW)], clusters)


def http_listener(address: str, persistent: str, new: str) -> Json:
    """The listener that clients reach; of the two clusters `new` makes a connection for each request.

    They may come later, and until then requests are answered with 503.
    """
    routes = [_route(new, [{"name": NEW_CONNECTION_HEADER, "present_match": True}]), _route(persistent, [])]
    manager = http_manager("downstream", routes, [], "AUTO")
    manager["typed_config"]["route_config"]["validate_clusters"] = False
    return listener("downstream", (address, INBOUND_PORT), manager)


def passing_on(address: str, finding: Json) -> Json:
    """The bootstrap configuration of one that looks at no request: it passes on connections, each tried once."""
    return _passing_on(address, _cluster(SERVICE, finding), connect_attempts=1)


def _passing_on(address: str, cluster: Json, connect_attempts: int) -> Json:
    proxy = tcp_proxy("downstream", SERVICE, connect_attempts)
    return bootstrap(address, [listener("downstream", (address, INBOUND_PORT), proxy)], [cluster])


def _route(cluster: str, headers: list[Json]) -> Json:
    return {
        "match": {"prefix": "/", "headers": headers},
        "route": {"cluster": cluster, "timeout": "0s"},
        "response_headers_to_add": [{"header": {"key": key, "value": value}} for key, value in ANSWER_HEADERS.items()],
    }


def _cluster(name: str, finding: Json) -> Json:
    return {"name": name, "connect_timeout": "1s", **finding}


def by_file(endpoints: Path) -> Json:
    """A cluster whose tasks are those that are published in that file."""
    source = {"path_config_source": {"path": str(endpoints)}, "resource_api_version": "V3"}
    return {"type": "EDS", "eds_cluster_config": {"service_name": SERVICE, "eds_config": source}}


def active_checks(protocol: Protocol, interval: float) -> Json:
    """A cluster that health checks its tasks at this interval, in seconds."""
    kinds: dict[str, Json] = {
        "http1": {"http_health_check": {"path": HEALTH_PATH}},
        "http2": {"http_health_check": {"path": HEALTH_PATH, "codec_client_type": "HTTP2"}},
        "grpc": {"grpc_health_check": {}},
        "tcp": {"tcp_health_check": {}},
    }
    check = {
        "interval": f"{interval}s",
        "no_traffic_interval": f"{interval}s",
        "timeout": "2s",
        "unhealthy_threshold": 2,
        "healthy_threshold": 2,
        **kinds[protocol],
    }
    return {"health_checks": [check]}


def panicking_below(percent: float | None) -> Json:
    """A cluster that sends to all of its tasks where fewer are healthy; None: Envoy's own, 50."""
    return {} if percent is None else {"common_lb_config": {"healthy_panic_threshold": {"value": percent}}}


def publish(endpoints: Path, healthy: Mapping[str, bool]) -> None:
    """Give the downstream these addresses, and whether each is healthy.

    It watches the file for being moved into place.
    """
    hosts = [
        {
            "endpoint": {"address": {"socket_address": {"address": address, "port_value": INBOUND_PORT}}},
            **({} if well else {"health_status": "UNHEALTHY"}),
        }
        for address, well in healthy.items()
    ]
    kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
    assignment = {"@type": kind, "cluster_name": SERVICE, "endpoints": [{"lb_endpoints": hosts}]}
    draft = endpoints.with_suffix(".draft")
    draft.write_text(json.dumps({"version_info": "", "resources": [assignment]}))
    os.replace(draft, endpoints)


class View:
    """What the downstream makes of each task: `serving`, `failed`, or not there at all; by address.

    address, socket: where its admin API is; on the address, unless a Unix socket is given
    """

    def __init__(self, address: str, record: Recorder, socket: Path | None = None) -> None:
        self.hosts: dict[str, str] = {}
        self._socket = socket
        self._url = f"http://{address}:{ADMIN_PORT}/clusters?format=json"
        self._record = record

    async def watch(self, names: dict[str, str]) -> None:
        """Runs until it is cancelled; `names` gives the task of an address. Changes go into the record."""
        timeout = aiohttp.ClientTimeout(total=5)
        connector = aiohttp.UnixConnector(str(self._socket)) if self._socket else None
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            while True:
                # not up yet, or slow: the next look shows it
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(self._url) as answer:
                        self._note(hosts_of(await answer.json(content_type=None)), names)
                await asyncio.sleep(0.25)

    def _note(self, hosts: dict[str, str], names: dict[str, str]) -> None:
        for address in self.hosts.keys() | hosts.keys():
            now = hosts.get(address, "gone")
            if now != self.hosts.get(address, "gone"):
                self._record.event("downstream", now, names.get(address, address))
        self.hosts = hosts


def hosts_of(clusters: Any) -> dict[str, str]:
    """`serving` or `failed`, by address, of what `/clusters?format=json` says."""
    found: dict[str, str] = {}
    for each in clusters["cluster_statuses"]:
        # after a dot Consul's names have the trust domain
        if each["name"].partition(".")[0] == SERVICE:
            for host in each.get("host_statuses", []):
                health = host["health_status"]
                failed = health.get("failed_active_health_check") or health.get("eds_health_status") == "UNHEALTHY"
                found[host["address"]["socket_address"]["address"]] = "failed" if failed else "serving"
    return found
