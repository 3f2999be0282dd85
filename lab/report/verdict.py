"""What a record proves: `valid`, `invalid` with the failed requests named, or `unknown`, which is never a pass."""

from dataclasses import dataclass
from typing import Literal

from lab.parts.history import OK, History, Request
from lab.scenarios.scenario import Expectation, Scenario

# A stream that is sent this late is no longer the load that the scenario is about.
LATE = 1.0  # seconds

# two runs of the same wait for processes to start and to end; a task kept for longer than this is longer
KEPT_ALIKE = 0.5  # seconds

Kind = Literal["valid", "invalid", "unknown"]


@dataclass(frozen=True)
class Verdict:
    """The judgement of a record; `failed` in the order in which they were due."""

    kind: Kind
    failed: tuple[Request, ...] = ()
    why: str = ""


@dataclass(frozen=True)
class Figures:
    """What a run measured. Seconds; None where it did not happen.

    retired: from the stop of a task until the first signal to its application or Envoy, which waits for the helper
    retired_since_last: the same from the last stop of any task. ECS stops an old task for each new one that it finds
        healthy, and hears of those up to a health report of the agents apart: who is stopped first has to wait for all
    exited: from the helper's SIGTERM to its exit; of several tasks the slowest, as with `retired`
    failing: from the first request that failed to the last one, by when they were due
    excused: requests that failed while the application that they were sent to was itself down; not counted as failed
    """

    requests: int
    failed: int
    retired: float | None
    retired_since_last: float | None
    exited: float | None
    failing: float | None
    excused: int = 0


def judge(history: History) -> Verdict:
    """Judge a record. It could not be judged where the run did not finish or the load fell behind."""
    if history.phase("finished") is None:
        return Verdict("unknown", why="the run did not finish")
    if not history.requests:
        return Verdict("unknown", why="no request was sent")
    late = max(request.start - request.due for request in history.requests)
    if late > LATE:
        return Verdict("unknown", why=f"the load fell behind by {late:.1f} s: the machine is too busy")
    failed, _ = failures(history)
    if failed:
        return Verdict("invalid", tuple(failed), why=f"{len(failed)} of {len(history.requests)} requests failed")
    return Verdict("valid")


def failures(history: History) -> tuple[list[Request], int]:
    """The requests that failed, in the order in which they were due, and the number of those that are excused.

    Excused is what a task's application dropped or did not take as it restarted: nothing beside it could help that, and
    how many those are is luck. A request that never reached that task has no such excuse.
    """
    downs = _downs(history)
    failed = sorted((each for each in history.requests if each.outcome != OK), key=lambda request: request.due)
    counted = [
        each
        for each in failed
        if not any(each.start <= up and down <= each.end for down, up in downs.get(each.task, ()))
    ]
    return counted, len(failed) - len(counted)


def _downs(history: History) -> dict[str, list[tuple[float, float]]]:
    """From when to when each task's application was down, between its starting and its stopping."""
    downs: dict[str, list[tuple[float, float]]] = {}
    since: dict[str, float] = {}
    for event in history.events:
        if event.what == "application" and event.name == "down":
            since[event.task] = event.at
        elif event.what == "application" and event.task in since:
            downs.setdefault(event.task, []).append((since.pop(event.task), event.at))
    return downs


def figures(history: History) -> Figures:
    """The figures of a record, whatever its verdict."""
    # Envoy's container has two names: lab/meshes
    ends = _times(history, "sigterm", "application", "envoy", "consul-dataplane")
    counted, excused = failures(history)
    stops = history.times("task", "stopping")
    last = max(stops.values(), default=0.0)
    dues = [request.due for request in counted]
    return Figures(
        requests=len(history.requests),
        failed=len(counted),
        retired=_slowest(stops, ends),
        retired_since_last=_slowest(dict.fromkeys(stops, last), ends),
        exited=_slowest(_times(history, "sigterm", "helper"), _times(history, "stopped", "helper")),
        failing=max(dues) - min(dues) if dues else None,
        excused=excused,
    )


def shortcomings(expected: Expectation, verdict: Verdict, figures: Figures) -> list[str]:
    """Where a run is worse than expected; empty if it is not. A verdict of `unknown` is a shortcoming."""
    found = []
    if verdict.kind == "unknown":
        found.append(f"unknown: {verdict.why}")
    elif expected.verdict == "valid" and verdict.kind != "valid":
        found.append(verdict.why)
    elif expected.verdict == "invalid" and verdict.kind != "invalid":
        found.append("nothing failed: the scenario proves nothing")
    for name, value, limit in (
        ("retired", figures.retired_since_last, expected.retired_within),
        ("exited", figures.exited, expected.exit_within),
    ):
        if limit is not None and (value is None or value > limit):
            found.append(f"{name} {'never' if value is None else f'after {value:.1f} s'}, not within {limit:g} s")
    if expected.failing_within is not None and (figures.failing or 0.0) > expected.failing_within:
        found.append(f"requests failed for {figures.failing:.1f} s, not within {expected.failing_within:g} s")
    return found


def worse_than_trap(scenario: Scenario, trap: Figures, helper: Figures) -> list[str]:
    """Where a run with the helper is worse than that with the shell trap in the same row; empty if it is not.

    One request more is worse; but where the trap loses some, `luck` has a share in how many.
    """
    found = []
    if helper.failed > trap.failed + (scenario.luck * scenario.rate if trap.failed else 0):
        found.append(f"{helper.failed} requests failed, {trap.failed} with the shell trap")
    kept, kept_by_trap = helper.retired_since_last or 0.0, trap.retired_since_last or 0.0
    if scenario.plain and kept > kept_by_trap + KEPT_ALIKE:
        found.append(f"kept for {kept:.1f} s since the last stop, {kept_by_trap:.1f} s with the shell trap")
    return found


def _times(history: History, name: str, *containers: str) -> dict[str, float]:
    """When each task first had that event of one of these containers."""
    events = [each for each in history.events if each.detail.get("container") in containers]
    return History(history.run, events, []).times("container", name)


def _slowest(begin: dict[str, float], end: dict[str, float]) -> float | None:
    return max((end[task] - at for task, at in begin.items() if task in end), default=None)
