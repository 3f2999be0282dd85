"""Every scenario: what the helper promises, what goes wrong beside a stop, the meshes, and more of the world."""

from dataclasses import replace

from lab.parts.load import Stream
from lab.scenarios import bad_days, beside_peers, beside_trap, in_meshes, promised, world
from lab.scenarios.scenario import Scenario

ALL: tuple[Scenario, ...] = (
    *promised.ROWS,
    *beside_trap.ROWS,
    *in_meshes.ROWS,
    *bad_days.ROWS,
    *world.ROWS,
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
