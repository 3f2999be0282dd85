"""Adding a helper container with the right wiring to a task definition. It writes no file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, Final

from task_helper.settings import SETTINGS, BadSettings, from_env
from task_helper.settings import stop_timeout as stop_timeout_of
from task_helper_taskdef.add.application import application_url
from task_helper_taskdef.add.stop_timeouts import stop_timeout_edits
from task_helper_taskdef.add.variants import edit_variants
from task_helper_taskdef.definition import DEFAULT_STOP_TIMEOUT as ECS_STOP_TIMEOUT
from task_helper_taskdef.definition import Container, Definition, VirtualNode, read, read_source
from task_helper_taskdef.envoy_admin import KUMA_SOCKET, KUMA_WORK_DIR, admin_api, envoy_mesh, user_of
from task_helper_taskdef.findings import Copied, Edit
from task_helper_taskdef.formats import Source
from task_helper_taskdef.formats.editing import NotEditable, changed, with_copies
from task_helper_taskdef.formats.tree import NotATaskDefinition, Unknown
from task_helper_taskdef.presets import closes_idle, envoy_presets, presets
from task_helper_taskdef.roles import (
    BadName,
    Mesh,
    Task,
    assign_roles,
    chain_of,
    condition_for,
    deregisters_task,
    is_helper,
    knows_settings,
    logging_neighbour,
    needed_dependencies,
    shares_network,
)
from task_helper_taskdef.rules import cpu, memory
from task_helper_taskdef.rules.auto_egress import UNPRIVILEGED_USER, ignored_user
from task_helper_taskdef.rules.health_check import CHECK

NO_SETTINGS: Final[Mapping[str, str]] = {}
DEFAULT_NAME: Final = "task-helper"
DEFAULT_ADMIN_URL: Final = "http://127.0.0.1:9901"
DEFAULT_STOP_TIMEOUT: Final = 120
# on Spot all containers have two minutes, one after the other; docs/use/auto.md#presets
SPOT: Final = {"DRAIN_DELAY": "5", "DRAIN_TIMEOUT": "40", "STOP_TIMEOUT": "60"}
# where Kuma's socket is put, which otherwise has another path at every start
KUMA_FOLDER: Final = "/run/kuma"
KUMA_VOLUME: Final = "kuma-admin"
# a volume belongs to root where the image does not say otherwise (aws/containers-roadmap#938), and kuma-dp is not root
FOLDER_INIT: Final = "kuma-admin-folder"


class BadSetting(ValueError):
    """A given setting is not a setting of the helper, or has a value that the helper refuses."""


def add(
    source: Source,
    image: str,
    name: str = DEFAULT_NAME,
    envoy: str | None = None,
    spot: bool = False,
    mesh: Mesh | None = None,
    stop_timeout: int | None = None,
    helper: str | None = None,
    settings: Mapping[str, str] = NO_SETTINGS,
    virtual_node: VirtualNode | None = None,
) -> Source:
    """`source` with a helper, wired for its mesh; `text` of the result is the new text of the whole file.

    image: the helper's image, with its tag or digest
    name: the name of the helper's container, if there is none yet
    envoy: the container that is Envoy; None where the containers show it
    spot: whether the times leave room for all containers in Spot's two minutes
    mesh: the mesh; None where the containers show it
    stop_timeout: seconds for which the helper keeps the task running; on Fargate above 120 with a chain of two helpers
    helper: the container that is the helper; None where the containers show it
    settings: environment variables of the helper; they replace what is set
    virtual_node: the mesh's virtual node, for its health check

    A helper that is there already gets `image`, and of the rest only what it lacks: what was written by hand stays, and
    a second run changes nothing. Raises NotATaskDefinition, NotEditable, BadName, BadSetting and BadStopTimeout. A task
    for Windows and one without an Envoy are not editable.
    """
    if source.tree.duplicates:
        place = source.tree.duplicates[0][0]
        raise NotATaskDefinition(
            f"{place}: the object has this key twice, and one value would be lost; remove one of them"
        )
    if source.spelling == "terraform":
        raise NotEditable(
            f"{source.file}: a Terraform plan cannot be changed; change the Terraform code, as examples/terraform shows"
        )
    # reports what is wrong with the shape at its place in the file
    definitions = [read_source(variant) for variant in source.variants]
    if not source.complete:
        raise NotEditable(
            f"{source.file}: its conditions can be met together in more than 32 ways; add the helper by hand"
        )
    _refuse_unfit(source, definitions, helper, envoy)

    def of_helper(document: Any) -> list[Edit]:
        definition = read(document)
        names = _those_in(definition, helper, envoy)
        return _one_helper(assign_roles(definition, *names, spot, virtual_node, mesh=mesh), image, name, settings)

    source = edit_variants(source, of_helper, envoy)
    if stop_timeout is None:
        return source
    return edit_variants(source, lambda document: list(stop_timeout_edits(document, stop_timeout)), envoy)


def _refuse_unfit(source: Source, variants: list[Definition], helper: str | None, envoy: str | None) -> None:
    """Raise NotEditable for a task that the helper cannot serve."""
    name = " ".join(filter(None, (source.file, source.label)))
    if any(definition.windows for definition in variants):
        raise NotEditable(f"{name}: this task runs on Windows, and the helper needs Linux")
    if not has_envoy(variants, helper, envoy):
        raise NotEditable(
            f"{name}: no container is an Envoy, so the helper has nothing to drain; if a container is an Envoy, name it"
            " with --envoy NAME"
        )


def has_envoy(variants: Sequence[Definition], helper: str | None = None, envoy: str | None = None) -> bool:
    """Whether one of `variants` of a definition has an Envoy; a name that it has no container of counts for nothing."""
    return any(assign_roles(each, *_those_in(each, helper, envoy)).envoys for each in variants)


def _those_in(definition: Definition, helper: str | None, envoy: str | None) -> tuple[str | None, str | None]:
    """Both names, None for one that `definition` has no container of."""
    return helper if helper in definition.by_name else None, envoy if envoy in definition.by_name else None


def edits(
    document: Any,
    image: str,
    name: str = DEFAULT_NAME,
    envoy: str | None = None,
    spot: bool = False,
    mesh: Mesh | None = None,
    stop_timeout: int | None = None,
    helper: str | None = None,
    settings: Mapping[str, str] = NO_SETTINGS,
    virtual_node: VirtualNode | None = None,
) -> list[Edit]:
    """The edits that `add` makes of `document`, a definition in the API's spelling; parameters and errors are its."""
    definition = read(document)
    task = assign_roles(definition, helper, envoy, spot, virtual_node, mesh=mesh)
    one = _one_helper(task, image, name, settings)
    return one if stop_timeout is None else [*one, *stop_timeout_edits(changed(document, one), stop_timeout)]


def _one_helper(task: Task, image: str, name: str, settings: Mapping[str, str]) -> list[Edit]:
    definition = task.definition
    if not re.fullmatch("[A-Za-z0-9_-]{1,255}", name):
        raise BadName(f"{name!r} is not a container name; ECS takes letters, digits, - and _, such as task-helper")
    if name in definition.by_name and not is_helper(definition.by_name[name]):
        raise BadName(f"{name} is the name of another container; give the helper another name with --name")
    # the container that prepares Kuma's volume ends at the start, so the helper does not depend on it
    socket, shared = _kuma_socket_edits(task, image)
    shared += [] if closes_idle(settings) else _envoy_edits(task)
    shared += _health_sync_edits(task, settings)
    if task.helpers:
        helper = task.helpers[0]
        wanted = _container(task, image, helper, socket, settings)
        # two in a chain are one program
        others = [c for c in chain_of(task) or () if c is not helper and c.image != image]
        alike = [Edit(f"{other.place}.image", image) for other in others]
        given = [
            helper.set_variable(variable, value)
            for variable, value in settings.items()
            if helper.env.get(variable, value) != value
        ]
        return [*shared, *given, *_missing_parts(definition, helper, wanted), *alike]
    helper = Container(name, place="", unknown=[])
    return [*shared, Edit("$.containerDefinitions", _container(task, image, helper, socket, settings), append=True)]


def _envoy_edits(task: Task) -> list[Edit]:
    """The edits that add the mesh's missing settings to Envoy's container."""
    return [
        envoy.set_variable(preset.variable, preset.value)
        for envoy in task.envoys
        for preset in envoy_presets(task, envoy)
        if envoy.knows_variable(preset.variable) and preset.variable not in envoy.env
    ]


def _health_sync_edits(task: Task, settings: Mapping[str, str]) -> list[Edit]:
    """The edits that let Consul's health-sync deregister the task after a drain, if its stopTimeout is not set."""
    seconds = _stop_timeout(task, {**(task.helpers[0].env if task.helpers else {}), **settings})
    return [
        Edit(f"{container.place}.stopTimeout", seconds)
        for container in task.definition.container_definitions
        if _is_unset(task, container) and seconds > container.stop_seconds
    ]


def _health_sync_seconds(task: Task, settings: Mapping[str, str]) -> dict[str, str]:
    """The variable that gives the helper the stopTimeout of Consul's health-sync, where that is known."""
    for container in filter(deregisters_task, task.definition.container_definitions):
        if _is_unset(task, container):
            return {"HEALTH_SYNC_STOP_TIMEOUT": str(max(_stop_timeout(task, settings), container.stop_seconds))}
        if container.stop_timeout is not None and container.stop_timeout != ECS_STOP_TIMEOUT:
            return {"HEALTH_SYNC_STOP_TIMEOUT": str(container.stop_timeout)}
    return {}


def _is_unset(task: Task, container: Container) -> bool:
    """Whether this is Consul's health-sync, and ECS's default is known to be its stopTimeout."""
    place = f"{container.place}.stopTimeout"
    return deregisters_task(container) and container.stop_timeout is None and place not in task.definition.unknown


def _container(
    task: Task, image: str, helper: Container, socket: PurePosixPath | None, settings: Mapping[str, str]
) -> dict[str, Any]:
    """The helper's container as it is to be, in the light of the settings that `helper` has already."""
    container: dict[str, Any] = {
        "name": helper.name,
        "image": image,
        # its health gates the deployment, and its crash costs no task
        "essential": True,
        "restartPolicy": {"enabled": True, "restartAttemptPeriod": 60},
        "dependsOn": [
            {"containerName": task.definition.written_name(c), "condition": condition_for(task, c)}
            for c in needed_dependencies(task)
        ],
        "stopTimeout": _stop_timeout(task, {**helper.env, **settings}),
        "healthCheck": dict(CHECK),
        "cpu": cpu.need(helper),
        "memory": memory.need(helper).enough,
        "user": _user(task),
        "readonlyRootFilesystem": True,
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
    }
    if task.mesh == "consul":
        # the same to ECS; with the key, Consul's module would make the helper's health a condition of the task's
        del container["essential"]
    if helper.memory_reservation is not None:
        del container["memory"]
    if not cpu.fits(task.definition, helper):
        del container["cpu"]  # the rule says whose to lower
    environment = {**_environment(task, helper, socket, settings), **settings}
    _refuse_bad_settings(helper, environment, settings)
    if environment:
        container["environment"] = [{"name": key, "value": value} for key, value in environment.items()]
    if socket:
        container["mountPoints"] = [_mount(task, socket)]
    if task.envoys and shares_network(task) is False and task.envoys[0].name in environment.get("ENVOY_ADMIN_URL", ""):
        container["links"] = [task.envoys[0].name]
    return container | _logging(task)


def _refuse_bad_settings(helper: Container, environment: Mapping[str, str], settings: Mapping[str, str]) -> None:
    """Raise BadSetting where `settings` make what the helper would refuse."""
    names = [setting.name for setting in SETTINGS]
    for name in settings:
        if name not in names:
            raise BadSetting(f"{name} is not a setting of the helper; the settings are {', '.join(names)}")
    if settings and knows_settings(helper):
        try:
            from_env({**environment, **helper.env, **settings})
        except BadSettings as error:
            raise BadSetting(str(error)) from None


def _stop_timeout(task: Task, settings: Mapping[str, str]) -> int:
    """The seconds that STOP_TIMEOUT says, whatever else is not known of its settings; else what suits the task."""
    with suppress(ValueError):
        return round(stop_timeout_of(settings.get("STOP_TIMEOUT", "").strip()))
    return int(SPOT["STOP_TIMEOUT"]) if task.spot else DEFAULT_STOP_TIMEOUT


def _logging(task: Task) -> dict[str, Any]:
    """The logConfiguration of a neighbour, if there is one."""
    neighbour = logging_neighbour(task)
    return {"logConfiguration": Copied(f"{neighbour.place}.logConfiguration")} if neighbour else {}


def _environment(
    task: Task, helper: Container, socket: PurePosixPath | None, settings: Mapping[str, str]
) -> dict[str, str]:
    admin = admin_api(task, task.envoys[0]) if task.envoys else None
    url = f"unix://{socket}" if socket else admin.url(task, task.envoys[0]) if admin else None
    environment = {"ENVOY_ADMIN_URL": url} if url and url != DEFAULT_ADMIN_URL else {}
    environment |= {preset.variable: preset.value for preset in presets(task, helper)}
    environment |= _health_sync_seconds(task, {**helper.env, **settings})
    if answers := application_url(task):
        environment["APP_HEALTH_URL"] = answers
    return environment | (SPOT if task.spot else {})


def _user(task: Task) -> str:
    """The user that may open the socket, or that a proxyConfiguration ignores, so that calls to AWS pass Envoy by."""
    envoy = task.envoys[0] if task.envoys else None
    admin = admin_api(task, envoy) if envoy else None
    proxy = task.definition.proxy_configuration
    user = ignored_user(proxy) if proxy else ""
    if envoy and admin and admin.port is None:
        user = user_of(task, envoy) or user
    # never root, which the helper does not need
    return user if user.partition(":")[0] not in ("", "0", "root") else UNPRIVILEGED_USER


def _kuma_socket_edits(task: Task, image: str) -> tuple[PurePosixPath | None, list[Edit]]:
    """The socket of Kuma's admin API, None where it has none, and what puts it where the helper can reach it."""
    envoy = task.envoys[0] if task.envoys else None
    admin = admin_api(task, envoy) if envoy else None
    if envoy is None or admin is None or admin.port is not None or envoy_mesh(task, envoy) != "kuma":
        return None, []
    # whose the socket is must not be up to the image
    place = f"{envoy.place}.user"
    owner = [] if envoy.user or place in task.definition.unknown else [Edit(place, _user(task))]
    if admin.socket and any(admin.socket.is_relative_to(mount.container_path) for mount in envoy.mount_points):
        return admin.socket, owner
    folder = admin.socket.parent if admin.socket else PurePosixPath(KUMA_FOLDER)
    mount = {"sourceVolume": KUMA_VOLUME, "containerPath": str(folder)}
    opener = {
        "name": FOLDER_INIT,
        "image": image,
        "essential": False,
        "entryPoint": ["python3", "-c"],
        "command": [f"import os; os.chmod('{folder}', 0o1777)"],
        "mountPoints": [mount],
        "memory": memory.FIXED.enough,
        "user": "0",
        "readonlyRootFilesystem": True,
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
        **_logging(task),
    }
    shared = [*owner, Edit(f"{envoy.place}.mountPoints", mount, append=True)]
    # what is left of an earlier run stays
    if not any(isinstance(v, dict) and v.get("name") == KUMA_VOLUME for v in _items(task, "volumes")):
        shared.append(Edit("$.volumes", {"name": KUMA_VOLUME}, append=True))
    if FOLDER_INIT not in task.definition.waits_for(envoy):
        shared.append(
            Edit(f"{envoy.place}.dependsOn", {"containerName": FOLDER_INIT, "condition": "SUCCESS"}, append=True)
        )
    if FOLDER_INIT not in task.definition.by_name:
        shared.append(Edit("$.containerDefinitions", opener, append=True))
    if admin.socket is None:
        shared.append(Edit(f"{envoy.place}.environment", {"name": KUMA_WORK_DIR, "value": str(folder)}, append=True))
    return folder / KUMA_SOCKET, shared


def _items(task: Task, key: str) -> list[Any]:
    """The list at `key` of the definition, empty where there is none."""
    value = task.definition.document.get(key)
    return value if isinstance(value, list) else []


def _mount(task: Task, socket: PurePosixPath) -> dict[str, str]:
    """The volume that the socket is on, mounted where Envoy mounts it."""
    for mount in task.envoys[0].mount_points:
        if mount.container_path and socket.is_relative_to(mount.container_path):
            return {"sourceVolume": mount.source_volume, "containerPath": mount.container_path}
    return {"sourceVolume": KUMA_VOLUME, "containerPath": str(socket.parent)}


def _missing_parts(definition: Definition, helper: Container, wanted: dict[str, Any]) -> list[Edit]:
    """Edits that add the missing parts of `wanted` to `helper`, and its image; in lists, items with missing names."""
    found: list[Edit] = []
    there = definition.value_at(helper.place)
    for key, value in wanted.items():
        have = there.get(key)
        place = f"{helper.place}.{key}"
        if isinstance(have, Unknown):
            # what it has is known only to the deployment, and so is what it lacks
            continue
        if key in ("dependsOn", "environment", "links", "mountPoints"):
            keys = set(map(_key, have or []))
            lacking = [item for item in value if _key(with_copies(item, definition.document)) not in keys]
            found += [Edit(place, item, append=True) for item in lacking]
        elif have is None or (key == "image" and have != value):
            found.append(Edit(place, value))
    return found


def _key(item: Any) -> Any:
    """The key that identifies an item of a list."""
    if not isinstance(item, dict):
        return str(item).partition(":")[0]
    return item.get("containerName") or item.get("name") or item.get("containerPath")
