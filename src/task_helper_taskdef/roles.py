"""The role of each container in a task definition: helper, Envoy, application, agent."""

from __future__ import annotations

import re
import shlex
from functools import cached_property
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Final, Literal

import msgspec

from task_helper.settings import SETTINGS, BadSettings, Settings, from_env
from task_helper_taskdef.definition import Container, Definition, VirtualNode
from task_helper_taskdef.envoy_command import read_bootstrap
from task_helper_taskdef.formats import Spelling

HELPER_NAMES: Final = {"ecs-task-helper", "task-helper", "ecs-appmesh-task-helper"}
# images that run an Envoy and do not have it in their name: the data planes of Consul, of Kuma (Kong Mesh) and of Istio
ENVOY_IMAGES: Final = ("consul-dataplane", "kuma-dp", "proxyv2")
# images of Consul itself, whose entry point starts it as a client or a server
CONSUL_IMAGES: Final = {"consul", "consul-enterprise"}
# programs that are an Envoy, or start one
ENVOY_PROGRAMS: Final = {"envoy", "consul-dataplane", "kuma-dp", "pilot-agent", "envoy-entrypoint"}
# Consul's Terraform module before 1.14 gave its Envoy this name
ENVOY_NAMES: Final = {"sidecar-proxy", *ENVOY_IMAGES[:2]}
# a shell's script starts a program behind one of these
_STARTS: Final = {"exec", "--", "&&", "||", ";", "then", "do"}
# these programs start the one behind them
_STARTERS: Final = {"consul-ecs", "consul", "connect", "tini", "dumb-init", "env"}
_SHELLS: Final = {"sh", "bash", "ash", "dash"}
# words in the names of containers that accompany an Envoy and are none
NO_ENVOY: Final = {"control", "exporter", "helper", "init", "metrics", "prometheus", "ratelimit", "test", "tools"}
# a task that loses one of these while it drains loses records, not requests
AGENT_WORDS: Final = {
    *("adot", "agent", "alloy", "bit", "cloudwatch", "collector", "cwagent", "datadog", "fluent", "fluentbit"),
    *("fluentd", "newrelic", "otel", "statsd", "telegraf", "vector", "xray"),
}

# what stands in for a setting that is not set (settings.from_env)
OLDER_VARIABLES: Final = ["ENVOY_ADMIN_ACCESS_PORT", "PORT", "HEALTHCHECK_PATH"]

# how downstreams learn of the task: a control plane, DNS, or a load balancer; docs/use/meshes has a page for each
Mesh = Literal["app-mesh", "consul", "kuma", "static-dns", "alb", "nlb"]


class BadName(ValueError):
    """A container's name, given by the user, does not fit the task definition."""


class Task(msgspec.Struct, frozen=True, dict=True):
    """A definition with the roles of its containers; a task has one helper and one Envoy, or it is faulty."""

    definition: Definition
    helpers: list[Container]
    envoys: list[Container]
    spot: bool = False
    virtual_node: VirtualNode | None = None
    # keys that stand twice in one object of the file, by place
    duplicates: list[str] = []
    # the mesh, where the user names it; None where the containers show it
    named_mesh: Mesh | None = None
    # whether this and the other variants that are checked are all that the file's conditions make
    complete: bool = True
    # how the file has it, and the places of its keys that a template must not have with a small letter
    spelling: Spelling = "api"
    small_keys: list[str] = []

    @cached_property
    def long_running(self) -> list[Container]:
        """All containers without those that end at the start: others wait for these with COMPLETE or SUCCESS."""
        finished = finished_at_start(self.definition, self.helpers)
        return [c for c in self.definition.container_definitions if c.name not in finished]

    @cached_property
    def kept_running(self) -> list[Container]:
        """The containers that the helper keeps running: all that serve requests, and all that these need.

        A container whose SIGTERM deregisters the task is none of them: no container may delay that.
        """
        others = (c for c in self.long_running if c not in self.helpers)
        return [c for c in others if not (deregisters_task(c) or is_consul_control_plane(c))]

    @cached_property
    def applications(self) -> list[Container]:
        """The containers that serve requests: no Envoy, none that an Envoy needs, and none that only carries logs,
        metrics or traces."""
        return [c for c in self.kept_running if not (c in self.envoys or is_agent(c) or is_consul_client(c))]

    @cached_property
    def mesh(self) -> Mesh | None:
        """The mesh whose data plane Envoy is, if it is known."""
        return self.named_mesh or next((mesh for mesh in map(mesh_of, self.envoys) if mesh), None)


def assign_roles(
    definition: Definition,
    helper: str | None = None,
    envoy: str | None = None,
    spot: bool = False,
    virtual_node: VirtualNode | None = None,
    duplicates: list[str] | None = None,
    mesh: Mesh | None = None,
    complete: bool = True,
    spelling: Spelling = "api",
    small_keys: list[str] | None = None,
) -> Task:
    """The task of `definition`: the containers named `helper` and `envoy`, else detected by images and names.

    Raises BadName.
    """
    helpers = [_named(definition, helper)] if helper else list(filter(is_helper, definition.container_definitions))
    envoys = [_named(definition, envoy)] if envoy else _envoys(definition, helpers)
    return Task(
        definition, helpers, envoys, spot, virtual_node, duplicates or [], mesh, complete, spelling, small_keys or []
    )


def finished_at_start(definition: Definition, helpers: list[Container]) -> set[str]:
    """The containers whose end others than `helpers` wait for, with COMPLETE or SUCCESS."""
    return {
        dependency.container_name
        for container in definition.container_definitions
        for dependency in container.depends_on
        if dependency.condition in ("COMPLETE", "SUCCESS") and container not in helpers
    }


def _named(definition: Definition, name: str) -> Container:
    try:
        return definition.by_name[name]
    except KeyError:
        raise BadName(f"no container is named {name!r}; the containers are {', '.join(definition.by_name)}") from None


def is_helper(container: Container) -> bool:
    """Whether its name, image, health check or command line is the helper's; the image with another program is not."""
    starts = container.entry_point or f"{container.place}.entryPoint" in container.unknown
    other = bool(starts) and helper_subcommand(container.command_line) is None
    return (
        container.name in HELPER_NAMES
        or (container.repository in HELPER_NAMES and not other)
        or runs_healthcheck(container)
        or helper_subcommand(container.command_line) == "run"
    )


def runs_healthcheck(container: Container) -> bool:
    """Whether the container's health check is the helper's: `["CMD", "task-helper", "healthcheck"]`."""
    command = container.health_check.command if container.health_check else []
    return helper_subcommand(command[1:] if command[:1] in (["CMD"], ["CMD-SHELL"]) else command) == "healthcheck"


def helper_subcommand(words: list[str]) -> str | None:
    """The word behind `task-helper`, wherever it is installed and also within a shell's script; None without it."""
    for word, following in pairwise([*_split(words), ""]):
        if PurePosixPath(word).name == "task-helper":
            return following.rstrip(";")
    return None


def _split(words: list[str]) -> list[str]:
    """All words of a command line, those of a shell's script as well."""
    split: list[str] = []
    for word in words:
        try:
            split += shlex.split(word)
        except ValueError:
            split += word.split()
    return split


def _envoys(definition: Definition, helpers: list[Container]) -> list[Container]:
    """By the surest sign: the proxy of the proxyConfiguration, images of an Envoy and command lines, else names.

    A container whose end others wait for is none: it prepares something for an Envoy.
    """
    proxied = definition.proxy_configuration.container_name if definition.proxy_configuration else ""
    finished = finished_at_start(definition, helpers)
    others = [c for c in definition.container_definitions if c not in helpers and c.name not in finished]
    return [c for c in others if c.name == proxied or runs_envoy(c)] or [c for c in others if has_envoy_name(c)]


def runs_envoy(container: Container) -> bool:
    """Whether the image is an Envoy's, or the command line starts one; a log router is none, whatever its name is.

    Where the image is unknown, the container's own name decides.
    """
    if container.firelens_configuration is not None:
        return False
    if f"{container.place}.image" in container.unknown and has_envoy_name(container):
        return True
    named = container.repository.startswith(ENVOY_IMAGES) or _names_envoy(container.repository)
    return named or starts_envoy(container)


def starts_envoy(container: Container) -> bool:
    """Whether its command line starts an Envoy, directly or in a shell's script."""
    starts = True
    for word in _split(container.command_line):
        name = PurePosixPath(word.rstrip(";")).name
        if starts and name in ENVOY_PROGRAMS:
            return True
        # `consul-ecs envoy-entrypoint`, `consul connect envoy`, `tini -g -- envoy`
        starts = word in _STARTS or word.endswith(";") or name in {*_SHELLS, *_STARTERS}
        starts = starts or word in ("-c", "-g")
    return False


def has_envoy_name(container: Container) -> bool:
    return container.name in ENVOY_NAMES or _names_envoy(container.name)


def _names_envoy(name: str) -> bool:
    words = _name_words(name)
    return NO_ENVOY.isdisjoint(words) and any(word.startswith("envoy") or word.endswith("envoy") for word in words)


def mesh_of(envoy: Container) -> Mesh | None:
    """The mesh whose data plane `envoy` is, by its image, its variables and its command line.

    An Envoy without a control plane that finds upstreams by DNS is taken for one that downstreams find by DNS.
    """
    if envoy.repository.startswith("consul-dataplane") or any("consul" in word for word in envoy.command_line):
        return "consul"
    if envoy.repository.startswith("kuma-dp") or any("kuma-dp" in word for word in envoy.command_line):
        return "kuma"
    if any(variable.name.startswith("KUMA_") for variable in envoy.environment):
        return "kuma"
    if "appmesh" in envoy.image or any(variable.name.startswith("APPMESH_") for variable in envoy.environment):
        return "app-mesh"
    configured = read_bootstrap(envoy.command_line)
    return "static-dns" if configured and not configured.dynamic and configured.upstreams else None


def identifying_places(container: Container) -> list[str]:
    """The places that show what `container` is and runs."""
    words = [
        f"{container.place}.{key}[{i}]"
        for key, words in (("entryPoint", container.entry_point), ("command", container.command))
        for i in range(len(words))
    ]
    return [*(f"{container.place}.{key}" for key in ("image", "entryPoint", "command", "environment")), *words]


def deregisters_task(container: Container) -> bool:
    """Whether its own SIGTERM removes the task from discovery: Consul's health-sync marks the checks critical."""
    return container.name == "consul-ecs-health-sync" or (
        container.repository.startswith("consul-ecs") and "health-sync" in container.command_line
    )


def is_consul_control_plane(container: Container) -> bool:
    """Whether it runs `consul-ecs control-plane`, whose SIGTERM deregisters the tasks of HashiCorp's module 0.7.

    The module makes all other containers depend on it.
    """
    return container.name == "consul-ecs-control-plane" or (
        container.repository.startswith("consul-ecs") and "control-plane" in container.command_line
    )


def is_consul_client(container: Container) -> bool:
    """Whether it runs Consul's own agent (`consul agent`), from which an Envoy in its task gets its configuration."""
    words = [PurePosixPath(word).name for word in _split(container.command_line)]
    # the image's own command is `consul agent`
    by_image = container.repository in CONSUL_IMAGES and ("agent" in words or not words)
    return by_image or ("consul", "agent") in pairwise(words)


def is_agent(container: Container) -> bool:
    """Whether it only carries logs, metrics or traces, by its image; by its name only where the image is unknown."""
    if container.firelens_configuration is not None:
        return True
    known = container.image and f"{container.place}.image" not in container.unknown
    return not AGENT_WORDS.isdisjoint(
        _name_words(container.repository if known else f"{container.image} {container.name}")
    )


def _name_words(name: str) -> list[str]:
    """`aws-xray-daemon` is three words, `EnvoyImage` two."""
    return re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", "-", name).lower())


def needed_dependencies(task: Task) -> list[Container]:
    """The containers for a helper's dependsOn: Envoy, and of the others those that no other container waits for."""
    waited_for = {name for container in task.kept_running for name in task.definition.waits_for(container)}
    return [
        container for container in task.kept_running if container in task.envoys or container.name not in waited_for
    ]


def condition_for(task: Task, container: Container) -> str:
    """The condition for a helper's dependsOn: HEALTHY for an Envoy with a health check, else START."""
    return "HEALTHY" if container in task.envoys and container.health_check else "START"


def logging_neighbour(task: Task) -> Container | None:
    """The container whose logs the helper's belong to: an application, else Envoy, else any that logs somewhere."""
    logging = [container for container in task.kept_running if container.log_configuration]
    applications = [c for c in task.applications if c.log_configuration]
    return next(iter(applications or [c for c in logging if c in task.envoys] or logging), None)


def chain_of(task: Task) -> tuple[Container, Container] | None:
    """The two helpers that ECS stops one after the other: the first depends on the second; None without such two."""
    waits_for = task.definition.waits_for
    pairs = ((one, other) for one in task.helpers for other in task.helpers if other.name in waits_for(one))
    return next(pairs, None)


def waits_for_replacement(helper: Container) -> bool:
    """Whether the helper waits for replacement tasks: DRAIN_DELAY=auto."""
    return helper.env.get("DRAIN_DELAY", "").strip().lower() == "auto"


def knows_settings(helper: Container) -> bool:
    """Whether every variable that the helper's settings are read from is known."""
    return all(map(helper.knows_variable, [setting.name for setting in SETTINGS] + OLDER_VARIABLES))


def settings_of(helper: Container) -> Settings | None:
    """The helper's settings; None where they are unknown, or not usable, which the rule `settings` reports."""
    if not knows_settings(helper):
        return None
    try:
        return from_env(helper.env)
    except BadSettings:
        return None


def shares_network(task: Task) -> bool | None:
    """Whether the containers share 127.0.0.1; None where the definition does not show it."""
    definition = task.definition
    if definition.network_mode in ("bridge", "none", "nat"):
        return False
    shared = definition.network_mode in ("awsvpc", "host") or definition.proxy_configuration is not None
    # these have no other mode
    return True if shared or {"FARGATE", "MANAGED_INSTANCES"} & set(definition.requires_compatibilities) else None
