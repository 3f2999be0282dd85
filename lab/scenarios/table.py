"""Every scenario: what the helper promises, what goes wrong beside a stop, the meshes, and more of the world."""

from lab.scenarios import beside_trap, in_meshes, world
from lab.scenarios.scenario import SCENARIOS, Scenario

ALL: tuple[Scenario, ...] = (*SCENARIOS, *beside_trap.ROWS, *in_meshes.ROWS, *world.ROWS)
