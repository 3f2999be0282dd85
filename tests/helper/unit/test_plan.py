"""The timeline that `task-helper plan` draws."""

import re

import pytest

from task_helper.plan import draw
from task_helper.settings import from_env

FIRST, SECOND = {"HANDS_OVER_TO": "task-helper-2:100"}, {"TAKES_OVER_FROM": "task-helper:100"}


def test_plan() -> None:
    """The plan shows the stages to scale, and each moment with its reason."""
    bar, empty, *moments = draw(from_env({}).plan, 80).splitlines()

    assert "├────── delaying 40s ─────┼────── draining 40s ──────┼───── spare 35s ──────┼──┤" == bar
    assert "" == empty
    assert ["0s", "0s", "40s", "80s", "115s", "120s"] == [line.split()[0] for line in moments]
    assert ["SIGTERM", "delaying", "draining", "exit", "deadline", "SIGKILL"] == [line.split()[1] for line in moments]


@pytest.mark.parametrize(
    ("environ", "names", "words"),
    [
        (
            {"DRAIN_DELAY": "auto"},
            ["SIGTERM", "delaying", "draining", "exit", "deadline", "SIGKILL"],
            [
                "keeps serving for up to 75s, until replacement tasks are in service",
                "at the latest, Envoy fails its health checks",
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
    """With `auto` the plan shows what ends each stage, and how long it may last."""
    bar, _, *moments, legend = draw(from_env(environ).plan, 80).splitlines()

    assert "┄" in bar and legend.startswith("┄ auto: the stage ends once its condition is met")
    assert names == [line.split()[1] for line in moments]
    assert all(any(each in line for line in moments) for each in words)


@pytest.mark.parametrize("width", [1, 60, 100, 500])
@pytest.mark.parametrize("delay", ["0", "0.1", "75"])
def test_width(width: int, delay: str) -> None:
    """For any terminal and any plan, the bar is whole and at most 100 columns wide."""
    bar = draw(from_env({"DRAIN_DELAY": delay}).plan, width).splitlines()[0]

    assert 60 <= len(bar) <= 100
    assert bar.startswith("├") and bar.endswith("┤")


CHAINS = {
    "the first": ({"HANDS_OVER_TO": "task-helper-2:120", "DRAIN_TIMEOUT": "150"}, "this container", "task-helper-2"),
    "the second": ({"TAKES_OVER_FROM": "task-helper:120", "DRAIN_TIMEOUT": "150"}, "task-helper", "this container"),
}


@pytest.mark.parametrize("name", CHAINS)
def test_chain(name: str) -> None:
    """For a chain the plan shows both helpers, and the moment when the second one continues."""
    environ, first, second = CHAINS[name]
    bar, helpers, _, *moments = draw(from_env(environ).plan, 100).splitlines()

    assert ["delaying 40s", "draining 150s", "spare 40s"] == re.findall(r"[a-z]+ \d+s", bar)
    assert f" {first} 115s " in helpers and f" {second} 120s " in helpers
    assert ["SIGTERM", "delaying", "draining", "handover", "exit", "deadline", "SIGKILL"] == [
        line.split()[1] for line in moments
    ]
    assert ["0s", "0s", "40s", "115s", "190s", "230s", "235s"] == [line.split()[0] for line in moments]
    assert f"{first} exits, and {second} continues" in moments[3]


def test_chain_without_need() -> None:
    """A fixed plan that ends in the hands of the first is not handed over."""
    assert "handover" not in draw(from_env({"HANDS_OVER_TO": "task-helper-2:120"}).plan, 80)


@pytest.mark.parametrize(
    ("environ", "delay", "drain"),
    [
        ({"DRAIN_DELAY": "auto"}, (40, 75), (40, 40)),
        ({"DRAIN_TIMEOUT": "AUTO"}, (40, 40), (31, 40)),
        ({"DRAIN_DELAY": "auto", "DRAIN_TIMEOUT": "auto"}, (40, 75), (31, 40)),
        ({"DRAIN_DELAY": "auto", "DISCOVERY_LAG": "10", "DRAIN_TIMEOUT": "20"}, (10, 95), (20, 20)),
        ({"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "5"}, (40, 40), (6, 40)),
        # never shorter than a shell trap, as far as the fixed delay leaves as much
        ({"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "5", "STOP_TIMEOUT": "70"}, (40, 40), (6, 25)),
        ({"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "5", "STOP_TIMEOUT": "51"}, (40, 40), (6, 15)),
        ({"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "60"}, (40, 40), (61, 70)),
        ({"DRAIN_DELAY": "auto", "DRAIN_TIMEOUT": "auto", "STOP_TIMEOUT": "76"}, (40, 40), (31, 40)),
    ],
)
def test_times_of_auto(environ: dict[str, str], delay: tuple[float, float], drain: tuple[float, float]) -> None:
    """`auto` delays for what the drain leaves, drains for a health check at least, and has times to fall back to."""
    plan = from_env(environ).plan

    assert delay == (plan.fixed_delay, plan.longest_delay)
    assert drain == (plan.shortest_drain, plan.fixed_timeout)


@pytest.mark.parametrize("chain", [FIRST, SECOND], ids=["first", "second"])
def test_times_of_a_chain(chain: dict[str, str]) -> None:
    """A plan has to fit both helpers together; each alone leaves downstreams time to stop sending."""
    plan = from_env({"DRAIN_DELAY": "100", "DRAIN_TIMEOUT": "110", **chain}).plan
    auto = from_env({"DRAIN_DELAY": "auto", "DRAIN_TIMEOUT": "60", **chain}).plan

    assert (210, 100, 84) == (plan.whole_budget, plan.longest_delay, plan.own_longest_delay)
    assert (150, 84) == (auto.longest_delay, auto.own_longest_delay)


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [({}, 54), ({"DRAIN_DELAY": "110"}, 0), ({"DRAIN_DELAY": "auto"}, 40), ({"DRAIN_TIMEOUT": "auto"}, 54)],
)
def test_drained_for(environ: dict[str, str], seconds: float) -> None:
    """After 95 s Envoy has drained for what the delay left, less a second; with `auto` for one health check."""
    assert seconds == from_env({**environ, **SECOND}).plan.drained_for(95)


@pytest.mark.parametrize(
    ("environ", "longest"),
    [
        ({}, 40),
        ({"DRAIN_TIMEOUT": "auto"}, 75),
        ({"DRAIN_TIMEOUT": "auto", "DRAIN_DELAY": "auto"}, 75),
        ({"DRAIN_TIMEOUT": "25", "DRAIN_DELAY": "auto"}, 25),
    ],
)
def test_when_idle_connections_are_closed_in_time(environ: dict[str, str], longest: float) -> None:
    """--drain-time-s has to leave Envoy its five seconds in a third of it, and to be over a second before the drain."""
    plan = from_env(environ).plan

    assert longest == plan.longest_drain
    seen = [plan.sees_idle_closed(drain_time) for drain_time in (15, 15.5, longest - 1, longest - 0.5, 600)]
    assert [False, True, True, False, False] == seen


def test_waiting_for_idle_connections() -> None:
    """With `auto` the drain lasts until Envoy has closed idle connections, and the delay leaves the drain that time."""
    auto = from_env({"DRAIN_TIMEOUT": "auto", "DRAIN_DELAY": "auto", "HEALTH_CHECK_INTERVAL": "5"}).plan
    waiting = auto.waiting_for_idle(30)

    assert (6, 40, 100) == (auto.shortest_drain, auto.fixed_timeout, auto.longest_delay)
    assert (31, 40, 75) == (waiting.shortest_drain, waiting.fixed_timeout, waiting.longest_delay)
    assert 6 == auto.waiting_for_idle(4).shortest_drain


@pytest.mark.parametrize("chain", [{}, FIRST, SECOND], ids=["alone", "first", "second"])
@pytest.mark.parametrize("drain_time", [30, 60, 74, 120])
def test_drain_time_never_takes_the_least_delay(chain: dict[str, str], drain_time: float) -> None:
    """However long Envoy takes to close idle connections, `auto` can still delay for DISCOVERY_LAG."""
    auto = from_env({"DRAIN_TIMEOUT": "auto", "DRAIN_DELAY": "auto", **chain}).plan
    plan = auto.waiting_for_idle(drain_time) if auto.sees_idle_closed(drain_time) else auto

    assert 40 <= min(plan.longest_delay, plan.own_longest_delay)


@pytest.mark.parametrize(
    ("environ", "stages"),
    [
        ({"DRAIN_TIMEOUT": "auto"}, ["delaying 40s", "draining 31s or more"]),
        ({"DRAIN_DELAY": "auto"}, ["delaying up to 75s", "draining 40s"]),
        ({"DRAIN_DELAY": "auto", "DRAIN_TIMEOUT": "auto"}, ["delaying up to 75s", "draining 31s or more"]),
        (
            {"DRAIN_DELAY": "auto", "DRAIN_TIMEOUT": "auto", "STOP_TIMEOUT": "76"},
            ["delaying up to 40s", "draining 31s or more"],
        ),
    ],
)
def test_bar_and_text_of_auto_have_the_same_figures(environ: dict[str, str], stages: list[str]) -> None:
    """Each stage has the same length in the bar as in the line that explains it."""
    bar, _, *moments = draw(from_env(environ).plan, 100).splitlines()

    assert stages == re.findall(r" ([a-z]+ (?:up to )?\d+s(?: or more)?) ", bar)
    for stage in stages:
        name, length = stage.split(" ", 1)
        (line,) = [each for each in moments if each.split()[1] == name]
        assert f"for {length}" in line


@pytest.mark.parametrize(("given", "limit"), [(None, 15), ("120", 105), ("25", 10), ("24", None), ("10", None)])
def test_downstreams_in_consul_may_send_until_health_sync_needs_the_rest(
    given: str | None, limit: float | None
) -> None:
    """15 s before ECS kills it; where that leaves no ten seconds of requests to prove anything, there is no limit."""
    environ = {"HEALTH_SYNC_STOP_TIMEOUT": given} if given else {}

    assert limit == from_env(environ).plan.still_sending_limit
