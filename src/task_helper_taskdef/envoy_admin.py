"""Where each kind of Envoy serves its admin API, seen from the helper's container."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final, NamedTuple

from task_helper_taskdef.definition import Container
from task_helper_taskdef.envoy_command import read_bootstrap
from task_helper_taskdef.roles import Mesh, Task, mesh_of, shares_network

# Consul's module gives Envoy this port, Envoy's own examples and all other images the other
CONSUL_PORT: Final = 19000
PORT: Final = 9901
# AWS's images with ENVOY_ADMIN_MODE=uds; a file of Envoy's container, not one that is made here
AWS_SOCKET: Final = PurePosixPath("/tmp/envoy_admin.sock")  # nosec B108
# what kuma-dp makes of its work directory (kumahq/kuma, pkg/core/xds/sockets.go)
KUMA_SOCKET: Final = "kuma-envoy-admin.sock"
KUMA_WORK_DIR: Final = "KUMA_DATAPLANE_RUNTIME_WORK_DIR"
# The user of Kuma's images from 2.14 on, which are distroless (kumahq/kuma, tools/releases/dockerfiles); what Kong's
# templates for ECS write is 5678.
KUMA_USER: Final = "65532"
# from this version of Kuma and Kong Mesh on the socket is the default (kumahq/kuma, UPGRADE.md, 2.14.x)
KUMA_WITH_SOCKET: Final = (2, 14)
# Before this version kuma-dp takes the first free port from 30001 on (kumahq/kuma, pkg/config/app/kuma-dp/config.go).
KUMA_WITH_FIXED_PORT: Final = (1, 5)
OLD_KUMA_PORT: Final = 30001
# the first version of kuma-dp that waits for the drain before it stops Envoy (kumahq/kuma, app/kuma-dp/cmd/run.go)
KUMA_THAT_WAITS: Final = (1, 7)
# Istio's proxyAdminPort (istio/api, mesh/v1alpha1/proxy.proto)
ISTIO_PORT: Final = 15000


class AdminApi(NamedTuple):
    """An admin API: at `port` of the network of Envoy's container, or at `socket`, a path in its file system.

    Without both, it is a socket whose path changes with every start. `places` are those that show it.
    """

    port: int | None
    socket: PurePosixPath | None
    places: tuple[str, ...]

    def url(self, task: Task, envoy: Container) -> str | None:
        """The value for ENVOY_ADMIN_URL; None where there is none."""
        if self.socket:
            return f"unix://{self.socket}"
        host = envoy.name if shares_network(task) is False else "127.0.0.1"
        return f"http://{host}:{self.port}" if self.port else None


def admin_api(task: Task, envoy: Container) -> AdminApi | None:
    """The admin API of `envoy`; None where a template leaves unknown what shows it."""
    if not all(map(envoy.knows_variable, ("ENVOY_ADMIN_MODE", "ENVOY_ADMIN_ACCESS_PORT", "KUMA_DATAPLANE_ADMIN_PORT"))):
        return None
    places = f"{envoy.place}.image", f"{envoy.place}.entryPoint", f"{envoy.place}.command", f"{envoy.place}.environment"
    mesh = envoy_mesh(task, envoy)
    if envoy.env.get("ENVOY_ADMIN_MODE") == "uds":
        return AdminApi(None, AWS_SOCKET, places)
    if mesh == "kuma" and serves_kuma_socket(task, envoy):
        return AdminApi(None, kuma_socket(envoy), places)
    given = envoy.env.get("ENVOY_ADMIN_ACCESS_PORT") or envoy.env.get("KUMA_DATAPLANE_ADMIN_PORT") or ""
    if mesh == "kuma" and not given:
        given = option_of(envoy, "admin-port") or ""
    # kuma-dp takes a range too, of which it uses the first port that is free
    if (match := re.fullmatch("([1-9][0-9]{0,4})(-[0-9]{0,5})?", given)) and int(match[1]) < 65536:
        return AdminApi(int(match[1]), None, places)
    if configured := read_bootstrap(envoy.command_line):
        port, path = configured.admin
        if port or path:
            return AdminApi(port, PurePosixPath(path) if path else None, places)
    if mesh == "kuma":
        port = kuma_port(envoy)
        return AdminApi(port, None, places) if port else None
    istio = envoy.repository == "proxyv2" or "pilot-agent" in envoy.command_line
    return AdminApi(CONSUL_PORT if mesh == "consul" else ISTIO_PORT if istio else PORT, None, places)


def option_of(envoy: Container, name: str) -> str | None:
    """The value of the option `--name` (or `-name`) of its command line, the last one; None where it is not given."""
    words = [part for word in envoy.command_line for part in word.split()]
    pairs = [*pairwise([*words, ""]), *(word.partition("=")[::2] for word in words if "=" in word)]
    values = [value for word, value in pairs if word in (f"--{name}", f"-{name}")]
    return values[-1] if values else None


def kuma_port(envoy: Container) -> int | None:
    """The port of kuma-dp's admin API where nothing sets it; None where the image's version does not show it."""
    version = kuma_version(envoy)
    if version is None or version >= (2, 0):
        return PORT
    # Kong Mesh counted its versions in its own way then
    if is_kong_mesh(envoy):
        return None
    return OLD_KUMA_PORT if version < KUMA_WITH_FIXED_PORT else PORT


def is_kong_mesh(envoy: Container) -> bool:
    """Whether it is Kong's own edition of Kuma, by its image's registry."""
    return "kong/" in envoy.image or "kong-mesh" in envoy.image


def kuma_version(envoy: Container) -> tuple[int, int] | None:
    """The version of kuma-dp by its image's tag."""
    match = re.search(r":v?(\d+)\.(\d+)", envoy.image)
    return (int(match[1]), int(match[2])) if match else None


def envoy_mesh(task: Task, envoy: Container) -> Mesh | None:
    """Whose data plane `envoy` is: as named, else as the container says."""
    return task.named_mesh or mesh_of(envoy)


def serves_kuma_socket(task: Task, envoy: Container) -> bool:
    """Whether kuma-dp is of a version that serves a socket by default, or of an unknown one and the mesh was named."""
    version = kuma_version(envoy)
    if version is None:
        return task.named_mesh == "kuma" or kuma_socket(envoy) is not None
    return version >= KUMA_WITH_SOCKET


def kuma_socket(envoy: Container) -> PurePosixPath | None:
    """Where the socket is, if kuma-dp is given a work directory; without one it has another path at every start."""
    folder = envoy.env.get(KUMA_WORK_DIR)
    if match := re.search(r"--work-dir[= ](\S+)", " ".join(envoy.command_line)):
        folder = match[1]
    return PurePosixPath(folder) / KUMA_SOCKET if folder else None


def user_of(task: Task, envoy: Container) -> str | None:
    """The user that `envoy` runs as and its socket belongs to; None where the image alone knows."""
    uid = envoy.user.partition(":")[0]
    return uid or (KUMA_USER if envoy_mesh(task, envoy) == "kuma" else None)


def shares_folder(helper: Container, envoy: Container, socket: PurePosixPath) -> bool:
    """Whether `socket`, a path in the file system of `envoy`, is the same file at the same path for the helper."""
    if any(volume.source_container == envoy.name for volume in helper.volumes_from):
        return True
    shared = {(mount.source_volume, mount.container_path) for mount in envoy.mount_points}
    return any(
        (mount.source_volume, mount.container_path) in shared and socket.is_relative_to(mount.container_path)
        for mount in helper.mount_points
    )
