"""The rows beside the trap, as a table."""

from pathlib import Path

import pytest

from lab.scenarios import ecs_and_container_faults
from lab.scenarios.all_scenarios import ALL
from lab.scenarios.beside_trap import ROWS
from lab.scenarios.scenario import Scenario


def test_every_scenario_has_a_name_of_its_own() -> None:
    """Records are found by the scenario's name."""
    assert len({scenario.name for scenario in ALL}) == len(ALL)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_trap_is_there_long_enough(row: Scenario) -> None:
    """In each row the trap runs, and leaves only when the replacement is known: else the row would prove nothing."""
    times = row.times
    assert "trap" in row.expected and {"fixed", "auto"} & row.expected.keys()
    assert times.delay + times.timeout >= times.cloud_map + times.push + times.checks


@pytest.mark.parametrize("row", [row for row in ROWS if row.luck], ids=lambda row: row.name)
def test_luck_hides_no_early_exit(row: Scenario) -> None:
    """What luck may add is less than what an exit at the stop would cost."""
    assert row.luck < (row.times.cloud_map + row.times.push) / 2


def test_the_page_of_the_lab_names_every_row() -> None:
    """docs/evidence/lab.md names each row, those of `ecs_and_container_faults.ROWS` included."""
    page = (Path(__file__).parents[2] / "docs" / "evidence" / "lab.md").read_text()
    assert [row.name for row in (*ROWS, *ecs_and_container_faults.ROWS) if f"`{row.name}`" not in page] == []
