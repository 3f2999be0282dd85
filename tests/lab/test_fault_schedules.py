"""The campaign's judgement on literal records, and its dice."""

import math
from hashlib import sha256

import pytest
from msgspec import structs

from lab.faults.judgement import Judgement, deadline, judge, lost, reachable
from lab.faults.outcome import OK, Outcome, Sent
from lab.faults.schedule import (
    ADMIN_FAULTS,
    CLEAR_OF_THE_CALL,
    DEATHS,
    FOR_EVER,
    FROM_START,
    KNOWN_AFTER,
    MARGIN,
    RESTARTS,
    SHORTEST_DRAIN,
    THAWED_AFTER_DEADLINE,
    UNCALLABLE,
    EnvoyKind,
    Happening,
    Schedule,
    _random_task,
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
    first_exit: float | None = None,
    deaths: tuple[tuple[int, float], ...] = (),
) -> Outcome:
    code = None if exit is None else code
    outcome = Outcome(holder, (GOOD, *sent), downs, outages, exit, code, drained, late)
    return structs.replace(outcome, first_exit=first_exit, deaths=deaths)


TRAP = outcome("trap")
NOT_DRAINED = outcome("trap", drained=False)


@pytest.mark.parametrize(
    ("trap", "helper", "broken"),
    [
        pytest.param(TRAP, outcome("helper"), [], id="both lose nothing"),
        pytest.param(
            TRAP,
            outcome("helper", failed(3.0), exit=2.5),
            ["lost 1 requests sent at 3.0 s (503), which the trap kept the task for, until 5.0 s"],
            id="exits while the trap keeps the task",
        ),
        pytest.param(
            TRAP,
            outcome("helper", failed(0.6, host=""), failed(0.9, host="")),
            ["lost 2 requests sent from 0.6 to 0.9 s (503), which the trap kept the task for, until 5.0 s"],
            id="turned downstreams away before there was another task",
        ),
        pytest.param(
            TRAP,
            outcome("helper", failed(3.0, 4.0, wanted=1.5), exit=4.0),
            ["lost 1 requests sent at 3.0 s (503), which the trap kept the task for, until 5.0 s"],
            id="a long request that the trap would have waited for",
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
def test_losses_that_are_excused(sent: Sent, excused: bool) -> None:
    """A request that met a part of the task that was down by itself is not counted as lost."""
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


def frozen(at: float, until: float) -> Schedule:
    return happenings(Happening("helper is frozen", at, until - at))


# the first helper exits at 8 s at the latest, the second 5 s later
CHAIN = SCHEDULE._replace(stop_timeout=23.0, first_stop_timeout=13.0)
KILLED = "was there when STOP_TIMEOUT, 15 s, had run out"


@pytest.mark.parametrize(
    ("schedule", "broken"),
    [
        pytest.param(frozen(4.0, 10.5), [KILLED], id="thawed early enough for its last calls"),
        pytest.param(frozen(4.0, 10.7), [], id="thawed too late for its last calls"),
        pytest.param(frozen(-0.2, 0.5), [KILLED], id="frozen at the signal, for less than its margin has spare"),
        pytest.param(frozen(-0.2, 0.7), [], id="frozen at the signal, of which it cannot know"),
        pytest.param(happenings(Happening("helper is starved", 0.0)), [KILLED], id="its margin is for a starved one"),
    ],
)
def test_a_kill_is_the_helpers_fault_if_it_could_run_before(schedule: Schedule, broken: list[str]) -> None:
    """ECS kills a helper through the helper's own fault only if it was runnable for its last two calls."""
    assert judge(schedule, TRAP, outcome("helper", exit=None)).why == tuple(broken)


@pytest.mark.parametrize(
    ("helper", "broken"),
    [
        pytest.param(outcome("helper", exit=5.0, first_exit=4.9), [], id="both in time"),
        pytest.param(
            outcome("helper", exit=14.0),
            ["the first helper was there when STOP_TIMEOUT, 13 s, had run out"],
            id="first",
        ),
        pytest.param(
            outcome("helper", exit=None, first_exit=8.0),
            ["the second helper was there when STOP_TIMEOUT, 10 s, had run out"],
            id="second",
        ),
    ],
)
def test_each_helper_of_a_chain_has_its_own_stop_timeout(helper: Outcome, broken: list[str]) -> None:
    """ECS counts each helper's stopTimeout from its own signal."""
    assert judge(CHAIN, TRAP, helper).why == tuple(broken)


def test_a_fault_of_the_first_helper_counts() -> None:
    """Exit code 70 of the first helper is a fault, whatever the second one makes of it."""
    helper = structs.replace(outcome("helper", first_exit=4.9), first_code=70)
    assert judge(CHAIN, TRAP, helper).why == ("the helper was at fault: exit code 70",)


@pytest.mark.parametrize(
    ("helper", "until"),
    [
        pytest.param(outcome("helper", first_exit=8.0), 13.0, id="both live"),
        pytest.param(outcome("helper", first_exit=1.0, deaths=((1, 1.0),)), 6.0, id="the first dies"),
        pytest.param(outcome("helper", exit=8.0, first_exit=8.0, deaths=((2, 1.0),)), 8.0, id="the second dies before"),
        pytest.param(outcome("helper", exit=9.0, first_exit=8.0, deaths=((2, 9.0),)), 9.0, id="the second dies"),
    ],
)
def test_until_when_a_chain_may_keep_the_task(helper: Outcome, until: float) -> None:
    """A helper of a chain that is killed leaves the other one its own stopTimeout, and nothing more."""
    assert deadline(CHAIN, helper) == until


def test_envoy_cannot_be_called_while_the_helper_is_frozen() -> None:
    """Frozen time is no time to call Envoy in; a freeze at the signal comes before the delay."""
    assert reachable(frozen(3.0, 4.5), outcome("helper")) == [(2.0, 3.0), (4.5, 10.0)]
    assert reachable(frozen(-0.1, 1.5), outcome("helper")) == [(3.5, 10.0)]


def test_a_starved_helper_takes_longer_to_call_envoy() -> None:
    """The same time in which Envoy could be called is enough for a helper with a CPU, and not for a starved one."""
    hangs, undrained = HANGS._replace(at=0.0, seconds=5.0), outcome("helper", drained=False)
    assert judge(happenings(hangs), NOT_DRAINED, undrained).kind == "broken"
    assert judge(happenings(hangs, Happening("helper is starved", 0.0)), NOT_DRAINED, undrained).kind == "kept"


def test_no_time_to_call_envoy_again_as_the_helper_was_frozen() -> None:
    """After a restart of Envoy frozen time does not count as time to call it again."""
    helper = outcome("helper", drained=False, exit=9.0, outages=((4.0, 4.3),))
    assert judge(SCHEDULE, NOT_DRAINED, helper).kind == "broken"
    assert judge(frozen(5.0, 6.0), NOT_DRAINED, helper).kind == "kept"


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


# Digests of what revision b46b418 drew, before the host had a stream of its own
DRAWN_BEFORE = {0: "34e9f8217a10", 1: "2715e7f50d36", 17: "02accb6a6ff1", 59: "5d1d7718b3e1"}


@pytest.mark.parametrize("number", DRAWN_BEFORE)
def test_the_hosts_stream_leaves_the_tasks_draws(number: int) -> None:
    """What revisions without a host's stream drew for a seed and number is still drawn for the task."""
    task = _random_task(1, number)
    assert sha256(repr(task[:19]).encode()).hexdigest()[:12] == DRAWN_BEFORE[number]
    drawn = random_schedule(1, number)
    assert set(task.happenings) <= set(drawn.happenings)
    assert drawn[:4] + drawn[6:18] == task[:4] + task[6:18]


HOST = [random_schedule(1, number) for number in range(2000)]


def test_everything_of_the_host_is_drawn() -> None:
    """Freezes in the delay, across the signal and the deadline; starvation; both steps; chains, and what ends one."""
    spans = [(*span, schedule) for schedule in HOST for span in schedule.frozen]
    assert any(at < 0 < thaw for at, thaw, _ in spans)
    assert any(0 < at < thaw < schedule.delay for at, thaw, schedule in spans)
    assert sum(at < schedule.deadlines[0] < thaw for at, thaw, schedule in spans) > 20
    assert {-1, 1} == {math.copysign(1, schedule.step) for schedule in HOST if schedule.has("clock steps")}
    assert sum(schedule.has("helper is starved") for schedule in HOST) > 100
    for what in (*DEATHS, "second helper restarts"):
        assert sum(schedule.has(what) for schedule in HOST) > 10
    undisturbed = [each for each in HOST if each.first_stop_timeout and not each.has(*DEATHS, *RESTARTS)]
    assert sum(each.deadlines[0] < each.delay for each in undisturbed) > 10
    assert sum(each.delay < each.deadlines[0] < each.delay + each.timeout for each in undisturbed) > 10


def test_the_hosts_draws_are_within_their_bounds() -> None:
    """A freeze leaves time for a last call, a starved helper has 5 to 10 % of a core, a step is 60 to 240 s."""
    for schedule in HOST:
        for at, thaw in schedule.frozen:
            deadline_then = next(each for each in schedule.deadlines if at <= each + THAWED_AFTER_DEADLINE - 0.28)
            assert at + 0.29 <= thaw <= deadline_then + THAWED_AFTER_DEADLINE + 0.02
        assert schedule.cpu == 1.0 or 0.05 <= schedule.cpu <= 0.1
        assert schedule.step == 0.0 or 60 <= abs(schedule.step) <= 240
        assert schedule.has("helper is starved") == (schedule.cpu < 1)
        assert schedule.has("clock steps") == (schedule.step != 0)


def test_a_chain_has_the_whole_plan_of_the_trap() -> None:
    """Two helpers have time for the plan. A survivor has time until downstreams know the new task."""
    for schedule in HOST:
        if schedule.first_stop_timeout is None:
            continue
        plan = schedule.delay + schedule.timeout
        assert sum(schedule.stop_timeouts) == pytest.approx(schedule.stop_timeout)
        assert plan < schedule.budget
        if schedule.has(*DEATHS):
            left = schedule.stop_timeouts[1 if schedule.has("first helper dies") else 0] - MARGIN
            assert schedule.replaced + KNOWN_AFTER <= left - SHORTEST_DRAIN + 0.02, schedule


def test_a_freeze_does_not_make_a_fault_a_matter_of_luck() -> None:
    """Where a freeze moves the trap's call, no fault of Envoy begins or ends at that moment."""
    for schedule in HOST:
        due = schedule.call_due
        for each in schedule.happenings:
            if schedule.frozen and each.kind in UNCALLABLE:
                for edge in (each.at, each.at + each.seconds):
                    assert abs(edge - due) >= CLEAR_OF_THE_CALL - 0.02, schedule
