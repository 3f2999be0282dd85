"""What a record proves: `valid`, `invalid` with the failed requests named, or `unknown`, which is never a pass."""

from dataclasses import dataclass
from typing import Literal

from lab.history import OK, History, Request

# A caller that sends this late no longer sends the load that the scenario is about.
LATE = 1.0  # seconds

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

    retired: from the stop of a task until the first signal to its application or Envoy, which a helper holds up; of
        several tasks the slowest
    slowest: the longest request that was answered
    """

    requests: int
    failed: int
    retired: float | None
    slowest: float | None


def judge(history: History) -> Verdict:
    """Judge a record. It could not be judged where the run did not finish or the callers fell behind."""
    if history.phase("finished") is None:
        return Verdict("unknown", why="the run did not finish")
    if not history.requests:
        return Verdict("unknown", why="no request was sent")
    late = max(request.start - request.due for request in history.requests)
    if late > LATE:
        return Verdict("unknown", why=f"the callers fell behind by {late:.1f} s: the machine is too busy")
    failed = sorted((each for each in history.requests if each.outcome != OK), key=lambda request: request.due)
    if failed:
        return Verdict("invalid", tuple(failed), why=f"{len(failed)} of {len(history.requests)} requests failed")
    return Verdict("valid")


def figures(history: History) -> Figures:
    """The figures of a record, whatever its verdict."""
    stopping = history.times("task", "stopping")
    held = [each for each in history.events if each.detail.get("container") in ("application", "envoy")]
    released = History(history.run, held, []).times("container", "sigterm")
    retired = [released[task] - at for task, at in stopping.items() if task in released]
    answered = [request.end - request.start for request in history.requests if request.outcome == OK]
    return Figures(
        requests=len(history.requests),
        failed=sum(request.outcome != OK for request in history.requests),
        retired=max(retired, default=None),
        slowest=max(answered, default=None),
    )
