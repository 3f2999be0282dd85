"""How Envoys of downstreams react to updates and health checks, as docs/use/meshes states: tested with a real one."""

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.parts import envoy_process as real
from lab.parts import processes
from lab.parts.processes import free_address, wait_for

SERVICE = "service"
CHECKED = {
    "health_checks": [
        {
            "interval": "0.2s",
            "no_traffic_interval": "0.2s",
            "timeout": "60s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "http_health_check": {"path": real.HEALTH_PATH},
        }
    ]
}
# far more requests than a downstream needs to reach all of its hosts
SOME = 12


class Host(ThreadingHTTPServer):
    """A task that answers with its address, and fails its health checks if not `well`; `connections` are open ones."""

    daemon_threads = True

    def __init__(self) -> None:
        self.address = free_address()
        self.well = True
        self.connections = 0
        self.checked = 0
        self.counting = threading.Lock()
        super().__init__((self.address, real.INBOUND_PORT), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Host

    def do_GET(self) -> None:
        check = self.path == real.HEALTH_PATH
        self.server.checked += check
        self.send_response(503 if check and not self.server.well else 200)
        self.send_header("x-host", self.server.address)
        self.send_header("content-length", "0")
        self.end_headers()

    def handle(self) -> None:
        with self.server.counting:
            self.server.connections += 1
        try:
            super().handle()
        except ConnectionError:
            pass
        finally:
            with self.server.counting:
                self.server.connections -= 1

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hosts() -> Iterator[list[Host]]:
    """Three tasks."""
    started = [Host() for _ in range(3)]
    threads = [threading.Thread(target=host.serve_forever, args=(0.01,)) for host in started]
    for thread in threads:
        thread.start()
    yield started
    for host, thread in zip(started, threads, strict=True):
        host.shutdown()
        host.server_close()
        thread.join()


class Downstream:
    """An Envoy with one cluster, EDS from a file, and one listener that sends all to it."""

    def __init__(self, folder: Path, fields: dict[str, Any]) -> None:
        self.address = free_address()
        self.options = real.EnvoyOptions(self.address, (self.address, 1))
        self._endpoints = folder / "endpoints.json"
        source = {"path_config_source": {"path": str(self._endpoints)}, "resource_api_version": "V3"}
        eds = {"type": "EDS", "eds_cluster_config": {"service_name": SERVICE, "eds_config": source}}
        cluster = {"name": SERVICE, "connect_timeout": "1s", **eds, **fields}
        to_all = {"match": {"prefix": "/"}, "route": {"cluster": SERVICE, "timeout": "10s"}}
        manager = real.http_manager("out", [to_all], [], "AUTO")
        listener = real.listener("out", (self.address, real.EGRESS_PORT), manager)
        self.configuration = real.bootstrap(self.address, [listener], [cluster])

    def push(self, hosts: dict[str, str]) -> None:
        """Publish these hosts, by address, each with its health status; the file is moved into place."""
        endpoints = [
            {"health_status": status, "endpoint": {"address": {"socket_address": place(address)}}}
            for address, status in hosts.items()
        ]
        kind = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
        assignment = {"@type": kind, "cluster_name": SERVICE, "endpoints": [{"lb_endpoints": endpoints}]}
        draft = self._endpoints.with_suffix(".draft")
        draft.write_text(json.dumps({"version_info": str(hosts), "resources": [assignment]}))
        os.replace(draft, self._endpoints)

    def push_and_wait(self, hosts: dict[str, str]) -> None:
        """Publish these hosts, and wait until Envoy has applied them."""
        before = self.statistic("update_success")
        self.push(hosts)
        wait_for(lambda: None if self.statistic("update_success") > before else "the update has not been taken")

    def statistic(self, name: str) -> int:
        text = real.ask_admin(self.options, "GET", f"/stats?filter=^cluster.{SERVICE}.{name}$")[1]
        return int(text.rpartition(": ")[2] or 0)

    def answers(self) -> set[str]:
        """The addresses that answer some requests, or the status with which Envoy itself answers."""
        connection = http.client.HTTPConnection(self.address, real.EGRESS_PORT, timeout=30)
        found: set[str] = set()
        try:
            for _ in range(SOME):
                connection.request("GET", "/")
                answer = connection.getresponse()
                answer.read()
                found.add(answer.headers["x-host"] or str(answer.status))
        finally:
            connection.close()
        return found


def place(address: str) -> dict[str, Any]:
    return {"address": address, "port_value": real.INBOUND_PORT}


@contextmanager
def calling(folder: Path, hosts: list[Host], fields: dict[str, Any]) -> Iterator[Downstream]:
    """A downstream whose cluster has these `fields`, and that sends to all of `hosts`."""
    downstream = Downstream(folder, fields)
    downstream.push({host.address: "HEALTHY" for host in hosts})
    process = processes.start(real.command(downstream.configuration, folder / "envoy.json"), folder / "envoy.log")
    try:
        wait_for(until(downstream, {host.address for host in hosts}))
        yield downstream
    finally:
        processes.kill_group(process)
        process.wait()


def until(downstream: Downstream, expected: set[str]) -> Callable[[], str | None]:
    """None if exactly these answer."""

    def differ() -> str | None:
        try:
            answering = downstream.answers()
        except OSError as error:
            return repr(error)
        return None if answering == expected else f"{answering} answer, not {expected}"

    return differ


def all_but(hosts: list[Host], left: Host, status: str = "") -> dict[str, str]:
    """The hosts without the `left` one, or with that one in the given status."""
    kept = {host.address: "HEALTHY" for host in hosts if host is not left}
    return kept | ({left.address: status} if status else {})


def test_removed_host_that_passes_its_checks_is_kept(hosts: list[Host], tmp_path: Path) -> None:
    """A host that EDS leaves out still gets requests while it passes its checks, and none after they fail."""
    left = hosts[0]
    with calling(tmp_path, hosts, CHECKED) as downstream:
        downstream.push_and_wait(all_but(hosts, left))
        checked = left.checked
        wait_for(lambda: None if left.checked > checked + 2 else "it was not checked since")
        assert left.address in downstream.answers()

        left.well = False
        wait_for(until(downstream, {host.address for host in hosts[1:]}))


def test_removed_host_is_left_where_its_health_is_ignored(hosts: list[Host], tmp_path: Path) -> None:
    """With ignore_health_on_host_removal the push alone stops the downstream, though the host passes its checks."""
    with calling(tmp_path, hosts, {**CHECKED, "ignore_health_on_host_removal": True}) as downstream:
        downstream.push_and_wait(all_but(hosts, hosts[0]))

        wait_for(until(downstream, {host.address for host in hosts[1:]}))
        assert hosts[0].well


def test_removed_host_without_checks_is_left_and_its_connections_closed(hosts: list[Host], tmp_path: Path) -> None:
    """Without health checks a host that EDS leaves out gets no requests, and its idle connections are closed."""
    left = hosts[0]
    with calling(tmp_path, hosts, {}) as downstream:
        assert left.connections
        downstream.push_and_wait(all_but(hosts, left))

        wait_for(until(downstream, {host.address for host in hosts[1:]}))
        wait_for(lambda: f"{left.connections} are open" if left.connections else None)


@pytest.mark.parametrize("status", ["DRAINING", "UNHEALTHY"])
def test_host_that_eds_calls_draining_gets_nothing_new_and_keeps_its_connections(
    status: str, hosts: list[Host], tmp_path: Path
) -> None:
    """After a health status in EDS the downstream sends no new requests; its connections stay open."""
    left = hosts[0]
    with calling(tmp_path, hosts, {}) as downstream:
        open_before = left.connections
        downstream.push_and_wait(all_but(hosts, left, status))

        wait_for(until(downstream, {host.address for host in hosts[1:]}))
        assert left.connections == open_before > 0


@pytest.mark.parametrize("status, panics", [("DRAINING", False), ("UNHEALTHY", True)])
def test_draining_hosts_do_not_count_for_the_panic_threshold(
    status: str, panics: bool, hosts: list[Host], tmp_path: Path
) -> None:
    """With two of three unhealthy the downstream sends to all three; with two of three draining, to the third alone."""
    with calling(tmp_path, hosts, {}) as downstream:
        downstream.push_and_wait({hosts[0].address: "HEALTHY", hosts[1].address: status, hosts[2].address: status})

        wait_for(until(downstream, {host.address for host in (hosts if panics else hosts[:1])}))


def test_without_panic_requests_fail_where_all_hosts_fail(hosts: list[Host], tmp_path: Path) -> None:
    """With a panic threshold of 0, requests fail if all hosts of a downstream fail their checks, though all serve."""
    with calling(
        tmp_path, hosts, {**CHECKED, "common_lb_config": {"healthy_panic_threshold": {"value": 0}}}
    ) as downstream:
        for host in hosts:
            host.well = False

        wait_for(until(downstream, {"503"}))
