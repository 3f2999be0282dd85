"""Timelines of a task's life: what happens when, and what the helper makes of it.

In service within the first second; the delay begins at 100, the drain at 140, and 180 is its end. The deadline is 215.
"""

import asyncio
import time
from contextlib import suppress
from typing import Any

import pytest

from task_helper.ecs.replacement import Look, Other
from task_helper.envoy.mesh import Mesh, hints
from task_helper.life import lifecycle
from task_helper.life.lifecycle import Lifecycle
from task_helper.settings import from_env
from tests.helper.fakes import Mood
from tests.helper.unit.timelines import Timeline, World

FAIL, OK, LISTENERS = "/healthcheck/fail", "/healthcheck/ok", "/drain_listeners?inboundonly"
GRACEFULLY = f"{LISTENERS}&graceful&skip_exit"
SIGTERM = (100, "SIGTERM")

# moments are rounded to the millisecond
ROUNDED = 0.002

# what happens | exit code, moment, ending | calls of Envoy: moment and path
TIMELINES: dict[str, tuple[Timeline, tuple[int, float, str], list[tuple[float, str]]]] = {
    # the plan
    "the plan is kept": ([SIGTERM], (0, 180, "drained"), [(140, FAIL)]),
    "SIGINT begins the same": ([(100, "SIGINT")], (0, 180, "drained"), [(140, FAIL)]),
    "SIGQUIT begins the same": ([(100, "SIGQUIT")], (0, 180, "drained"), [(140, FAIL)]),
    "a second SIGTERM in the delay changes nothing": (
        [SIGTERM, (120, "SIGTERM")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "a second SIGTERM in the drain changes nothing": (
        [SIGTERM, (150, "SIGTERM"), (170, "SIGTERM")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    # not seen in service
    "the application never was ready, and Envoy has served nothing": (
        [(0, "app 503"), (5, "SIGTERM")],
        (0, 6, "never in service"),
        [],
    ),
    "Envoy counts its first request a moment after the stop": (
        [(0, "app 503"), (5, "SIGTERM"), (5.5, "envoy answers 1 request")],
        (0, 85, "drained"),
        [(45, FAIL)],
    ),
    "Envoy has answered requests, with errors alone": (
        [(0, "app 503"), (3, "envoy fails requests"), (5, "SIGTERM")],
        (0, 85, "drained"),
        [(45, FAIL)],
    ),
    "Envoy has answered health checks alone: downstreams have the task in rotation": (
        [(0, "app 503"), (3, "envoy gets health checks"), (5, "SIGTERM")],
        (0, 85, "drained"),
        [(45, FAIL)],
    ),
    "SIGTERM in the first moment": ([(0, "SIGTERM")], (0, 1, "never in service"), []),
    "the application never was ready, yet Envoy serves": (
        [(0, "app 503"), (50, "envoy answers requests"), SIGTERM],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "an Envoy that never answered may serve: called until the deadline": (
        [(0, "envoy refuses"), (5, "SIGTERM"), (119, "envoy fine")],
        (0, 120, "deadline"),
        [*((45 + n, FAIL) for n in (0, 0.1, 0.3, 0.7)), *((46.5 + n, FAIL) for n in range(74))],
    ),
    "Envoy hangs when the helper reads what it has served": (
        [(0, "envoy hangs"), (5, "SIGTERM"), (44, "envoy fine")],
        (0, 85, "drained"),
        [(45, FAIL)],
    ),
    "Envoy has served nothing, but was restarted a moment ago": (
        [(0, "app 503"), (3, "envoy restarts"), (5, "SIGTERM")],
        (0, 85, "drained"),
        [(45, FAIL)],
    ),
    "Envoy's container has stopped, and its admin API never answered: it may be elsewhere": (
        [(0, "envoy refuses"), (1, "container envoy stops"), (5, "SIGTERM"), (90, "envoy fine")],
        (0, 120, "deadline"),
        [*((45 + n, FAIL) for n in (0, 0.1, 0.3, 0.7)), *((46.5 + n, FAIL) for n in range(45))],
    ),
    "an application that is ready late is waited for": (
        [(0, "app 503"), (30.2, "app fine"), SIGTERM],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    # Envoy has stopped
    "Envoy has stopped before SIGTERM": (
        [(99, "envoy dies"), (99, "container envoy stops"), SIGTERM],
        (0, 100, "envoy stopped"),
        [],
    ),
    "Envoy stops at the start, after it has answered": (
        [(0, "app 503"), (3, "envoy dies"), (3, "container envoy stops"), (5, "SIGTERM")],
        (0, 5, "envoy stopped"),
        [],
    ),
    "Envoy stops at the start, after it has answered with errors": (
        [(0, "envoy 500"), (3, "envoy dies"), (3, "container envoy stops"), (5, "SIGTERM")],
        (0, 5, "envoy stopped"),
        [],
    ),
    "Envoy stops in the delay": (
        [SIGTERM, (120.1, "envoy dies"), (120.2, "container envoy stops")],
        (0, 121, "envoy stopped"),
        [],
    ),
    "Envoy stops in the drain": (
        [SIGTERM, (150.1, "envoy dies"), (150.2, "container envoy stops")],
        (0, 151, "envoy stopped"),
        [(140, FAIL)],
    ),
    "Envoy refuses, and its container runs: it may be restarted": (
        [SIGTERM, (110, "envoy dies"), (135, "envoy fine")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "Envoy's container has stopped, yet it answers": (
        [SIGTERM, (110, "container envoy stops")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "Envoy's container has stopped, yet it answers with errors": (
        [SIGTERM, (110, "container envoy stops"), (111, "envoy 500"), (135, "envoy fine")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "Envoy's container has stopped, its admin API refuses, yet its listener accepts": (
        [SIGTERM, (110, "envoy refuses"), (110, "container envoy stops"), (135, "envoy fine")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "Envoy's container has stopped, and its admin API hangs: another container may be Envoy's": (
        [SIGTERM, (110.1, "envoy dies"), (110.2, "envoy hangs"), (110.3, "container envoy stops"), (135, "envoy fine")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "Envoy's container has stopped, its admin API refuses, and its listener hangs": (
        [
            SIGTERM,
            *((110.1, what) for what in ("envoy refuses", "envoy's listener hangs", "container envoy stops")),
            (135, "envoy fine"),
        ],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    # the application has stopped
    "the application has stopped before SIGTERM: the delay ends after failed requests": (
        [(99, "app refuses"), (99, "container app stops"), SIGTERM, (100.25, "envoy fails requests")],
        (0, 140.3, "drained"),
        [(100.3, FAIL)],
    ),
    "the application stops in the delay: the delay ends": (
        [SIGTERM, (120.1, "app refuses"), (120.1, "container app stops"), (121.05, "envoy fails requests")],
        (0, 161.1, "drained"),
        [(121.1, FAIL)],
    ),
    "the application stops in the drain: the drain continues": (
        [SIGTERM, (150, "app refuses"), (150, "container app stops"), (151, "envoy fails requests")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "the application has stopped, and few requests come: five failures, a second or two apart": (
        [(99, "app refuses"), (99, "container app stops"), SIGTERM]
        + [(100.55 + 1.5 * n, "envoy fails 1 request") for n in range(5)],
        (0, 147.1, "drained"),
        [(107.1, FAIL)],
    ),
    "a request succeeds among those that fail: they count anew": (
        [(99, "app refuses"), (99, "container app stops"), SIGTERM]
        + [(100.15, "envoy fails 4 requests"), (100.25, "envoy answers 1 request"), (100.35, "envoy fails 4 requests")]
        + [(110.2, "envoy fails 1 request")],
        (0, 151.1, "drained"),
        [(111.1, FAIL)],
    ),
    "Envoy does not report what it serves between the failures: they count anew": (
        [(99, "app refuses"), (99, "container app stops"), SIGTERM]
        + [(100.15, "envoy fails 4 requests"), (100.25, "envoy denies /stats"), (103, "envoy allows all")]
        + [(105, "envoy fails 4 requests"), (110.2, "envoy fails 1 request")],
        (0, 151.1, "drained"),
        [(111.1, FAIL)],
    ),
    "the application has stopped, and no request comes": (
        [(99, "app refuses"), (99, "container app stops"), SIGTERM],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "the application refuses, and its container runs: it may be restarted": (
        [SIGTERM, (110, "app refuses"), (111, "envoy fails requests"), (112, "envoy fails requests")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "another container stops": (
        [(0, "container sidecar runs"), SIGTERM, (110, "container sidecar stops"), (111, "envoy fails requests")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "another container stops, and the application restarts": (
        [(0, "container sidecar runs"), SIGTERM, (110, "container sidecar stops"), (111, "app refuses")]
        + [(111 + n / 10, "envoy fails requests") for n in range(9)]
        + [(112, "app fine")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "the application stops, and another container runs that may be the application": (
        [(0, "container sidecar runs"), SIGTERM, (110, "app refuses"), (110, "container app stops")]
        + [(111.1 + n, "envoy fails requests") for n in range(9)],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "the application and another container stop": (
        [(0, "container sidecar runs"), SIGTERM, (110, "app refuses"), (110, "container app stops")]
        + [(115, "container sidecar stops"), (115.25, "envoy fails requests")],
        (0, 155.3, "drained"),
        [(115.3, FAIL)],
    ),
    "another container that APP_HEALTH_URL names stops, and Envoy serves": (
        [SIGTERM, (110, "app refuses"), (110, "container app stops")]
        + [(111 + n / 10, "envoy answers requests") for n in range(1, 280)],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "a container stops, and of Envoy's requests some fail": (
        [SIGTERM, (110, "app refuses"), (110, "container app stops")]
        + [(110 + n / 20, f"envoy {what} requests") for n in range(1, 580) for what in ("fails", "answers")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    "an application that answers 503 runs": ([SIGTERM, (110, "app 503")], (0, 180, "drained"), [(140, FAIL)]),
    "an application that hangs runs": ([SIGTERM, (110, "app hangs")], (0, 180, "drained"), [(140, FAIL)]),
    "an application that resets connections runs": (
        [SIGTERM, (110, "container app stops"), (110, "app resets"), (111, "envoy fails requests")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    # the admin API does not do what the helper calls for
    "500 for a second: called again until it confirms, and the drain counts from there": (
        [SIGTERM, (139, "envoy 500"), (141, "envoy fine")],
        (0, 181.5, "drained"),
        [(140, FAIL), (140.1, FAIL), (140.3, FAIL), (140.7, FAIL), (141.5, FAIL)],
    ),
    "a hanging call is given up after two seconds": (
        [SIGTERM, (139, "envoy hangs"), (141, "envoy fine")],
        (0, 182.1, "drained"),
        [(140, FAIL), (142.1, FAIL)],
    ),
    "refused for a moment": (
        [SIGTERM, (139.9, "envoy refuses"), (140.2, "envoy fine")],
        (0, 180.3, "drained"),
        [(140, FAIL), (140.1, FAIL), (140.3, FAIL)],
    ),
    "confirmed late: the drain is cut by the deadline": (
        [SIGTERM, (139, "envoy babbles"), (178.6, "envoy fine")],
        (0, 215, "deadline"),
        [(140, FAIL), (140.1, FAIL), (140.3, FAIL), (140.7, FAIL), *((141.5 + n, FAIL) for n in range(39))],
    ),
    "an Envoy that restarts in the drain is called again, and the drain begins anew": (
        [SIGTERM, (160.2, "envoy restarts")],
        (0, 200.5, "drained"),
        [(140, FAIL), (160.5, FAIL)],
    ),
    "an Envoy that restarts in the delay changes nothing": (
        [SIGTERM, (120, "envoy restarts")],
        (0, 180, "drained"),
        [(140, FAIL)],
    ),
    # the helper is frozen, by SIGSTOP or the cgroup freezer
    "frozen from the delay to the drain's time: the drain begins then": (
        [SIGTERM, (101, "helper freezes until 150")],
        (0, 190, "drained"),
        [(150, FAIL)],
    ),
    "frozen from the delay until after the deadline: Envoy is called once, and downstreams get what is left": (
        [SIGTERM, (101, "helper freezes until 216")],
        (75, 218, "not confirmed"),
        [(216, FAIL)],
    ),
    "frozen until a moment before SIGKILL: Envoy is called once": (
        [SIGTERM, (101, "helper freezes until 219.5")],
        (75, 219.5, "not confirmed"),
        [(219.5, FAIL)],
    ),
    "frozen until after the deadline, and Envoy hangs: called once": (
        [SIGTERM, (100.5, "envoy hangs"), (101, "helper freezes until 215.5")],
        (75, 218, "not confirmed"),
        [(215.5, FAIL)],
    ),
    "frozen from the drain until after the deadline: Envoy was called in time": (
        [SIGTERM, (150, "helper freezes until 216")],
        (0, 216, "deadline"),
        [(140, FAIL)],
    ),
    "frozen until after the deadline, and Envoy is slow: the call is given up in time": (
        [SIGTERM, (100.5, "envoy takes 1.5"), (101, "helper freezes until 216.5")],
        (75, 218.5, "not confirmed"),
        [(216.5, FAIL)],
    ),
    # a fault of the helper's own
    "a fault before the task is in service: the gate opens a moment later, and the plan is kept": (
        [(0, "envoy breaks"), (1, "envoy fine"), SIGTERM],
        (70, 180, "drained"),
        [(140, FAIL)],
    ),
    "a fault in judging whether the task was in service: it is drained": (
        [(0, "app 503"), (4.9, "metadata breaks"), (5, "SIGTERM"), (5.1, "metadata fine")],
        (70, 85, "drained"),
        [(45, FAIL)],
    ),
    "a fault in watching the application": (
        [SIGTERM, (110, "container app stops"), (110, "app breaks")],
        (70, 180, "drained"),
        [(140, FAIL)],
    ),
    "a fault in watching Envoy": (
        [SIGTERM, (110, "metadata breaks"), (112, "metadata fine")],
        (70, 180, "drained"),
        [(140, FAIL)],
    ),
    "a fault in the call of Envoy: called again, by the plain code": (
        [SIGTERM, (139.9, "envoy breaks"), (140.05, "envoy fine")],
        (70, 181, "drained"),
        [(140, FAIL), (140, FAIL), (141, FAIL)],
    ),
    "a fault in the drain: it lasts as long as planned": (
        [SIGTERM, (150, "envoy breaks")],
        (70, 180, "drained"),
        [(140, FAIL)],
    ),
}


@pytest.mark.parametrize("name", TIMELINES)
def test_timeline(name: str) -> None:
    """Each timeline ends with its exit code, moment and reason, and with exactly its calls of Envoy."""
    timeline, (code, at, ending), journal = TIMELINES[name]

    life = World().live(timeline, metadata=True)

    assert (code, at, ending) == (life.exit, life.at, life.ending)
    assert journal == life.journal


def test_a_fault_in_the_delay_itself(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A fault in the middle of the delay leaves its fixed end, and the drain after it; the log has the error."""

    async def delay(self: Lifecycle) -> None:
        await asyncio.sleep(10)
        raise RuntimeError("an error of the helper's own")

    monkeypatch.setattr(Lifecycle, "delay", delay)

    life = World().live([SIGTERM])

    assert (70, 180, [(140, FAIL)]) == (life.exit, life.at, life.journal)
    assert (40, 40) == pytest.approx([life.fields("summary")[f"{stage}_seconds"] for stage in ("delaying", "draining")])
    (fault,) = [each.exc_info for each in caplog.records if each.msg == "fault"]
    assert fault and fault[0] is RuntimeError


@pytest.mark.parametrize(
    "part",
    [
        *(
            "delay.until_replaced",
            "delay.until_drain_is_due",
            "drain._until_drain_lost",
            "drain._until_listeners_drain",
        ),
        *("watch.application_stopped", "watch.envoy_stopped", "watch.first_reading"),
        *("watch.is_consul", "watch.still_sending"),
    ],
)
def test_a_fault_in_one_part(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault in one part of a stop changes nothing in the others: a drain with `auto` still waits for its requests."""

    async def fails(*_: object, **__: object) -> None:
        raise RuntimeError("an error of the helper's own")

    monkeypatch.setattr(f"task_helper.life.{part}", fails)
    world = World()
    world.envoy.listener_name, world.envoy.in_flight = "public_listener:10.0.0.1:20000", 1

    life = world.live([SIGTERM], metadata=True, DRAIN_TIMEOUT="auto", DRAIN_LISTENERS="true")

    assert (70, 215, "deadline") == (life.exit, life.at, life.ending)
    assert [140] == [moment for moment, target in life.journal if target == FAIL]
    assert 1 == life.events.count("fault")


def test_a_fault_before_the_task_is_in_service() -> None:
    """If the helper's own fault kept it from seeing the task in service, the log has that cause for the drain."""
    life = World().live([(0, "envoy breaks"), (4.9, "envoy fine"), (4.95, "SIGTERM")])

    assert {"cause": "the helper had a fault before it could see the task in service"} == life.fields("plan_kept")


@pytest.mark.parametrize(
    ("timeline", "in_service"),
    [
        ([(0, "envoy breaks"), (2.5, "envoy fine")], 3),
        ([(0, "app 503"), (30, "app breaks"), (50, "app 503"), (70.2, "app fine")], 70.5),
        ([(0, "envoy breaks")], 60),
        ([(0, "app breaks")], 60),
        ([(0, "app breaks"), (20, "envoy refuses"), (80.5, "envoy fine"), (81, "app fine")], 81),
        ([(0, "envoy breaks"), (59.5, "envoy refuses"), (80.5, "envoy fine")], 81),
        ([(0, "envoy breaks"), (59, "app 503"), (80.5, "app fine")], 81),
    ],
    ids=[
        "it passes: the step is tried again",
        "it passes, and the application is waited for",
        "it stays, in looking at Envoy",
        "it stays, in looking at the application",
        "it stays, and Envoy is waited for",
        "it passes after a minute, and Envoy is waited for",
        "it stays, and the application is waited for",
    ],
)
def test_gate_after_a_fault(timeline: Timeline, in_service: float) -> None:
    """A fault of the helper keeps a working task out of service for a minute at most; an unready task stays out.

    The fault is in the log and in the exit code.
    """
    world = World()

    life = world.live([*timeline, (200, "envoy fine"), (201, "SIGTERM")])

    (opened,) = [moment for moment, event, _ in life.log if event == "in_service"]
    assert in_service == pytest.approx(opened, abs=1)
    assert {"seconds": pytest.approx(opened)} == life.fields("in_service")
    assert "in service" == world.shown[-1]
    assert 1 <= life.events.count("fault") <= 4
    assert (70, "drained") == (life.exit, life.ending)
    assert "plan_kept" not in life.events, "it was in service"


def test_look_at_the_configuration_after_a_fault() -> None:
    """A fault at the start does not hide what will defeat the drain."""
    world = World()
    world.envoy.health_check_filter = False

    life = world.live([(0, "envoy breaks"), (59.5, "envoy refuses"), (80.5, "envoy fine"), (200, "SIGTERM")])

    assert {"listeners": ["inbound"]} == life.fields("no_health_check_filter")


def test_gate_that_cannot_be_shown_after_a_fault() -> None:
    """If the status cannot be shown after a fault either, the task counts as in service in the log."""
    world = World()

    def taken(status: str) -> None:
        raise OSError("Address already in use")

    world.show = taken
    life = world.live([(0, "app breaks"), (200, "SIGTERM")])

    assert {"seconds": 60} == life.fields("in_service")


@pytest.mark.parametrize("timeline", [[(30, "app fine")], [(0, "app breaks")]], ids=["plainly", "after a fault"])
def test_times_count_from_the_start_of_the_helper(timeline: Timeline) -> None:
    """The log's time until the task is in service begins with the helper, not with the machine."""
    life = World().live([*timeline, (300, "SIGTERM")], starts=30)

    (opened,) = [moment for moment, event, _ in life.log if event == "in_service"]
    assert {"seconds": opened - 30} == life.fields("in_service")


def test_one_request_was_served() -> None:
    """One request that Envoy has served is enough to drain a task that was not seen in service."""
    world = World()
    world.envoy.completed, world.envoy.failed = 11, 10

    life = world.live([(0, "app 503"), (5, "SIGTERM")])

    assert {"cause": "Envoy has had connections, requests or health checks"} == life.fields("plan_kept")


@pytest.mark.parametrize(
    ("restart", "cause"),
    [
        (0.5, "Envoy may have started after the helper, and counts requests only since then: it reports whole seconds"),
        (3, "Envoy was restarted after the helper had started, and counts requests only since then"),
    ],
)
def test_envoy_that_is_younger_than_the_helper(restart: float, cause: str) -> None:
    """An Envoy that is younger than the helper, or may be, is named as the cause: its statistics can be read."""
    life = World().live([(0, "app 503"), (restart, "envoy restarts"), (4.9, "SIGTERM")])

    assert ({"cause": cause}, "drained") == (life.fields("plan_kept"), life.ending)


def test_question_that_takes_long() -> None:
    """The helper reads for five seconds at most what Envoy has served; then it is unknown."""
    life = World().live([(0, "app 503"), (4, "envoy takes 1.9"), (5, "SIGTERM"), (12, "envoy takes 0")])

    (asked_until,) = [moment for moment, event, _ in life.log if event == "plan_kept"]
    assert (10, [(45, FAIL)]) == (asked_until, life.journal)


@pytest.mark.parametrize("mood", ["500", "403", "hangs", "refuses", "resets", "babbles"])
@pytest.mark.parametrize("timeout", ["0", "40"])
def test_unconfirmed(mood: str, timeout: str) -> None:
    """The helper calls an Envoy that never confirms until the deadline, for any drain; the exit code is 75."""
    life = World().live([SIGTERM, (130, f"envoy {mood}")], DRAIN_TIMEOUT=timeout)

    assert (75, 215, "not confirmed") == (life.exit, life.at, life.ending)
    assert len(life.journal) > 20
    assert life.fields("admin_failing")["cause"] in {
        "/healthcheck/fail answered 500",
        "POST /healthcheck/fail is denied: allow it in the admin API's allow_paths",
        "no answer in time",
        "Connection refused",
        "Connection reset by peer",
        "/ready answered no state of an Envoy; set ENVOY_ADMIN_URL to Envoy's admin API, such as http://127.0.0.1:9901",
    }


def test_confirmed_late() -> None:
    """A drain that is confirmed late lasts as long as any, up to the deadline."""
    life = World().live([SIGTERM, (109, "envoy hangs"), (115, "envoy fine")], DRAIN_DELAY="10", DRAIN_TIMEOUT="4")

    assert (0, "drained") == (life.exit, life.ending)
    assert 119 <= life.at <= 119 + 2.1 + 1
    assert len(life.journal) == life.fields("drain_confirmed")["attempts"] == life.fields("summary")["attempts"] > 2


def test_readings_of_a_drain_that_the_deadline_cuts() -> None:
    """If a drain was confirmed late, its last readings are in the seconds before the deadline."""
    world = World()
    world.envoy.in_flight = 2

    life = world.live([SIGTERM, (139, "envoy 500"), (200, "envoy fine")])

    fields = life.fields("summary")
    assert 215 - 201 <= life.fields("draining")["seconds"] <= 215 - 200
    assert ("deadline", 2, 2) == (
        fields["reason"],
        fields["requests_in_flight_at_drain"],
        fields["requests_in_flight_at_end"],
    )


def test_first_call_that_the_deadline_cuts() -> None:
    """A first call that hangs at the deadline may never have reached Envoy, so Envoy is called once more."""
    life = World().live(
        [SIGTERM, (213, "envoy hangs"), (214.9, "envoy fine")], DRAIN_DELAY="114", DRAIN_TIMEOUT="1", STOP_TIMEOUT="120"
    )

    assert ([(214, FAIL), (215, FAIL)], 75, 218) == (life.journal, life.exit, life.at)
    assert {"seconds_late": 0, "confirmed": True} == life.fields("called_at_deadline")


def test_fault_in_the_call_at_the_deadline() -> None:
    """After a fault in the helper's last call of Envoy, the summary and the exit still come."""
    life = World().live([SIGTERM, (100.5, "envoy breaks"), (101, "helper freezes until 216")])

    assert (70, "not confirmed", "summary") == (life.exit, life.ending, life.events[-1])


def test_no_time_for_a_drain_at_all() -> None:
    """With DRAIN_TIMEOUT=0 the helper calls an Envoy that does not answer at first until it confirms."""
    life = World().live([SIGTERM, (139, "envoy 500"), (150, "envoy fine")], DRAIN_TIMEOUT="0")

    assert (0, "drained") == (life.exit, life.ending)
    assert 150 <= life.at <= 151


def test_confirmed_is_what_envoy_says() -> None:
    """An Envoy that accepts the call but stays LIVE has not confirmed, and is called again."""
    world = World()
    world.envoy.deaf = True

    life = world.live([SIGTERM])

    assert (75, 215, "not confirmed") == (life.exit, life.at, life.ending)
    assert {"cause": "Envoy still is LIVE"} == life.fields("admin_failing")


@pytest.mark.parametrize(
    "timeline",
    [
        [],
        [(150.1, "envoy restarts")],
        [(150.1, "envoy refuses"), (152, "envoy fine")],
        [(150.1, "envoy denies /ready and /healthcheck/fail"), (152, "envoy denies /ready")],
    ],
)
def test_envoy_that_may_not_say_its_state(timeline: Timeline) -> None:
    """An admin API without /ready confirms by accepting the call; the helper repeats it, in case the drain is lost."""
    world = World()

    life = world.live([SIGTERM, (110, "envoy denies /ready"), *timeline])

    assert (0, 180, "DRAINING") == (life.exit, life.at, world.envoy.state)
    assert [140, 140.5, 141] == [moment for moment, _ in life.journal[:3]]
    assert 1 == life.fields("drain_confirmed")["attempts"]


def test_a_fault_in_everything() -> None:
    """If every call of Envoy has a fault, the helper still calls until the deadline."""
    life = World().live([SIGTERM, (99, "envoy breaks")])

    assert (70, 215, "not confirmed") == (life.exit, life.at, life.ending)
    assert life.fields("summary")["attempts"] == len(life.journal) > 70


@pytest.mark.parametrize(
    ("takes", "exit", "at"),
    [
        (0.5, 0, 181),
        (1.9, 0, 183.8),
        (2.1, 75, 215),
    ],
)
def test_slow_answers(takes: float, exit: int, at: float) -> None:
    """Answers that Envoy gives within two seconds confirm the drain; slower ones count as none."""
    life = World().live([SIGTERM, (138, f"envoy takes {takes}")])

    assert (exit, at) == (life.exit, life.at)


def test_no_delay() -> None:
    """With DRAIN_DELAY=0 the health checks fail in the moment of the signal."""
    life = World().live([SIGTERM], DRAIN_DELAY="0")

    assert [(100, FAIL)] == life.journal
    assert 140 == life.at


def test_no_times_at_all() -> None:
    """With no delay and no timeout the helper still calls Envoy, and exits after it has confirmed."""
    life = World().live([SIGTERM], DRAIN_DELAY="0", DRAIN_TIMEOUT="0")

    assert (0, 100, [(100, FAIL)]) == (life.exit, life.at, life.journal)


def test_drain_listeners() -> None:
    """DRAIN_LISTENERS refuses new connections only once the drain is confirmed."""
    life = World().live([SIGTERM, (139, "envoy 500"), (140.2, "envoy fine")], DRAIN_LISTENERS="true")

    assert [(140, FAIL), (140.1, FAIL), (140.3, FAIL), (140.3, LISTENERS)] == life.journal
    assert {"graceful": False} == life.fields("listeners_drained")


def test_graceful_drain() -> None:
    """With `graceful` Envoy closes idle connections with the drain; after a restart the helper repeats the call."""
    life = World().live([SIGTERM, (150.2, "envoy restarts")], DRAIN_LISTENERS="graceful")

    assert [(140, FAIL), (140, GRACEFULLY), (150.5, FAIL), (150.5, GRACEFULLY)] == life.journal
    assert [{"graceful": True}] * 2 == [fields for _, event, fields in life.log if event == "listeners_drained"]


@pytest.mark.parametrize(
    ("drain_time", "ends"),
    [(30, 171), (10, 146), (600, 146), (75, 146), (74, 215)],
)
def test_auto_waits_for_idle_connections(drain_time: int, ends: float) -> None:
    """With `auto` and `graceful` the drain lasts until Envoy has closed idle connections, where it will in time."""
    world = World()
    world.envoy.drain_time = drain_time

    life = world.live([SIGTERM], DRAIN_LISTENERS="graceful", DRAIN_TIMEOUT="auto", HEALTH_CHECK_INTERVAL="5")

    assert ends == life.at


def test_readings_of_the_metadata_endpoint() -> None:
    """While the task stops, the helper reads the metadata endpoint once a second, in the delay and in the drain."""
    world = World()

    life = world.live([SIGTERM], metadata=True, DRAIN_DELAY="9", DRAIN_TIMEOUT="9")

    readings = [moment for moment, _, target in world.metadata.calls if moment >= 100 and target.endswith("/task")]
    assert 118 == life.at and len(readings) <= 19


def test_long_drain_time_does_not_take_the_delay() -> None:
    """With an Envoy that closes idle connections too late for the drain, `auto` still delays for DISCOVERY_LAG."""
    world = World()
    world.envoy.drain_time = 90

    life = world.live([SIGTERM], DRAIN_LISTENERS="graceful", DRAIN_DELAY="auto", DRAIN_TIMEOUT="auto")

    assert {"drain_time": 90, "seconds": 75} == life.fields("idle_connections_stay_open")
    assert 40 == pytest.approx(life.fields("summary")["delaying_seconds"], abs=0.1)


def test_idle_connections_do_not_matter_without_graceful() -> None:
    """The duration of a graceful drain does not matter without DRAIN_LISTENERS=graceful."""
    world = World()
    world.envoy.drain_time = 30

    life = world.live([SIGTERM], DRAIN_LISTENERS="true", DRAIN_TIMEOUT="auto", HEALTH_CHECK_INTERVAL="5")

    assert 146 == life.at


@pytest.mark.parametrize(
    ("version", "drain_time", "logged"),
    [
        ("1.39.3", 30, [("old_envoy", {"version": "1.39"})]),
        ("1.40.0", 600, [("idle_connections_stay_open", {"drain_time": 600, "seconds": 40})]),
        ("1.40.1", 15, [("idle_connections_stay_open", {"drain_time": 15, "seconds": 40})]),
        ("1.41.0", 40, [("idle_connections_stay_open", {"drain_time": 40, "seconds": 40})]),
        ("2.0.0", 39, []),
        ("unknown", 600, []),
    ],
)
def test_idle_connections_that_stay_open(
    version: str, drain_time: int, logged: list[tuple[str, dict[str, object]]]
) -> None:
    """If DRAIN_LISTENERS=graceful will leave idle connections open, the log says so at startup."""
    world = World()
    world.envoy.version, world.envoy.drain_time = version, drain_time

    life = world.live([SIGTERM], DRAIN_LISTENERS="graceful")

    assert logged == [
        (event, fields) for _, event, fields in life.log if event in ("old_envoy", "idle_connections_stay_open")
    ]


def test_graceful_drain_whose_duration_is_denied() -> None:
    """If the admin API denies the duration, nothing is logged, and `auto` drains as usual."""
    world = World()
    world.envoy.denied.add("/server_info")

    life = world.live([SIGTERM], DRAIN_LISTENERS="graceful", DRAIN_TIMEOUT="auto", HEALTH_CHECK_INTERVAL="5")

    assert 146 == life.at
    assert "sigterm" == life.events[1]


def test_stale_drain() -> None:
    """An Envoy that a dead helper left draining takes traffic again, and the task counts as in service."""
    world = World()
    world.envoy.state = "DRAINING"

    life = world.live([(0, "app 503"), SIGTERM])

    assert [(0, OK), (140, FAIL)] == life.journal
    assert (0, "drained") == (life.exit, life.ending)
    assert {"cause": "an earlier helper left Envoy draining"} == life.fields("plan_kept")
    assert 1 == life.events.count("stale_drain_undone")


@pytest.mark.parametrize(
    ("restart_count", "mood", "cause"),
    [
        (0, "fine", None),
        (1, "fine", "the helper was restarted"),
        (0, "hangs", "ECS does not report whether the helper was restarted"),
        (0, "404", "ECS does not report whether the helper was restarted"),
        (0, "babbles", "ECS does not report whether the helper was restarted"),
    ],
)
def test_restarted_helper(restart_count: int, mood: str, cause: str | None) -> None:
    """A helper that was restarted, or cannot know that it was not, drains what it has not seen in service."""
    world = World()
    world.metadata.restart_count = restart_count

    life = world.live([(0, "app 503"), (0, f"metadata {mood}"), (5, "SIGTERM")], metadata=True)

    assert ("drained" if cause else "never in service") == life.ending
    assert [cause] * bool(cause) == [fields["cause"] for _, event, fields in life.log if event == "plan_kept"]


@pytest.mark.parametrize("what", ["/stats", "/config_dump", "/server_info"])
def test_served_by_an_envoy_that_may_not_say(what: str) -> None:
    """If the admin API denies what Envoy has served, a task that was not seen in service is drained."""
    world = World()
    world.envoy.denied.add(what)

    life = world.live([(0, "app 503"), (5, "SIGTERM")])

    assert (0, 85, [(45, FAIL)]) == (life.exit, life.at, life.journal)
    assert {"cause": "it is unknown what Envoy has served"} == life.fields("plan_kept")


def test_served_through_a_listener_that_nothing_counts() -> None:
    """If no statistic covers a listener, a task that was not seen in service is drained."""
    world = World()
    world.envoy.left_out.add("http.ingress.downstream_rq_active")

    life = world.live([(0, "app 503"), (5, "SIGTERM")])

    assert ("drained", {"cause": "no statistic covers inbound"}) == (life.ending, life.fields("plan_kept"))


def test_restarted_helper_beside_an_envoy_that_may_not_say() -> None:
    """A restart of the helper is the cause for the drain, whatever Envoy reports."""
    world = World()
    world.metadata.restart_count = 1
    world.envoy.denied.add("/stats")

    life = world.live([(0, "app 503"), (5, "SIGTERM")], metadata=True)

    assert {"cause": "the helper was restarted"} == life.fields("plan_kept")


def test_helper_that_starts_long_after_the_machine() -> None:
    """A helper that started after Envoy counts all that Envoy has served, however long the machine has run."""
    assert "never in service" == World().live([(0, "app 503"), (205, "SIGTERM")], starts=200).ending


@pytest.mark.parametrize(("connections", "ending"), [(0, "never in service"), (1, "drained")])
def test_connections_of_a_task_not_seen_in_service(connections: int, ending: str) -> None:
    """One connection to a TCP listener is enough to drain a task that was not seen in service."""
    world = World()
    world.envoy.connections = connections

    assert ending == world.live([(0, "app 503"), (5, "SIGTERM")]).ending


def test_application_without_a_url() -> None:
    """Without the application's URL, stopped containers and failing requests prove that it has stopped."""
    world = World()

    life = world.live(
        [(99, "container app stops"), SIGTERM, (100.05, "envoy fails requests")], app=False, metadata=True
    )

    assert [(100.1, FAIL)] == life.journal
    assert life.fields("summary")["application_stopped"]
    assert (
        "all containers beside Envoy have stopped (app), and every request fails"
        == life.fields("application_stopped")["cause"]
    )


@pytest.mark.parametrize("left", ["in_flight", "connections"])
def test_stopped_application_with_requests_in_progress(left: str) -> None:
    """As long as a request is in flight or a connection open, the delay continues, even if containers have stopped."""
    world = World()
    setattr(world.envoy, left, 1)

    life = world.live([(99, "container app stops"), SIGTERM, (101, "envoy fails requests")], app=False, metadata=True)

    assert [(140, FAIL)] == life.journal


def test_readings_while_a_container_has_stopped() -> None:
    """Envoy's statistics are read when the delay begins, ten times in the first second, and then once a second."""
    world = World()

    world.live([(99, "container app stops"), SIGTERM], metadata=True, app=False)

    readings = [moment for moment, _, target in world.envoy.calls if "usedonly" in target and moment < 140]
    assert [11, 10] == [
        len([moment for moment in readings if start <= moment < end]) for start, end in ((100, 101), (102, 112))
    ]


def test_stopped_application_without_statistics() -> None:
    """If Envoy does not report what it serves, the delay continues."""
    world = World()
    world.envoy.denied.add("/stats")

    life = world.live([(99, "container app stops"), SIGTERM, (101, "envoy fails requests")], app=False, metadata=True)

    assert [(140, FAIL)] == life.journal


def test_metadata_that_fails() -> None:
    """Metadata that does not answer changes nothing in the plan."""
    life = World().live([SIGTERM, (99, "metadata hangs")], app=False, metadata=True)

    assert (0, 180, [(140, FAIL)]) == (life.exit, life.at, life.journal)


def test_in_service_without_a_poll() -> None:
    """Between coming into service and SIGTERM the helper makes no calls."""
    world = World()

    world.live([(1000, "SIGTERM")])

    calls = [call for server in (world.envoy, world.app) for call in server.calls]
    assert [] == [call for call in calls if 0 < call[0] < 1000]


def test_log_of_a_plain_life() -> None:
    """The log of a plain life has six lines."""
    life = World().live([SIGTERM])

    assert ["in_service", "sigterm", "delaying", "drain_confirmed", "draining", "summary"] == life.events
    assert "SIGTERM" == life.fields("sigterm")["signal"]
    assert [{"seconds": 0}, {"seconds": 40}, {"seconds": 40}] == [
        life.fields(event) for event in ("in_service", "delaying", "draining")
    ]


def test_what_startup_waits_for_is_logged_once() -> None:
    """Startup logs each cause once, however long it lasts, and shows it to `healthcheck`."""
    world = World()

    life = world.live([(0, "envoy refuses"), (10, "envoy fine"), (10, "app 503"), (30, "app fine"), SIGTERM])

    reasons = [fields["cause"] for _, event, fields in life.log if event == "waiting"]
    assert [
        "Envoy at http://127.0.0.1:9901: Connection refused",
        "application at http://127.0.0.1:8080/health: http://127.0.0.1:8080/health answered 503",
    ] == reasons
    assert ["waiting for Envoy", "waiting for the application", "in service"] == list(dict.fromkeys(world.shown))


def test_look_at_the_configuration() -> None:
    """Startup logs an event for each part of Envoy's configuration that will defeat the drain."""
    world = World()
    world.envoy.health_check_filter = False
    world.envoy.egress = "DEFAULT"
    world.envoy.admin = "0.0.0.0"  # nosec B104

    life = world.live([SIGTERM])

    assert ["in_service", "no_health_check_filter", "egress_drains", "admin_open"] == life.events[:4]
    assert {"listeners": ["inbound"]} == life.fields("no_health_check_filter")
    assert {"listeners": ["egress"]} == life.fields("egress_drains")
    assert {"address": "0.0.0.0:9901"} == life.fields("admin_open")


def test_listeners_that_come_late() -> None:
    """An Envoy that is live without a listener is not in service until its control plane has given it one."""
    world = World()
    world.envoy.by_lds, world.envoy.has_listeners = True, False

    life = world.live([(7.2, "envoy gets listeners"), SIGTERM])

    assert {"cause": "Envoy at http://127.0.0.1:9901 has no listener yet"} == life.fields("waiting")
    assert ["waiting for Envoy", "in service"] == list(dict.fromkeys(world.shown))
    assert 7.2 <= next(moment for moment, event, _ in life.log if event == "in_service") <= 8
    assert "no_listeners" not in life.events


def test_listeners_that_never_come() -> None:
    """After a minute without a listener the task comes into service anyway, with a warning."""
    world = World()
    world.envoy.by_lds, world.envoy.has_listeners = True, False

    life = world.live([SIGTERM])

    assert [("in_service", 60), ("no_listeners", 60)] == [(event, moment) for moment, event, _ in life.log[1:3]]
    assert {"seconds": 60} == life.fields("no_listeners")


def test_listeners_that_may_not_be_asked_for() -> None:
    """If the admin API denies the configuration, the helper does not wait for listeners."""
    world = World()
    world.envoy.denied.add("/config_dump")

    life = world.live([SIGTERM])

    assert ["in_service", "configuration_unreadable"] == life.events[:2]
    assert 0 == life.log[0][0]


@pytest.mark.parametrize(
    ("setting", "direction", "warned"),
    [
        ("true", "UNSPECIFIED", True),
        ("graceful", "UNSPECIFIED", True),
        ("false", "UNSPECIFIED", False),
        ("true", "INBOUND", False),
    ],
)
def test_listeners_that_drain_listeners_passes_over(setting: str, direction: str, warned: bool) -> None:
    """Startup warns that DRAIN_LISTENERS has no effect without a listener that is declared inbound."""
    world = World()
    world.envoy.direction = direction

    warnings = [
        fields
        for _, event, fields in world.live([SIGTERM], DRAIN_LISTENERS=setting).log
        if event == "no_inbound_listener"
    ]
    assert [{"listeners": ["inbound"]}] * warned == warnings


@pytest.mark.parametrize(
    ("name", "hds", "mesh", "warned"),
    [
        ("self_inbound_dp_80", {"api_type": "GRPC"}, "kuma", False),
        ("self_inbound_dp_80", None, "kuma", True),
        ("public_listener:10.0.0.1:20000", None, "consul", False),
        ("lds_ingress_0.0.0.0_15000", None, "app-mesh", True),
    ],
)
def test_look_in_a_mesh(name: str, hds: dict[str, str] | None, mesh: Any, warned: bool) -> None:
    """The helper warns of a missing filter only if downstreams need it to stop sending."""
    world = World()
    world.envoy.health_check_filter = False
    world.envoy.listener_name, world.envoy.hds_config = name, hds
    world.envoy.metadata = {"dataplane.proxyType": "dataplane"} if mesh == "kuma" else {}

    life = world.live([SIGTERM, (178, "envoy answers requests")])

    found = life.fields("mesh")
    assert (mesh, hints(Mesh(mesh, needs_filter=warned), from_env({}))) == (found["mesh"], found["hints"])
    assert warned == ("no_health_check_filter" in life.events)
    assert warned == any("no health_check filter" in each for each in life.fields("traffic_after_drain")["causes"])


CONSULS = "public_listener:10.0.0.1:20000"
STILL_SENDING: dict[str, tuple[dict[str, str], list[tuple[float, str]], tuple[int, float, str]]] = {
    "requests go on: out at 15 s, while health-sync can deregister": ({}, [], (12, 115, "still sending")),
    "fixed times: just the same": ({"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "40"}, [], (12, 115, "still sending")),
    "health-sync has longer, and so have they": (
        {"HEALTH_SYNC_STOP_TIMEOUT": "120"},
        [],
        (12, 205, "still sending"),
    ),
    "health-sync was killed: nothing to gain": (
        {},
        [(108, "container consul-ecs-health-sync stops")],
        (0, 215, "deadline"),
    ),
    "they have stopped, and one request takes long": ({}, [(100.4, "envoy stops sending")], (0, 215, "deadline")),
    "health-sync is killed too early for a proof": ({"HEALTH_SYNC_STOP_TIMEOUT": "24"}, [], (0, 215, "deadline")),
    "the first five seconds prove nothing: downstreams may learn of the stop meanwhile": (
        {"HEALTH_SYNC_STOP_TIMEOUT": "25"},
        [(104.4, "envoy stops sending"), (108, "envoy answers 1 request")],
        (0, 215, "deadline"),
    ),
    "they send again while an exit still helps": (
        {},
        [(100.4, "envoy stops sending"), (122.5, "envoy answers requests")],
        (12, 123, "still sending"),
    ),
    "they send again when an exit helps no more": (
        {},
        [(100.4, "envoy stops sending"), (123.5, "envoy answers requests")],
        (0, 215, "deadline"),
    ),
    "startup could not see that this is Consul": (
        {},
        [(0, "envoy denies /config_dump"), (99, "envoy allows all")],
        (12, 115, "still sending"),
    ),
}


@pytest.mark.parametrize("name", STILL_SENDING)
def test_downstreams_in_consul_that_still_send(name: str) -> None:
    """Only the deregistration stops requests that arrive long after the stop; it comes after Envoy has stopped."""
    settings, more, (exit_code, at, ending) = STILL_SENDING[name]
    world = World()
    world.envoy.health_check_filter, world.envoy.listener_name = False, CONSULS
    world.metadata.run("consul-ecs-health-sync")
    stops = next((moment for moment, what in more if what == "envoy stops sending"), 300)
    timeline = [(moment / 2, "envoy answers requests") for moment in range(198, 600) if moment / 2 < stops]
    timeline += [each for each in more if each[1] != "envoy stops sending"]
    world.envoy.in_flight = 1 if stops < 300 else 0

    settings = {"DRAIN_DELAY": "0", "DRAIN_TIMEOUT": "auto"} | settings
    life = world.live([(99.9, "task stops"), SIGTERM, *timeline], metadata=True, settings=settings)

    assert (exit_code, at, ending) == (life.exit, life.at, life.ending)
    assert (ending == "still sending") == ("still_sending" in life.events)


def test_look_at_tcp_that_is_cut() -> None:
    """The helper warns of a TCP proxy that cuts connections in the drain."""
    world = World()
    world.envoy.connections = 0
    world.envoy.check_drain_close = True

    assert {"listeners": ["tcp"]} == world.live([SIGTERM]).fields("tcp_cut")


def test_look_at_a_good_configuration() -> None:
    """An egress listener of type MODIFY_ONLY and an admin API on loopback cause no warning."""
    world = World()
    world.envoy.egress = "MODIFY_ONLY"

    assert "sigterm" == world.live([SIGTERM]).events[1]


def test_summary() -> None:
    """The summary counts the requests at the beginning and the end of the drain, and those that came in it."""
    world = World()
    world.envoy.in_flight, world.envoy.connections = 3, 2

    fields = world.live([SIGTERM, (150, "envoy answers requests")]).fields("summary")

    assert {
        "reason": "drained",
        "exit_code": 0,
        "delaying_seconds": 40,
        "draining_seconds": 40,
        "budget_left_seconds": 35,
        "confirmed": True,
        "attempts": 1,
        "application_stopped": False,
        "requests_in_flight_at_drain": 3,
        "requests_in_flight_at_end": 3,
        "requests_after_drain": 10,
        "connections_at_end": 2,
    } == pytest.approx({name: value for name, value in fields.items() if name != "health_checks_seen"})


def test_summary_of_a_task_that_never_was_in_service() -> None:
    """A figure that was never counted is unknown, not zero."""
    fields = World().live([(0, "SIGTERM")]).fields("summary")

    assert fields["requests_after_drain"] is fields["requests_in_flight_at_drain"] is None


def test_metrics() -> None:
    """With METRICS=emf the summary carries its figures as metrics of the service."""
    fields = World().live([(100, "SIGTERM")], metadata=True, METRICS="emf").fields("summary")

    (directive,) = fields["_aws"]["CloudWatchMetrics"]
    assert ("ecs-task-helper", [["service"]]) == (directive["Namespace"], directive["Dimensions"])
    assert "orders" == fields["service"]
    assert time.time() - 60 < fields["_aws"]["Timestamp"] / 1000 <= time.time()
    assert {"Name": "draining_seconds", "Unit": "Seconds"} in directive["Metrics"]
    assert {metric["Name"] for metric in directive["Metrics"]} <= fields.keys()


@pytest.mark.parametrize("metrics", ["emf", ""])
def test_metrics_are_logged_at_any_level(metrics: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A summary with metrics is logged at every LOG_LEVEL."""
    logged: list[object] = []
    monkeypatch.setattr(
        "task_helper.life.summary.log",
        lambda event, whatever_level=False, **fields: logged.append((event.name, whatever_level)),
    )

    with suppress(KeyError):  # the life's ending is read from the log
        World().live([SIGTERM], METRICS=metrics)

    assert ("SUMMARY", bool(metrics)) == logged[-1]


def test_first_reading_that_fails() -> None:
    """If the first reading of a drain fails, the next one is a second later, not at the drain's end."""
    world = World()
    world.envoy.in_flight = 3

    life = world.live(
        [SIGTERM, (139, "envoy denies /stats"), (140.5, "envoy allows all"), (145, "envoy ends requests")]
    )

    assert 3 == life.fields("summary")["requests_in_flight_at_drain"]
    assert 1 == life.events.count("traffic_unreadable")


def test_traffic_after_the_drain() -> None:
    """The helper reports requests at the end of the drain, with their known causes."""
    world = World()
    world.envoy.health_check_filter = False

    life = world.live([SIGTERM, *((float(moment), "envoy answers requests") for moment in range(100, 180))])

    fields = life.fields("traffic_after_drain")
    assert fields["requests"] > 300
    assert [
        "no health check came since the stop: the senders do not health check this task",
        "no health_check filter on inbound: health checks keep passing",
    ] == fields["causes"][:2]
    assert 4 == len(fields["causes"])


@pytest.mark.parametrize(
    ("waited", "late"),
    [([3.0, 9.0], 6.0), ([None, 9.0], None), ([3.0, None], None)],
    ids=["late", "unknown before", "unknown after"],
)
def test_late_signal(waited: list[float | None], late: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal for which the helper waited for the CPU is logged with that time, where the kernel reports it."""
    monkeypatch.setattr(lifecycle, "waited_for_cpu", iter(waited).__next__)

    assert {"signal": "SIGTERM", "late_seconds": late} == World().live([SIGTERM]).fields("sigterm")


def test_late_signal_in_startup(monkeypatch: pytest.MonkeyPatch) -> None:
    """In startup the helper waits for the CPU for other reasons too, so the log has no time."""
    monkeypatch.setattr(lifecycle, "waited_for_cpu", lambda: 9.0)

    assert {"signal": "SIGTERM", "late_seconds": None} == World().live([(0, "app 503"), (5, "SIGTERM")]).fields(
        "sigterm"
    )


@pytest.mark.parametrize("later", [[], [(1, "SIGTERM")]], ids=["signal lost", "signal late"])
def test_stop_that_began_before_the_helper(later: Timeline) -> None:
    """If ECS began the stop before the helper caught signals, the helper begins its plan, once."""
    world = World()
    world.metadata.desired, world.metadata.restart_count = "STOPPED", 1

    life = world.live(later, metadata=True)

    assert ([(40, FAIL)], 80) == (life.journal, life.at)
    assert {"signal": None, "late_seconds": None} == life.fields("sigterm")
    assert len(later) == life.events.count("sigterm_repeated")


def test_stop_that_began_before_the_task_was_in_service() -> None:
    """A task that starts while ECS stops it, and whose Envoy has served nothing, ends after two looks."""
    world = World()
    world.metadata.desired = "STOPPED"

    assert (1, "never in service") == world.live([], metadata=True)[1:3]


@pytest.mark.parametrize("mood", ["hangs", 429, "babbles", "breaks"])
def test_stop_that_the_metadata_do_not_report(mood: Mood) -> None:
    """If the metadata endpoint does not answer at the start, the gate opens two seconds late; the signal counts."""
    world = World()
    world.metadata.mood = mood

    life = world.live([SIGTERM], metadata=True)

    assert [(140, FAIL)] == life.journal
    assert 2.1 >= next(moment for moment, event, _ in life.log if event == "in_service")


def test_healthcheck_that_cannot_be_shown() -> None:
    """If the status cannot be shown, the helper logs that and continues."""
    world = World()

    def taken(status: str) -> None:
        raise OSError("Address already in use")

    world.show = taken
    life = world.live([(0, "app 503"), (10, "app fine"), SIGTERM])

    assert {"cause": "Address already in use"} == life.fields("healthcheck_unavailable")  # once
    assert "drained" == life.ending


# auto

AUTO = {"DRAIN_DELAY": "auto", "DRAIN_TIMEOUT": "auto"}
THERE = Look(2, 2, [Other("a", 3600, True), Other("b", 3600, True)])
NOT_THERE = Look(2, 2, [])


def test_auto_where_all_is_well() -> None:
    """With the others in service and nothing in flight, a task ends after one health check interval and a second."""
    world = World()
    world.looks = [(0, THERE)]

    life = world.live([SIGTERM], settings=AUTO)

    (call,) = life.journal
    assert 100 <= call[0] <= 102
    assert 31 - ROUNDED <= life.at - call[0] <= 32
    assert (0, "drained") == (life.exit, life.ending)
    assert life.fields("replaced")["seconds"] <= 2


def test_log_of_auto() -> None:
    """With `auto` the log has the longest duration of each stage; the drain may last until the deadline."""
    life = World().live([(0, "app 503"), (7.3, "app fine"), SIGTERM], settings=AUTO)

    assert [{"seconds": 7.5}, {"seconds": 75}] == [life.fields(event) for event in ("in_service", "delaying")]
    assert {"seconds": 215 - 140} == life.fields("draining")


def test_auto_waits_for_the_replacement_as_long_as_the_drain_allows() -> None:
    """A replacement that never comes delays the drain up to what the deadline leaves for it."""
    world = World()
    world.looks = [(0, NOT_THERE)]

    life = world.live([SIGTERM], settings=AUTO)

    assert [(175, FAIL)] == life.journal
    assert (0, "drained") == (life.exit, life.ending)
    assert "replaced" not in life.events


def test_auto_falls_back_where_it_cannot_see() -> None:
    """If ECS does not answer, the delay is the fixed one, and the cause is logged once."""
    life = World().live([SIGTERM], settings=AUTO)

    assert [(140, FAIL)] == life.journal
    assert {"cause": "ThrottlingException", "waits_until": "DISCOVERY_LAG is over"} == life.fields(
        "replacement_unknown"
    )


def test_auto_with_a_fault_in_the_judgement() -> None:
    """A fault in looking at the service leaves the fixed delay."""
    world = World()
    world.looks = [(0, Look(1, 1, None))]  # type: ignore[arg-type]

    life = world.live([SIGTERM], settings=AUTO)

    assert [(140, FAIL)] == life.journal
    assert (70, 1) == (life.exit, life.events.count("fault"))
    assert "drain_confirmed" in life.events


def test_auto_with_a_dead_application() -> None:
    """A stopped application also ends the wait for the replacement."""
    world = World()
    world.looks = [(0, NOT_THERE)]

    life = world.live(
        [SIGTERM, (110, "app refuses"), (110, "container app stops"), (110.55, "envoy fails requests")],
        settings=AUTO,
        metadata=True,
    )

    ((called, _),) = life.journal
    assert 110.55 <= called <= 110.8


def test_auto_waits_for_long_requests() -> None:
    """A request in flight is waited for beyond the floor, and three seconds of quiet after it."""
    world = World()
    world.looks = [(0, THERE)]
    world.envoy.in_flight = 1

    life = world.live([SIGTERM, (160.2, "envoy ends requests")], settings=AUTO)

    assert (0, "drained") == (life.exit, life.ending)
    assert 163.2 <= life.at <= 165.2


def test_auto_waits_for_long_requests_to_the_deadline() -> None:
    """The deadline cuts a request that does not end, and the summary reports it."""
    world = World()
    world.looks = [(0, THERE)]
    world.envoy.in_flight = 2

    life = world.live([SIGTERM], settings=AUTO)

    assert (0, 215, "deadline") == (life.exit, life.at, life.ending)
    assert 2 == life.fields("summary")["requests_in_flight_at_end"]


def test_auto_with_traffic_that_does_not_stop() -> None:
    """Continuing traffic keeps the task running until the deadline, and is reported with its likely causes."""
    world = World()
    world.looks = [(0, THERE)]

    life = world.live(
        [SIGTERM, *((float(moment), "envoy answers requests") for moment in range(100, 230))], settings=AUTO
    )

    assert (215, "deadline") == (life.at, life.ending)
    assert [
        "no health check came since the stop: the senders do not health check this task",
        "downstreams that do not health check this task, or only its TCP port, or a path that no filter matches",
        "panic mode: most other tasks of the service fail their health checks, so downstreams send to all tasks",
    ] == life.fields("traffic_after_drain")["causes"]


@pytest.mark.parametrize(
    ("timeline", "end"),
    [
        ([(101, "envoy statistics fail")], 40),
        ([(110, "envoy statistics fail")], 40),
        ([(138, "envoy statistics fail")], 47),
        ([(110, "envoy statistics fail"), (120, "envoy statistics work")], 31),
    ],
)
def test_auto_without_statistics(timeline: Timeline, end: float) -> None:
    """Without statistics for ten seconds the drain lasts the fixed time."""
    world = World()
    world.envoy.in_flight = 0 if end == 31 else 1

    life = world.live([SIGTERM, *timeline], DRAIN_DELAY="0", DRAIN_TIMEOUT="auto")

    assert "drained" == life.ending
    assert end <= life.at - 100 <= end + 1.01


def test_auto_with_an_envoy_that_restarts() -> None:
    """An Envoy that restarts in the drain is drained anew for a health check interval."""
    world = World()
    world.looks = [(0, THERE)]

    life = world.live([SIGTERM, (120, "envoy restarts")], settings=AUTO)

    assert 2 == len(life.journal)
    assert life.at - life.journal[-1][0] >= 31 - ROUNDED


@pytest.mark.parametrize(
    ("left_out", "why"),
    [
        ("http.ingress.downstream_rq_active", "Envoy has no statistic http.ingress.downstream_rq_active"),
        ("listener.127.0.0.1_15006.downstream_cx_active", "Envoy has no statistic listener.127.0.0.1_15006"),
    ],
)
def test_auto_with_a_statistic_that_is_left_out(left_out: str, why: str) -> None:
    """A statistic that Envoy does not keep is not zero: the drain takes its fixed time, and the figures are unknown."""
    world = World()
    world.envoy.connections = 0
    world.envoy.left_out.add(left_out)

    life = world.live([SIGTERM], DRAIN_DELAY="0", DRAIN_TIMEOUT="auto")

    assert (140, "drained") == (life.at, life.ending)
    assert life.fields("listeners_uncounted")["listeners"][0].partition(": ")[2].startswith(why)
    assert life.fields("summary")["requests_in_flight_at_end"] is None


@pytest.mark.parametrize("value", ["many", "", {}, None])
def test_auto_with_a_statistic_that_is_no_number(value: Any) -> None:
    """A statistic that is no number cannot be read, which is no fault: the drain takes its fixed time."""
    world = World()
    world.envoy.completed = value

    life = world.live([SIGTERM], DRAIN_DELAY="0", DRAIN_TIMEOUT="auto", metadata=False)

    assert (0, 140, "drained") == (life.exit, life.at, life.ending)
    assert life.fields("traffic_unreadable")["cause"].startswith("/stats: ")


def test_auto_with_a_listener_that_came_late() -> None:
    """Listeners are looked at when the drain begins: one that came after startup counts."""
    world = World()

    life = world.live([(50, "envoy gets a TCP connection"), SIGTERM], DRAIN_DELAY="0", DRAIN_TIMEOUT="auto")

    assert (215, "deadline") == (life.at, life.ending)


def test_readings_of_a_fixed_drain() -> None:
    """With fixed times Envoy's statistics are read at the beginning of the drain, and twice at its end."""
    world = World()

    world.live([SIGTERM])

    readings = {moment for moment, _, target in world.envoy.calls if target.startswith("/stats") and moment >= 140}
    assert {140, 176.4, 179.5} == readings


def readings(world: World) -> list[float]:
    """The moments in the drain at which Envoy's statistics were read."""
    return [moment for moment, _, target in world.envoy.calls if target.startswith("/stats") and moment >= 140]


@pytest.mark.parametrize(
    ("timeout", "confirmed", "last"),
    [("40", 200, [211.4, 214.5]), ("auto", 200, [211.4, 214.5]), ("auto", 190, [211.4, 214.5])],
)
def test_last_readings_before_the_deadline(timeout: str, confirmed: float, last: list[float]) -> None:
    """If the deadline cuts a drain, the last readings come just before it, and show for how long nothing has come."""
    world = World()

    life = world.live([SIGTERM, (139, "envoy 500"), (confirmed, "envoy fine")], DRAIN_TIMEOUT=timeout)

    assert ("deadline", last) == (life.ending, [moment for moment in readings(world) if moment < 215][1:])


@pytest.mark.parametrize(("takes", "pause"), [(0, 1), (0.05, 1), (0.1, 2), (0.2, 4), (0.3, 5), (1.5, 5)])
def test_pauses_between_readings(takes: float, pause: float) -> None:
    """Readings leave Envoy twenty times as long as each takes, a second at least and five seconds at most."""
    world = World()
    world.envoy.in_flight = 1

    world.live([SIGTERM, (141, f"envoy takes {takes}")], DRAIN_TIMEOUT="auto")

    first, before, at_earliest_end, *others = readings(world)
    assert (140, 167.9, 171) == (first, before, at_earliest_end)
    pauses = [after - before - takes for before, after in zip([at_earliest_end, *others], others)]
    assert [pytest.approx(pause, abs=ROUNDED)] * len(pauses) == pauses and pauses


def test_figures_that_are_old() -> None:
    """The last count in flight is not the count at the end, if Envoy has not answered since."""
    world = World()
    world.envoy.in_flight = 3

    fields = world.live([SIGTERM, (160, "envoy hangs")]).fields("summary")

    assert 3 == fields["requests_in_flight_at_drain"]
    assert fields["requests_in_flight_at_end"] is fields["requests_after_drain"] is None


@pytest.mark.parametrize("seconds", [10, 30, 40])
def test_cause_of_traffic_after_a_short_drain(seconds: int) -> None:
    """A drain that is shorter than the health check interval is named as the cause of the traffic after it."""
    arrivals = [(float(moment), "envoy answers requests") for moment in range(100, 180)]

    life = World().live([SIGTERM, *arrivals], DRAIN_TIMEOUT=str(seconds))

    causes = life.fields("traffic_after_drain")["causes"]
    short = [each for each in causes if each.startswith("DRAIN_TIMEOUT is not longer than HEALTH_CHECK_INTERVAL")]
    assert (seconds <= 30) == bool(short)


@pytest.mark.parametrize("state", ["PRE_INITIALIZING", "INITIALIZING"])
def test_envoy_that_initialises(state: str) -> None:
    """An Envoy that waits for its configuration is not ready."""
    world = World()
    world.envoy.state = state

    life = world.live([SIGTERM])

    assert "never in service" == life.ending
    assert {"cause": f"Envoy at http://127.0.0.1:9901 is {state}"} == life.fields("waiting")
    assert {"waiting for Envoy"} == set(world.shown)


def test_stale_drain_that_cannot_be_undone() -> None:
    """An Envoy that keeps draining after every call does not come into service; that is logged once."""
    world = World()
    world.envoy.state = "DRAINING"
    world.envoy.stubborn = True

    life = world.live([SIGTERM])

    assert 1 == life.events.count("stale_drain_undone")
    assert "in_service" not in life.events


def test_listeners_that_cannot_be_drained() -> None:
    """If Envoy denies the call to refuse connections, the helper logs that once, and repeats the call."""
    life = World().live(
        [SIGTERM, (139, "envoy denies /drain_listeners"), (145, "envoy allows all")], DRAIN_LISTENERS="true"
    )

    assert "denied" in life.fields("listeners_not_drained")["cause"]
    assert (0, 180, "drained") == (life.exit, life.at, life.ending)
    called = [moment for moment, target in life.journal if target == LISTENERS]
    assert len(called) > 5 and 145 <= called[-1] <= 146
    assert "listeners_drained" in life.events


def test_configuration_that_cannot_be_looked_at() -> None:
    """If Envoy's configuration cannot be read, the task comes into service anyway."""
    world = World()
    world.envoy.unknown.add("/config_dump")

    life = world.live([SIGTERM])

    assert {"cause": "/config_dump answered 404"} == life.fields("configuration_unreadable")
    assert "drained" == life.ending


# coverage

EVERY_5 = {"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "5"}


def every(seconds: float, start: float, end: float) -> list[tuple[float, str]]:
    """A client that sends one request each so many seconds."""
    return [(start + n * seconds, "envoy answers 1 request") for n in range(int((end - start) / seconds))]


@pytest.mark.parametrize("seconds", [1, 2.5, 3.5, 4, 5])
def test_slow_client_that_does_not_check(seconds: float) -> None:
    """Requests without health checks keep the drain to its fixed time, and are reported."""
    life = World().live([SIGTERM, *every(seconds, 100.7, 200)], settings=EVERY_5)

    assert life.at >= 180 - ROUNDED
    (reported,) = [fields for _, event, fields in life.log if event == "no_health_checks_seen"]
    assert 5 <= reported["seconds"] <= 80
    assert abs(reported["requests"] - reported["seconds"] / seconds) <= 2
    assert life.fields("traffic_after_drain")["causes"][0].startswith("no health check came since the stop")


@pytest.mark.parametrize("seconds", [1, 2.5, 3.5, 4, 5])
def test_slow_client_beside_downstreams_that_check(seconds: float) -> None:
    """A request that comes after every downstream must have checked keeps the drain to its fixed time."""
    checks = [(float(moment), "envoy gets health checks") for moment in range(100, 150)]

    life = World().live([SIGTERM, *checks, *every(seconds, 100.7, 200)], settings=EVERY_5)

    assert life.at >= 180 - ROUNDED
    assert "no_health_checks_seen" not in life.events
    assert "traffic_after_drain" in life.events


@pytest.mark.parametrize("interval", ["5", "30"])
@pytest.mark.parametrize("first", [100.3, 102.5, 104.5, 108.0, 109.5])
def test_scrapes_lengthen_a_drain_to_its_fixed_time(interval: str, first: float) -> None:
    """A scrape each 10 s keeps the drain to 43 s at most: the fixed 40 s, and three seconds of silence."""
    checks = [(float(moment), "envoy gets health checks") for moment in range(100, 200)]

    life = World().live(
        [SIGTERM, *checks, *every(10, first, 220)],
        settings={"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": interval},
    )

    assert "drained" == life.ending
    assert int(interval) + 1 <= life.at - 140 <= 43.5


def test_downstreams_that_check_and_stop() -> None:
    """If health checks come and requests stop, the drain ends early; the summary has the health checks."""
    life = World().live(
        [
            SIGTERM,
            *((float(moment), "envoy gets health checks") for moment in range(101, 150)),
            *((100 + n / 10, "envoy answers 1 request") for n in range(430)),
        ],
        settings=EVERY_5,
    )

    assert 146 <= life.at < 150
    assert {"delay": 40 * 3, "drain": 6 * 3} == life.fields("summary")["health_checks_seen"]
    assert "traffic_after_drain" not in life.events


def test_health_checks_that_are_unknown() -> None:
    """Without readings the health checks are unknown, not zero."""
    life = World().live([SIGTERM, (90, "envoy statistics fail")])

    assert {"delay": None, "drain": None} == life.fields("summary")["health_checks_seen"]


def test_mesh_whose_downstreams_do_not_check() -> None:
    """In Consul downstreams do not check. Something else makes them stop sending, and the drain ends early."""
    world = World()
    world.envoy.listener_name = "public_listener:10.0.0.1:20000"

    life = world.live([SIGTERM, *((100 + n / 10, "envoy answers 1 request") for n in range(420))], settings=EVERY_5)

    assert 146 <= life.at < 150
    assert "no_health_checks_seen" not in life.events


@pytest.mark.parametrize("requests", [0, 1, 2, 3])
def test_few_requests_at_the_stop_and_a_long_one(requests: int) -> None:
    """In Consul a few requests still come when the drain begins. They do not keep the task for its fixed time.

    The silence after a long request has to last for 3 s, or for twice the mean time until the last of the few requests.
    The reading that shows them is 2.9 s after the first one.
    """
    world = World()
    world.envoy.listener_name = "public_listener:10.0.0.1:20000"
    world.envoy.in_flight = 1

    life = world.live(
        [SIGTERM, *every(0.05, 100.05, 100.05 + requests * 0.051), (118, "envoy ends requests")],
        settings=EVERY_5 | {"DRAIN_DELAY": "0"},
    )

    assert "drained" == life.ending
    assert 118 + 3 <= life.at <= 118 + 2 * 2.9 + 1


def test_cause_in_consul() -> None:
    """In Consul requests at the end come from downstreams that do not know of the stop."""
    world = World()
    world.envoy.listener_name = "public_listener:10.0.0.1:20000"

    life = world.live([SIGTERM, *every(1, 100.5, 190)])

    causes = life.fields("traffic_after_drain")["causes"]
    assert "Consul's downstreams never check: only discovery makes them stop sending" == causes[0]


def test_cause_in_kuma() -> None:
    """In Kuma the control plane may be down, and nothing else makes downstreams stop sending."""
    world = World()
    world.envoy.hds_config, world.envoy.metadata = {"api_type": "GRPC"}, {"dataplane.proxyType": "dataplane"}

    life = world.live([SIGTERM, *every(1, 100.5, 190)])

    causes = life.fields("traffic_after_drain")["causes"]
    assert "only Kuma's control plane makes downstreams stop sending: it may be down" == causes[0]


@pytest.mark.parametrize(("what", "ends"), [("requests", 180), ("nothing", 146)])
def test_traffic_in_doubt(what: str, ends: float) -> None:
    """Traffic through a listener in doubt keeps the drain to its fixed time, not longer."""
    world = World()
    world.envoy.direction, world.envoy.in_flight = "UNSPECIFIED", int(what == "requests")

    life = world.live([SIGTERM], settings=EVERY_5)

    assert ends <= life.at < ends + 1
    assert {"listeners": ["inbound: it is on loopback"]} == life.fields("direction_unknown")
    assert int(what == "requests") == life.fields("summary")["requests_in_flight_at_end"]


def test_listener_that_comes_in_the_drain() -> None:
    """A connection through a listener that comes after the drain began counts."""
    world = World()

    life = world.live([SIGTERM, (142, "envoy gets a TCP connection")], settings=EVERY_5)

    assert (215, "deadline", 1) == (life.at, life.ending, life.fields("summary")["connections_at_end"])


def test_listener_that_comes_in_the_drain_with_a_past() -> None:
    """A connection that a listener had before the helper knew the listener is no arrival."""
    life = World().live([SIGTERM, (142, "envoy gets a listener that had a TCP connection")], settings=EVERY_5)

    assert (146, "drained") == (life.at, life.ending)


def test_uncounted_listener_that_comes_in_the_delay() -> None:
    """A listener that nothing counts, and that came in the delay, keeps the drain to its fixed time."""
    world = World()
    world.envoy.left_out.add("listener.127.0.0.1_15006.downstream_cx_active")

    assert 180 == world.live([SIGTERM, (120, "envoy gets a TCP listener")], settings=EVERY_5).at


def test_uncounted_listener_that_comes_in_the_drain() -> None:
    """A listener that nothing counts is logged once, also if it comes in the drain."""
    world = World()
    world.envoy.left_out.add("listener.127.0.0.1_15006.downstream_cx_active")

    life = world.live([SIGTERM, (142, "envoy gets a TCP connection")], settings=EVERY_5)

    (listener,) = life.fields("listeners_uncounted")["listeners"]
    assert listener.startswith("tcp: Envoy has no statistic")


STRAY = "envoy answers a request through no known listener"


@pytest.mark.parametrize(("arrives", "ends"), [(50, 146), (143, 180)])
def test_request_through_no_known_listener(arrives: float, ends: float) -> None:
    """A request in the drain that belongs to no known listener keeps the drain to its fixed time."""
    life = World().live([SIGTERM, (arrives, STRAY)], settings=EVERY_5)

    assert ends <= life.at <= ends + 1
    assert (0, "drained") == (life.exit, life.ending)


CHECKED: Timeline = [(float(moment), "envoy gets health checks") for moment in range(100, 170)]

# what happens | when the drain ends: soon after a silence, or at its fixed time
SENDERS: dict[str, tuple[Timeline, float]] = {
    "they check, and stop": ([*every(0.2, 100.1, 142), *CHECKED], 146),
    "they do not check: their silence proves nothing": (every(0.2, 100.1, 142), 180),
    "they check, and still send when all must have checked": ([*every(0.2, 147.1, 149), *CHECKED], 180),
    "connections come when all must have checked": ([*((147.1 + n, STRAY) for n in range(3)), *CHECKED], 180),
    "connections come before that": ([*((140.1 + n, STRAY) for n in range(6)), *CHECKED], 153),
}


@pytest.mark.parametrize("name", SENDERS)
def test_senders_that_fall_silent(name: str) -> None:
    """A silence ends the drain early only if health checks make the senders stop."""
    timeline, ends = SENDERS[name]
    world = World()
    world.envoy.in_flight = 1

    life = world.live([SIGTERM, *timeline, (150, "envoy ends requests")], settings=EVERY_5)

    assert ends <= life.at <= ends + 10 and life.at <= 181
    assert "drained" == life.ending


def test_statistics_of_no_known_listener_are_looked_up_once() -> None:
    """Statistics that belong to no known listener make the helper read Envoy's listeners again, once."""
    world = World()

    world.live([(50, STRAY), SIGTERM, *((moment, STRAY) for moment in range(141, 200))], settings=EVERY_5)

    looks = [moment for moment, _, target in world.envoy.calls if target.startswith("/server_info") and moment >= 140]
    assert [140] == looks


UPDATE = "envoy gets a TCP connection through an updated listener"


def test_listener_that_changes_in_the_drain() -> None:
    """A connection counts if an update of its listener came after the drain began, without a new statistic."""
    world = World()
    world.envoy.tcp_direction, world.envoy.connections = "OUTBOUND", 0

    life = world.live([SIGTERM, (142, UPDATE)], settings=EVERY_5)

    assert (215, "deadline", 1) == (life.at, life.ending, life.fields("summary")["connections_at_end"])


def test_listener_that_changes_after_the_application_stopped() -> None:
    """A connection through a listener that was excluded before an update keeps the delay."""
    world = World()
    world.envoy.tcp_direction, world.envoy.connections = "OUTBOUND", 0
    timeline = [(99, "container app stops"), SIGTERM, (100.03, UPDATE), (100.05, "envoy fails requests")]

    life = world.live(timeline, app=False, metadata=True)

    assert [(140, FAIL)] == life.journal


def test_stopped_application_with_an_uncounted_listener() -> None:
    """A listener that nothing counts keeps the delay, although containers have stopped and counted requests fail."""
    world = World()
    world.envoy.left_out.add("listener.127.0.0.1_15006.downstream_cx_active")
    timeline = [
        (50, "envoy gets a TCP listener"),
        (99, "container app stops"),
        SIGTERM,
        (100.05, "envoy fails requests"),
    ]

    life = world.live(timeline, app=False, metadata=True)

    assert [(140, FAIL)] == life.journal


def test_listeners_are_looked_up_once_after_the_application_stopped() -> None:
    """As long as no listener changes, the helper reads only statistics to see whether Envoy still serves requests."""
    world = World()

    world.live([(99, "container app stops"), SIGTERM], app=False, metadata=True)

    targets = [target for moment, _, target in world.envoy.calls if 102 <= moment < 139]
    assert 30 < len(targets)
    assert not [target for target in targets if not target.startswith("/stats")]


def test_never_in_service_after_a_listener_was_replaced() -> None:
    """What a replaced listener served is unknown."""
    world = World()
    world.envoy.modified = 1

    life = world.live([(0, "app 503"), (5, "SIGTERM")])

    assert "drained" == life.ending
    assert {"cause": "Envoy has replaced or removed listeners, and what they counted is lost"} == life.fields(
        "plan_kept"
    )


def test_response_that_waits_to_be_sent() -> None:
    """A drain lasts until Envoy has sent the responses that it buffers, and one that is cut is reported."""
    world = World()
    world.envoy.unsent = 100

    life = world.live([SIGTERM], settings=EVERY_5)

    assert (215, "deadline", 1) == (life.at, life.ending, life.fields("requests_cut")["requests"])


def test_hot_restart() -> None:
    """In an Envoy that took over by a hot restart gauges are read that `usedonly` would leave out."""
    world = World()
    world.envoy.hot_restarted = True
    world.envoy.in_flight = 1

    life = world.live([SIGTERM], settings=EVERY_5)

    assert (215, "deadline") == (life.at, life.ending)


def test_never_in_service_after_a_hot_restart() -> None:
    """It is unknown what an Envoy served before a hot restart."""
    world = World()
    world.envoy.hot_restarted = True

    life = world.live([(0, "app 503"), (5, "SIGTERM")])

    assert {"cause": "it is unknown what Envoy has served"} == life.fields("plan_kept")


def test_gate_waits_for_the_inbound_listener() -> None:
    """If listeners come by LDS, a listener for scrapes does not open the gate."""
    world = World()
    world.envoy.by_lds, world.envoy.has_listeners, world.envoy.has_metrics = True, False, True

    life = world.live([(8.1, "envoy gets listeners"), SIGTERM])

    assert 8 <= next(moment for moment, event, _ in life.log if event == "in_service") < 9
