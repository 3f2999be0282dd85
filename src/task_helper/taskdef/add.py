"""Putting a well-wired helper container into a task definition."""

from __future__ import annotations

import re
from typing import Any

from task_helper.taskdef.definition import Container, read, unwrap
from task_helper.taskdef.rules.admin_address import admin_url, bridged
from task_helper.taskdef.rules.auto_egress import NOBODY_IN_PARTICULAR, ignored_user
from task_helper.taskdef.rules.memory import need
from task_helper.taskdef.task import (
    BadName,
    Task,
    cast,
    condition_for,
    is_helper,
    logging_neighbour,
    settings_of,
    to_depend_on,
)

DEFAULT_ADMIN_URL = "http://127.0.0.1:9901"
DEFAULT_STOP_TIMEOUT = 120


def add(document: Any, image: str, name: str = "task-helper", envoy: str | None = None) -> Any:
    """`document` with the helper's container at the end of its containers; the value given stays as it is.

    A helper that is there already gets `image`, and of the rest only what it lacks: what was written by hand stays, and
    a second run changes nothing. Raises NotATaskDefinition and BadName.
    """
    definition = read(document)
    if not re.fullmatch("[A-Za-z0-9_-]{1,255}", name):
        raise BadName(f"{name!r} is no name for a container; ECS takes letters, digits, - and _")
    if name in definition.by_name and not is_helper(definition.by_name[name]):
        raise BadName(f"{name} is the name of a container that is no helper; give the helper another name")
    task = cast(definition, envoy=envoy)
    fields, _ = unwrap(document)
    containers = list(fields["containerDefinitions"])
    if task.helpers:
        at = definition.container_definitions.index(task.helpers[0])
        containers[at] = _completed(containers[at], _container(task, image, containers, task.helpers[0]))
    else:
        containers.append(_container(task, image, containers, Container(name, place="")))
    completed = {**fields, "containerDefinitions": containers}
    return completed if fields is document else {**document, "taskDefinition": completed}


def _container(task: Task, image: str, containers: list[dict[str, Any]], helper: Container) -> dict[str, Any]:
    """The helper's container as it is to be, in the light of the settings that `helper` has already."""
    settings = settings_of(helper)
    container: dict[str, Any] = {
        "name": helper.name,
        "image": image,
        # its health gates the deployment, and its crash costs no task
        "essential": True,
        "restartPolicy": {"enabled": True, "restartAttemptPeriod": 60},
        "dependsOn": [{"containerName": c.name, "condition": condition_for(task, c)} for c in to_depend_on(task)],
        "stopTimeout": round(settings.stop_timeout) if settings else DEFAULT_STOP_TIMEOUT,
        "healthCheck": {
            "command": ["CMD", "task-helper", "healthcheck"],
            "interval": 10,
            "timeout": 5,
            "retries": 10,
            "startPeriod": 300,
        },
        "memory": need(helper).enough,
        "user": _user(task),
        "readonlyRootFilesystem": True,
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
    }
    if helper.memory_reservation is not None:
        del container["memory"]
    admin = admin_url(task, task.envoys[0]) if task.envoys else DEFAULT_ADMIN_URL
    if admin != DEFAULT_ADMIN_URL:
        container["environment"] = [{"name": "ENVOY_ADMIN_URL", "value": admin}]
    if task.envoys and bridged(task) and task.envoys[0].name in admin:
        container["links"] = [task.envoys[0].name]
    if neighbour := logging_neighbour(task):
        at = task.definition.container_definitions.index(neighbour)
        container["logConfiguration"] = containers[at]["logConfiguration"]
    return container


def _user(task: Task) -> str:
    """The user that a proxyConfiguration ignores, so that calls to AWS pass Envoy by; never root."""
    proxy = task.definition.proxy_configuration
    user = ignored_user(proxy) if proxy else ""
    return user if user.partition(":")[0] not in ("", "0", "root") else NOBODY_IN_PARTICULAR


def _completed(there: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """`there` with the new image and what it lacks of `wanted`; of lists, the items whose name it does not have."""
    completed = {key: value for key, value in there.items() if value is not None}
    for key, value in wanted.items():
        if key in ("dependsOn", "environment", "links"):
            have = completed.get(key, [])
            completed[key] = have + [item for item in value if _key(item) not in map(_key, have)]
        elif key == "image" or key not in completed:
            completed[key] = value
    return completed


def _key(item: Any) -> Any:
    return (item.get("containerName") or item.get("name")) if isinstance(item, dict) else str(item).partition(":")[0]
