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


@pytest.mark.parametrize(
    ("environ", "names", "words"),
    [
        (
            {"DRAIN_DELAY": "auto"},
            ["SIGTERM", "delaying", "draining", "gone", "deadline", "SIGKILL"],
            [
                "serves on until new tasks are in service, for 75s at the most",
                "at the latest fails Envoy's health checks",
            ],
        ),
        (
            {"DRAIN_TIMEOUT": "auto"},
            ["SIGTERM", "delaying", "draining", "deadline", "SIGKILL"],
            ["for 31s or more, until no request is in flight"],
        ),
    ],
)
def test_auto(environ: dict[str, str], names: list[str], words: list[str]) -> None:
    """With `auto` the plan tells what ends each stage, and how long it may last."""
    _, _, *moments = draw(from_env(environ), 80).splitlines()

    assert names == [line.split()[1] for line in moments]
    assert all(any(each in line for line in moments) for each in words)


@pytest.mark.parametrize("width", [1, 60, 100, 500])
@pytest.mark.parametrize("delay", ["0", "0.1", "75"])
def test_width(width: int, delay: str) -> None:
    """Whatever the terminal and the plan, the bar is whole and at most 100 columns wide."""
    bar = draw(from_env({"DRAIN_DELAY": delay}), width).splitlines()[0]

    assert 60 <= len(bar) <= 100
    assert bar.startswith("├") and bar.endswith("┤")
