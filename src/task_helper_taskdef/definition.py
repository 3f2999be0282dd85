"""A task definition as typed values, each with its place: what the rules look at.

What ECS itself would refuse for its shape (a text where a number belongs, a container without a name) raises
NotATaskDefinition with the place, so the rules work on values of known types. A null counts as absent, as Terraform
writes it; a number may come as text, as CloudFormation has it. `unknown` has the places that a template leaves unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Any, Final, Literal

import msgspec

from task_helper_taskdef.findings import Copied, Edit
from task_helper_taskdef.formats import Source
from task_helper_taskdef.formats.decoding import DOCUMENT, PLACE, UNKNOWN, typed
from task_helper_taskdef.formats.tree import NotATaskDefinition, Unknown, above, below, steps

# ECS's default, if the definition and the instance's agent do not set it
DEFAULT_STOP_TIMEOUT: Final = 30

_NAME: Final = re.compile("[A-Za-z0-9_-]{1,255}")
# the API's Integer
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]


class KeyValue(msgspec.Struct, frozen=True):
    name: str
    place: str = msgspec.field(name=PLACE)
    unknown: list[str] = msgspec.field(name=UNKNOWN)
    value: str = ""


class Dependency(msgspec.Struct, frozen=True, rename="camel"):
    container_name: str
    condition: Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]
    place: str = msgspec.field(name=PLACE)


class HealthCheck(msgspec.Struct, frozen=True, rename="camel"):
    """Times in seconds, with ECS's defaults."""

    command: list[str]
    interval: Number = 30
    timeout: Number = 5
    retries: Number = 3
    start_period: Number = 0


class RestartPolicy(msgspec.Struct, frozen=True, rename="camel"):
    enabled: bool
    restart_attempt_period: Number = 300


class VolumeFrom(msgspec.Struct, frozen=True, rename="camel"):
    source_container: str = ""


class MountPoint(msgspec.Struct, frozen=True, rename="camel"):
    source_volume: str = ""
    container_path: str = ""


class PortMapping(msgspec.Struct, frozen=True, rename="camel"):
    container_port: Number | None = None
    name: str = ""


class LogConfiguration(msgspec.Struct, frozen=True, rename="camel"):
    log_driver: str


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """One of `containerDefinitions`, as far as the stop of the task depends on it.

    `cpu` is in CPU shares, memory in MiB, times in seconds.
    """

    name: str
    place: str = msgspec.field(name=PLACE)
    unknown: list[str] = msgspec.field(name=UNKNOWN)
    image: str = ""
    essential: bool = True
    entry_point: list[str] = []
    command: list[str] = []
    depends_on: list[Dependency] = []
    links: list[str] = []
    volumes_from: list[VolumeFrom] = []
    mount_points: list[MountPoint] = []
    port_mappings: list[PortMapping] = []
    environment: list[KeyValue] = []
    environment_files: list[dict[str, Any]] = []
    secrets: list[dict[str, Any]] = []
    docker_labels: dict[str, Any] = {}
    stop_timeout: Number | None = None
    health_check: HealthCheck | None = None
    restart_policy: RestartPolicy | None = None
    user: str = ""
    cpu: Number | None = None
    memory: Number | None = None
    memory_reservation: Number | None = None
    log_configuration: LogConfiguration | None = None
    firelens_configuration: dict[str, Any] | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment variables whose values are known."""
        return {variable.name: variable.value for variable in self.environment if not variable.unknown}

    def knows_variable(self, name: str) -> bool:
        """Whether the value of the environment variable `name` is known, or known to be unset."""
        if any(variable.name == name for variable in self.environment):
            return name in self.env
        elsewhere = self.environment_files or any(secret.get("name") in (name, None) for secret in self.secrets)
        return not elsewhere and not any(
            re.fullmatch(r"\.(environment|secrets|environmentFiles)(\[\d+\](\.name)?)?", place.removeprefix(self.place))
            for place in self.unknown
        )

    @property
    def repository(self) -> str:
        """The last part of the image's name, without tag and digest: `envoy` of `docker.io/envoyproxy/envoy:v1.36`."""
        return re.split("[:@]", self.image.rpartition("/")[2])[0]

    @property
    def command_line(self) -> list[str]:
        """The entry point and the command of the container, as far as the definition has them."""
        return [*self.entry_point, *self.command]

    @property
    def stop_seconds(self) -> int:
        """Seconds that ECS gives it between SIGTERM and SIGKILL."""
        return DEFAULT_STOP_TIMEOUT if self.stop_timeout is None else self.stop_timeout

    def variable_place(self, name: str) -> str:
        """The place of the value of the environment variable `name`, or of where it would stand."""
        places = [f"{variable.place}.value" for variable in self.environment if variable.name == name]
        return places[-1] if places else f"{self.place}.environment"

    def set_variable(self, name: str, value: str) -> Edit:
        """The change that gives the environment variable `name` this value."""
        place = self.variable_place(name)
        if place.endswith(".value"):
            return Edit(place, value)
        return Edit(place, {"name": name, "value": value}, append=True)


class ProxyConfiguration(msgspec.Struct, frozen=True, rename="camel"):
    container_name: str = ""
    properties: list[KeyValue] = []

    @property
    def values(self) -> dict[str, str]:
        return {pair.name: pair.value for pair in self.properties}


class RuntimePlatform(msgspec.Struct, frozen=True, rename="camel"):
    operating_system_family: str = ""


class Definition(msgspec.Struct, frozen=True, rename="camel", dict=True):
    """A task definition, as far as the stop of the task depends on it; `memory` is in MiB or a text such as `1 GB`.

    `document` is what it was read from, in the API's spelling.
    """

    container_definitions: list[Container]
    place: str = msgspec.field(name=PLACE)
    unknown: list[str] = msgspec.field(name=UNKNOWN)
    document: dict[str, Any] = msgspec.field(name=DOCUMENT)
    family: str = ""
    network_mode: str = ""
    requires_compatibilities: list[str] = []
    runtime_platform: RuntimePlatform | None = None
    cpu: str | int | None = None
    memory: str | int | None = None
    task_role_arn: str = ""
    proxy_configuration: ProxyConfiguration | None = None

    @property
    def fargate(self) -> bool:
        return "FARGATE" in self.requires_compatibilities

    @property
    def windows(self) -> bool:
        return bool(self.runtime_platform and self.runtime_platform.operating_system_family.startswith("WINDOWS"))

    def written_name(self, container: Container) -> Copied:
        """The name of `container` for an Edit: where a function of a template makes it, as that function."""
        return Copied(f"{container.place}.name")

    def value_at(self, place: str) -> Any:
        """The value at `place`, which exists, in the document that this was read from."""
        value: Any = self.document
        for key in steps(place):
            value = value[key]
        return value

    @property
    def unknown_containers(self) -> list[str]:
        """The places of containers that a template leaves unknown as a whole, or whose name is unknown."""
        return [place for place in self.unknown if re.fullmatch(r"\$\.containerDefinitions\[\d+\](\.name)?", place)]

    @property
    def unknown_list(self) -> bool:
        """Whether a template leaves the containers unknown altogether."""
        return f"{self.place}.containerDefinitions" in self.unknown

    @cached_property
    def unknown_order(self) -> list[str]:
        """A place that a template leaves unknown of the order in which containers start and stop; none if all is known.

        One place is enough for a finding that rests on the order.
        """
        item = re.compile(
            r"\.((dependsOn|links|volumesFrom)(\[\d+\](\.\w+)?)?|(logC|firelensC)onfiguration(\.logDriver)?)$"
        )
        return ([place for place in self.unknown if item.search(place)] + self.unknown_containers)[:1]

    def is_known(self, place: str) -> bool:
        """Whether nothing at `place`, or that it belongs to, is left unknown by a template."""
        unknown = self._unknown_places
        return not unknown or not any(each in unknown for each in (place, *above(place)))

    def container_at(self, place: str) -> Container | None:
        """The container that `place` belongs to; None if it belongs to none."""
        return next((self._by_place[each] for each in (place, *above(place)) if each in self._by_place), None)

    @cached_property
    def _unknown_places(self) -> frozenset[str]:
        return frozenset(self.unknown)

    @cached_property
    def _by_place(self) -> dict[str, Container]:
        return {container.place: container for container in self.container_definitions}

    @cached_property
    def by_name(self) -> dict[str, Container]:
        return {container.name: container for container in self.container_definitions}

    @cached_property
    def _log_routers(self) -> set[str]:
        return {each.name for each in self.container_definitions if each.firelens_configuration is not None}

    def waits_for(self, container: Container) -> set[str]:
        """The containers that start before `container` and that ECS stops only after it.

        Links, shared volumes and the FireLens log router count as `dependsOn` does (the ECS agent makes dependencies
        of them).
        """
        names = {dependency.container_name for dependency in container.depends_on}
        names |= {link.partition(":")[0] for link in container.links}
        names |= {volume.source_container for volume in container.volumes_from}
        if container.log_configuration and container.log_configuration.log_driver == "awsfirelens":
            names |= self._log_routers
        return {name for name in names if name in self.by_name and name != container.name}

    def stopped_after(self, *containers: Container) -> set[str]:
        """All containers that ECS stops after one of `containers` as long as none crashes: what it depends on, and what
        that depends on."""
        return _reached(set().union(*map(self.waits_for, containers)), lambda name: self.waits_for(self.by_name[name]))

    def stopped_before(self, container: Container) -> set[str]:
        """All containers that ECS stops before `container` as long as none crashes: those that have it in
        `stopped_after`."""
        dependants: dict[str, set[str]] = {}
        for each in self.container_definitions:
            for name in self.waits_for(each):
                dependants.setdefault(name, set()).add(each.name)
        return _reached(dependants.get(container.name, set()), lambda name: dependants.get(name, set()))


def _reached(names: set[str], following: Callable[[str], set[str]]) -> set[str]:
    """`names`, and all that are reached from them by `following`."""
    found: set[str] = set()
    ahead = names
    while ahead:
        found |= ahead
        ahead = set().union(*map(following, ahead)) - found
    return found


class HealthCheckPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """How downstreams check the health of a virtual node's listener."""

    protocol: str
    interval_millis: Number
    timeout_millis: Number
    unhealthy_threshold: Number


class VirtualNodeListener(msgspec.Struct, frozen=True, rename="camel"):
    health_check: HealthCheckPolicy | None = None


class VirtualNode(msgspec.Struct, frozen=True, rename="camel"):
    """The mesh's virtual node, as far as downstreams' health checks depend on it.

    Downstreams of a virtual gateway are no Envoys of the mesh, so the mesh's health checks do not show theirs.
    """

    place: str = msgspec.field(name=PLACE)
    listeners: list[VirtualNodeListener] = []
    gateway: bool = False


def read(document: Any) -> Definition:
    """The typed definition of `document`, which is in the API's spelling; raises NotATaskDefinition with the place."""
    if isinstance(document, Unknown) and "Fn::ForEach::" in document:
        loop = below("$", document.strip("${}"))
        raise NotATaskDefinition(
            f"{loop}: this loop makes the properties, so they are known only after the deployment; check what"
            " `aws ecs describe-task-definition --task-definition NAME` prints then"
        )
    if not isinstance(document, dict):
        raise NotATaskDefinition("$: expected an object with containerDefinitions")
    definition = typed(document, "$", Definition)
    if not definition.container_definitions and not definition.unknown_containers and not definition.unknown_list:
        raise NotATaskDefinition("$.containerDefinitions: is empty; ECS needs at least one container")
    seen: set[str] = set()
    for container in definition.container_definitions:
        place = f"{container.place}.name"
        if not _NAME.fullmatch(container.name) and place not in definition.unknown:
            raise NotATaskDefinition(
                f"{place}: {container.name[:60]!r} is not a container name; ECS takes letters, digits, -"
                " and _, such as task-helper"
            )
        if container.name in seen and place not in definition.unknown:
            raise NotATaskDefinition(f"{place}: {container.name} is the name of two containers; give each its own name")
        seen.add(container.name)
    return definition


def read_source(source: Source) -> Definition:
    """The typed definition of `source`; raises NotATaskDefinition with the place as its file spells it."""
    try:
        return read(source.document)
    except NotATaskDefinition as error:
        place, colon, reason = str(error).partition(": ")
        if not place.startswith("$"):
            raise
        offset = source.tree.offset(source.file_place(place))
        raise NotATaskDefinition(f"{source.file_place(place)}{colon}{reason}", offset) from None


def read_virtual_node(document: Any) -> VirtualNode:
    """The virtual node of what `create-virtual-node` takes or `describe-virtual-node` prints; raises as `read` does."""
    place = "$"
    gateway = isinstance(document, dict) and ("virtualGateway" in document or "virtualGatewayName" in document)
    for wrapper in ("virtualNode", "virtualGateway", "spec"):
        if isinstance(document, dict) and isinstance(document.get(wrapper), dict):
            document, place = document[wrapper], f"{place}.{wrapper}"
    if not isinstance(document, dict):
        raise NotATaskDefinition(f"{place}: expected a virtual node, an object with spec")
    return typed({**document, "gateway": gateway}, place, VirtualNode)
