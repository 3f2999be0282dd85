"""What callers' Envoys do with what they are told, as docs/use/meshes says, held to a real one."""

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
            "timeout": "2s",
            "unhealthy_threshold": 1,
            "healthy_threshold": 1,
            "http_health_check": {"path": real.HEALTH_PATH},
        }
    ]
}
# far more than any of these callers spreads over its hosts in turn
SOME = 12


class Host(ThreadingHTTPServer):
    """A task that answers with its address, and fails its health checks when told; `connections` are the open ones."""

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


class Caller:
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

    def tell(self, hosts: dict[str, str]) -> None:
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

    def told(self, hosts: dict[str, str]) -> None:
        """Publish, and wait until Envoy has taken it."""
        before = self.statistic("update_success")
        self.tell(hosts)
        wait_for(lambda: None if self.statistic("update_success") > before else "the update has not been taken")

    def statistic(self, name: str) -> int:
        text = real.ask_admin(self.options, "GET", f"/stats?filter=^cluster.{SERVICE}.{name}$")[1]
        return int(text.rpartition(": ")[2] or 0)

    def answers(self) -> set[str]:
        """Who answers some requests: addresses, and the status where Envoy itself says that nobody does."""
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
def calling(folder: Path, hosts: list[Host], fields: dict[str, Any]) -> Iterator[Caller]:
    """A caller whose cluster has these `fields`, and that sends to all of `hosts`."""
    caller = Caller(folder, fields)
    caller.tell({host.address: "HEALTHY" for host in hosts})
    process = processes.start(real.command(caller.configuration, folder / "envoy.json"), folder / "envoy.log")
    try:
        wait_for(until(caller, {host.address for host in hosts}))
        yield caller
    finally:
        processes.kill_group(process.pid)
        process.wait()


def until(caller: Caller, expected: set[str]) -> Callable[[], str | None]:
    """None once just these answer."""

    def differ() -> str | None:
        try:
            answering = caller.answers()
        except OSError as error:
            return repr(error)
        return None if answering == expected else f"{answering} answer, not {expected}"

    return differ


def all_but(hosts: list[Host], gone: Host, status: str = "") -> dict[str, str]:
    """The hosts without `gone`, or with it in that status."""
    kept = {host.address: "HEALTHY" for host in hosts if host is not gone}
    return kept | ({gone.address: status} if status else {})


def test_removed_host_that_passes_its_checks_is_kept(hosts: list[Host], tmp_path: Path) -> None:
    """Left out of EDS, but well, a host still gets requests; as soon as its checks fail it gets none."""
    gone = hosts[0]
    with calling(tmp_path, hosts, CHECKED) as caller:
        caller.told(all_but(hosts, gone))
        checked = gone.checked
        wait_for(lambda: None if gone.checked > checked + 2 else "it was not checked since")
        assert gone.address in caller.answers()

        gone.well = False
        wait_for(until(caller, {host.address for host in hosts[1:]}))


def test_removed_host_is_left_where_its_health_is_ignored(hosts: list[Host], tmp_path: Path) -> None:
    """With ignore_health_on_host_removal the push alone moves the caller, though the host passes its checks."""
    with calling(tmp_path, hosts, {**CHECKED, "ignore_health_on_host_removal": True}) as caller:
        caller.told(all_but(hosts, hosts[0]))

        wait_for(until(caller, {host.address for host in hosts[1:]}))
        assert hosts[0].well


def test_removed_host_that_nobody_checks_is_left_and_its_connections_closed(hosts: list[Host], tmp_path: Path) -> None:
    """Without health checks a host that is left out gets nothing, and what was idle to it is closed."""
    gone = hosts[0]
    with calling(tmp_path, hosts, {}) as caller:
        assert gone.connections
        caller.told(all_but(hosts, gone))

        wait_for(until(caller, {host.address for host in hosts[1:]}))
        wait_for(lambda: f"{gone.connections} are open" if gone.connections else None)


@pytest.mark.parametrize("status", ["DRAINING", "UNHEALTHY"])
def test_host_that_eds_calls_draining_gets_nothing_new_and_keeps_its_connections(
    status: str, hosts: list[Host], tmp_path: Path
) -> None:
    """A health status in EDS moves the caller by itself, and closes nothing."""
    gone = hosts[0]
    with calling(tmp_path, hosts, {}) as caller:
        open_before = gone.connections
        caller.told(all_but(hosts, gone, status))

        wait_for(until(caller, {host.address for host in hosts[1:]}))
        assert gone.connections == open_before > 0


@pytest.mark.parametrize("status, panics", [("DRAINING", False), ("UNHEALTHY", True)])
def test_draining_hosts_do_not_count_for_the_panic_threshold(
    status: str, panics: bool, hosts: list[Host], tmp_path: Path
) -> None:
    """Two of three unhealthy: the caller sends to all of them; two of three draining: to the third alone."""
    with calling(tmp_path, hosts, {}) as caller:
        caller.told({hosts[0].address: "HEALTHY", hosts[1].address: status, hosts[2].address: status})

        wait_for(until(caller, {host.address for host in (hosts if panics else hosts[:1])}))


def test_without_panic_requests_fail_where_all_hosts_fail(hosts: list[Host], tmp_path: Path) -> None:
    """With a panic threshold of 0 a caller whose hosts all fail their checks has nobody, though all would serve."""
    with calling(tmp_path, hosts, {**CHECKED, "common_lb_config": {"healthy_panic_threshold": {"value": 0}}}) as caller:
        for host in hosts:
            host.well = False

        wait_for(until(caller, {"503"}))
