"""What Envoy's statistics report at one moment, and what several readings show. Pure: bytes in, counts out.

`accounting` decides which statistics count.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from math import inf
from typing import Final, NamedTuple

import msgspec

from task_helper.envoy.listeners import ADMIN, key

# The statistics of each kind, and the fields of `Group` that they are.
#
# Envoy counts a request as `completed` when its response begins, and then also as `active` until the response ends. It
# leaves health checks out of `completed` and `5xx`, but not out of `total` and `active`. It counts them by themselves
# when they end, with and without tracing (its conn_manager_impl.cc; measured with 1.36 to 1.40). The connections of an
# HTTP listener are also those of its managers. A connection whose first bytes a listener filter still awaits, such as a
# PROXY header, is only a `pre_cx`.
_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "http": {
        "downstream_rq_active": "active",
        "downstream_rq_total": "total",
        "downstream_rq_completed": "completed",
        "downstream_rq_5xx": "failed",
        "downstream_cx_active": "cx_active",
        "downstream_cx_total": "cx_total",
        "downstream_cx_tx_bytes_buffered": "unsent",
        "downstream_cx_http3_active": "http3",
        "tracing.health_check": "checks",
    },
    "listener": {
        "downstream_cx_active": "active",
        "downstream_cx_total": "total",
        "downstream_pre_cx_active": "waiting",
    },
    "udp": {"downstream_sess_active": "active", "downstream_sess_total": "total"},
}

# How often Envoy's listeners changed, and how many filter chains it still serves that an update replaced. It lists only
# the new ones.
UPDATES: Final = tuple(f"listener_manager.listener_{what}" for what in ("added", "modified", "removed"))
REPLACED_CHAINS: Final = "listener_manager.total_filter_chains_draining"


# a stat_prefix may contain a line feed, which `.` matches only with `s`
_PATTERNS: Final = {kind: rf"{kind}\.(.+)\.({'|'.join(map(re.escape, fields))})" for kind, fields in _FIELDS.items()}
_NAMES: Final = {kind: re.compile(pattern, re.DOTALL) for kind, pattern in _PATTERNS.items()}
FILTER: Final = f"(?s)^({'|'.join([*_PATTERNS.values(), *map(re.escape, (*UPDATES, REPLACED_CHAINS))])})$"

# the shares of Envoy's threads, in statistics that are also counted as a whole
_SHARE: Final = re.compile(r"(.+)\.(worker_\d+|main_thread)", re.DOTALL)
_USER_AGENT: Final = re.compile(r".+\.user_agent\.(ios|android)", re.DOTALL)


class Traffic(NamedTuple):
    """Counts, at one moment, of what may be downstreams' traffic.

    `in_flight` are requests in progress. `completed` are requests answered since Envoy started, and `failed` are those
    of them with a 5xx. If a response has begun, Envoy counts its request as in flight and as completed. If a client
    leaves before the response, Envoy counts that request as neither. `counted_twice` is how many requests Envoy counts
    as both, minus how many it counts as neither. `connections` are open connections and UDP sessions without requests.
    `accepted` is how many of these there have ever been. `checks` are health checks since Envoy started. `used` is
    whether there was anything at all since then.

    `doubtful` is what may be other traffic; it is not part of these counts. `unknown` are the statistics in it that
    belong to no known listener. `updates` is how often Envoy's listeners changed since it started.
    """

    in_flight: int = 0
    completed: int = 0
    failed: int = 0
    connections: int = 0
    accepted: int = 0
    checks: int = 0
    used: bool = False
    counted_twice: int = 0
    doubtful: Traffic | None = None
    unknown: tuple[str, ...] = ()
    updates: int = 0

    @property
    def whole(self) -> Traffic:
        """The counts including what is doubtful."""
        if not (other := self.doubtful):
            return self
        return Traffic(
            in_flight=self.in_flight + other.in_flight,
            completed=self.completed + other.completed,
            failed=self.failed + other.failed,
            connections=self.connections + other.connections,
            accepted=self.accepted + other.accepted,
            checks=self.checks + other.checks,
            used=self.used or other.used,
            counted_twice=self.counted_twice + other.counted_twice,
        )

    @property
    def requests(self) -> int:
        """How many requests have come since Envoy started, without health checks."""
        return self.completed + self.in_flight - self.counted_twice

    @property
    def served(self) -> int:
        return self.completed - self.failed

    @property
    def under_way(self) -> bool:
        return bool(self.in_flight or self.connections)


class _Stat(msgspec.Struct):
    """A histogram has no name of its own."""

    name: str = ""
    value: int | float | str = 0


class _Stats(msgspec.Struct):
    stats: list[_Stat]


Stats = Mapping[str, int]


class Group(NamedTuple):
    """The statistics of one prefix; None if Envoy does not report one."""

    active: int | None = None
    total: int | None = None
    completed: int | None = None
    failed: int | None = None
    # the connections of an HTTP prefix, the bytes of responses that they have not sent yet, how many of them speak
    # HTTP/3, and the health checks
    cx_active: int | None = None
    cx_total: int | None = None
    unsent: int | None = None
    http3: int | None = None
    checks: int | None = None
    # connections that a listener filter still awaits
    waiting: int | None = None


def statistic(kind: str, prefix: str, field: str) -> str:
    """The name of the statistic of this `kind` that is this field of `Group`."""
    return f"{kind}.{prefix}.{next(what for what, of in _FIELDS[kind].items() if of == field)}"


class Groups(NamedTuple):
    """The statistics at one moment; each kind by the `key` of its prefix."""

    requests: Mapping[str, Group]
    connections: Mapping[str, Group]
    sessions: Mapping[str, Group]


def read(answer: bytes | bytearray) -> Stats:
    """The statistics in an answer to `/stats?format=json`. Raises msgspec.DecodeError if it is not such an answer."""
    stats = msgspec.json.decode(answer, type=_Stats).stats
    return {stat.name: int(stat.value) for stat in stats if stat.name}


def group(stats: Stats, listeners: Container[str] = ()) -> Groups:
    """The statistics by prefix, without the shares of Envoy's threads.

    `listeners` are the keys of known listeners, because a listener's name may look like a thread's share, such as
    `x.worker_1`. Connections named `admin` belong to the admin API and to any listener with this stat_prefix. The admin
    API has its connections on the main thread; those on workers are the listener's.
    """
    found: dict[str, dict[str, dict[str, int]]] = {"http": {}, "listener": {}, "udp": {}}
    for name, value in stats.items():
        kind = name.partition(".")[0]
        if kind not in _NAMES or not (match := _NAMES[kind].fullmatch(name)):
            continue
        prefix, what = match.groups()
        if kind == "listener":
            share = _SHARE.fullmatch(prefix)
            if prefix == ADMIN:
                continue
            if share and share[1] == ADMIN:
                if share[2] == "main_thread":
                    continue
                prefix = ADMIN
            elif share and name.replace(prefix, share[1], 1) in stats and key(prefix) not in listeners:
                continue
        field = _FIELDS[kind][what]
        counts = found[kind].setdefault(key(prefix), {})
        counts[field] = counts.get(field, 0) + value
    for prefix in [prefix for prefix, counts in found["http"].items() if _is_of_user_agents(prefix, counts)]:
        del found["http"][prefix]
    return Groups(*({name: Group(**counts) for name, counts in each.items()} for each in found.values()))


def _is_of_user_agents(prefix: str, counts: Mapping[str, int]) -> bool:
    """Whether these are the requests of phones. Envoy also counts those with their manager, which alone has gauges."""
    return bool(_USER_AGENT.fullmatch(prefix)) and not counts.keys() & {"active", "cx_active"}


class Meter:
    """The readings of a stop in order of time: how many requests came, and for how long nothing has come."""

    def __init__(self) -> None:
        self.first: Traffic | None = None
        self.last: Traffic | None = None
        self.read_at: float | None = None
        # The last arrival came between these two moments, because there is time between readings.
        self.last_arrival: float | None = None
        self.last_arrival_after: float | None = None
        # The same for what may be other traffic than that of downstreams, and for connections that came and ended. A
        # connection may pass several listeners, and each counts it. So these are the numbers of readings that show an
        # arrival.
        self.doubtful_arrivals = 0
        self.last_doubtful_arrival: float | None = None
        self.last_doubtful_arrival_after: float | None = None
        self._busy_at: float | None = None
        self._doubtful_at: float | None = None
        self._arrived = 0
        self._checks_before = 0
        self._compared = False

    def read(self, now: float, traffic: Traffic, *, recounted: bool = False) -> None:
        """Take a reading made at `now`. If `recounted`, its account differs from that of the reading before."""
        read_before, self.read_at = self.read_at, now
        if self.first is None or self.last is None or read_before is None:
            self.first = self.last = traffic
            self._busy_at = self._doubtful_at = now
            return
        last, self._compared = self.last, True
        restarted = traffic.completed < last.completed
        if recounted:  # the interval before a new account was not counted
            self._busy_at = self._doubtful_at = now
        if restarted or recounted:  # a restarted Envoy counts from zero
            self._checks_before = self.checks or 0
            self.first = traffic if recounted else Traffic()
            last = traffic if recounted else last
        self.last = traffic
        arrived = traffic.requests if restarted and not recounted else max(0, traffic.requests - last.requests)
        self._arrived += arrived
        if arrived:
            self.last_arrival, self.last_arrival_after = now, read_before
        if arrived or traffic.completed != last.completed or traffic.under_way:
            self._busy_at = now
        # short connections may be TCP health checks, which keep passing
        doubtful, doubtful_before = traffic.doubtful or Traffic(), last.doubtful or Traffic()
        ended = doubtful.completed != doubtful_before.completed
        came = (
            doubtful.requests > doubtful_before.requests
            or doubtful.accepted > doubtful_before.accepted
            or traffic.accepted > last.accepted
        )
        if came:
            self.doubtful_arrivals += 1
            self.last_doubtful_arrival, self.last_doubtful_arrival_after = now, read_before
        if doubtful.under_way or ended or came:
            self._doubtful_at = now

    def quiet_for(self, now: float) -> float:
        """For how many seconds nothing has been in flight or arrived, as far as readings show; 0 without readings."""
        return 0.0 if self._busy_at is None else now - self._busy_at

    def doubtful_quiet_for(self, now: float) -> float:
        """The same for what may be other traffic than that of downstreams, and for connections that came and ended."""
        return 0.0 if self._doubtful_at is None else now - self._doubtful_at

    def gap(self, since: float) -> float:
        """Mean seconds between two requests, from the moment `since` to the last request; 0 if none came."""
        if self.last_arrival is None or not self.arrived:
            return 0.0
        return max(0.0, self.last_arrival - since) / self.arrived

    def doubtful_gap(self, since: float) -> float:
        """The same for what may be other traffic, at most. A single arrival shows no interval: then it is infinite.

        No health check shows that the senders of this traffic will stop.
        """
        if self.last_doubtful_arrival is None:
            return 0.0
        if self.doubtful_arrivals == 1:
            return inf
        return max(0.0, self.last_doubtful_arrival - since) / self.doubtful_arrivals

    @property
    def arrived(self) -> int:
        """How many requests have come since the first reading, without health checks."""
        return self._arrived

    @property
    def checks(self) -> int | None:
        """How many health checks have come since the first reading; None without a second reading."""
        if self.first is None or self.last is None or not self._compared:
            return None
        return self._checks_before + max(0, self.last.checks - self.first.checks)
