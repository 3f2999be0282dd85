"""As in App Mesh: a control plane follows Cloud Map, and downstreams health check what it lists."""

from pathlib import Path

from lab.ecs.cloud_map import CloudMap
from lab.meshes.mesh import Mesh, Surroundings
from lab.parts import downstream
from lab.parts.envoy_process import Json
from lab.parts.history import Recorder
from lab.scenarios.scenario import Column, Scenario


class AppMesh(Mesh):
    """`/healthcheck/fail` moves the downstreams: they check, and the inbound listener has the `health_check` filter."""

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        self.cloud_map: CloudMap = CloudMap(record, scenario.times.cloud_map, self._publish)

    def finding(self) -> Json:
        scenario = self.scenario
        checks = downstream.active_checks(scenario.protocol, scenario.times.checks)
        return self.by_file() | checks | downstream.panicking_below(scenario.panic_threshold)

    def begin_lag(self) -> None:
        super().begin_lag()
        self.cloud_map.begin_lag()

    async def follow(self, around: Surroundings) -> None:
        await self.cloud_map.follow(around.runtime)

    async def _publish(self, addresses: list[str]) -> None:
        await self.push(dict.fromkeys(addresses, True))
