"""Consul itself: a server, and in each task what HashiCorp's Terraform module has there: `consul-ecs mesh-init`, which
registers the task, `consul-ecs envoy-entrypoint`, which runs Envoy by `consul-dataplane` and stops it after the
application, and `consul-ecs health-sync`. The downstream has a consul-dataplane of its own.

Used for the meshes whose names begin with "consul" where CONSUL names the program; CONSUL_DATAPLANE and CONSUL_ECS name
the others, else they are looked for beside it.
"""

import asyncio
import json
import os
import secrets
import shlex
import shutil
import subprocess  # nosec B404
import tempfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from lab.ecs.agent_rules import AgentTimes
from lab.ecs.runtime import ContainerSpec
from lab.ecs.state import Condition
from lab.meshes import control_plane, health_sync
from lab.meshes.consul import PORT, Consul, ConsulFollowsHelper
from lab.meshes.mesh import Surroundings
from lab.parts import downstream, envoy_process, processes
from lab.parts.downstream import SERVICE
from lab.parts.envoy_process import ADMIN_PORT, APPLICATION_PORT, INBOUND_PORT, EnvoyOptions, Json, Protocol
from lab.parts.history import Recorder
from lab.parts.probes import answers
from lab.scenarios.scenario import Column, Scenario, ServerFault

# as Consul calls them
PROTOCOLS: Mapping[Protocol, str] = {"http1": "http", "http2": "http2"}
GRPC_PORT, GRPC_TLS_PORT, HTTPS_PORT = 8502, 8503, 8501
# what the certificate of every server of the datacenter is for
TLS_NAME = "server.dc1.consul"
METADATA = "ECS_CONTAINER_METADATA_URI_V4"
MESH_INIT = "consul-ecs-mesh-init"
# the tasks once more, for requests that get a connection of their own
NEW = "new-connections"
# Consul's listeners for these two, which get no calls
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
        # of the tasks; the lab and the downstream have another one where there are several
        self._server_address = self._address
        self._token: str | None = None

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
        environ = {**os.environ, "CONSUL_ECS_CONFIG_JSON": json.dumps(self._ecs_config(address, folder))}
        if self._token:
            environ["CONSUL_HTTP_TOKEN"] = self._token

        def container(name: str, command: str, depends_on: Mapping[str, Condition]) -> ContainerSpec:
            return ContainerSpec(
                name,
                [str(program("consul-ecs")), command],
                {**environ, METADATA: f"{metadata}/{name}"},
                depends_on,
                essential=False,
                stop_timeout=self.health_sync_stop_timeout,
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
            "consulServers": self._connection(),
            # each task has an address of its own, and needs no redirection
            "transparentProxy": {"enabled": False},
        }

    def _connection(self) -> Json:
        """How the containers of consul-ecs reach the servers."""
        return {
            "hosts": self._address,
            "defaults": {"tls": False},
            "grpc": {"port": GRPC_PORT},
            "http": {"port": PORT, "https": False},
        }

    # the downstream

    def downstream(self, address: str) -> list[str]:
        for registration in registrations(address, self._trust_domain()):
            self._put("/v1/catalog/register", registration)
        # a server that does not lead has it a moment later
        known = f"{self._url}/v1/catalog/service/downstream-proxy?stale"
        processes.wait_for(lambda: None if health_sync.fetch(known, self._token) else "the downstream is registered")
        config = self.folder / "downstream-dataplane.json"
        config.write_text(json.dumps(self._downstream_dataplane(), indent=1))
        return self._dataplane(config, address, ADMIN_PORT, None)

    def _downstream_dataplane(self) -> Json:
        return dataplane(self._server_address, {"disabled": True}, GRPC_PORT)

    def _trust_domain(self) -> str:
        return str(health_sync.fetch(f"{self._url}/v1/connect/ca/roots", self._token)["TrustDomain"])

    @property
    def _url(self) -> str:
        """Of the HTTP API of the server that the lab calls."""
        return f"http://{self._server_address}:{PORT}"

    def _put(self, path: str, body: Json) -> None:
        health_sync.put(self._url + path, body, self._token)

    def _dataplane(self, config: Path, address: str, admin_port: int, drain_time: int | None) -> list[str]:
        """The command of a consul-dataplane, which runs its Envoy; its own servers are on this address."""
        settings = {
            "DP_ENVOY_EXECUTABLE_PATH": str(self._work / "envoy"),
            "DP_ENVOY_CONCURRENCY": "1",
            "DP_ENVOY_ADMIN_BIND_ADDRESS": address,
            "DP_ENVOY_ADMIN_BIND_PORT": str(admin_port),
            "DP_GRACEFUL_ADDR": address,
            **({} if drain_time is None else {"DP_ENVOY_DRAIN_TIME": str(drain_time)}),
            **self._dataplane_settings(),
        }
        environ = [f"{key}={value}" for key, value in settings.items()]
        return ["env", *environ, str(program("consul-dataplane")), "-config-file", str(config)]

    def _dataplane_settings(self) -> Mapping[str, str]:
        """Variables of every consul-dataplane, beside what its configuration file has."""
        return {}

    # the server

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._work.mkdir(mode=0o700)
        self._write_envoy()
        self._servers: list[control_plane.Server] = []
        try:
            await self._start_servers()
            for entry in config_entries(PROTOCOLS[self.scenario.protocol]):
                self._put("/v1/config", entry)
            yield
        finally:
            for server in self._servers:
                server.stop()
            shutil.rmtree(self._work, ignore_errors=True)

    async def _start_servers(self) -> None:
        # -dev: one server, in memory
        self._start_server("consul", server(self._address), ["-dev"])
        await self._until_led(self._address)

    def _start_server(self, name: str, settings: Json, options: list[str]) -> None:
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps(settings, indent=1))
        command = [str(program("consul")), "agent", *options, "-config-file", str(file)]
        self._servers.append(control_plane.Server(command, self.folder / f"{name}.log"))

    async def _until_led(self, address: str) -> None:
        """Wait until this server has a leader and a certificate authority."""
        await self._servers[0].until(lambda: answers(f"http://{address}:{PORT}/v1/connect/ca/roots"))

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        await self._servers[0].fail(fault, seconds)

    def _write_envoy(self) -> None:
        """What consul-dataplane runs: it gives Envoy a process group of its own, too."""
        script = self._work / "envoy"
        script.write_text(f'#!/bin/sh\nexec {shlex.join(processes.bound([envoy_process.binary()]))} "$@"\n')
        script.chmod(0o700)

    async def follow(self, around: Surroundings) -> None:
        # the downstream learns of the tasks from the server; here the record does
        async with asyncio.TaskGroup() as group:
            for each in self._servers:
                group.create_task(each.watch())
            group.create_task(self._follow_catalog())

    async def _follow_catalog(self) -> None:
        """What the catalog says of each task; it answers each change at once (blocking queries)."""
        timeout, index = aiohttp.ClientTimeout(total=30), "0"
        known: dict[str, str] = {}
        headers = health_sync.credentials(self._token)
        async with aiohttp.ClientSession(self._url, timeout=timeout, headers=headers) as session:
            while True:
                query = {"index": index, "wait": "10s"}
                try:
                    async with session.get(f"/v1/health/service/{SERVICE}", params=query) as answer:
                        answer.raise_for_status()
                        index = answer.headers["X-Consul-Index"]
                        now = statuses(await answer.json())
                except (OSError, TimeoutError, aiohttp.ClientError):
                    if not self.scenario.hazards:
                        raise
                    await asyncio.sleep(0.2)  # the server is down, or has no leader
                    continue
                for task in known.keys() | now.keys():
                    if now.get(task) != known.get(task):
                        self.record.event("discovery", now.get(task, "deregistered"), task)
                known = now


class ConsulServers(ConsulServer):
    """Three servers with ACLs and TLS, as in production; the tasks are connected to the leader, which is what fails.

    The token is the management token, in place of one that consul-ecs gets by an IAM role.
    """

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        self._addresses = [self._address, *(processes.free_address() for _ in range(2))]
        self._token = self._management_token = str(uuid.uuid4())
        self._ca = self._work / "consul-agent-ca.pem"

    def _connection(self) -> Json:
        return {
            "hosts": self._address,
            "defaults": {"tls": True, "caCertFile": str(self._ca), "tlsServerName": TLS_NAME},
            "grpc": {"port": GRPC_TLS_PORT},
            "http": {"port": HTTPS_PORT, "https": True},
        }

    def _downstream_dataplane(self) -> Json:
        return dataplane(self._server_address, {"caCertsPath": str(self._ca)}, GRPC_TLS_PORT)

    def _dataplane_settings(self) -> Mapping[str, str]:
        # consul-ecs 0.10.0 writes the name as `tlsServerName`, consul-dataplane 2.0.1 reads `serverName`
        return {
            "DP_TLS_SERVER_NAME": TLS_NAME,
            "DP_CREDENTIAL_TYPE": "static",
            "DP_CREDENTIAL_STATIC_TOKEN": self._management_token,
        }

    async def _start_servers(self) -> None:
        for command in (["ca", "create"], ["cert", "create", "-server"]):
            subprocess.run(  # nosec B603
                [str(program("consul")), "tls", *command], cwd=self._work, check=True, capture_output=True, timeout=30
            )
        for number, address in enumerate(self._addresses):
            settings = server_of_three(address, self._addresses, self._management_token, self._work)
            self._start_server(f"consul-{number}", settings, ["-server"])
        for address in self._addresses:
            await self._until_led(address)
        self._address = health_sync.fetch(f"http://{self._addresses[0]}:{PORT}/v1/status/leader").partition(":")[0]
        self._server_address = next(each for each in self._addresses if each != self._address)

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        await self._servers[self._addresses.index(self._address)].fail(fault, seconds)


class ConsulServerHeld(ConsulServer):
    """The wrong wiring: the helper depends on health-sync, so downstreams learn of the stop only after the drain."""

    kept_running = (health_sync.CONTAINER,)


class ConsulServerFollowsHelper(ConsulServer):
    """The wrong wiring: healthSyncContainers has the helper, so that its restart takes the task out of the mesh."""

    followed = ConsulFollowsHelper.followed


def server(address: str) -> Json:
    """The server's settings: all on one loopback address, and it does not look for newer versions."""
    return {
        "bind_addr": address,
        "client_addr": address,
        "ports": {"grpc": GRPC_PORT, "http": PORT, "dns": -1},
        "disable_update_check": True,
        "log_level": "INFO",
        "ui_config": {"enabled": False},
    }


def server_of_three(address: str, addresses: list[str], token: str, folder: Path) -> Json:
    """The settings of one of several servers; `folder` has the certificate that they share."""
    certificate = {
        "ca_file": f"{folder}/consul-agent-ca.pem",
        "cert_file": f"{folder}/dc1-server-consul-0.pem",
        "key_file": f"{folder}/dc1-server-consul-0-key.pem",
    }
    return {
        **server(address),
        "ports": {"grpc": -1, "grpc_tls": GRPC_TLS_PORT, "http": PORT, "https": HTTPS_PORT, "dns": -1, "serf_wan": -1},
        "node_name": f"server-{address}",
        "data_dir": f"{folder}/{address}",
        "connect": {"enabled": True},
        # as recommended for production; without it an election takes five times as long
        "performance": {"raft_multiplier": 1},
        "tls": {
            "defaults": {**certificate, "verify_outgoing": True},
            "internal_rpc": {"verify_incoming": True, "verify_server_hostname": True},
        },
        "acl": {
            "enabled": True,
            "default_policy": "deny",
            "tokens": {"initial_management": token, "agent": token},
        },
        "bootstrap_expect": len(addresses),
        "retry_join": addresses,
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
        # ACLs deny what is not allowed, between services too
        {"Kind": "service-intentions", "Name": SERVICE, "Sources": [{"Name": "downstream", "Action": "allow"}]},
    ]


def _patch(direction: str, operation: str, path: str, value: int | None = None, **chosen: Any) -> Json:
    """A change of the clusters for traffic in this direction, `inbound` or `outbound`."""
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


def dataplane(server: str, tls: Json, port: int) -> Json:
    """The downstream's consul-dataplane, as mesh-init would write it for a task."""
    return {
        "consul": {"addresses": server, "grpcPort": port, "tls": tls},
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
