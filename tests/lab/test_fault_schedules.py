"""The campaign's judgement on literal records, and its dice."""

import math

import pytest

from lab.faults.judgement import Judgement, judge, lost, reachable
from lab.faults.outcome import OK, Outcome, Sent
from lab.faults.schedule import (
    ADMIN_FAULTS,
    CLEAR_OF_THE_CALL,
    FOR_EVER,
    FROM_START,
    EnvoyKind,
    Happening,
    Schedule,
    random_schedule,
)

# serves on for 2 s, calls at 2 s, exits at 5 s; may stay until 10 s
SCHEDULE = Schedule(
    seed=1,
    number=7,
    delay=2.0,
    timeout=3.0,
    stop_timeout=15.0,
    replaced=1.0,
    long=1.8,
    auto_delay=False,
    auto_timeout=False,
    deregistered=True,
    panic=False,
    known=True,
    app_health="application",
    metadata="there",
    skew=0.0,
    restart_takes=0.6,
    envoy=EnvoyKind(),
    settings=(),
    happenings=(),
)
GOOD = Sent(0.5, 0.02, 0.53, OK, "old")


def failed(at: float, ended: float | None = None, host: str = "old", wanted: float = 0.02) -> Sent:
    return Sent(at, wanted, at + 0.01 if ended is None else ended, "503", host)


def outcome(
    holder: str,
    *sent: Sent,
    exit: float | None = 5.0,
    code: int | None = 0,
    drained: bool = True,
    downs: tuple[tuple[float, float], ...] = (),
    outages: tuple[tuple[float, float], ...] = (),
    late: float = 0.0,
) -> Outcome:
    return Outcome(holder, (GOOD, *sent), downs, outages, exit, None if exit is None else code, drained, late)


TRAP = outcome("trap")
NOT_DRAINED = outcome("trap", drained=False)


@pytest.mark.parametrize(
    ("trap", "helper", "broken"),
    [
        pytest.param(TRAP, outcome("helper"), [], id="both lose nothing"),
        pytest.param(
            TRAP,
            outcome("helper", failed(3.0), exit=2.5),
            ["lost 1 requests sent at 3.0 s (503), which the trap held the task for, until 5.0 s"],
            id="gone while the trap held the task",
        ),
        pytest.param(
            TRAP,
            outcome("helper", failed(0.6, host=""), failed(0.9, host="")),
            ["lost 2 requests sent from 0.6 to 0.9 s (503), which the trap held the task for, until 5.0 s"],
            id="turned downstreams away before there was another task",
        ),
        pytest.param(
            TRAP,
            outcome("helper", failed(3.0, 4.0, wanted=1.5), exit=4.0),
            ["lost 1 requests sent at 3.0 s (503), which the trap held the task for, until 5.0 s"],
            id="a long request that the trap would have held out for",
        ),
        pytest.param(
            NOT_DRAINED,
            outcome("helper", failed(3.0, 5.0, wanted=2.5), drained=False),
            [],
            id="a request too long for both",
        ),
        pytest.param(
            NOT_DRAINED, outcome("helper", failed(5.1), drained=False, exit=5.0), [], id="Envoy could not be called"
        ),
        pytest.param(
            TRAP,
            outcome("helper", failed(5.1)),
            ["lost 1 requests sent at 5.1 s (503), after the trap had made Envoy drain"],
            id="the trap drained Envoy in time",
        ),
        pytest.param(
            TRAP,
            outcome("helper", failed(6.6), exit=5.5, drained=False, outages=((4.0, 4.3),)),
            [],
            id="Envoy had forgotten its drain",
        ),
        pytest.param(
            outcome("trap", exit=None),
            outcome("helper", exit=10.0),
            [],
            id="the trap itself was killed and lost nothing",
        ),
        pytest.param(
            outcome("trap", exit=None, drained=False),
            outcome("helper", failed(10.1), exit=10.0),
            [],
            id="the helper has a deadline before the trap's",
        ),
        pytest.param(
            TRAP, outcome("helper", exit=None), ["was there when STOP_TIMEOUT, 15 s, had run out"], id="out of time"
        ),
        pytest.param(
            TRAP, outcome("helper", code=70), ["the helper was at fault: exit code 70"], id="a fault of its own"
        ),
        pytest.param(TRAP, outcome("helper", code=75), [], id="unconfirmed is an answer"),
    ],
)
def test_a_loss_is_judged_by_its_cause(trap: Outcome, helper: Outcome, broken: list[str]) -> None:
    """The helper answers for what the trap would have saved, and for nothing else."""
    schedule = SCHEDULE
    if not helper.drained:
        schedule = schedule._replace(happenings=(Happening("admin hangs", FROM_START, FOR_EVER),))
    assert judge(schedule, trap, helper) == Judgement("broken" if broken else "kept", tuple(broken))


@pytest.mark.parametrize(
    ("sent", "excused"),
    [
        pytest.param(failed(3.1), True, id="met the application while it was down"),
        pytest.param(failed(2.0, 3.1), True, id="was dropped by it"),
        pytest.param(failed(3.1, host=""), True, id="was sent to no task meanwhile, and no task could have served it"),
        pytest.param(failed(4.0, host=""), False, id="was sent to no task after it was up again"),
        pytest.param(failed(4.0), False, id="met it when it was up again"),
        pytest.param(failed(6.1), True, id="met Envoy while it was down"),
        pytest.param(failed(6.1, host=""), True, id="had no task as Envoy was down"),
        pytest.param(failed(7.2, host=""), True, id="had none, as no health check had passed yet"),
        pytest.param(failed(8.5, host=""), False, id="had none long after"),
        pytest.param(failed(6.1, host="new"), False, id="met the new task"),
    ],
)
def test_what_is_nobodys_fault(sent: Sent, excused: bool) -> None:
    """What met a part of the task that was down by itself is lost to nobody's account."""
    trial = outcome("helper", sent, downs=((3.0, 3.5),), outages=((6.0, 6.4),))
    assert lost(trial) == ([] if excused else [sent])


@pytest.mark.parametrize(
    ("trap", "helper", "why"),
    [
        pytest.param(
            outcome("trap", failed(1.0)), outcome("helper"), "which nothing explains", id="the trap lost requests"
        ),
        pytest.param(TRAP, outcome("helper", late=0.9), "too busy", id="what happened to it came late"),
        pytest.param(TRAP, outcome("helper", Sent(1.0, 0.02, 4.0, OK, "old")), "too busy", id="a slow answer"),
        pytest.param(TRAP, outcome("helper", failed(4.0, host="new")), "the new task failed", id="the new task failed"),
    ],
)
def test_what_cannot_be_judged_is_unknown(trap: Outcome, helper: Outcome, why: str) -> None:
    """Where the machine or the lab itself was at fault there is no pass, and no blame."""
    judgement = judge(SCHEDULE, trap, helper)
    assert judgement.kind == "unknown"
    assert why in judgement.why[0]


def happenings(*each: Happening) -> Schedule:
    return SCHEDULE._replace(happenings=each)


HANGS = Happening("admin hangs", 1.0, 3.0)
DRAINED_BY_TRAP = "left an Envoy that does not drain, though the trap drained it"


@pytest.mark.parametrize(
    ("schedule", "trap", "helper", "broken"),
    [
        pytest.param(SCHEDULE, TRAP, outcome("helper", drained=False), [DRAINED_BY_TRAP], id="the trap drained it"),
        pytest.param(
            happenings(HANGS),
            NOT_DRAINED,
            outcome("helper", drained=False),
            ["left an Envoy that does not drain, though it could be called from 4.0 to 10.0 s"],
            id="it could be called later",
        ),
        pytest.param(
            happenings(HANGS._replace(seconds=5.5)), NOT_DRAINED, outcome("helper", drained=False), [], id="hardly"
        ),
        pytest.param(
            SCHEDULE, TRAP, outcome("helper", drained=False, exit=5.0, outages=((4.0, 4.3),)), [], id="it has forgotten"
        ),
        pytest.param(
            SCHEDULE,
            NOT_DRAINED,
            outcome("helper", drained=False, exit=9.0, outages=((4.0, 4.3),)),
            ["left an Envoy that does not drain, though it could be called from 4.3 to 10.0 s"],
            id="it has forgotten, and there was time to call it again",
        ),
        pytest.param(
            SCHEDULE, NOT_DRAINED, outcome("helper", drained=False, outages=((1.0, math.inf),)), [], id="Envoy was dead"
        ),
    ],
)
def test_envoy_is_drained_if_it_can_be(schedule: Schedule, trap: Outcome, helper: Outcome, broken: list[str]) -> None:
    """Where the trap drained Envoy, or a retry had time to, the helper has to drain it."""
    assert judge(schedule, trap, helper).why == tuple(broken)


def test_a_task_without_downstreams_needs_no_drain() -> None:
    """A task that no downstream ever had exits without a drain."""
    helper = Outcome("helper", (), (), (), 0.1, 0, False)
    assert judge(SCHEDULE._replace(known=False), Outcome("trap", (), (), (), 5.0, 0, True), helper).kind == "kept"


def test_when_envoy_can_be_called() -> None:
    """Between faults of the admin API and outages of Envoy, from the end of the delay on."""
    schedule = happenings(HANGS, Happening("admin errors", 6.0, 1.0), Happening("application restarts", 5.0))
    assert reachable(schedule, outcome("helper", outages=((8.0, 8.5),))) == [(4.0, 6.0), (7.0, 8.0), (8.5, 10.0)]


def test_the_same_seed_draws_the_same_schedules() -> None:
    """A schedule can be played again by its seed and number, and others are different."""
    assert random_schedule(3, 17) == random_schedule(3, 17)
    assert random_schedule(3, 17)._replace(seed=4) != random_schedule(4, 17)
    assert random_schedule(3, 17)._replace(number=18) != random_schedule(3, 18)


SCHEDULES = [random_schedule(1, number) for number in range(300)]


def test_the_traps_plan_is_right() -> None:
    """In each schedule the trap has time for every request, calls Envoy clear of a fault's edge, and the plans fit."""
    for schedule in SCHEDULES:
        assert schedule.replaced + 1 <= schedule.delay + 1e-9, schedule
        assert schedule.long + 1 < schedule.timeout, schedule
        assert schedule.delay + schedule.timeout < schedule.budget, schedule
        for each in schedule.happenings:
            if each.kind in (*ADMIN_FAULTS, "admin socket is removed"):
                for edge in (each.at, each.at + each.seconds):
                    assert abs(edge - schedule.delay) >= CLEAR_OF_THE_CALL - 0.02, schedule


def test_no_two_sources_report_the_same_lie() -> None:
    """What two witnesses say of the same thing is believed, and rightly: the metadata lies only where others do not."""
    for schedule in SCHEDULES:
        if schedule.has("metadata says the application has stopped", "metadata says Envoy has stopped"):
            assert not schedule.has(
                "application restarts", "application dies", "envoy restarts", "envoy dies"
            ), schedule
        if schedule.has("metadata says Envoy has stopped"):
            assert not schedule.has(*ADMIN_FAULTS, "admin socket is removed"), schedule
