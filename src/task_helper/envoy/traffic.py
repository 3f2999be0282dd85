"""What downstreams have under way, counted from Envoy's statistics. Pure: bytes in, counts out.

Requests are counted, not connections: downstreams keep idle HTTP connections open however long a task drains. Only what
has no requests, such as a TCP proxy, is counted by its connections. Everything counts but what is surely for others;
what Envoy does not tell is no zero, but makes the statistics unreadable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from task_helper.envoy.listeners import Listener, as_in_stats, for_downstreams

# Envoy's health_check filter keeps health checks out of `completed` and `5xx`, not out of `active` (its
# conn_manager_impl.cc). The connections of a listener with HTTP are those of its managers, too.
FILTER: Final = r"^(http\..*\.downstream_(rq_(active|completed|5xx)|cx_active)|listener\..*\.downstream_cx_active)$"
_HTTP: Final = re.compile(r"http\.(?P<prefix>.+)\.downstream_rq_(?P<kind>active|completed|5xx)")
_LISTENER: Final = re.compile(r"listener\.(?P<name>.+)\.downstream_cx_active")

# the admin API's own, and the shares of the threads in what is counted whole
_NOT_A_LISTENER: Final = re.compile(r"admin(\..*)?|.+\.(worker_\d+|main_thread)")
_ADMIN: Final = "admin"


class Traffic(NamedTuple):
    """Counts at one moment: requests in flight; requests answered since Envoy started, and how many of them with a
    5xx; open connections that have no requests."""

    in_flight: int
    completed: int
    failed: int
    connections: int

    @property
    def served(self) -> int:
        return self.completed - self.failed

    @property
    def under_way(self) -> bool:
        return bool(self.in_flight or self.connections)


class Unreadable(OSError):
    """Envoy does not give a statistic that would count."""


class Watched(NamedTuple):
    """Which statistics count.

    `others` are the prefixes of HTTP connection managers that do not. `connections` has each listener that serves other
    protocols, with the prefixes whose connections are no others' and so not those of other protocols; `idle` are the
    listeners that do not count by connections.
    """

    others: frozenset[str]
    connections: Mapping[str, tuple[str, ...]]
    idle: frozenset[str]


class _Stat(msgspec.Struct):
    """A histogram has no name of its own."""

    name: str = ""
    value: int | float | str = 0


class _Stats(msgspec.Struct):
    stats: list[_Stat]


Stats = Mapping[str, int]


def read(answer: bytes) -> Stats:
    """The statistics in an answer to `/stats?format=json`; raises msgspec.DecodeError where it is none.

    Their names are as newer Envoys write them: 1.36 keeps the colons of a stat_prefix.
    """
    stats = msgspec.json.decode(answer, type=_Stats).stats
    return {as_in_stats(stat.name): int(stat.value) for stat in stats if stat.name}


def watched(listeners: Sequence[Listener], all_stats: Stats) -> Watched:
    """Which statistics tell what downstreams have under way by these listeners.

    Raises Unreadable where one of them is not among `all_stats`, which has unused ones as well.
    """
    ours = for_downstreams(listeners)
    prefixes = {prefix for each in ours for prefix in each.prefixes}
    connections = {each.stat_name: _alone(each, listeners) for each in ours if each.other_protocols}
    expected = [f"http.{prefix}.downstream_rq_{kind}" for prefix in prefixes for kind in ("active", "completed")]
    expected += [f"listener.{name}.downstream_cx_active" for name in connections]
    if missing := sorted(set(expected) - all_stats.keys()):
        raise Unreadable(f"Envoy has no statistic {missing[0]}: does its stats_matcher leave it out?")
    return Watched(
        others=frozenset(prefix for each in listeners for prefix in each.prefixes if prefix not in prefixes)
        | ({_ADMIN} - prefixes),
        connections=connections,
        idle=frozenset(each.stat_name for each in listeners if each.stat_name not in connections),
    )


def _alone(listener: Listener, listeners: Sequence[Listener]) -> tuple[str, ...]:
    """The prefixes that no other listener has."""
    theirs = {prefix for each in listeners if each is not listener for prefix in each.prefixes}
    return tuple(prefix for prefix in listener.prefixes if prefix not in theirs)


def count(stats: Stats, which: Watched) -> Traffic:
    """Count what downstreams have under way; a statistic that is not there is one that was never used."""
    counts = {"active": 0, "completed": 0, "5xx": 0}
    connections = 0
    for name, value in stats.items():
        if (match := _HTTP.fullmatch(name)) and match["prefix"] not in which.others:
            counts[match["kind"]] += value
        elif (match := _LISTENER.fullmatch(name)) and not _NOT_A_LISTENER.fullmatch(match["name"]):
            # a listener that is not known has come since, and may be for downstreams
            if match["name"] not in which.idle:
                with_http = (
                    f"http.{prefix}.downstream_cx_active" for prefix in which.connections.get(match["name"], ())
                )
                connections += max(0, value - sum(stats.get(each, 0) for each in with_http))
    return Traffic(counts["active"], counts["completed"], counts["5xx"], connections)


class Meter:
    """The readings of one drain in order of time: how many requests came, and for how long nothing has come."""

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
            self.first = Traffic(0, 0, 0, 0)
        self.last = traffic
        if self.arrived > before:
            self.last_arrival = now
        if self.arrived > before or ended or traffic.under_way:
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
