"""The helper reaches Envoy's admin API

ENVOY_ADMIN_URL is `http://127.0.0.1:9901` where unset. That is the task's own Envoy only if the containers share
their network: with `awsvpc`. In `bridge` mode, EC2's default, each container has its own 127.0.0.1; in `host` mode
all tasks of an instance have one, and the helper may drain another task's Envoy. AWS's images take the port from
ENVOY_ADMIN_ACCESS_PORT, or serve the API at a socket in Envoy's own file system (ENVOY_ADMIN_MODE=uds); Consul's data
plane has it at port 19000, Kuma's at KUMA_DATAPLANE_ADMIN_PORT. A helper that does not reach Envoy never reports the
task as in service.

Passes:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "envoy", "environment": [{"name": "ENVOY_ADMIN_ACCESS_PORT", "value": "9902"}]},
      {"name": "task-helper", "environment": [{"name": "ENVOY_ADMIN_ACCESS_PORT", "value": "9902"}]}]}

Passes:

    {"networkMode": "bridge", "containerDefinitions": [
      {"name": "envoy"},
      {"name": "task-helper", "links": ["envoy"],
       "environment": [{"name": "ENVOY_ADMIN_URL", "value": "http://envoy:9901"}]}]}

Fails:

    {"networkMode": "bridge", "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

    error $.containerDefinitions[1].environment
      In bridge mode 127.0.0.1 is the helper's own container, so it never reaches envoy and the task never comes into \
service.
      Link the helper to envoy and set ENVOY_ADMIN_URL to http://envoy:9901, or use networkMode awsvpc.

Fails:

    {"networkMode": "host", "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

    warning $.networkMode
      In host mode all tasks of an instance share 127.0.0.1, so the helper may drain the Envoy of another task.
      Use networkMode awsvpc, or see to it that an instance runs one such task only.

Fails:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:1.9.0"}, {"name": "task-helper"}]}

    error $.containerDefinitions[1].environment
      The admin API of consul-dataplane is at http://127.0.0.1:19000, but the helper looks at http://127.0.0.1:9901.
      Set ENVOY_ADMIN_URL to http://127.0.0.1:19000 at the helper.

Fails:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "envoy", "environment": [{"name": "ENVOY_ADMIN_MODE", "value": "uds"}]},
      {"name": "task-helper", "environment": [{"name": "ENVOY_ADMIN_URL", "value": "unix:///tmp/envoy_admin.sock"}]}]}

    error $.containerDefinitions[1].mountPoints
      The socket /tmp/envoy_admin.sock is in the file system of envoy, where the helper cannot reach it.
      Mount one volume over its folder in both containers and run both as one user, or set ENVOY_ADMIN_MODE to tcp.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from task_helper.settings import Url
from task_helper.taskdef.definition import Container
from task_helper.taskdef.problem import Finding, error, warning
from task_helper.taskdef.task import Task, settings_of

SOCKET = "unix:///tmp/envoy_admin.sock"


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        settings = settings_of(helper)
        if settings and task.envoys:
            yield from judge(task, helper, settings.envoy_admin_url, task.envoys[0])


def judge(task: Task, helper: Container, url: Url, envoy: Container) -> Iterator[Finding]:
    admin = admin_url(task, envoy)
    if url.scheme == "unix":
        if not shares_folder(helper, envoy, PurePosixPath(url.path)):
            yield error(
                f"{helper.place}.mountPoints",
                f"The socket {url.path} is in the file system of {envoy.name}, where the helper cannot reach it.",
                "Mount one volume over its folder in both containers and run both as one user,"
                " or set ENVOY_ADMIN_MODE to tcp.",
            )
    elif url.host not in ("127.0.0.1", "::1"):
        return
    elif bridged(task):
        yield error(
            f"{helper.place}.environment",
            f"In bridge mode 127.0.0.1 is the helper's own container, so it never reaches {envoy.name}"
            " and the task never comes into service.",
            f"Link the helper to {envoy.name} and set ENVOY_ADMIN_URL to {admin}, or use networkMode awsvpc.",
        )
    elif admin != f"http://127.0.0.1:{url.port}":
        yield error(
            f"{helper.place}.environment",
            f"The admin API of {envoy.name} is at {admin}, but the helper looks at {url}.",
            f"Set ENVOY_ADMIN_URL to {admin} at the helper.",
        )
    if url.scheme == "http" and task.definition.network_mode == "host":
        yield warning(
            f"{task.definition.place}.networkMode",
            "In host mode all tasks of an instance share 127.0.0.1, so the helper may drain the Envoy of another task.",
            "Use networkMode awsvpc, or see to it that an instance runs one such task only.",
        )


def admin_url(task: Task, envoy: Container) -> str:
    """Where `envoy` serves its admin API, seen from the helper."""
    if envoy.env.get("ENVOY_ADMIN_MODE") == "uds":
        return SOCKET
    default = "19000" if envoy.repository == "consul-dataplane" else "9901"
    given = envoy.env.get("ENVOY_ADMIN_ACCESS_PORT") or envoy.env.get("KUMA_DATAPLANE_ADMIN_PORT") or ""
    port = given if re.fullmatch("[1-9][0-9]{0,4}", given) and int(given) < 65536 else default
    return f"http://{envoy.name if bridged(task) else '127.0.0.1'}:{port}"


def bridged(task: Task) -> bool:
    """Whether each container has its own network: what ECS does on EC2 instances unless told otherwise."""
    return task.definition.network_mode == "bridge" or not (task.definition.network_mode or task.definition.fargate)


def shares_folder(helper: Container, envoy: Container, socket: PurePosixPath) -> bool:
    if any(volume.source_container == envoy.name for volume in helper.volumes_from):
        return True
    shared = {mount.source_volume for mount in envoy.mount_points}
    return any(
        mount.source_volume in shared and socket.is_relative_to(mount.container_path) for mount in helper.mount_points
    )
