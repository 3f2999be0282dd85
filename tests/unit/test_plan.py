"""The timeline that `task-helper plan` draws."""

import pytest

from task_helper.plan import draw
from task_helper.settings import from_env


def test_plan() -> None:
    """The plan shows the stages to scale, and each moment with its reason."""
    bar, empty, *moments = draw(from_env({}), 80).splitlines()

    assert "├────── delaying 40s ─────┼────── draining 40s ──────┼───── spare 35s ──────┼──┤" == bar
    assert "" == empty
    assert ["0s", "0s", "40s", "80s", "115s", "120s"] == [line.split()[0] for line in moments]
    assert ["SIGTERM", "delaying", "draining", "gone", "deadline", "SIGKILL"] == [line.split()[1] for line in moments]


@pytest.mark.parametrize("width", [1, 60, 100, 500])
@pytest.mark.parametrize("delay", ["0", "0.1", "75"])
def test_width(width: int, delay: str) -> None:
    """Whatever the terminal and the plan, the bar is whole and at most 100 columns wide."""
    bar = draw(from_env({"DRAIN_DELAY": delay}), width).splitlines()[0]

    assert 60 <= len(bar) <= 100
    assert bar.startswith("├") and bar.endswith("┤")
