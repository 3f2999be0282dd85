"""The timeline that `task-helper plan` draws."""

import re

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


CHAINS = {
    "the first": ({"HANDS_OVER_TO": "task-helper-2:120", "DRAIN_TIMEOUT": "150"}, "this container", "task-helper-2"),
    "the second": ({"TAKES_OVER_FROM": "task-helper:120", "DRAIN_TIMEOUT": "150"}, "task-helper", "this container"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chain(name: str) -> None:
    """Of two helpers in a chain the plan shows both, and the moment when one goes on for the other."""
    environ, first, second = CHAINS[name]
    bar, helpers, _, *moments = draw(from_env(environ), 100).splitlines()

    assert ["delaying 40s", "draining 150s", "spare 40s"] == re.findall(r"[a-z]+ \d+s", bar)
    assert f" {first} 115s " in helpers and f" {second} 120s " in helpers
    assert ["SIGTERM", "delaying", "draining", "handover", "gone", "deadline", "SIGKILL"] == [
        line.split()[1] for line in moments
    ]
    assert ["0s", "0s", "40s", "115s", "190s", "230s", "235s"] == [line.split()[0] for line in moments]
    assert f"{first} has gone, and {second} goes on" in moments[3]


def test_chain_without_need() -> None:
    """A fixed plan that ends in the hands of the first is not handed over."""
    assert "handover" not in draw(from_env({"HANDS_OVER_TO": "task-helper-2:120"}), 80)
