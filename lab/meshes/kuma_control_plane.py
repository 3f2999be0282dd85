"""Kuma itself: its control plane `kuma-cp`, and each Envoy, the downstream's too, started by a `kuma-dp` of its own.

Used for the mesh "kuma" where KUMA_CP names the program; KUMA_DP names the other, else it is looked for beside it. The
mesh "kuma-two" also needs PostgreSQL: POSTGRES names the folder with its programs.
"""

import asyncio
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess  # nosec B404
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import aiohttp

from lab.meshes import control_plane
from lab.meshes.kuma import Kuma
from lab.meshes.mesh import Surroundings
from lab.parts import envoy_process, processes
from lab.parts.downstream import ANSWER_HEADERS, NEW_CONNECTION_HEADER, SERVICE
from lab.parts.envoy_process import APPLICATION_PORT, INBOUND_PORT, EnvoyOptions, Json
from lab.parts.history import Recorder
from lab.parts.probes import answers
from lab.scenarios.scenario import Column, Scenario, ServerFault

# with older ones the admin API is a port, the same for every data plane of this machine (kumahq/kuma, UPGRADE.md)
OLDEST = (2, 14)
# the user that runs PostgreSQL where the lab is root's
NOBODY = 65534
ADMIN_SOCKET = "kuma-envoy-admin.sock"
# the tasks once more, for requests that get a connection of their own
_ALL_TASKS = {"kuma.io/protocol": "http"}


def program(name: str) -> Path:
    """Where `kuma-cp` or `kuma-dp` is. Raises FileNotFoundError where it is not."""
    return control_plane.program(name, "kuma-cp")


def version_of(name: str) -> str:
    """Of one of the two, such as 2.14.3; raises ValueError where it is too old, or says none."""
    found = control_plane.version([str(program(name)), "version"])
    major, minor, _ = found.split(".", 2)
    if (int(major), int(minor)) < OLDEST:
        raise ValueError(f"Kuma {OLDEST[0]}.{OLDEST[1]} or later is needed, not {found}")
    return found


class KumaControlPlane(Kuma):
    """The settings are those of its imitation; its intervals are Kuma's defaults, scaled as all times are."""

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        if scenario.protocol != "http1":
            raise ValueError(f"{scenario.name}: Kuma's control plane is given services of HTTP/1.1 only")
        # not in the run's folder, as the path of a Unix socket has 107 characters at most
        self._work = Path(tempfile.gettempdir(), f"lab-{secrets.token_hex(4)}")
        self._api, self._port = processes.free_port(), processes.free_port()
        self._downstream_work = self._work / "downstream"
        self.downstream_admin = self._downstream_work / ADMIN_SOCKET

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        return {name: version_of(name) for name in ("kuma-cp", "kuma-dp")}

    # a task, and the downstream

    def options(self, options: EnvoyOptions) -> EnvoyOptions:
        if not isinstance(options.admin, Path):
            raise ValueError("Kuma's admin API is a Unix socket")
        return replace(options, admin=options.admin.with_suffix("") / ADMIN_SOCKET)

    def envoy(self, id: str, options: EnvoyOptions) -> list[str]:
        if not isinstance(options.admin, Path):
            raise ValueError("Kuma's admin API is a Unix socket")
        return self._data_plane(id, task_networking(options.address), options.admin.parent)

    def downstream(self, address: str) -> list[str]:
        return self._data_plane("downstream", downstream_networking(address), self._downstream_work)

    def _data_plane(self, name: str, networking: Json, work: Path) -> list[str]:
        """The command of a kuma-dp, which registers this Dataplane and runs its Envoy. It makes the folder `work`."""
        dataplane = (self.folder / f"{name[:10]}-dataplane.json").absolute()
        dataplane.write_text(
            json.dumps({"type": "Dataplane", "mesh": "default", "name": name, "networking": networking}, indent=1)
        )
        settings = {
            "KUMA_CONTROL_PLANE_CA_CERT_FILE": f"{self._work}/kuma-cp.crt",
            "KUMA_DATAPLANE_RUNTIME_BINARY_PATH": envoy_process.binary(),
            "KUMA_DATAPLANE_RUNTIME_WORK_DIR": str(work),
            "KUMA_DATAPLANE_DRAIN_TIME": self._scaled(30),
            "KUMA_DNS_ENABLED": "false",
            # on 127.0.0.1, which all tasks have in common here
            "KUMA_READINESS_PORT": str(processes.free_port()),
        }
        return [
            *("env", *(f"{key}={value}" for key, value in settings.items()), str(program("kuma-dp")), "run"),
            *("--cp-address", f"https://localhost:{self._port}", "--dataplane-file", str(dataplane)),
            *("--concurrency", "1", "--envoy-log-level", "warning", *self._credentials()),
        ]

    def _credentials(self) -> list[str]:
        """What a kuma-dp shows the control plane."""
        return []

    # the control plane

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        self._work.mkdir(mode=0o700)
        self._servers: list[control_plane.Server] = []
        try:
            await self._start_servers()
            await self._configure()
            yield
        finally:
            for server in self._servers:
                server.stop()
            # the downstream may be about to end, and write there
            shutil.rmtree(self._work, ignore_errors=True)

    async def _start_servers(self) -> None:
        await self._start("kuma-cp", self._settings(self._api, self._port))

    async def _start(self, name: str, settings: Mapping[str, str]) -> None:
        """Start a control plane, and wait until its API answers."""
        command = [str(program("kuma-cp")), "run"]
        server = control_plane.Server(command, self.folder / f"{name}.log", {**os.environ, **settings})
        self._servers.append(server)
        await server.until(lambda: answers(f"http://127.0.0.1:{settings['KUMA_API_SERVER_HTTP_PORT']}/"))

    def _settings(self, api: int, port: int) -> dict[str, str]:
        """Of a control plane with these ports, for its API and for data planes."""
        return {
            "KUMA_ENVIRONMENT": "universal",
            "KUMA_STORE_TYPE": "memory",
            "KUMA_GENERAL_WORK_DIR": str(self._work),
            "KUMA_REPORTS_ENABLED": "false",
            "KUMA_DEFAULTS_SKIP_MESH_CREATION": "true",
            "KUMA_API_SERVER_HTTP_INTERFACE": "127.0.0.1",
            "KUMA_API_SERVER_HTTP_PORT": str(api),
            "KUMA_API_SERVER_HTTPS_ENABLED": "false",
            "KUMA_API_SERVER_GUI_ENABLED": "false",
            "KUMA_DP_SERVER_PORT": str(port),
            # the tasks need no tokens
            "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "none",
            "KUMA_DIAGNOSTICS_SERVER_PORT": str(processes.free_port()),
            "KUMA_INTER_CP_SERVER_PORT": str(processes.free_port()),
            "KUMA_MONITORING_ASSIGNMENT_SERVER_ENABLED": "false",
            # Kuma's defaults (pkg/config/app/kuma-cp/kuma-cp.defaults.yaml, 2.14.3)
            "KUMA_DP_SERVER_HDS_INTERVAL": self._scaled(5),
            "KUMA_DP_SERVER_HDS_REFRESH_INTERVAL": self._scaled(10),
            "KUMA_DP_SERVER_HDS_CHECK_INTERVAL": self._scaled(1),
            "KUMA_DP_SERVER_HDS_CHECK_NO_TRAFFIC_INTERVAL": self._scaled(1),
            "KUMA_XDS_SERVER_DATAPLANE_CONFIGURATION_REFRESH_INTERVAL": self._scaled(1),
            "KUMA_STORE_CACHE_EXPIRATION_TIME": self._scaled(1),
            "KUMA_XDS_DATAPLANE_DEREGISTRATION_DELAY": self._scaled(10),
        }

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        await self._servers[0].fail(fault, seconds)

    async def follow(self, around: Surroundings) -> None:
        # the downstream learns of the tasks from the control plane; here it is only seen to that there is one
        async with asyncio.TaskGroup() as group:
            for server in self._servers:
                group.create_task(server.watch())

    async def _configure(self) -> None:
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self._api}", timeout=timeout) as session:
            for path, resource in resources().items():
                async with session.put(path, json=resource) as answer:
                    if not answer.ok:
                        raise RuntimeError(f"kuma-cp refuses {path}: {answer.status} {await answer.text()}")

    def _scaled(self, seconds: float) -> str:
        return f"{seconds * self.scenario.times.scale:g}s"


class KumaControlPlanes(KumaControlPlane):
    """Two control planes with a PostgreSQL behind a load balancer, and a token in each data plane, as in production.

    All data planes are connected to the first, which is what fails, and then to the other.
    """

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        self._ports = [processes.free_port(), processes.free_port()]
        self._database = Path(tempfile.gettempdir(), f"{self._work.name}-database")
        self._database_address = processes.free_address()
        self._token = self._work / "token"

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        # `_port` is the balancer's; Envoy takes `localhost` for the IPv6 address where there is one
        hosts = ["127.0.0.1", "::1"] if _has_ipv6() else ["127.0.0.1"]
        balancer = await asyncio.start_server(self._balance, hosts, self._port)
        try:
            async with super().running():
                yield
        finally:
            balancer.close()
            shutil.rmtree(self._database, ignore_errors=True)

    async def _balance(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass a connection on to the first control plane that accepts it."""
        for port in self._ports:
            with suppress(OSError):
                there = await asyncio.open_connection("127.0.0.1", port)
                await asyncio.gather(_copy(reader, there[1]), _copy(there[0], writer))
                return
        writer.close()

    def _credentials(self) -> list[str]:
        return ["--dataplane-token-file", str(self._token)]

    async def _start_servers(self) -> None:
        await self._start_database()
        for number, port in enumerate(self._ports):
            # the resources are given to the first
            api = processes.free_port() if number else self._api
            await self._start(f"kuma-cp-{number}", self._settings(api, port))

    def _settings(self, api: int, port: int) -> dict[str, str]:
        return {
            **super()._settings(api, port),
            "KUMA_STORE_TYPE": "postgres",
            "KUMA_STORE_POSTGRES_HOST": self._database_address,
            "KUMA_STORE_POSTGRES_PORT": "5432",
            "KUMA_STORE_POSTGRES_USER": "kuma",
            "KUMA_STORE_POSTGRES_DB_NAME": "postgres",
            "KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE": "dpToken",
            # where kuma-dp has Envoy connect to
            "KUMA_BOOTSTRAP_SERVER_PARAMS_XDS_PORT": str(self._port),
        }

    async def _start_database(self) -> None:
        self._database.mkdir(mode=0o700)
        user: list[str] = []
        if os.geteuid() == 0:  # which PostgreSQL refuses
            os.chown(self._database, NOBODY, NOBODY)
            user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
        programs = Path(os.environ["POSTGRES"])
        made = [*user, str(programs / "initdb"), "-D", str(self._database), "-U", "kuma", "-A", "trust", "-E", "UTF8"]
        subprocess.run(made, check=True, capture_output=True, timeout=60, cwd=self._database)  # nosec B603
        options = ["-D", str(self._database), "-h", self._database_address, "-k", "", "-c", "fsync=off"]
        command = [*user, str(programs / "postgres"), *options]
        self._servers.append(control_plane.Server(command, self.folder / "postgres.log"))
        migrate, settings = [str(program("kuma-cp")), "migrate", "up"], {**os.environ, **self._settings(0, 0)}
        await self._servers[0].until(lambda: asyncio.to_thread(_succeeds, migrate, settings))

    async def _configure(self) -> None:
        await super()._configure()
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self._api}") as session:
            body = {"mesh": "default", "validFor": "1h"}
            async with session.post("/tokens/dataplane", json=body) as answer:
                answer.raise_for_status()
                self._token.write_text(await answer.text())

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        # the database is started first
        await self._servers[1].fail(fault, seconds)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and the end."""
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def _succeeds(command: list[str], environ: Mapping[str, str]) -> bool:
    return not subprocess.run(command, env=environ, capture_output=True, timeout=60).returncode  # nosec B603


def task_networking(address: str) -> Json:
    """Of a task's Dataplane. With a `serviceProbe` it gets requests once its application listens, without at once."""
    inbound = {
        "port": INBOUND_PORT,
        "serviceAddress": address,
        "servicePort": APPLICATION_PORT,
        "serviceProbe": {"tcp": {}},
        "tags": {"kuma.io/service": SERVICE, **_ALL_TASKS},
    }
    return {"address": address, "inbound": [inbound]}


def downstream_networking(address: str) -> Json:
    """Of the downstream's Dataplane. It must have a service of its own, which gets no requests."""
    own = {"port": INBOUND_PORT + 1, "servicePort": APPLICATION_PORT, "tags": {"kuma.io/service": "downstream"}}
    outbound = {"address": address, "port": INBOUND_PORT, "tags": {"kuma.io/service": SERVICE}}
    return {"address": address, "inbound": [own], "outbound": [outbound]}


def resources() -> dict[str, Json]:
    """What the control plane gets, by path, in this order: a mesh, and what the load needs of the downstream."""
    tags = {"kuma.io/service": SERVICE, **_ALL_TASKS}
    # so Kuma names a cluster of some of a service's data planes (pkg/xds/envoy/tags, DestinationClusterName)
    digest = hashlib.sha256("".join(key + tags[key] for key in sorted(tags)).encode()).hexdigest()
    one_request_each = {
        "typedExtensionProtocolOptions": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "commonHttpProtocolOptions": {"maxRequestsPerConnection": 1},
                # as Kuma has it between data planes, whatever the application speaks
                "explicitHttpConfig": {"http2ProtocolOptions": {}},
            }
        }
    }
    headers = {
        "responseHeadersToAdd": [{"header": {"key": key, "value": value}} for key, value in ANSWER_HEADERS.items()]
    }
    by_header = {
        "matches": [
            {
                "path": {"type": "PathPrefix", "value": "/"},
                "headers": [{"type": "Present", "name": NEW_CONNECTION_HEADER}],
            }
        ],
        "default": {"backendRefs": [{"kind": "MeshServiceSubset", "name": SERVICE, "tags": _ALL_TASKS}]},
    }
    routes = {"targetRef": {"kind": "MeshService", "name": SERVICE}, "rules": [by_header]}
    patches = [
        _patch("virtualHost", {"origin": "outbound"}, headers),
        _patch("cluster", {"name": f"{SERVICE}-{digest[:16]}"}, one_request_each),
    ]
    return {
        # its default retries would hide what the lab looks for
        "/meshes/default": {"type": "Mesh", "name": "default", "skipCreatingInitialPolicies": ["MeshRetry"]},
        "/meshes/default/meshhttproutes/lab": _policy("MeshHTTPRoute", {"to": [routes]}),
        "/meshes/default/meshproxypatches/lab": _policy(
            "MeshProxyPatch", {"default": {"appendModifications": patches}}
        ),
    }


def _policy(kind: str, spec: Json) -> Json:
    return {"type": kind, "mesh": "default", "name": "lab", "spec": {"targetRef": {"kind": "Mesh"}, **spec}}


def _patch(kind: str, match: Json, value: Json) -> Json:
    """A patch as MeshProxyPatch takes it: what is to be merged in, as text."""
    return {kind: {"operation": "Patch", "match": match, "value": json.dumps(value)}}
