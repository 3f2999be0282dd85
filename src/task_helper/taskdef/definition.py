"""Reading a task definition: JSON as typed values, each container with its place in the file.

Takes what `register-task-definition` takes and what `describe-task-definition` prints. What ECS itself would refuse for
its shape (a text where a number belongs, a container without a name) raises NotATaskDefinition with the place, so the
rules work on values of known types. A null counts as absent, as Terraform writes it; a number may come as text, as
CloudFormation has it.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

import msgspec

# ECS's own default, where neither the definition nor the instance's agent says otherwise
DEFAULT_STOP_TIMEOUT: Final = 30

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,255}\Z")]
# the API's Integer
Number = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
PLACE: Final = "$place"
T = TypeVar("T")


class NotATaskDefinition(ValueError):
    """The input is no task definition; the message says where and why."""


class KeyValue(msgspec.Struct, frozen=True):
    name: str
    value: str = ""


class Dependency(msgspec.Struct, frozen=True, rename="camel"):
    container_name: str
    condition: Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]


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


class LogConfiguration(msgspec.Struct, frozen=True, rename="camel"):
    log_driver: str


class Container(msgspec.Struct, frozen=True, rename="camel"):
    """One of `containerDefinitions`, as far as the stop of the task depends on it; memory in MiB, times in seconds."""

    name: Name
    place: str = msgspec.field(name=PLACE)
    image: str = ""
    essential: bool = True
    entry_point: list[str] = []
    command: list[str] = []
    depends_on: list[Dependency] = []
    links: list[str] = []
    volumes_from: list[VolumeFrom] = []
    mount_points: list[MountPoint] = []
    environment: list[KeyValue] = []
    stop_timeout: Number | None = None
    health_check: HealthCheck | None = None
    restart_policy: RestartPolicy | None = None
    user: str = ""
    memory: Number | None = None
    memory_reservation: Number | None = None
    log_configuration: LogConfiguration | None = None
    firelens_configuration: dict[str, Any] | None = None

    @property
    def env(self) -> dict[str, str]:
        return {variable.name: variable.value for variable in self.environment}

    @property
    def repository(self) -> str:
        """The last part of the image's name, without tag and digest: `envoy` of `docker.io/envoyproxy/envoy:v1.36`."""
        return re.split("[:@]", self.image.rpartition("/")[2])[0]

    @property
    def stops_within(self) -> int:
        """Seconds that ECS gives it between SIGTERM and SIGKILL."""
        return DEFAULT_STOP_TIMEOUT if self.stop_timeout is None else self.stop_timeout

    def variable(self, name: str) -> str:
        """The place of the environment variable `name`."""
        return f"{self.place}.environment[{[variable.name for variable in self.environment].index(name)}].value"


class ProxyConfiguration(msgspec.Struct, frozen=True, rename="camel"):
    container_name: str = ""
    properties: list[KeyValue] = []

    @property
    def values(self) -> dict[str, str]:
        return {pair.name: pair.value for pair in self.properties}


class Definition(msgspec.Struct, frozen=True, rename="camel"):
    """A task definition, as far as the stop of the task depends on it; `memory` is in MiB or a text such as `1 GB`."""

    container_definitions: list[Container]
    place: str = msgspec.field(name=PLACE)
    family: str = ""
    network_mode: str = ""
    requires_compatibilities: list[str] = []
    memory: str | int | None = None
    task_role_arn: str = ""
    proxy_configuration: ProxyConfiguration | None = None

    @property
    def fargate(self) -> bool:
        return "FARGATE" in self.requires_compatibilities

    @property
    def by_name(self) -> dict[str, Container]:
        return {container.name: container for container in self.container_definitions}

    def waits_for(self, container: Container) -> set[str]:
        """The containers that start before `container` and that ECS stops only after it.

        Links, shared volumes and the FireLens log router count as `dependsOn` does (the ECS agent makes dependencies
        of them).
        """
        names = {dependency.container_name for dependency in container.depends_on}
        names |= {link.partition(":")[0] for link in container.links}
        names |= {volume.source_container for volume in container.volumes_from}
        if container.log_configuration and container.log_configuration.log_driver == "awsfirelens":
            names |= {other.name for other in self.container_definitions if other.firelens_configuration is not None}
        return names & self.by_name.keys() - {container.name}

    def held_up_by(self, container: Container) -> set[str]:
        """All that ECS stops after `container` as long as nothing crashes: what it waits for, what that waits for, …"""
        found: set[str] = set()
        ahead = self.waits_for(container)
        while ahead:
            found |= ahead
            ahead = set().union(*(self.waits_for(self.by_name[name]) for name in ahead)) - found
        return found


class HealthCheckPolicy(msgspec.Struct, frozen=True, rename="camel"):
    """How downstreams check the health of a virtual node's listener."""

    protocol: str
    interval_millis: Number
    timeout_millis: Number
    unhealthy_threshold: Number


class Listener(msgspec.Struct, frozen=True, rename="camel"):
    health_check: HealthCheckPolicy | None = None


class VirtualNode(msgspec.Struct, frozen=True, rename="camel"):
    """The mesh's virtual node, as far as downstreams' health checks depend on it."""

    place: str = msgspec.field(name=PLACE)
    listeners: list[Listener] = []


def parse(text: bytes) -> Any:
    """The JSON value of `text`; raises NotATaskDefinition with the line and column of a syntax error."""
    try:
        return json.loads(text, parse_constant=_no_json, parse_float=_finite, parse_int=_whole)
    except json.JSONDecodeError as error:
        raise NotATaskDefinition(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except UnicodeDecodeError as error:
        raise NotATaskDefinition(f"byte {error.start}: not UTF-8 text") from None
    except RecursionError:
        raise NotATaskDefinition("nested too deeply") from None


def _no_json(text: str) -> NoReturn:
    raise NotATaskDefinition(f"{text} is no JSON number")


def _whole(text: str) -> int:
    if len(text) > 20:
        raise NotATaskDefinition(f"{text[:20]}... is too large a number")
    return int(text)


def _finite(text: str) -> float:
    if (value := float(text)) in (float("inf"), float("-inf")):
        raise NotATaskDefinition(f"{text[:20]} is too large a number")
    return value


def unwrap(document: Any) -> tuple[dict[str, Any], str]:
    """The task definition's own object within `document`, and its place; raises NotATaskDefinition."""
    if not isinstance(document, dict):
        wrapped = (
            ' (containers alone? wrap them: {"containerDefinitions": [...]})' if isinstance(document, list) else ""
        )
        raise NotATaskDefinition(f"$: expected an object with containerDefinitions{wrapped}")
    if isinstance(document.get("taskDefinition"), dict):
        return document["taskDefinition"], "$.taskDefinition"
    if "Resources" in document or "ContainerDefinitions" in document:
        raise NotATaskDefinition(
            "$: CloudFormation's spelling; give what `aws ecs describe-task-definition --task-definition NAME` prints"
        )
    return document, "$"


def read(document: Any) -> Definition:
    """The typed definition of the JSON value `document`; raises NotATaskDefinition with the place of a wrong type."""
    fields, place = unwrap(document)
    fields = {**fields, PLACE: place}
    if isinstance(containers := fields.get("containerDefinitions"), list):
        fields["containerDefinitions"] = [
            {**container, PLACE: f"{place}.containerDefinitions[{i}]"} if isinstance(container, dict) else container
            for i, container in enumerate(containers)
        ]
    definition = _typed(fields, place, Definition)
    seen: set[str] = set()
    for container in definition.container_definitions:
        if container.name in seen:
            raise NotATaskDefinition(f"{container.place}.name: {container.name} is the name of two containers")
        seen.add(container.name)
    return definition


def read_virtual_node(document: Any) -> VirtualNode:
    """The virtual node of what `create-virtual-node` takes or `describe-virtual-node` prints; raises as `read` does."""
    place = "$"
    for wrapper in ("virtualNode", "spec"):
        if isinstance(document, dict) and isinstance(document.get(wrapper), dict):
            document, place = document[wrapper], f"{place}.{wrapper}"
    if not isinstance(document, dict):
        raise NotATaskDefinition(f"{place}: expected a virtual node, an object with spec")
    return _typed({**document, PLACE: place}, place, VirtualNode)


def _typed(fields: dict[str, Any], place: str, kind: type[T]) -> T:
    try:
        return msgspec.convert(_without_nulls(fields), kind, strict=False)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$")
        reason = reason.replace(" | null", "")
        raise NotATaskDefinition(f"{place}{where.rstrip('`')}: {reason[0].lower()}{reason[1:]}") from None
    except UnicodeEncodeError as error:
        raise NotATaskDefinition(f"{place}: {error.object!r} has half a character in it") from None
    except RecursionError:
        raise NotATaskDefinition(f"{place}: nested too deeply") from None


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
