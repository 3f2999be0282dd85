"""The simulation of docs/evidence/scale.md: its bucket, one helper in it, and that it says the same every time."""

import math
from dataclasses import replace

import pytest

from measure.scale import (
    AT_ONCE,
    BLIND_UNTIL,
    LATEST,
    OURS,
    ROLLING,
    RULES,
    SCENARIOS,
    Bucket,
    Ending,
    Kind,
    Rule,
    Scenario,
    life,
    simulate,
)


@pytest.mark.parametrize(
    ("moments", "answered"),
    [
        pytest.param([0, 0, 0], [True, True, False], id="the burst is all there is at one moment"),
        pytest.param([0, 0, 0.4, 0.5, 0.9], [True, True, False, True, False], id="a token comes back every 1 / refill"),
        pytest.param([0, 0, 100, 100, 100], [True, True, True, True, False], id="it never has more than the burst"),
        pytest.param(
            [0, 0, 0.1, 0.2, 0.3, 0.5], [True, True, False, False, False, True], id="throttling costs nothing"
        ),
    ],
)
def test_bucket(moments: list[float], answered: list[bool]) -> None:
    """A bucket of 2, refilled at 2 a second, answers these calls."""
    bucket = Bucket(burst=2, refill=2)
    assert [bucket.take(moment) for moment in moments] == answered


def ending(answered: bool, there: float) -> tuple[Ending, list[Kind]]:
    """How one helper's delay ends whose calls are all answered, or all throttled; and the calls."""
    scenario = replace(AT_ONCE, running=there, there=there, known=there + 5)
    one, calls = life(OURS, scenario, tasks=100, began=1000, draw=lambda: 0.5), list[Kind]()
    try:
        calls.append(next(one)[1])
        while True:
            calls.append(one.send(answered)[1])
    except StopIteration as end:
        return end.value, calls


@pytest.mark.parametrize(
    ("answered", "there", "expected"),
    [
        pytest.param(False, 30, Ending("blind", BLIND_UNTIL - 35), id="never answered: the fixed delay"),
        pytest.param(
            False, 60, Ending("blind", BLIND_UNTIL - 65), id="never answered: too early for a late replacement"
        ),
        pytest.param(True, math.inf, Ending("latest", -math.inf), id="always not yet: waits as long as it may"),
        pytest.param(True, 1, Ending("learned", 0.3), id="there before the first look: loses that look's time"),
    ],
)
def test_ending(answered: bool, there: float, expected: Ending) -> None:
    """A helper's delay ends for this reason, with this loss."""
    found, _ = ending(answered, there)
    assert found.reason == expected.reason
    assert found.lost == pytest.approx(expected.lost)


def test_look_costs_one_call_until_enough_run() -> None:
    """Tasks are listed and described only by the one look at which enough of them run."""
    _, calls = ending(answered=True, there=30)
    assert calls.count("cluster") == 2
    assert calls.count("service") > 2


def test_same_seed_same_result() -> None:
    """The figures in the documentation can be had again, and are not the only ones."""
    assert simulate(OURS, AT_ONCE, 100, seed=7) == simulate(OURS, AT_ONCE, 100, seed=7)
    assert simulate(OURS, AT_ONCE, 100, seed=7) != simulate(OURS, AT_ONCE, 100, seed=8)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_more_calls_are_answered_than_the_buckets_allow(rule: Rule, scenario: Scenario) -> None:
    """Whatever the rule, the answered calls of all are what two buckets give in that time; each helper ends once."""
    run = simulate(rule, scenario, 300)
    answered = run.calls.total() + run.others - run.throttled - run.others_throttled
    assert answered <= 2 * (100 + 20 * run.seconds)
    assert len(run.endings) == 300


def test_rolling_update_of_300_tasks() -> None:
    """The rule's everyday case: every helper learns by its first look, and no call in the account is throttled."""
    run = simulate(OURS, ROLLING, 300)
    assert run.ended("learned") == 1
    assert run.lost[-1] < 3
    assert run.throttled == run.others_throttled == 0


@pytest.mark.parametrize("tasks", [10, 100])
def test_late_replacement(tasks: int) -> None:
    """A replacement that takes 60 s, 20 s more than the fixed delay, is waited for by all 100 tasks of a service."""
    run = simulate(OURS, SCENARIOS[-1], tasks)
    assert run.too_early() == 0
    assert max(one.lost for one in run.endings) <= LATEST - 65
