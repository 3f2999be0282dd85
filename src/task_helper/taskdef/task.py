"""Which container of a task definition is what: the helper, Envoy, those that the helper must hold up."""

from __future__ import annotations

from typing import Final

import msgspec

from task_helper.settings import BadSettings, Settings, from_env
from task_helper.taskdef.definition import Container, Definition, VirtualNode

HELPER_NAMES: Final = {"ecs-task-helper", "task-helper", "ecs-appmesh-task-helper"}
# images that run an Envoy without saying so in their name: Consul's and Kuma's (Kong Mesh's) data planes
ENVOY_IMAGES: Final = {"consul-dataplane", "kuma-dp"}
# a task that loses one of these while it drains loses records, not requests
AGENT_WORDS: Final = {"agent", "alloy", "bit", "collector", "fluentd", "otel", "statsd", "telegraf", "vector", "xray"}


class BadName(ValueError):
    """A container's name, given by the user, does not fit the task definition."""


class Task(msgspec.Struct, frozen=True):
    """A definition with the parts that its containers play; a task has one helper and one Envoy, or it is faulty."""

    definition: Definition
    helpers: list[Container]
    envoys: list[Container]
    spot: bool = False
    virtual_node: VirtualNode | None = None

    @property
    def held(self) -> list[Container]:
        """What serves requests or serves those that do: all but the helper and what has ended when the task is up."""
        finished = {
            dependency.container_name
            for container in self.definition.container_definitions
            for dependency in container.depends_on
            if dependency.condition in ("COMPLETE", "SUCCESS") and container not in self.helpers
        }
        return [
            container
            for container in self.definition.container_definitions
            if container not in self.helpers and container.name not in finished
        ]


def cast(
    definition: Definition,
    helper: str | None = None,
    envoy: str | None = None,
    spot: bool = False,
    virtual_node: VirtualNode | None = None,
) -> Task:
    """Tell the containers' parts, where not named then from images and names; raises BadName."""
    helpers = [_named(definition, helper)] if helper else list(filter(is_helper, definition.container_definitions))
    envoys = [_named(definition, envoy)] if envoy else _envoys(definition, helpers)
    return Task(definition, helpers, envoys, spot, virtual_node)


def _named(definition: Definition, name: str) -> Container:
    try:
        return definition.by_name[name]
    except KeyError:
        raise BadName(f"no container is named {name!r}; there are {', '.join(definition.by_name)}") from None


def is_helper(container: Container) -> bool:
    return container.name in HELPER_NAMES or container.repository in HELPER_NAMES or runs_healthcheck(container)


def runs_healthcheck(container: Container) -> bool:
    """Whether the container's health check asks the helper: `["CMD", "task-helper", "healthcheck"]`."""
    command = container.health_check.command if container.health_check else []
    return " ".join(command).removeprefix("CMD-SHELL ").removeprefix("CMD ").startswith("task-helper healthcheck")


def _envoys(definition: Definition, helpers: list[Container]) -> list[Container]:
    """By the surest sign: what ECS sends the traffic through, else what runs an Envoy, else what is named so."""
    proxied = definition.proxy_configuration.container_name if definition.proxy_configuration else ""
    others = [container for container in definition.container_definitions if container not in helpers]
    return (
        [container for container in others if container.name == proxied]
        or [c for c in others if "envoy" in _words(c.repository) or c.repository in ENVOY_IMAGES]
        or [container for container in others if "envoy" in _words(container.name)]
    )


def is_agent(container: Container) -> bool:
    """Whether it only carries logs, metrics or traces."""
    return container.firelens_configuration is not None or not AGENT_WORDS.isdisjoint(_words(container.repository))


def _words(name: str) -> list[str]:
    """`aws-xray-daemon` is three words."""
    return name.lower().replace("_", "-").split("-")


def to_depend_on(task: Task) -> list[Container]:
    """What a helper has to name in its dependsOn: Envoy, and of the others those that no other container waits for."""
    waited_for = {name for container in task.held for name in task.definition.waits_for(container)}
    return [container for container in task.held if container in task.envoys or container.name not in waited_for]


def condition_for(task: Task, container: Container) -> str:
    """What the helper waits for at the start: Envoy to be HEALTHY where it can be, of all else that it is there."""
    return "HEALTHY" if container in task.envoys and container.health_check else "START"


def logging_neighbour(task: Task) -> Container | None:
    """The container whose logs the helper's belong to: an application, else Envoy, else any that logs somewhere."""
    logging = [container for container in task.held if container.log_configuration]
    applications = [c for c in logging if c not in task.envoys and not is_agent(c)]
    return next(iter(applications or [c for c in logging if c in task.envoys] or logging), None)


def waits_for_replacement(helper: Container) -> bool:
    """Whether the helper asks ECS for its replacement: DRAIN_DELAY=auto."""
    return helper.env.get("DRAIN_DELAY", "").strip().lower() == "auto"


def settings_of(helper: Container) -> Settings | None:
    """The helper's settings; None where they cannot be used, which is the `settings` rule's matter."""
    try:
        return from_env(helper.env)
    except BadSettings:
        return None
