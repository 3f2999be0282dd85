"""The outcome of one trial: enough to judge it by. Times are seconds since the stop of the task."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

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

    Its log has when it handled the signal that was `sent`, and when it finished, before it `ended`. All are seconds
    since the epoch. It is 0 if the log has neither, as that of a shell.
    """
    times = {}
    for line in log:
        if '"event":"sigterm"' in line or '"event":"summary"' in line:
            entry = json.loads(line)
            times[entry["event"]] = datetime.fromisoformat(entry["time"]).timestamp()
    return max(0.0, times.get("sigterm", sent) - sent, ended - times.get("summary", ended))
