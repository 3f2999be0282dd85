"""Verdict and figures on literal histories."""

from pathlib import Path

import pytest

from lab.parts.history import Event, History, Recorder, Request, Run, read
from lab.parts.load import Stream
from lab.report.verdict import Figures, Verdict, figures, judge, shortcomings, worse_than_trap
from lab.scenarios.scenario import Expectation, Scenario

RUN = Run("abc", {"envoy": "1.40.0"}, "plain", "a title", "fixed", {"rate": 1}, "2026-11-23T00:00:00+00:00")
FINISHED = Event(20.0, "phase", "finished")
GOOD = Request("persistent", 1.0, 1.0, 1.1, "ok", "task", "127.0.0.1:1")
SLOW = Request("persistent", 2.0, 2.9, 30.0, "ok", "task", "127.0.0.1:1")
LATE = Request("persistent", 3.0, 4.2, 4.3, "ok", "task", "127.0.0.1:1")
BAD = Request("persistent", 4.0, 4.0, 4.1, "503 no healthy upstream")
WORSE = Request("new connections", 3.5, 3.5, 43.5, "TimeoutError()", "task")


@pytest.mark.parametrize(
    ("events", "requests", "verdict"),
    [
        ([FINISHED], [GOOD, SLOW], Verdict("valid")),
        ([FINISHED], [GOOD, BAD, WORSE], Verdict("invalid", (WORSE, BAD), "2 of 3 requests failed")),
        ([FINISHED], [], Verdict("unknown", why="no request was sent")),
        ([], [GOOD], Verdict("unknown", why="the run did not finish")),
        ([], [GOOD, BAD], Verdict("unknown", why="the run did not finish")),
        (
            [FINISHED],
            [GOOD, LATE],
            Verdict("unknown", why="the load fell behind by 1.2 s: the machine is too busy"),
        ),
        (
            [FINISHED],
            [GOOD, LATE, BAD],
            Verdict("unknown", why="the load fell behind by 1.2 s: the machine is too busy"),
        ),
    ],
    ids=["good", "failed", "empty", "unfinished", "unfinished and failed", "late", "late and failed"],
)
def test_verdict(events: list[Event], requests: list[Request], verdict: Verdict) -> None:
    """A record is valid, invalid with the failed requests in order, or unknown where it cannot be judged."""
    assert judge(History(RUN, events, requests)) == verdict


def container(at: float, name: str, task: str, which: str) -> Event:
    return Event(at, "container", name, task, {"container": which})


def test_figures() -> None:
    """The figures have the slowest task's times, and the time from the first failed request to the last."""
    events = [
        Event(5.0, "task", "stopping", "one"),
        container(5.0, "sigterm", "one", "helper"),
        container(5.3, "sigterm", "one", "helper"),
        Event(6.0, "task", "stopping", "two"),
        container(6.0, "sigterm", "two", "helper"),
        container(15.0, "stopped", "one", "helper"),
        container(15.5, "sigterm", "one", "application"),
        container(15.6, "sigterm", "one", "envoy"),
        container(18.0, "stopped", "two", "helper"),
        container(18.25, "sigterm", "two", "application"),
        FINISHED,
    ]
    found = figures(History(RUN, events, [GOOD, BAD, WORSE]))
    assert found == Figures(requests=3, failed=2, retired=12.25, retired_since_last=12.25, exited=12.0, failing=0.5)


def test_task_that_was_stopped_first_waits_for_all() -> None:
    """The time that a task was kept counts from its own stop, and, as a second figure, from the last stop of all."""
    events = [
        Event(5.0, "task", "stopping", "one"),
        Event(9.0, "task", "stopping", "two"),
        container(20.0, "sigterm", "one", "application"),
        container(19.0, "sigterm", "two", "application"),
        FINISHED,
    ]
    found = figures(History(RUN, events, [GOOD]))
    assert (found.retired, found.retired_since_last) == (15.0, 11.0)


@pytest.mark.parametrize("envoy", ["envoy", "consul-dataplane"])
def test_a_task_is_kept_until_envoy_is_stopped(envoy: str) -> None:
    """Envoy's container may have any name; a stop of a container on which no other depends does not count."""
    stops = [container(5.0, "sigterm", "one", "consul-ecs-health-sync"), container(9.5, "sigterm", "one", envoy)]
    found = figures(History(RUN, [Event(5.0, "task", "stopping", "one"), *stops, FINISHED], [GOOD]))
    assert found.retired == 4.5


def test_figures_of_what_did_not_happen() -> None:
    """Where nothing stopped and nothing failed, the figures are None and not zero."""
    assert figures(History(RUN, [FINISHED], [GOOD])) == Figures(1, 0, None, None, None, None)


RESTART = [Event(5.0, "application", "down", "task"), Event(5.6, "application", "up", "task")]


def failed(start: float, end: float, task: str = "task") -> Request:
    return Request("persistent", start, start, end, "503 upstream connect error", task)


@pytest.mark.parametrize(
    ("events", "request_", "excused"),
    [
        pytest.param(RESTART, failed(5.1, 5.2), True, id="sent while it was down"),
        pytest.param(RESTART, failed(4.0, 5.1), True, id="in flight as it went down"),
        pytest.param(RESTART, failed(4.0, 4.9), False, id="before"),
        pytest.param(RESTART, failed(5.7, 5.8), False, id="after"),
        pytest.param(RESTART, failed(5.1, 5.2, task=""), False, id="to no task at all"),
        pytest.param(RESTART, failed(5.1, 5.2, task="other"), False, id="to another task"),
        pytest.param(RESTART[1:], failed(5.1, 5.2), False, id="it only started"),
        pytest.param(RESTART[:1], failed(5.1, 5.2), False, id="it did not come back, so it did not restart"),
    ],
)
def test_what_an_application_drops_as_it_restarts_is_excused(
    events: list[Event], request_: Request, excused: bool
) -> None:
    """A failure is the application's own where that task's application was down meanwhile, by its own word."""
    history = History(RUN, [*events, FINISHED], [GOOD, request_])
    assert (figures(history).failed, figures(history).excused) == ((0, 1) if excused else (1, 0))
    assert judge(history).kind == ("valid" if excused else "invalid")


PLAIN = Scenario("plain", "", {}, streams=(Stream("persistent", 10),), plain=True)
LUCKY = Scenario("lucky", "", {}, streams=(Stream("persistent", 10),), luck=2)


def measured(failed: int, retired: float | None = 16.0) -> Figures:
    return Figures(1000, failed, 25.0, retired, retired, None)


@pytest.mark.parametrize(
    ("scenario", "trap", "helper", "found"),
    [
        (PLAIN, measured(0), measured(0), []),
        (PLAIN, measured(0), measured(1), ["1 requests failed, 0 with the shell trap"]),
        (PLAIN, measured(3), measured(3), []),
        (PLAIN, measured(3), measured(4), ["4 requests failed, 3 with the shell trap"]),
        (PLAIN, measured(0, 16.0), measured(0, 16.4), []),
        (
            PLAIN,
            measured(0, 16.0),
            measured(0, 16.6),
            ["kept for 16.6 s since the last stop, 16.0 s with the shell trap"],
        ),
        (PLAIN, measured(0, 16.0), measured(0, None), []),
        # not plain: it may have good reason
        (LUCKY, measured(0, 16.0), measured(0, 26.0), []),
        # where the trap loses none, luck has no share
        (LUCKY, measured(0), measured(1), ["1 requests failed, 0 with the shell trap"]),
        (LUCKY, measured(1), measured(21), []),
        (LUCKY, measured(1), measured(22), ["22 requests failed, 1 with the shell trap"]),
    ],
)
def test_worse_than_the_trap(scenario: Scenario, trap: Figures, helper: Figures, found: list[str]) -> None:
    """One request more than the trap lost is worse. A longer time to retire is worse where nothing goes wrong."""
    assert worse_than_trap(scenario, trap, helper) == found


UNKNOWN, VALID, INVALID = Verdict("unknown", why="too busy"), Verdict("valid"), Verdict("invalid", (BAD,), "1 failed")
CALM, ROUGH = Figures(9, 0, 18.0, 16.0, 15.9, None), Figures(9, 3, 18.0, 16.0, 15.9, 4.0)


@pytest.mark.parametrize(
    ("expected", "verdict", "measured", "found"),
    [
        (Expectation("valid"), VALID, CALM, []),
        (Expectation("valid"), INVALID, ROUGH, ["1 failed"]),
        (Expectation("valid"), UNKNOWN, CALM, ["unknown: too busy"]),
        (Expectation(), UNKNOWN, CALM, ["unknown: too busy"]),
        (Expectation(), INVALID, ROUGH, []),
        (Expectation("invalid"), INVALID, ROUGH, []),
        (Expectation("invalid"), VALID, CALM, ["nothing failed: the scenario proves nothing"]),
        (Expectation(failing_within=5), INVALID, ROUGH, []),
        (Expectation(failing_within=3), INVALID, ROUGH, ["requests failed for 4.0 s, not within 3 s"]),
        (Expectation(failing_within=3), VALID, CALM, []),
        (Expectation(retired_within=15), VALID, CALM, ["retired after 16.0 s, not within 15 s"]),
        (Expectation(exit_within=20), VALID, CALM, []),
        (Expectation(exit_within=1), VALID, Figures(9, 0, None, None, None, None), ["exited never, not within 1 s"]),
    ],
)
def test_shortcomings(expected: Expectation, verdict: Verdict, measured: Figures, found: list[str]) -> None:
    """A run that is worse than expected comes with the reasons; an unknown one is never good enough."""
    assert shortcomings(expected, verdict, measured) == found


def test_a_record_reads_back_as_written(tmp_path: Path) -> None:
    """What a recorder has written is read back, events in the order of their times."""
    recorder = Recorder(tmp_path / "record.jsonl", RUN)
    recorder.event("phase", "starting")
    recorder.event("helper", "sigterm", "task", clock="2026-11-22T23:59:58.500+00:00", signal="SIGTERM")
    recorder.request(GOOD)
    recorder.close()
    history = read(tmp_path / "record.jsonl")
    assert history.run == RUN
    assert [(event.name, event.detail) for event in history.events] == [
        ("sigterm", {"signal": "SIGTERM"}),
        ("starting", {}),
    ]
    assert history.events[0].at == -1.5
    assert history.requests == [GOOD]


def test_a_file_without_a_run_is_no_record(tmp_path: Path) -> None:
    """A record whose first line is not the run is refused."""
    (tmp_path / "record.jsonl").write_text('{"kind":"event","at":1,"what":"phase","name":"starting"}\n')
    with pytest.raises(ValueError, match="the first line is not a run"):
        read(tmp_path / "record.jsonl")
