"""The outcome of one trial: enough to judge it by. Times are seconds since the stop of the task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lab.parts.container_process import logged

OK = "ok"


class Use(NamedTuple):
    """One use of a listener: a request, or a connection with all that is said over it.

    client: which listener, chain and client of the shape
    begins: when it began; needs: until when its task has to be there for it to end well; ended: when it ended
    """

    client: tuple[int, int, int]
    begins: float
    needs: float
    ended: float
    outcome: str


class Outcome(NamedTuple):
    """A trial beside the trap or the helper, its holder.

    exit, code: of the holder; None where it had to be killed at the end of STOP_TIMEOUT
    in_service: whether the helper came into service; the trap does not ask
    late: for how many seconds the machine stood still, or the holder got no CPU, at the most
    log: what the holder said
    """

    holder: str
    uses: tuple[Use, ...]
    exit: float | None
    code: int | None
    in_service: bool = True
    late: float = 0.0
    log: tuple[str, ...] = ()


def starved(log: Iterable[str], sent: float, ended: float) -> float:
    """For how many seconds the helper got no CPU after SIGTERM or before its end, at the most.

    The log shows when the helper handled the signal that the trial `sent`, and when it finished, before it `ended`. All
    times are seconds since the epoch. A log without these two events, such as a shell's, gives 0.
    """
    times = {event: at for at, event in logged(log)}
    return max(0.0, times.get("sigterm", sent) - sent, ended - times.get("summary", ended))
