"""The helper reaches Envoy's admin API

By default ENVOY_ADMIN_URL is `http://127.0.0.1:9901`. That is the Envoy of the same task only if the containers share
their network, as with [`awsvpc`](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-networking.html). In
`bridge` mode each container has its own 127.0.0.1. In `host` mode all tasks of an instance share one, and the helper
may drain another task's Envoy. If a definition has no network mode, this rule reports nothing about it. A helper that
does not reach Envoy never reports the task as in service.

AWS's images take the port from ENVOY_ADMIN_ACCESS_PORT. With ENVOY_ADMIN_MODE=uds they use a socket in Envoy's own file
system. Consul's Envoy uses port 19000. Kuma and Kong Mesh use KUMA_DATAPLANE_ADMIN_PORT. From 2.14 on they use the
socket `kuma-envoy-admin.sock` in the work directory of kuma-dp, unless the control plane is configured otherwise. Only
the user of kuma-dp can open that socket.

Passes:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "envoy", "environment": [{"name": "ENVOY_ADMIN_ACCESS_PORT", "value": "9902"}]},
      {"name": "task-helper", "environment": [{"name": "ENVOY_ADMIN_ACCESS_PORT", "value": "9902"}]}]}

Passes:

    {"networkMode": "bridge", "containerDefinitions": [
      {"name": "envoy"},
      {"name": "task-helper", "links": ["envoy"],
       "environment": [{"name": "ENVOY_ADMIN_URL", "value": "http://envoy:9901"}]}]}

Passes:

    {"requiresCompatibilities": ["EC2"], "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

Passes:

    {"requiresCompatibilities": ["MANAGED_INSTANCES"],
     "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

Fails:

    {"networkMode": "bridge", "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

    error $.containerDefinitions[1].environment
      In bridge mode 127.0.0.1 is the helper's own container, so the helper never reaches envoy and the task never \
comes into service.
      Link the helper to envoy and set ENVOY_ADMIN_URL to http://envoy:9901, or use networkMode awsvpc.

Fails:

    {"networkMode": "host", "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

    warning $.networkMode
      In host mode all tasks of an instance share 127.0.0.1, so the helper may drain the Envoy of another task.
      Use networkMode awsvpc, or place one such task only on each instance.

Fails:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:1.9.0"}, {"name": "task-helper"}]}

    error $.containerDefinitions[1].environment
      The admin API of consul-dataplane is at http://127.0.0.1:19000, but the helper calls http://127.0.0.1:9901.
      Set ENVOY_ADMIN_URL to http://127.0.0.1:19000 at the helper.

Fails:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "sidecar-proxy", "image": "envoyproxy/envoy-alpine:v1.21.2",
       "entryPoint": ["/consul/consul-ecs", "envoy-entrypoint"]},
      {"name": "task-helper"}]}

    error $.containerDefinitions[1].environment
      The admin API of sidecar-proxy is at http://127.0.0.1:19000, but the helper calls http://127.0.0.1:9901.
      Set ENVOY_ADMIN_URL to http://127.0.0.1:19000 at the helper.

Fails:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "envoy", "environment": [{"name": "ENVOY_ADMIN_MODE", "value": "uds"}]},
      {"name": "task-helper", "environment": [{"name": "ENVOY_ADMIN_URL", "value": "unix:///tmp/envoy_admin.sock"}]}]}

    error $.containerDefinitions[1].mountPoints
      The socket /tmp/envoy_admin.sock is in the file system of envoy, where the helper cannot reach it.
      Mount one volume at its folder in both containers and run both as the same user, or set ENVOY_ADMIN_MODE to tcp.

Passes:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "kuma-dp", "image": "kong/kuma-dp:2.14.1", "user": "5678",
       "environment": [{"name": "KUMA_DATAPLANE_RUNTIME_WORK_DIR", "value": "/run/kuma"}],
       "mountPoints": [{"sourceVolume": "admin", "containerPath": "/run/kuma"}]},
      {"name": "task-helper", "user": "5678",
       "environment": [{"name": "ENVOY_ADMIN_URL", "value": "unix:///run/kuma/kuma-envoy-admin.sock"}],
       "mountPoints": [{"sourceVolume": "admin", "containerPath": "/run/kuma"}]}]}

Fails:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "kuma-dp", "image": "kong/kuma-dp:2.14.1"}, {"name": "task-helper"}]}

    error $.containerDefinitions[1].environment
      The admin API of kuma-dp is a Unix socket, as in Kuma from 2.14 on, but the helper calls \
http://127.0.0.1:9901.
      Set KUMA_DATAPLANE_RUNTIME_WORK_DIR at kuma-dp to a volume that both containers mount, and ENVOY_ADMIN_URL to \
its socket, as `task-helper taskdef add` does, or set \
KUMA_BOOTSTRAP_SERVER_PARAMS_ENVOY_ADMIN_UNIX_SOCKET to false at the control plane.

Fails:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "kuma-dp", "image": "kong/kuma-dp:2.14.1", "user": "5678",
       "environment": [{"name": "KUMA_DATAPLANE_RUNTIME_WORK_DIR", "value": "/run/kuma"}],
       "mountPoints": [{"sourceVolume": "admin", "containerPath": "/run/kuma"}]},
      {"name": "task-helper", "user": "65532",
       "environment": [{"name": "ENVOY_ADMIN_URL", "value": "unix:///run/kuma/admin.sock"}],
       "mountPoints": [{"sourceVolume": "admin", "containerPath": "/run/kuma"}]}]}

    error $.containerDefinitions[1].environment[0].value
      The admin API of kuma-dp is at unix:///run/kuma/kuma-envoy-admin.sock, but the helper calls \
unix:///run/kuma/admin.sock.
      Set ENVOY_ADMIN_URL to unix:///run/kuma/kuma-envoy-admin.sock at the helper.
    error $.containerDefinitions[1].user
      The socket belongs to user 5678 of kuma-dp, so the helper as user 65532 cannot open it.
      Write "user": "5678".

Fails:

    {"networkMode": "none", "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

    error $.networkMode
      With networkMode none no container has a network, so the helper never reaches Envoy.
      Use networkMode awsvpc.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from task_helper.settings import Url
from task_helper_taskdef.definition import Container
from task_helper_taskdef.envoy_admin import AdminApi, admin_api, envoy_mesh, shares_folder, user_of
from task_helper_taskdef.findings import Edit, Finding, error, warning
from task_helper_taskdef.roles import Task, settings_of, shares_network

LOOPBACK = ("127.0.0.1", "::1")
FALSE = "KUMA_BOOTSTRAP_SERVER_PARAMS_ENVOY_ADMIN_UNIX_SOCKET to false at the control plane"


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        settings = settings_of(helper)
        if settings is None or not task.envoys:
            continue
        url = settings.envoy_admin_url
        if task.definition.network_mode == "none":
            yield error(
                f"{task.definition.place}.networkMode",
                "With networkMode none no container has a network, so the helper never reaches Envoy.",
                "Use networkMode awsvpc.",
            )
            continue
        # with several Envoys it may call any of them; one-envoy reports those that it does not drain
        verdicts = [list(check_address(task, helper, url, envoy)) for envoy in task.envoys]
        yield from min(verdicts, key=len)
        if url.scheme == "http" and url.host in LOOPBACK and task.definition.network_mode == "host":
            yield warning(
                f"{task.definition.place}.networkMode",
                "In host mode all tasks of an instance share 127.0.0.1,"
                " so the helper may drain the Envoy of another task.",
                "Use networkMode awsvpc, or place one such task only on each instance.",
            )


def check_address(task: Task, helper: Container, url: Url, envoy: Container) -> Iterator[Finding]:
    admin = admin_api(task, envoy)
    if admin is None or (url.scheme == "http" and url.host not in LOOPBACK):
        return
    place = helper.variable_place("ENVOY_ADMIN_URL")
    if url.scheme == "unix":
        yield from check_socket(task, helper, PurePosixPath(url.path), envoy, admin)
    elif shares_network(task) is False:
        at = admin.url(task, envoy)
        yield error(
            place,
            f"In bridge mode 127.0.0.1 is the helper's own container, so the helper never reaches {envoy.name}"
            " and the task never comes into service.",
            f"Link the helper to {envoy.name} and set ENVOY_ADMIN_URL to {at}, or use networkMode awsvpc.",
            [f"{task.definition.place}.networkMode"],
        )
    elif envoy_mesh(task, envoy) == "kuma" and admin.port is None:
        yield error(
            place,
            f"The admin API of {envoy.name} is a Unix socket, as in Kuma from 2.14 on," f" but the helper calls {url}.",
            f"Set KUMA_DATAPLANE_RUNTIME_WORK_DIR at {envoy.name} to a volume that both containers mount, and"
            f" ENVOY_ADMIN_URL to its socket, as `task-helper taskdef add` does, or set {FALSE}.",
            admin.places,
        )
    elif url.port != admin.port:
        yield wrong_address(task, helper, url, envoy, admin)


def check_socket(
    task: Task, helper: Container, socket: PurePosixPath, envoy: Container, admin: AdminApi
) -> Iterator[Finding]:
    if envoy_mesh(task, envoy) == "kuma" and admin.socket and socket != admin.socket:
        yield wrong_address(task, helper, Url("unix", path=str(socket)), envoy, admin)
    mounts = [f"{c.place}.{key}" for c in (helper, envoy) for key in ("mountPoints", "volumesFrom")]
    if not shares_folder(helper, envoy, socket):
        yield error(
            f"{helper.place}.mountPoints",
            f"The socket {socket} is in the file system of {envoy.name}, where the helper cannot reach it.",
            "Mount one volume at its folder in both containers and run both as the same user,"
            + (" or set ENVOY_ADMIN_MODE to tcp." if envoy_mesh(task, envoy) != "kuma" else f" or set {FALSE}."),
            [*mounts, *(p for p in task.definition.unknown if p.startswith(tuple(mounts)))],
        )
    owner, user = user_of(task, envoy), helper.user.partition(":")[0]
    if owner and user and user not in (owner, "0", "root"):
        yield error(
            f"{helper.place}.user",
            f"The socket belongs to user {owner} of {envoy.name}," f" so the helper as user {user} cannot open it.",
            f'Write "user": "{owner}".',
            [f"{envoy.place}.user", f"{envoy.place}.image"],
            [Edit(f"{helper.place}.user", owner)],
        )


def wrong_address(task: Task, helper: Container, url: Url, envoy: Container, admin: AdminApi) -> Finding:
    at = admin.url(task, envoy)
    return error(
        helper.variable_place("ENVOY_ADMIN_URL"),
        f"The admin API of {envoy.name} is at {at}, but the helper calls {url}.",
        f"Set ENVOY_ADMIN_URL to {at} at the helper.",
        admin.places,
        [helper.set_variable("ENVOY_ADMIN_URL", str(at))],
    )
