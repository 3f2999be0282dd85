"""Every scenario: what the helper promises, what goes wrong beside a stop, and the meshes."""

from lab import beside_trap, mesh_rows
from lab.scenario import SCENARIOS, Scenario

ALL: tuple[Scenario, ...] = (*SCENARIOS, *beside_trap.ROWS, *mesh_rows.ROWS)
