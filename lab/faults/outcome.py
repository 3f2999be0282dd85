"""The outcome of one trial: enough to judge it by. Times are seconds since the stop of the task."""

from __future__ import annotations

import msgspec

OK = "ok"


class Sent(msgspec.Struct, frozen=True):
    """A request: when it was sent, how long its answer was to take, when and how it ended.

    host: `old`, `new`, or empty where the downstream sent it to no task
    """

    at: float
    wanted: float
    ended: float
    outcome: str
    host: str


class Outcome(msgspec.Struct, frozen=True):
    """A trial beside the trap or the helper, its holder.

    downs, outages: from when to when the application and Envoy were down by themselves; a second that is infinite stays
    exit, code: of the holder; None where it had to be killed at the end of STOP_TIMEOUT
    drained: whether Envoy failed its health checks when the holder had exited; False where there was no Envoy to ask
    first_exit, first_code: of the first of two helpers, as `exit` and `code` are of the second
    deaths: which helper of a chain the schedule killed, the first or the second, and when
    late: seconds by which the latest of its faults came too late, as the machine was busy
    log: what the holder said
    """

    holder: str
    sent: tuple[Sent, ...]
    downs: tuple[tuple[float, float], ...]
    outages: tuple[tuple[float, float], ...]
    exit: float | None
    code: int | None
    drained: bool
    late: float = 0.0
    log: tuple[str, ...] = ()
    first_exit: float | None = None
    first_code: int | None = None
    deaths: tuple[tuple[int, float], ...] = ()
