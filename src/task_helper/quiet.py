"""How much traffic a task still has, judged from Envoy's statistics. Pure: bytes in, counts out.

Requests are counted, not connections: downstreams keep idle HTTP connections open however long a task drains. Only what
has no requests, a TCP listener, is counted by its connections.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from task_helper.listeners import Listener, is_inbound_name

# `downstream_rq_completed` leaves out health checks, `downstream_rq_active` does not (Envoy's conn_manager_impl.cc).
FILTER: Final = r"^(http\..*\.downstream_rq_(active|completed)|listener\..*\.downstream_cx_active)$"
_REQUESTS: Final = re.compile(r"http\.(?P<prefix>.+)\.downstream_rq_(?P<kind>active|completed)")
_CONNECTIONS: Final = re.compile(r"listener\.(?P<stat_name>.+)\.downstream_cx_active")


class Traffic(NamedTuple):
    """Counts at one moment: requests in flight, requests completed since Envoy started, open TCP connections."""

    in_flight: int
    completed: int
    connections: int


class _Stat(msgspec.Struct):
    """A histogram has no name of its own."""

    name: str = ""
    value: int | float | str = 0


class _Stats(msgspec.Struct):
    stats: list[_Stat]


def count(answer: bytes, listeners: Sequence[Listener]) -> Traffic:
    """Count what downstreams have under way, from the answer to `/stats?format=json`.

    Which stats count is told by the direction of the `listeners` they belong to, and by name for the others (all of
    them where `listeners` is empty). Raises msgspec.DecodeError where the answer is none.
    """
    stats = msgspec.json.decode(answer, type=_Stats).stats
    known = {prefix: each.inbound for each in listeners for prefix in each.prefixes}
    tcp = {each.stat_name for each in listeners if each.inbound and not each.prefixes}
    counts = {"active": 0, "completed": 0}
    connections = 0
    for stat in stats:
        if (match := _REQUESTS.fullmatch(stat.name)) and known.get(match["prefix"], is_inbound_name(match["prefix"])):
            counts[match["kind"]] += int(stat.value)
        elif (match := _CONNECTIONS.fullmatch(stat.name)) and match["stat_name"] in tcp:
            connections += int(stat.value)
    return Traffic(counts["active"], counts["completed"], connections)


class Meter:
    """The readings of one drain, fed in order of time."""

    def __init__(self) -> None:
        self.first: Traffic | None = None
        self.last: Traffic | None = None
        self.last_arrival: float | None = None
        self.read_at: float | None = None
        self._busy_at: float | None = None
        self._before_restart = 0

    def read(self, now: float, traffic: Traffic) -> None:
        """Take a reading made at `now`."""
        self.read_at = now
        if self.first is None or self.last is None:
            self.first = self.last = traffic
            self._busy_at = now
            return
        before, ended = self.arrived, traffic.completed != self.last.completed
        if traffic.completed < self.last.completed:  # a restarted Envoy counts from zero
            self._before_restart = before
            self.first = Traffic(0, 0, 0)
        self.last = traffic
        if self.arrived > before:
            self.last_arrival = now
        if self.arrived > before or ended or traffic.in_flight or traffic.connections:
            self._busy_at = now

    def quiet_for(self, now: float) -> float:
        """For how many seconds nothing has been in flight or arrived, as far as readings tell; 0 without any."""
        return 0.0 if self._busy_at is None else now - self._busy_at

    @property
    def arrived(self) -> int:
        """How many requests have come since the first reading."""
        if self.first is None or self.last is None:
            return 0
        since = self.last.completed + self.last.in_flight - self.first.completed - self.first.in_flight
        return self._before_restart + max(0, since)
