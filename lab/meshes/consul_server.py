"""Consul itself: a server, and in each task what HashiCorp's Terraform module has there: `consul-ecs mesh-init`, which
registers the task, `consul-ecs envoy-entrypoint`, which runs Envoy by `consul-dataplane` and lets it go when the
application has gone, and `consul-ecs health-sync`. The downstream has a consul-dataplane of its own.

Used for the meshes "consul" and "consul-held" where CONSUL names the program; CONSUL_DATAPLANE and CONSUL_ECS name the
others, else they are looked for beside it.
"""

import asyncio
import json
import os
import secrets
import shlex
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from lab.ecs.behaviour import AgentTimes, Condition
from lab.ecs.scheduler import ContainerSpec
from lab.meshes import control_plane, health_sync
from lab.meshes.consul import PORT, STOP_TIMEOUT, Consul
from lab.meshes.mesh import Surroundings
from lab.parts import downstream, envoy_process, processes
from lab.parts.downstream import SERVICE
from lab.parts.envoy_process import ADMIN_PORT, APPLICATION_PORT, INBOUND_PORT, EnvoyOptions, Json, Protocol
from lab.parts.history import Recorder
from lab.parts.probes import answers
from lab.scenarios.scenario import Column, Scenario

# as Consul calls them
PROTOCOLS: Mapping[Protocol, str] = {"http1": "http", "http2": "http2"}
GRPC_PORT = 8502
METADATA = "ECS_CONTAINER_METADATA_URI_V4"
MESH_INIT = "consul-ecs-mesh-init"
# the tasks once more, for requests that get a connection of their own
NEW = "new-connections"
# Consul's listeners for these two, which nobody calls
UNUSED_PORTS = {SERVICE: 15010, f"{SERVICE}-{NEW}": 15011}


def program(name: str) -> Path:
    """Where `consul`, `consul-dataplane` or `consul-ecs` is. Raises FileNotFoundError where it is not."""
    return control_plane.program(name, "consul")


class ConsulServer(Consul):
    """The settings are those of its imitation. Consul's own times have no setting, and are not scaled."""

    envoy_container = "consul-dataplane"
    envoy_depends_on: Mapping[str, Condition] = {MESH_INIT: "SUCCESS"}

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        new_connections = any(stream.new_connections for stream in scenario.streams)
        if scenario.protocol not in PROTOCOLS or (scenario.protocol == "http2" and new_connections):
            raise ValueError(f"{scenario.name}: Consul is given HTTP/1.1, and HTTP/2 without connections of their own")
        self._work = Path(tempfile.gettempdir(), f"lab-{secrets.token_hex(4)}")
        self._metadata: dict[str, str] = {}
        self._url = f"http://{self._address}:{PORT}"

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        says = {"consul": "version", "consul-dataplane": "--version", "consul-ecs": "version"}
        return {name: control_plane.version([str(program(name)), option]) for name, option in says.items()}

    def agent(self) -> AgentTimes:
        # In the second that health-sync takes, which is not scaled, ECS may hear that a new task is HEALTHY and stop
        # an old one, before Consul knows the new one. That is to be as rare as it is in real time.
        return replace(super().agent(), health=AgentTimes().health)

    # a task

    def options(self, options: EnvoyOptions) -> EnvoyOptions:
        return options

    def containers(self, id: str, address: str, metadata: str) -> list[ContainerSpec]:
        folder = self._work / id
        folder.mkdir()
        self._metadata[id] = f"{metadata}/{self.envoy_container}"
        ecs_config = json.dumps(self._ecs_config(address, folder))

        def container(name: str, command: str, depends_on: Mapping[str, Condition]) -> ContainerSpec:
            return ContainerSpec(
                name,
                [str(program("consul-ecs")), command],
                {**os.environ, METADATA: f"{metadata}/{name}", "CONSUL_ECS_CONFIG_JSON": ecs_config},
                depends_on,
                essential=False,
                stop_timeout=STOP_TIMEOUT * self.scenario.times.scale,
            )

        return [
            container(MESH_INIT, "mesh-init", {}),
            container(health_sync.CONTAINER, "health-sync", {MESH_INIT: "SUCCESS"}),
        ]

    def envoy(self, id: str, options: EnvoyOptions) -> list[str]:
        # which mesh-init has written
        config = self._work / id / "consul-dataplane.json"
        dataplane = self._dataplane(config, options.address, options.admin_port, options.drain_time)
        entrypoint = [str(program("consul-ecs")), "envoy-entrypoint"]
        # it gives its program a process group of its own, which the kernel is to end as all others
        return ["env", f"{METADATA}={self._metadata[id]}", *entrypoint, *processes.bound(dataplane)]

    def _ecs_config(self, address: str, folder: Path) -> Json:
        """The settings of the containers of consul-ecs: config/schema.json in its source."""
        proxy = {
            "publicListenerPort": INBOUND_PORT,
            "localServiceAddress": address,
            # on 127.0.0.1, which all tasks have in common here
            "healthCheckPort": processes.free_port(),
            # else requests are cut after 15 s
            "config": {"bind_address": address, "local_request_timeout_ms": 0},
        }
        return {
            "bootstrapDir": str(folder),
            "logLevel": "INFO",
            "healthSyncContainers": [self.followed()],
            "service": {"name": SERVICE, "port": APPLICATION_PORT},
            "proxy": proxy,
            "consulServers": {
                "hosts": self._address,
                "defaults": {"tls": False},
                "grpc": {"port": GRPC_PORT},
                "http": {"port": PORT, "https": False},
            },
            # each task has an address of its own, and needs no redirection
            "transparentProxy": {"enabled": False},
        }

    # the downstream

    def downstream(self, address: str) -> list[str]:
        for registration in registrations(address, self._trust_domain()):
            health_sync.put(f"{self._url}/v1/catalog/register", registration)
        config = self.folder / "downstream-dataplane.json"
        config.write_text(json.dumps(dataplane(self._address), indent=1))
        return self._dataplane(config, address, ADMIN_PORT, None)

    def _trust_domain(self) -> str:
        return str(health_sync.fetch(f"{self._url}/v1/connect/ca/roots")["TrustDomain"])

    def _dataplane(self, config: Path, address: str, admin_port: int, drain_time: int | None) -> list[str]:
        """The command of a consul-dataplane, which runs its Envoy; its own servers are on this address."""
        settings = {
            "DP_ENVOY_EXECUTABLE_PATH": str(self._work / "envoy"),
            "DP_ENVOY_CONCURRENCY": "1",
            "DP_ENVOY_ADMIN_BIND_ADDRESS": address,
            "DP_ENVOY_ADMIN_BIND_PORT": str(admin_port),
            "DP_GRACEFUL_ADDR": address,
            **({} if drain_time is None else {"DP_ENVOY_DRAIN_TIME": str(drain_time)}),
        }
        environ = [f"{key}={value}" for key, value in settings.items()]
        return ["env", *environ, str(program("consul-dataplane")), "-config-file", str(config)]

    # the server

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._work.mkdir(mode=0o700)
        self._write_envoy()
        settings = self.folder / "consul.json"
        settings.write_text(json.dumps(server(self._address), indent=1))
        # -dev: one server, in memory
        command = [str(program("consul")), "agent", "-dev", "-config-file", str(settings)]
        self._server = control_plane.Server(command, self.folder / "consul.log")
        try:
            # it has a leader and a certificate authority then
            await self._server.until(lambda: answers(f"{self._url}/v1/connect/ca/roots"))
            for entry in config_entries(PROTOCOLS[self.scenario.protocol]):
                health_sync.put(f"{self._url}/v1/config", entry)
            yield
        finally:
            self._server.stop()
            shutil.rmtree(self._work, ignore_errors=True)

    def _write_envoy(self) -> None:
        """What consul-dataplane runs: it gives Envoy a process group of its own, too."""
        script = self._work / "envoy"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(processes.bound([envoy_process.binary()]))} "$@"\n')
        script.chmod(0o700)

    async def follow(self, around: Surroundings) -> None:
        # the downstream learns of the tasks from the server; here the record does
        async with asyncio.TaskGroup() as group:
            group.create_task(self._server.watch())
            group.create_task(self._follow_catalog())

    async def _follow_catalog(self) -> None:
        """What the catalog says of each task; it answers each change at once (blocking queries)."""
        timeout, index = aiohttp.ClientTimeout(total=30), "0"
        known: dict[str, str] = {}
        async with aiohttp.ClientSession(self._url, timeout=timeout) as session:
            while True:
                query = {"index": index, "wait": "10s"}
                async with session.get(f"/v1/health/service/{SERVICE}", params=query) as answer:
                    index = answer.headers["X-Consul-Index"]
                    now = statuses(await answer.json())
                for task in known.keys() | now.keys():
                    if now.get(task) != known.get(task):
                        self.record.event("discovery", now.get(task, "deregistered"), task)
                known = now


class ConsulServerHeld(ConsulServer):
    """The wrong wiring: the helper holds health-sync up, so that peers hear of the stop when the drain is over."""

    held = (health_sync.CONTAINER,)


def server(address: str) -> Json:
    """The server's settings: all on one loopback address, and it asks nobody for newer versions."""
    return {
        "bind_addr": address,
        "client_addr": address,
        "ports": {"grpc": GRPC_PORT, "http": PORT, "dns": -1},
        "disable_update_check": True,
        "log_level": "INFO",
        "ui_config": {"enabled": False},
    }


def config_entries(protocol: str) -> list[Json]:
    """What Consul gets, in this order: the protocol, and the service once more for connections of their own.

    A subset of all its instances has a cluster of its own, a name that leads there makes it one for itself, and so the
    patch finds it. The application speaks HTTP/1.1 whatever its Envoy does.
    """
    new = f"{SERVICE}-{NEW}"
    one_request_each = _patch("outbound", "add", "/max_requests_per_connection/value", 1, Services=[{"Name": new}])
    http1_inside = _patch("inbound", "remove", "/typed_extension_protocol_options")
    of_service = {"EnvoyExtensions": [_extension(http1_inside)]} if protocol == "http2" else {}
    defaults = {"Kind": "service-defaults", "Protocol": protocol}
    return [
        {**defaults, "Name": SERVICE, **of_service},
        {**defaults, "Name": new},
        {**defaults, "Name": "downstream", "EnvoyExtensions": [_extension(one_request_each)]},
        {"Kind": "service-resolver", "Name": SERVICE, "Subsets": {NEW: {"Filter": ""}}},
        {"Kind": "service-resolver", "Name": new, "Redirect": {"Service": SERVICE, "ServiceSubset": NEW}},
    ]


def _patch(direction: str, operation: str, path: str, value: int | None = None, **chosen: Any) -> Json:
    """A change of the clusters for what goes in this direction, `inbound` or `outbound`."""
    chosen = {"ResourceType": "cluster", "TrafficDirection": direction, **chosen}
    return {"ResourceFilter": chosen, "Op": operation, "Path": path} | ({} if value is None else {"Value": value})


def _extension(patch: Json) -> Json:
    arguments = {"ProxyType": "connect-proxy", "Patches": [patch]}
    return {"Name": "builtin/property-override", "Required": True, "Arguments": arguments}


def registrations(address: str, trust_domain: str) -> list[Json]:
    """Of the downstream on this address, and of its proxy. The clusters are Consul's, the listener is the lab's."""
    cluster = f"{SERVICE}.default.dc1.internal.{trust_domain}"
    listener = downstream.http_listener(address, persistent=cluster, new=f"{NEW}.{cluster}")
    upstreams = [
        {"DestinationName": name, "LocalBindAddress": address, "LocalBindPort": port}
        for name, port in UNUSED_PORTS.items()
    ]
    proxy = {
        "DestinationServiceName": "downstream",
        "DestinationServiceID": "downstream",
        "LocalServicePort": APPLICATION_PORT,
        "Config": {"bind_address": address, "envoy_extra_static_listeners_json": json.dumps(listener)},
        "Upstreams": upstreams,
    }
    node = {"Node": "downstream", "Address": address}
    service = {"ID": "downstream", "Service": "downstream", "Address": address, "Port": APPLICATION_PORT}
    of_proxy = {"ID": "downstream-proxy", "Service": "downstream-proxy", "Kind": "connect-proxy", "Address": address}
    return [{**node, "Service": service}, {**node, "Service": {**of_proxy, "Port": INBOUND_PORT + 1, "Proxy": proxy}}]


def dataplane(server: str) -> Json:
    """The downstream's consul-dataplane, as mesh-init would write it for a task."""
    return {
        "consul": {"addresses": server, "grpcPort": GRPC_PORT, "tls": {"disabled": True}},
        "proxy": {"nodeName": "downstream", "id": "downstream-proxy"},
        "logging": {"logLevel": "INFO"},
    }


def statuses(instances: list[Json]) -> dict[str, str]:
    """`healthy` or `critical` by task, of what the health API says of a service: one critical check is enough."""
    return {
        each["Service"]["Meta"]["task-id"]: (
            "healthy" if all(check["Status"] == "passing" for check in each["Checks"]) else "critical"
        )
        for each in instances
    }
