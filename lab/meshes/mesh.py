"""What a mesh is to the lab: how downstreams find the tasks, and what informs them of a stop."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.ecs.agent_rules import AgentTimes
from lab.ecs.cloud_map import CloudMap
from lab.ecs.runtime import ContainerSpec, Runtime, TargetGroup
from lab.ecs.state import Condition, TaskState
from lab.parts import downstream, envoy_process
from lab.parts.envoy_process import ADMIN_PORT, EnvoyOptions, Json
from lab.parts.history import Recorder
from lab.scenarios.scenario import Column, Scenario, ServerFault
from task_helper_taskdef import roles as taskdef
from task_helper_taskdef.presets import PRESETS


@dataclass(frozen=True)
class Surroundings:
    """What a mesh has around it once the run has begun.

    view: what the downstream makes of each task; options: what the Envoy of a task is like
    """

    runtime: Runtime
    view: downstream.View
    options: Callable[[TaskState], EnvoyOptions]


class Mesh(ABC):
    """The mesh of one run; a class each. It says what is different about a task, and configures the downstream.

    A mesh with a control plane of its own gives the commands, `envoy` and `downstream`. A mesh that only imitates one
    says what is different about the configuration, `options` and `finding`, and publishes by `push`.

    preset: the mesh whose settings `taskdef add` writes; None for those of the scenario
    kept_running: more containers that the helper depends on
    envoy_container, envoy_depends_on: the name of Envoy's container, and what has to have happened before it starts
    checks_application: whether the application has a health check of its own beside the helper's
    unix_admin, admin_port: where the task's Envoy has its admin API
    downstream_admin: where the downstream has its own, if that is a Unix socket
    passes_connections: whether the downstream only passes on what clients send, and connections are the clients' own
    cloud_map: what AWS's API lists of this service in Cloud Map; None where it is not there
    target_group: what ECS asks before it stops a task, and before it counts one as healthy; None without load balancer
    """

    preset: taskdef.Mesh | None = None
    kept_running: Collection[str] = ()
    envoy_container = "envoy"
    envoy_depends_on: Mapping[str, Condition] = {}
    checks_application = False
    unix_admin = False
    admin_port = ADMIN_PORT
    downstream_admin: Path | None = None
    passes_connections = False
    cloud_map: CloudMap | None = None
    target_group: TargetGroup | None = None

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        self.scenario, self.column, self.folder, self.record = scenario, column, folder, record
        self._endpoints = folder / "endpoints.json"
        self._lag = 0.0  # the first tasks are known at once: `begin_lag` ends that

    @classmethod
    def settings(cls, scenario: Scenario, column: Column) -> Mapping[str, str]:
        """The helper's settings that are not everywhere what they are here: with `auto`, those that suit this mesh."""
        if cls.preset is None or column != "auto":
            return {}
        return {variable: _scaled(value, scenario.times.scale) for variable, value, _ in PRESETS[cls.preset]}

    @classmethod
    def versions(cls) -> Mapping[str, str]:
        """Of the programs that only this mesh has, for the first line of the record."""
        return {}

    def agent(self) -> AgentTimes:
        """The ECS agents' times."""
        return self.scenario.times.agent

    # a task

    def options(self, options: EnvoyOptions) -> EnvoyOptions:
        """What the task's Envoy is like in this mesh."""
        return options

    def envoy(self, id: str, options: EnvoyOptions) -> list[str]:
        """The command that runs the Envoy of the task with this id."""
        file = self.folder / f"{id[:6]}-envoy.json"
        return envoy_process.command(envoy_process.configuration(options), file, options.drain_time)

    def containers(self, id: str, address: str, metadata: str) -> list[ContainerSpec]:
        """What the task has beside Envoy, the application and the helper.

        metadata: the URL of the task metadata endpoint for a container, all but the container's name
        """
        return []

    # the downstream

    def downstream(self, address: str) -> list[str]:
        """The command that runs the downstream: it serves clients on `address`, and has its admin API there."""
        self.publish({})
        config = downstream.configuration(address, self.scenario.protocol, self.finding())
        return envoy_process.command(config, self.folder / "downstream.json")

    @abstractmethod
    def finding(self) -> Json:
        """How the downstream's clusters find the tasks, and whether they check them: fields of an Envoy's cluster."""

    # what happens

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Around everything else of the run: what must be there before the first task, and as long as one is there."""
        yield

    async def fail(self, fault: ServerFault, seconds: float) -> None:
        """The control plane dies or freezes, and runs again after so many seconds; 0: never.

        Raises ValueError where the mesh has none.
        """
        raise ValueError(f"{self.scenario.name}: this mesh has no control plane that could fail")

    def begin_lag(self) -> None:
        """From now on news takes its time."""
        self._lag = self.scenario.times.push

    @abstractmethod
    async def follow(self, around: Surroundings) -> None:
        """Bring the downstream what becomes of the tasks. Runs until it is cancelled."""

    async def push(self, healthy: Mapping[str, bool]) -> None:
        """Give the downstream these addresses and whether each is healthy, a while from now."""
        await asyncio.sleep(self._lag)
        self.publish(healthy)
        self.record.event("discovery", "pushed", addresses=[address for address, well in healthy.items() if well])

    def publish(self, healthy: Mapping[str, bool]) -> None:
        """The same at once, and without a word in the record."""
        downstream.publish(self._endpoints, healthy)

    def by_file(self) -> Json:
        """A cluster whose tasks are those that are published."""
        return downstream.by_file(self._endpoints)


def _scaled(value: str, scale: float) -> str:
    """A setting's value in the times of a scenario."""
    return value if value == "auto" else f"{float(value) * scale:g}"
