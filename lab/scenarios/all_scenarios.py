"""Every scenario, of all files in this folder. A new row belongs in one of them, not here."""

from dataclasses import replace

from lab.parts.load import Stream
from lab.scenarios import beside_peers, beside_trap, control_plane_faults, ecs_and_container_faults, in_meshes, promised
from lab.scenarios.scenario import Scenario

ALL: tuple[Scenario, ...] = (
    *promised.ROWS,
    *beside_trap.ROWS,
    *in_meshes.ROWS,
    *control_plane_faults.ROWS,
    *ecs_and_container_faults.ROWS,
    *beside_peers.ROWS,
)

BY_NAME = {scenario.name: scenario for scenario in ALL}

# `make demo`: the plain update, with a load that two of them side by side leave a small machine room for
DEMO = replace(
    BY_NAME["plain"],
    name="demo",
    title="rolling update of two tasks, 60 requests a second",
    streams=(Stream("persistent", 40), Stream("new connections", 20, new_connections=True)),
)
