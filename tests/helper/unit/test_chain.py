"""Timelines of two helpers in a chain: ECS stops the first, and after that one has exited, the second.

Each has a stopTimeout of 120, so the first hands over at 215, and the second has exited by 330.05. By default the delay
is 40 and the drain 150: it begins at 140, and ends at 290.
"""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from task_helper.life.lifecycle import BEFORE_SIGKILL
from tests.helper.unit.timelines import Life, Timeline, World

FAIL = "/healthcheck/fail"
SIGTERM = (100, "SIGTERM")
LONG: Mapping[str, str] = {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "150"}
UNTIL_QUIET: Mapping[str, str] = {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "auto"}
SLOW: Mapping[str, str] = {"DRAIN_DELAY": "150", "DRAIN_TIMEOUT": "60"}

DRAINED = "the helper before this one has drained, and no request is in progress"

# moments are rounded to the millisecond; the second subtracts a second, by which the first may have been late
ROUNDED = 0.002

# settings, what happens | exit code, moment, ending of each helper that ended by itself | moments of the calls of Envoy
TIMELINES: dict[str, tuple[Mapping[str, str], Timeline, list[tuple[int, float, str]], list[float]]] = {
    # the plan
    "the second continues the drain": (
        LONG,
        [SIGTERM],
        [(10, 215, "handed over"), (0, 291.05, "drained")],
        [140, 215.05],
    ),
    "the second continues the delay": (
        SLOW,
        [SIGTERM],
        [(10, 215, "handed over"), (0, 310.05, "drained")],
        [250.05],
    ),
    "the first begins the drain that it cannot end": (
        {"DRAIN_DELAY": "100", "DRAIN_TIMEOUT": "100"},
        [SIGTERM],
        [(10, 215, "handed over"), (0, 301.05, "drained")],
        [200, 215.05],
    ),
    "until requests have ended: the second needs no new round of health checks": (
        UNTIL_QUIET,
        [(99, "envoy gets requests"), SIGTERM, (220.5, "envoy ends requests")],
        [(10, 215, "handed over"), (0, 224.05, "drained")],
        [140, 215.05],
    ),
    "requests end before the first hands over: the second exits at once": (
        UNTIL_QUIET,
        [SIGTERM],
        [(0, 171, "drained"), (0, 171.05, "drained")],
        [140],
    ),
    "requests never end: cut at the last moment there is": (
        UNTIL_QUIET,
        [(99, "envoy gets requests"), SIGTERM],
        [(10, 215, "handed over"), (0, 330.05, "deadline")],
        [140, 215.05],
    ),
    "a fixed plan ends in the first helper, with no request in progress": (
        {},
        [SIGTERM],
        [(0, 180, "drained"), (0, 180.05, "drained")],
        [140],
    ),
    "a fixed plan ends in the first helper, with requests in progress: they get its time again": (
        {},
        [(99, "envoy gets requests"), SIGTERM],
        [(0, 180, "drained"), (0, 220.05, "drained")],
        [140, 180.05],
    ),
    "the task never was in service": (
        LONG,
        [(0, "app 503"), (5, "SIGTERM")],
        [(0, 6, "never in service"), (0, 7.05, "never in service")],
        [],
    ),
    "Envoy stops while the first helper drains": (
        LONG,
        [SIGTERM, (150.1, "envoy dies"), (150.2, "container envoy stops")],
        [(0, 151, "envoy stopped"), (0, 151.05, "envoy stopped")],
        [140],
    ),
    # the first reports more than is known, or less
    "Envoy confirms late: the second counts from its own SIGTERM": (
        {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "100"},
        [(99, "envoy 500"), SIGTERM, (205, "envoy fine")],
        [(11, 215, "handed over late"), (0, 315.05, "drained")],
        [*(140 + n for n in (0, 0.1, 0.3, 0.7)), *(141.5 + n for n in range(65)), 215.05],
    ),
    "Envoy does not confirm to the first: the second calls it at once": (
        {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "100"},
        [(99, "envoy deaf"), SIGTERM, (215, "envoy hears")],
        [(11, 215, "handed over late"), (0, 315.05, "drained")],
        [*(140 + n for n in (0, 0.1, 0.3, 0.7)), *(141.5 + n for n in range(74)), 215.05],
    ),
    "Envoy was restarted as the first handed over: called again, for the whole time": (
        {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "100"},
        [SIGTERM, (215.01, "envoy restarts")],
        [(10, 215, "handed over"), (0, 315.05, "drained")],
        [140, 215.05],
    ),
    "Envoy is restarted while the second drains": (
        {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "90"},
        [SIGTERM, (220.2, "envoy restarts")],
        [(10, 215, "handed over"), (0, 310.55, "drained")],
        [140, 215.05, 220.55],
    ),
    "Envoy hangs as the second begins, and then remembers: unknown is not long ago": (
        {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "100"},
        [SIGTERM, (214.5, "envoy hangs"), (218, "envoy fine")],
        [(10, 215, "handed over"), (0, 319.15, "drained")],
        [140, 217.05, 219.15],
    ),
    # the first has died
    "the first is killed in the drain: the delay is over, and the drain begins anew": (
        {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "100"},
        [SIGTERM, (150, "first killed")],
        [(0, 250.05, "drained")],
        [140, 150.05],
    ),
    "the first is killed in the delay: the whole plan of the second": (
        {},
        [SIGTERM, (120, "first killed")],
        [(0, 200.05, "drained")],
        [160.05],
    ),
    "the first crashes, and so ECS stops the task": (
        {},
        [(50, "first killed")],
        [(0, 130.05, "drained")],
        [90.05],
    ),
    "the first is killed in a delay that does not fit the second: downstreams get time to stop sending": (
        SLOW,
        [SIGTERM, (120, "first killed")],
        [(0, 235.05, "deadline")],
        [204.05],
    ),
    "the metadata endpoint is silent as the second begins: the whole plan of its own": (
        UNTIL_QUIET,
        [SIGTERM, (170, "metadata hangs")],
        [(0, 171, "drained"), (0, 204.05, "drained")],
        [140, 173.05],
    ),
    "the first hands over in the moment in which Envoy hangs: the second's look is bounded": (
        SLOW,
        [SIGTERM, (214.9, "envoy hangs"), (240, "envoy fine")],
        [(10, 215, "handed over"), (0, 310.05, "drained")],
        [250.05],
    ),
    "the metadata endpoint is silent for a moment": (
        UNTIL_QUIET,
        [SIGTERM, (170, "metadata 500"), (171.5, "metadata fine")],
        [(0, 171, "drained"), (0, 171.65, "drained")],
        [140],
    ),
    "a fault as the second begins: the whole plan of its own": (
        {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "100"},
        [SIGTERM, (215.03, "metadata breaks"), (215.1, "metadata fine")],
        [(10, 215, "handed over"), (70, 330.05, "deadline")],
        [140, 255.05],
    ),
    # the second has died
    "the second has died: the first keeps to what it can do alone": (
        SLOW,
        [(99, "second killed"), SIGTERM],
        [(0, 215, "deadline")],
        [184],
    ),
    "the second dies when the delay is longer than the first can drain after: the drain begins at once": (
        SLOW,
        [SIGTERM, (190.5, "second killed")],
        [(0, 215, "deadline")],
        [191],
    ),
    "the second dies just before it is to continue: the first calls Envoy, and gives downstreams what is left": (
        SLOW,
        [SIGTERM, (214.5, "second killed")],
        [(75, 218, "not confirmed")],
        [215],
    ),
    "the task has no container of the second's name: the first keeps to what it can do alone": (
        SLOW,
        [(50, "second has another name"), SIGTERM],
        [(0, 215, "deadline"), (0, 215.05, "drained")],
        [184],
    ),
    "the second has died, and the delay fits": (
        LONG,
        [(99, "second killed"), SIGTERM],
        [(0, 215, "deadline")],
        [140],
    ),
    # the first is frozen until after its deadline
    "Envoy was to be called meanwhile: the first does, and hands over late": (
        {"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "100"},
        [SIGTERM, (101, "helper freezes until 216")],
        [(11, 216, "handed over late"), (0, 316.05, "drained")],
        [216, 216.05],
    ),
    "the delay is the second's to end: the first hands over": (
        SLOW,
        [SIGTERM, (101, "helper freezes until 216")],
        [(10, 216, "handed over"), (0, 311.05, "drained")],
        [251.05],
    ),
    "the delay was to end just then: the first calls Envoy, and hands over": (
        {"DRAIN_DELAY": "115", "DRAIN_TIMEOUT": "60"},
        [SIGTERM, (101, "helper freezes until 216")],
        [(10, 216, "handed over"), (0, 276.05, "drained")],
        [216, 216.05],
    ),
    "the second has died: the first calls Envoy, and gives downstreams what is left": (
        SLOW,
        [(99, "second killed"), SIGTERM, (101, "helper freezes until 216")],
        [(75, 218, "not confirmed")],
        [216],
    ),
    "whether the second is there, is not known: the plan is kept": (
        SLOW,
        [SIGTERM, (150, "metadata 500"), (200, "metadata fine")],
        [(10, 215, "handed over"), (0, 310.05, "drained")],
        [250.05],
    ),
    "a fault in looking for the second: the second counts as running": (
        SLOW,
        [SIGTERM, (214.95, "metadata breaks"), (215.01, "metadata fine")],
        [(70, 215, "handed over"), (0, 330.05, "deadline")],
        [299.05],
    ),
    # the second begins anew
    "the second is restarted in place while the first drains: it leaves the drain alone": (
        LONG,
        [(139, "second restarts"), SIGTERM, (150, "second restarts")],
        [(10, 215, "handed over"), (0, 291.05, "drained")],
        [140, 215.05],
    ),
    "the application has stopped: no delay in a chain either": (
        LONG,
        [(99, "app refuses"), (99, "container app stops"), SIGTERM, (100.25, "envoy fails requests")],
        [(10, 215, "handed over"), (0, 291.05, "drained")],
        [100.3, 215.05],
    ),
}


def ends(lives: list[Life]) -> list[tuple[Any, ...]]:
    return [(each.exit, each.at, each.ending) for each in lives]


@pytest.mark.parametrize("name", TIMELINES)
def test_timeline(name: str) -> None:
    """Two helpers act like one with the time of both; whatever is unknown keeps the plan."""
    settings, timeline, expected, called = TIMELINES[name]
    world = World()

    lives = world.live_in_chain(timeline, settings, 120, 120)

    assert [(code, pytest.approx(at, abs=ROUNDED), ending) for code, at, ending in expected] == ends(lives)
    assert [pytest.approx(at, abs=ROUNDED) for at in called] == [at for at, _ in world.envoy.journal]
    assert {FAIL} >= {target for _, target in world.envoy.journal}


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        (LONG, {"exit_code": 10, "draining": True, "plan_started_seconds_ago": 115, "told_seconds_ago": 74}),
        ({}, {"exit_code": 0, "draining": True, "cause": DRAINED}),
    ],
)
def test_log_of_taking_over(settings: Mapping[str, str], fields: dict[str, Any]) -> None:
    """The second logs what it takes over, and its summary includes what the first has done."""
    *_, second = World().live_in_chain([SIGTERM], settings, 120, 120)

    assert fields == second.fields("taking_over")
    assert second.log[-1][2]["confirmed"]


@pytest.mark.parametrize(
    "chain", [{}, {"TAKES_OVER_FROM": "first:120"}, {"HANDS_OVER_TO": "first-2:120"}], ids=["single", "second", "first"]
)
@pytest.mark.parametrize(
    ("desired", "mood", "undone"),
    [("RUNNING", "fine", True), ("STOPPED", "fine", False), ("RUNNING", "hangs", False), ("", "fine", False)],
)
def test_drain_that_a_helper_finds(chain: Mapping[str, str], desired: str, mood: Any, undone: bool) -> None:
    """A helper that starts next to a draining Envoy undoes the drain only if ECS reports that the task is to run.

    If ECS reports that the task is to stop, a helper that ECS stops first takes that for its signal.
    """
    world = World()
    world.envoy.state, world.metadata.desired, world.metadata.mood = "DRAINING", desired, mood

    life = world.live([(5, "SIGTERM")], metadata=True, settings=chain)

    before = [target for moment, target in world.envoy.journal if moment < 5]
    assert (["/healthcheck/ok"] if undone else []) == before
    assert undone == ("in_service" in life.events)
    stops_at_once = desired == "STOPPED" and "TAKES_OVER_FROM" not in chain
    assert ("waiting" in life.events) == (not undone and not stops_at_once)
    assert {"waiting for Envoy", "in service"} >= set(world.shown)


@pytest.mark.parametrize(
    ("chain", "undone_after"),
    [({}, 150), ({"TAKES_OVER_FROM": "first:90"}, 240), ({"HANDS_OVER_TO": "first-2:90"}, 240)],
    ids=["single", "second", "first"],
)
def test_drain_that_nothing_reports(chain: Mapping[str, str], undone_after: float) -> None:
    """A helper that outlives all stopTimeouts is in a running task: it undoes the drain without ECS's report.

    It starts at 30.
    """
    world = World()
    world.envoy.state, world.metadata.mood = "DRAINING", 500

    life = world.live([(300, "SIGTERM")], metadata=True, settings=chain, starts=30)

    (undone,) = [moment for moment, target in life.journal if target == "/healthcheck/ok"]
    assert undone_after <= undone <= undone_after + 1
    assert 1 == life.events.count("stale_drain_undone") == life.events.count("in_service")


@pytest.mark.parametrize(("first", "drained_at"), [("RUNNING", 100), ("STOPPED", 40)])
def test_second_that_starts_in_a_task_that_stops(first: str, drained_at: float) -> None:
    """ECS's wish to stop the task is no stop of the second helper as long as the first one runs."""
    world = World()
    world.metadata.run("first")
    world.metadata.containers["first"]["KnownStatus"] = first
    world.metadata.desired, world.metadata.restart_count = "STOPPED", 1

    life = world.live([(60, "SIGTERM")], metadata=True, settings={"TAKES_OVER_FROM": "first:120"})

    assert [(drained_at, FAIL)] == life.journal


def test_exit_code_of_one_that_runs() -> None:
    """The first's code of an earlier life, before it was restarted in place, does not describe this stop."""
    world = World()
    world.metadata.run("first")
    world.metadata.containers["first"] |= {"ExitCode": 10, "RestartCount": 1}

    life = world.live([SIGTERM], metadata=True, settings={"TAKES_OVER_FROM": "first:120"})

    assert [(140, FAIL)] == life.journal


def test_unconfirmed_drain_is_handed_over_late() -> None:
    """If the plan leaves half a second for the call, and Envoy has not confirmed, the second counts anew."""
    world = World()

    first, _ = world.live_in_chain(
        [(99, "envoy 500"), SIGTERM, (216, "envoy fine")], {"DRAIN_DELAY": "113.5", "DRAIN_TIMEOUT": "60"}, 120, 120
    )

    assert (11, "handed over late", False) == (first.exit, first.ending, first.log[-1][2]["confirmed"])


@pytest.mark.parametrize(
    ("happens", "exit_code"), [("second killed", 137), ("second has another name", None)], ids=["stopped", "missing"]
)
def test_log_of_a_second_that_has_stopped(happens: str, exit_code: int | None) -> None:
    """The first logs once that no second helper runs, with its exit code, if it has one."""
    lives = World().live_in_chain([(99, happens), SIGTERM], SLOW, 120, 120)

    assert {"exit_code": exit_code} == lives[0].fields("second_helper_stopped")


def test_drained_beside_a_listener_that_nothing_counts() -> None:
    """If no statistic covers a listener, the second helper does not exit at once: requests may be in progress."""
    world = World()
    world.envoy.left_out.add("http.ingress.downstream_rq_active")

    assert [(0, 180, "drained"), (0, 220.05, "drained")] == ends(world.live_in_chain([SIGTERM], {}, 120, 120))


MOODS = ["fine", "500", "hangs", "refuses", "resets", "babbles", "breaks"]
WHAT = st.sampled_from(
    [f"{who} {mood}" for who in ("envoy", "app", "metadata") for mood in MOODS]
    + ["envoy restarts", "envoy takes 0.3", "envoy takes 1.5", "envoy gets requests", "envoy ends requests"]
    + ["first killed", "second restarts", "SIGTERM", "helper freezes until 216"]
)
MOMENT = st.floats(100, 330).map(lambda moment: round(moment, 1))
SCHEDULE = st.lists(st.tuples(MOMENT, WHAT), max_size=6).map(
    lambda schedule: sorted(schedule, key=lambda each: each[0])
)


@given(
    schedule=SCHEDULE,
    killed=st.floats(100, 214).map(lambda moment: round(moment, 1)),
    delay=st.integers(0, 60) | st.sampled_from([114, 115, 150]),
    timeout=st.integers(1, 60) | st.sampled_from([80, "auto"]),
)
@example(schedule=[], killed=214.0, delay=150, timeout=60)
@example(schedule=[(101.0, "helper freezes until 216")], killed=120.0, delay=150, timeout=60)
def test_every_chain_whose_second_dies(schedule: Timeline, killed: float, delay: int, timeout: int | str) -> None:
    """If ECS reports that the second has died, the first does not exit without a call of Envoy."""
    world = World()
    unknown = ("metadata", "second", "first")
    schedule = [(moment, what) for moment, what in schedule if moment > 100 and not what.startswith(unknown)]
    settings = {"DRAIN_DELAY": f"{delay}", "DRAIN_TIMEOUT": f"{timeout}"}

    first, *_ = world.live_in_chain([SIGTERM, *sorted([*schedule, (killed, "second killed")])], settings, 120, 120)

    assert world.envoy.journal
    assert first.at >= killed or first.ending == "drained"
    assert first.exit not in (10, 11) or first.at < killed


@given(
    schedule=SCHEDULE,
    delay=st.integers(0, 60) | st.sampled_from([100, 150]),
    timeout=st.integers(1, 60) | st.sampled_from([100, 150, "auto"]),
    first=st.integers(50, 120),
)
@example(schedule=[(100.0, "metadata 500"), (100.0, "envoy takes 1.5")], delay=150, timeout=1, first=94)
@example(schedule=[(140.0, "first killed")], delay=40, timeout=100, first=120)
@example(schedule=[(100.0, "envoy 500"), (170.0, "envoy fine")], delay=40, timeout=60, first=90)
def test_every_chain(schedule: Timeline, delay: int, timeout: int | str, first: int) -> None:
    """The helpers keep the task running for as long as a trap would, or until the second's deadline.

    A drain that is over has lasted as planned, in both helpers together."""
    world = World()
    second = 250 - first
    least = 31 if timeout == "auto" else int(timeout)
    assume(delay + least <= 240)
    # a helper that is frozen as SIGTERM comes sees it later, and counts from then
    assume(all(moment > 100 for moment, what in schedule if what.startswith("helper freezes")))

    *_, last = world.live_in_chain(
        [SIGTERM, *schedule], {"DRAIN_DELAY": f"{delay}", "DRAIN_TIMEOUT": f"{timeout}"}, first, second
    )

    (began,) = [moment for moment, event, _ in last.log if event == "sigterm" and moment > 100] or [100.0]
    deadline = began + second - 5
    called_late = any(event == "called_at_deadline" for _, event, _ in last.log)
    latest = began + second - BEFORE_SIGKILL if called_late else deadline
    assert min(100 + delay + least, deadline) - ROUNDED <= last.at <= latest + ROUNDED
    if last.ending == "drained" and "DRAINING" == world.envoy.state:
        assert last.at - world.envoy.draining_since >= least - ROUNDED


@pytest.mark.parametrize(
    ("health_sync", "expected"),
    [
        (None, [(12, 115, "still sending"), (12, 115.05, "still sending")]),
        ("container consul-ecs-health-sync stops", [(12, 115, "still sending"), (0, 230.05, "deadline")]),
    ],
)
def test_in_consul_both_exit_where_downstreams_still_send(
    health_sync: str | None, expected: list[tuple[int, float, str]]
) -> None:
    """The second exits at once, as long as health-sync still runs and can deregister the task."""
    world = World()
    world.envoy.health_check_filter, world.envoy.listener_name = False, "public_listener:10.0.0.1:20000"
    world.metadata.run("consul-ecs-health-sync")
    timeline = [SIGTERM, *((moment / 2, "envoy answers requests") for moment in range(198, 600))]
    if health_sync:
        timeline.append((115.02, health_sync))

    lives = world.live_in_chain(timeline, {"DRAIN_DELAY": "0", "DRAIN_TIMEOUT": "auto"}, 120, 120)

    assert [(code, pytest.approx(at, abs=ROUNDED), ending) for code, at, ending in expected] == ends(lives)
