"""In-memory fakes of the servers that the helper calls.

Each fake keeps state and a journal, and refuses unknown calls. `tests/helper/contract` compares FakeEnvoy with the real
one.
"""

import asyncio
import json
from datetime import datetime, timezone
from typing import Any

from task_helper.http import Response
from task_helper.settings import Url

# how a fake server reacts to a call: "fine" answers; a number is its status; the others are ways not to answer
Mood = str | int

ENVOY = Url("http", "127.0.0.1", 9901)
APPLICATION = Url("http", "127.0.0.1", 8080, "/health")
METADATA = "http://169.254.170.2/v4/helper"
# each container has an endpoint of its own; this is that of the first helper in a chain
METADATA_OF_FIRST = "http://169.254.170.2/v4/first"

# the containers beside the helper, and when it came up
CONTAINERS = ("app", "envoy")
SINCE = datetime(2020, 1, 1, tzinfo=timezone.utc)


class Server:
    """A fake server with a mood; `takes` is how long each answer takes, in seconds."""

    def __init__(self) -> None:
        self.mood: Mood = "fine"
        self.takes = 0.0
        # every call, and when it came
        self.calls: list[tuple[float, str, str]] = []

    async def request(self, method: str, target: str) -> Response:
        self.calls.append((round(asyncio.get_running_loop().time(), 3), method, target))
        await asyncio.sleep(self.takes)
        match self.mood:
            case "fine":
                return self.answer(method, target)
            case int(status):
                return Response(status, b"")
            case "refuses":
                raise ConnectionRefusedError("Connection refused")
            case "resets":
                raise ConnectionResetError("Connection reset by peer")
            case "hangs":
                await asyncio.sleep(3600)
            case "babbles":
                return Response(200, b"<html>")
            case "breaks":
                raise RuntimeError("an error of the helper's own")
        raise AssertionError(f"unknown mood {self.mood!r}")

    def answer(self, method: str, target: str) -> Response:
        raise NotImplementedError


class FakeEnvoy(Server):
    """An Envoy with one inbound listener, and the traffic that a test gives it."""

    def __init__(
        self, *, health_check_filter: bool = True, egress: str | None = None, admin: str = "127.0.0.1"
    ) -> None:
        super().__init__()
        self.state = "LIVE"
        self.health_check_filter = health_check_filter
        self.egress = egress
        self.admin = admin
        # what it was started with: Kuma's agent adds to the first, its control plane's health checks are in the second
        self.metadata: dict[str, Any] = {}
        self.hds_config: dict[str, Any] | None = None
        self.version = "1.40.0"
        self.drain_time = 600
        # whether another Envoy had its task before
        self.hot_restarted = False
        # whether it has a static listener for scrapes
        self.has_metrics = False
        self.listener_name = "inbound"
        self.check_drain_close = False
        self.in_flight = 0
        self.completed = 0
        self.failed = 0
        # bytes of responses that it still buffers, and how often an update replaced a listener
        self.unsent = 0
        self.modified = 0
        # health checks that came, and idle connections of downstreams
        self.checks = 0
        self.idle_connections = 0
        # since when its health checks fail, if they do, and when it started, by the event loop's clock
        self.draining_since = 0.0
        self.started = -100.0
        # open connections of a second inbound listener, a TCP proxy that a control plane brings; None without one
        self.connections: int | None = None
        # connections that this listener had and has no more, and requests answered through no known listener
        self.past_connections = 0
        self.strays = 0
        # whether the first two come from a control plane as well, and have come
        self.by_lds, self.has_listeners = False, True
        self.direction = self.tcp_direction = "INBOUND"
        # whether connections to its listeners are accepted, as `Network.accepts` reports; None where they hang
        self.accepts: bool | None = True
        # targets that this Envoy does not know, and that it does not allow; statistics that it leaves out
        self.unknown: set[str] = set()
        self.denied: set[str] = set()
        self.left_out: set[str] = set()
        # whether it stays DRAINING, or LIVE, after any call
        self.stubborn = False
        self.deaf = False

    @property
    def journal(self) -> list[tuple[float, str]]:
        """The calls that change something, and when they came."""
        return [(moment, target) for moment, method, target in self.calls if method == "POST"]

    def restart(self) -> None:
        self.state = "LIVE"
        self.started = asyncio.get_running_loop().time()
        self.completed = self.failed = self.in_flight = self.checks = self.idle_connections = 0

    def answer(self, method: str, target: str) -> Response:
        match method, target.partition("?")[0]:
            case _, path if path in self.unknown:
                return Response(404, b"invalid path. ")
            case _, path if path in self.denied:
                return Response(403, f"request to path {path} not allowed".encode())
            case "GET", "/server_info":
                uptime = int(asyncio.get_running_loop().time() - self.started)
                about = {"uptime_current_epoch": f"{uptime}s", "version": f"abc/{self.version}/Clean/RELEASE/BoringSSL"}
                options = {"drain_time": f"{self.drain_time}s", "restart_epoch": int(self.hot_restarted)}
                return _json({"state": self.state, **about, "command_line_options": options})
            case "GET", "/ready":
                return Response(200 if self.state == "LIVE" else 503, f"{self.state}\n".encode())
            case "POST", "/healthcheck/fail":
                if self.state == "LIVE":
                    self.draining_since = asyncio.get_running_loop().time()
                self.state = "LIVE" if self.deaf else "DRAINING"
                return Response(200, b"OK\n")
            case "POST", "/healthcheck/ok":
                self.state = "DRAINING" if self.stubborn else "LIVE"
                return Response(200, b"OK\n")
            case "POST", "/drain_listeners":
                return Response(200, b"OK\n")
            case "GET", "/config_dump":
                return _json(self._config_dump(target))
            case "GET", "/stats":
                return _json({"stats": self._stats_of(target)})
            case "GET", "/healthcheck/fail":
                return Response(405, b"Method Not Allowed")
        return Response(404, b"invalid path. ")

    def _listeners(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The static and the dynamic ones."""
        filters = [_typed("filters.http.health_check.v3.HealthCheck")] if self.health_check_filter else []
        listeners = [_listener(self.listener_name, self.direction, "ingress", filters, "DEFAULT")]
        if self.egress:
            listeners.append(_listener("egress", "OUTBOUND", "egress", [], self.egress))
        dynamic = [] if self.connections is None else [_tcp_listener("tcp", self.tcp_direction, self.check_drain_close)]
        if self.by_lds:
            listeners, dynamic = [], [*listeners, *dynamic] if self.has_listeners else []
        if self.has_metrics:
            listeners.append(_listener("prometheus", "UNSPECIFIED", "scrapes", [], "DEFAULT"))
        return listeners, dynamic

    def _config_dump(self, target: str) -> dict[str, Any]:
        listeners, dynamic = self._listeners()
        # an update of filter chains alone leaves the version as it is
        state = {"version_info": "1", "last_updated": f"2026-01-01T00:00:{self.modified:02}Z"}
        match target.partition("?")[2].partition("&mask=")[0]:
            case "resource=static_listeners":
                return {"configs": [{"listener": each} for each in listeners]}
            case "resource=dynamic_listeners":
                return {"configs": [{"name": e["name"], "active_state": state | {"listener": e}} for e in dynamic]}
            case query if query.startswith("mask=bootstrap.admin,"):
                address = {"socket_address": {"address": self.admin, "port_value": 9901}}
                bootstrap: dict[str, Any] = {"admin": {"address": address}, "node": {"metadata": self.metadata}}
                if self.hds_config is not None:
                    bootstrap["hds_config"] = self.hds_config
                if self.by_lds:
                    bootstrap["dynamic_resources"] = {"lds_config": {"resource_api_version": "V3"}}
                if self.left_out:
                    bootstrap["stats_config"] = {"stats_matcher": {}}
                return {"configs": [{"bootstrap": bootstrap}, {}]}
        raise AssertionError(f"unknown dump {target}")

    def _stats_of(self, target: str) -> list[dict[str, Any]]:
        """`usedonly` leaves out what is zero, and gauges that another Envoy handed over in a hot restart."""

        def is_gauge(name: str) -> bool:
            return name.endswith(("_active", "_buffered", "_draining"))

        stats = [
            each for each in self._stats() if f"&type={'Gauges' if is_gauge(each['name']) else 'Counters'}" in target
        ]
        stats = stats if "&type=" in target else self._stats()
        if "&usedonly" in target:
            stats = [e for e in stats if e["value"] != 0 and not (self.hot_restarted and is_gauge(e["name"]))]
        return stats

    def _stats(self) -> list[dict[str, Any]]:
        total: Any = self.completed  # a test may have Envoy answer what is no number
        if isinstance(total, int):
            total += self.in_flight + self.checks
        stats: dict[str, Any] = {
            "http.admin.downstream_cx_active": 1,
            "http.admin.downstream_rq_active": 1,
            "http.admin.downstream_rq_total": 101,
            "http.admin.downstream_rq_completed": 100,
            "http.ingress.downstream_cx_active": self.idle_connections,
            "http.ingress.downstream_cx_total": total,
            "http.ingress.downstream_rq_5xx": self.failed,
            "http.ingress.downstream_rq_active": self.in_flight,
            "http.ingress.downstream_rq_total": total,
            "http.ingress.downstream_rq_completed": self.completed,
            "http.ingress.downstream_cx_tx_bytes_buffered": self.unsent,
            "http.ingress.downstream_cx_http3_active": 0,
            "http.ingress.tracing.health_check": self.checks,
            "listener.127.0.0.1_15000.downstream_cx_active": self.idle_connections,
            "listener.127.0.0.1_15000.downstream_cx_total": total,
            "listener.127.0.0.1_15006.downstream_cx_active": self.connections or 0,
            "listener.127.0.0.1_15006.downstream_cx_total": (self.connections or 0) + self.past_connections,
            "listener.127.0.0.1_15006.worker_0.downstream_cx_active": self.connections or 0,
            "listener.127.0.0.1_15006.worker_0.downstream_cx_total": self.connections or 0,
            "listener.127.0.0.1_15006.downstream_pre_cx_active": 0,
            "listener.admin.downstream_cx_active": 1,
            "listener.admin.main_thread.downstream_cx_active": 1,
            "listener_manager.listener_added": sum(map(len, self._listeners())),
            "listener_manager.listener_modified": self.modified,
            "listener_manager.listener_removed": 0,
            "listener_manager.total_filter_chains_draining": 0,
        }
        if self.egress:
            stats |= {f"http.egress.downstream_rq_{kind}": 0 for kind in ("active", "total", "completed")}
        if self.strays:
            stats |= {f"http.stray.downstream_rq_{kind}": self.strays for kind in ("total", "completed")}
        return [{"name": name, "value": value} for name, value in stats.items() if name not in self.left_out]


class FakeApplication(Server):
    def answer(self, method: str, target: str) -> Response:
        assert (method, target) == ("GET", APPLICATION.path)
        return Response(200, b"")


class FakeMetadata(Server):
    """The task metadata endpoint of a task with an application, an Envoy and the helper."""

    def __init__(self) -> None:
        super().__init__()
        self.restart_count = 0
        self.name = "helper"
        # what ECS wants of the task
        self.desired = "RUNNING"
        # the status of this helper's own container, as another container of the task sees it
        self.helper_status = "RUNNING"
        self.helper_exit_code: int | None = None
        self.containers: dict[str, dict[str, Any]] = {}
        for name in CONTAINERS:
            self.run(name)

    def run(self, container: str) -> None:
        """The task has this container, too."""
        self.containers[container] = {"Name": container, "Type": "NORMAL", "KnownStatus": "RUNNING"}

    def stop(self, container: str, exit_code: int | None = None) -> None:
        """The container stops, as the task does, and is not restarted."""
        stopped = {"DesiredStatus": "STOPPED", "KnownStatus": "STOPPED", "FinishedAt": "2020-01-02T00:00:00.5Z"}
        self.containers[container] |= stopped | ({} if exit_code is None else {"ExitCode": exit_code})

    def answer(self, method: str, target: str) -> Response:
        helper: dict[str, Any] = {"Name": self.name, "Type": "NORMAL", "KnownStatus": self.helper_status}
        helper["DesiredStatus"] = self.desired
        helper |= {"RestartCount": self.restart_count, "ExitCode": self.helper_exit_code}
        match method, target:
            case "GET", "/v4/helper":
                return _json(helper)
            case "GET", "/v4/first":
                return _json(self.containers["first"])
            case "GET", "/v4/helper/task" | "/v4/first/task":
                containers = [helper, *self.containers.values()]
                return _json({"Containers": containers, "Family": "orders", "DesiredStatus": self.desired})
        return Response(404, b"")


class Network:
    """All of them behind one function, as `task_helper.http.request` is."""

    def __init__(self, envoy: FakeEnvoy, application: FakeApplication, metadata: FakeMetadata) -> None:
        self._envoy = envoy
        self._servers: dict[int, Server] = {9901: envoy, 8080: application, 80: metadata}

    async def request(self, method: str, url: Url, target: str) -> Response:
        return await self._servers[url.port].request(method, target)

    async def accepts(self, host: str, port: int) -> bool:
        assert ("127.0.0.1", 15000) == (host, port)
        if self._envoy.accepts is None:
            await asyncio.sleep(3600)
        return self._envoy.accepts is True


def _json(content: object) -> Response:
    return Response(200, json.dumps(content).encode())


def _typed(kind: str, **fields: object) -> dict[str, Any]:
    return {"name": kind, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **fields}}


def _tcp_listener(name: str, direction: str, check_drain_close: bool) -> dict[str, Any]:
    more = {"check_drain_close": True} if check_drain_close else {}
    proxy = _typed("filters.network.tcp_proxy.v3.TcpProxy", stat_prefix=name, **more)
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 15006}},
        "filter_chains": [{"filters": [proxy]}],
        "traffic_direction": direction,
    }


def _listener(name: str, direction: str, prefix: str, http_filters: list[Any], drain_type: str) -> dict[str, Any]:
    manager = _typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=prefix,
        http_filters=http_filters,
    )
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 15001 if name == "egress" else 15000}},
        "filter_chains": [{"filters": [manager]}],
        "drain_type": drain_type,
        "traffic_direction": direction,
    }
