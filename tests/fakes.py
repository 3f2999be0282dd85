"""What the helper talks to, in memory. They behave: each keeps state and a journal, and refuses what it does not know.

`tests/contract` holds FakeEnvoy to the real one.
"""

import asyncio
import json
from typing import Any

from task_helper.http import Response
from task_helper.settings import Url

# how a peer takes a call: "fine" answers; a number is the status it answers with; the others are the ways not to answer
Mood = str | int

ENVOY = Url("http", "127.0.0.1", 9901)
APPLICATION = Url("http", "127.0.0.1", 8080, "/health")
METADATA = "http://169.254.170.2/v4/helper"


class Peer:
    """Something that can be called, in its mood of the moment; `takes` is how long each answer takes, in seconds."""

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


class FakeEnvoy(Peer):
    """An Envoy with one inbound listener, and the traffic that a test gives it."""

    def __init__(
        self, *, health_check_filter: bool = True, egress: str | None = None, admin: str = "127.0.0.1"
    ) -> None:
        super().__init__()
        self.state = "LIVE"
        self.health_check_filter = health_check_filter
        self.egress = egress
        self.admin = admin
        self.in_flight = 0
        self.completed = 0
        # targets that this Envoy does not know; whether it stays DRAINING, or LIVE, whatever it is told
        self.unknown: set[str] = set()
        self.stubborn = False
        self.deaf = False

    @property
    def journal(self) -> list[tuple[float, str]]:
        """The calls that change something, and when they came."""
        return [(moment, target) for moment, method, target in self.calls if method == "POST"]

    def restart(self) -> None:
        self.state = "LIVE"
        self.completed = self.in_flight = 0

    def answer(self, method: str, target: str) -> Response:
        match method, target.partition("?")[0]:
            case _, path if path in self.unknown:
                return Response(404, b"invalid path. ")
            case "GET", "/server_info":
                return _json({"version": "fake/1.40.0/Clean/RELEASE/BoringSSL", "state": self.state})
            case "POST", "/healthcheck/fail":
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
                return _json({"stats": self._stats()})
            case "GET", "/healthcheck/fail":
                return Response(405, b"Method Not Allowed")
        return Response(404, b"invalid path. ")

    def _config_dump(self, target: str) -> dict[str, Any]:
        match target.partition("?")[2]:
            case "resource=static_listeners":
                filters = [_typed("filters.http.health_check.v3.HealthCheck")] if self.health_check_filter else []
                listeners = [_listener("inbound", "INBOUND", "ingress", filters, "DEFAULT")]
                if self.egress:
                    listeners.append(_listener("egress", "OUTBOUND", "egress", [], self.egress))
                return {"configs": [{"listener": listener} for listener in listeners]}
            case "resource=dynamic_listeners":
                return {}
            case "mask=bootstrap.admin":
                address = {"socket_address": {"address": self.admin, "port_value": 9901}}
                return {"configs": [{"bootstrap": {"admin": {"address": address}}}]}
        raise AssertionError(f"unknown dump {target}")

    def _stats(self) -> list[dict[str, Any]]:
        return [
            {"name": "http.admin.downstream_rq_active", "value": 1},
            {"name": "http.admin.downstream_rq_completed", "value": 100},
            {"name": "http.ingress.downstream_rq_active", "value": self.in_flight},
            {"name": "http.ingress.downstream_rq_completed", "value": self.completed},
            {"name": "listener.127.0.0.1_15000.downstream_cx_active", "value": 1},
        ]


class FakeApplication(Peer):
    def answer(self, method: str, target: str) -> Response:
        assert (method, target) == ("GET", APPLICATION.path)
        return Response(200, b"")


class FakeMetadata(Peer):
    """The task metadata endpoint of a task with an application, an Envoy and the helper."""

    def __init__(self) -> None:
        super().__init__()
        self.restart_count = 0
        self.execution_stopped_at: str | None = None
        self.application: dict[str, Any] = {"Name": "app", "Type": "NORMAL", "KnownStatus": "RUNNING"}
        self.envoy: dict[str, Any] = {"Name": "envoy", "Type": "NORMAL", "KnownStatus": "RUNNING"}

    def answer(self, method: str, target: str) -> Response:
        helper = {"Name": "helper", "Type": "NORMAL", "KnownStatus": "RUNNING", "RestartCount": self.restart_count}
        match method, target:
            case "GET", "/v4/helper":
                return _json(helper)
            case "GET", "/v4/helper/task":
                task: dict[str, Any] = {"Containers": [helper, self.application, self.envoy], "Family": "orders"}
                if self.execution_stopped_at:
                    task["ExecutionStoppedAt"] = self.execution_stopped_at
                return _json(task)
        return Response(404, b"")


class Network:
    """All of them behind one function, as `task_helper.http.request` is."""

    def __init__(self, envoy: FakeEnvoy, application: FakeApplication, metadata: FakeMetadata) -> None:
        self._peers: dict[int, Peer] = {9901: envoy, 8080: application, 80: metadata}

    async def request(self, method: str, url: Url, target: str) -> Response:
        return await self._peers[url.port].request(method, target)


def _json(content: object) -> Response:
    return Response(200, json.dumps(content).encode())


def _typed(kind: str, **fields: object) -> dict[str, Any]:
    return {"name": kind, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **fields}}


def _listener(name: str, direction: str, prefix: str, http_filters: list[Any], drain_type: str) -> dict[str, Any]:
    manager = _typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix=prefix,
        http_filters=http_filters,
    )
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 15000}},
        "filter_chains": [{"filters": [manager]}],
        "drain_type": drain_type,
        "traffic_direction": direction,
    }
