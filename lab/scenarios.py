"""Every scenario: what the helper promises, what goes wrong beside a stop, the meshes, and more of the world."""

from lab import beside_trap, mesh_rows, world_rows
from lab.scenario import SCENARIOS, Scenario

ALL: tuple[Scenario, ...] = (*SCENARIOS, *beside_trap.ROWS, *mesh_rows.ROWS, *world_rows.ROWS)
