"""One account of everything that Envoy serves. Pure: Envoy's own lists of listeners and statistics in, counts out.

There are four kinds of listeners: counted by requests; counted by connections or UDP sessions; excluded by a
declaration; uncounted. Names are matched, never built. A statistic that belongs to no known listener counts, in doubt.
A listener to which no statistic belongs is uncounted.

Where there are requests, they are counted, not connections: downstreams keep idle HTTP connections open during the
whole drain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Final, NamedTuple

from task_helper.envoy.listeners import ADMIN, Listener, counted
from task_helper.envoy.traffic import REPLACED_CHAINS, UPDATES, Group, Stats, Traffic, group, statistic


class Source(NamedTuple):
    """What one group of statistics counts: for which `listeners`, and the `doubt` whether it is for downstreams.

    `http` are the prefixes of HTTP managers whose connections are among these connections, and are counted by their
    requests.
    """

    listeners: tuple[str, ...]
    doubt: str | None = None
    http: tuple[str, ...] = ()


# the source of statistics that belong to no known listener
UNOWNED: Final = Source((), "no known listener has these statistics")


class Account(NamedTuple):
    """Which statistics count, and for what, by the `key` of their prefix.

    `use` are the connections of listeners that are counted by requests. They only show that a listener was used.
    `ignored_…` are the statistics that do not count, of each kind. `unknown` is the source of statistics that belong to
    no known listener. `uncounted` has the listeners that no statistic covers, and the cause. `counts_checks` is whether
    Envoy keeps its own count of health checks.
    """

    requests: Mapping[str, Source] = {}
    connections: Mapping[str, Source] = {}
    sessions: Mapping[str, Source] = {}
    use: Mapping[str, Source] = {}
    ignored_requests: frozenset[str] = frozenset({ADMIN})
    ignored_connections: frozenset[str] = frozenset()
    ignored_sessions: frozenset[str] = frozenset()
    unknown: Source = UNOWNED
    uncounted: Mapping[str, str] = {}
    doubts: Mapping[str, str] = {}
    counts_checks: bool = True

    @property
    def listeners(self) -> Set[str]:
        """The keys of the listeners' connections."""
        return self.connections.keys() | self.use.keys() | self.ignored_connections


def account(listeners: Sequence[Listener], stats: Stats, *, lists_all: bool) -> Account:
    """The account of `listeners`.

    With `lists_all`, `stats` has every statistic that Envoy keeps, and a listener without one is uncounted. Otherwise
    Envoy keeps all statistics, and `stats` has only those that were used.
    """
    ours = counted(listeners)
    others = [each for each in listeners if each.excluded]
    uncounted = {each.name: each.uncountable for each in ours if each.uncountable}
    covered = [each for each in ours if not each.uncountable]
    requests = _sources((prefix, each) for each in covered for prefix in each.prefixes)
    sessions = _sources((prefix, each) for each in covered for prefix in each.sessions)
    connections = {
        name: source._replace(http=_alone(name, listeners))
        for name, source in _sources((each.stat_name, each) for each in covered if each.other_protocols).items()
    }
    use = {
        name: source
        for name, source in _sources((each.stat_name, each) for each in covered).items()
        if name not in connections
    }
    managers = group(stats).requests
    discovering = [each for each in covered if each.discovered_managers]
    result = Account(
        requests=requests,
        connections=connections,
        sessions=sessions,
        use=use,
        ignored_requests=frozenset(prefix for each in others for prefix in each.prefixes if prefix not in requests)
        | {ADMIN},
        # The connections of uncounted listeners do not count, because these listeners keep the plan anyway.
        ignored_connections=frozenset(
            each.stat_name for each in listeners if each.stat_name not in connections and each.stat_name not in use
        ),
        ignored_sessions=frozenset(prefix for each in others for prefix in each.sessions if prefix not in sessions),
        unknown=_source(discovering) if discovering else UNOWNED,
        doubts={each.name: each.doubt for each in ours if each.doubt},
        counts_checks=not lists_all or all(managers.get(each, Group()).checks is not None for each in requests),
    )
    uncounted |= _undiscovered(result, managers, listeners) | _replaced_chains(listeners, stats, lists_all)
    return result._replace(uncounted=uncounted | _missing(result, stats) if lists_all else uncounted)


def _sources(pairs: Iterable[tuple[str, Listener]]) -> dict[str, Source]:
    owners: dict[str, list[Listener]] = {}
    for name, listener in pairs:
        owners.setdefault(name, []).append(listener)
    return {name: _source(each) for name, each in owners.items()}


def _source(listeners: Sequence[Listener]) -> Source:
    """The source of statistics that several listeners share. It is in doubt only if each listener is."""
    doubts = [each.doubt for each in listeners]
    return Source(tuple(each.name for each in listeners), None if None in doubts else doubts[0])


def _alone(stat_name: str, listeners: Sequence[Listener]) -> tuple[str, ...]:
    """The prefixes that only the listener with these connections has, if all listeners are known in detail."""
    others = [each for each in listeners if each.stat_name != stat_name]
    if not all(each.detailed for each in others):
        return ()
    theirs = {prefix for each in others for prefix in each.prefixes}
    own = (prefix for each in listeners if each.stat_name == stat_name for prefix in each.prefixes)
    return tuple(dict.fromkeys(prefix for prefix in own if prefix not in theirs))


def _missing(account: Account, stats: Stats) -> dict[str, str]:
    """The listeners of which Envoy does not keep all statistics, each with one that is missing."""
    groups = group(stats, account.listeners)
    needed: list[tuple[str, Mapping[str, Source], Mapping[str, Group], Sequence[str]]] = [
        ("http", account.requests, groups.requests, ("active", "total", "completed", "unsent", "http3")),
        ("listener", account.connections, groups.connections, ("active", "total", "waiting")),
        ("udp", account.sessions, groups.sessions, ("active", "total")),
    ]
    missing: dict[str, str] = {}
    for kind, sources, there, fields in needed:
        for prefix, source in sources.items():
            counts = there.get(prefix, Group())
            absent = [statistic(kind, prefix, field) for field in fields if getattr(counts, field) is None]
            for name in source.listeners if absent else ():
                missing[name] = _not_kept(absent[0])
    return missing


def _replaced_chains(listeners: Sequence[Listener], stats: Stats, lists_all: bool) -> dict[str, str]:
    """What stands for the filter chains that an update of a listener replaced, if Envoy may still serve some."""
    if stats.get(REPLACED_CHAINS):
        return {"replaced filter chains": "Envoy still serves their connections, and does not list them any more"}
    dynamic = any(each.dynamic for each in listeners)
    absent = [each for each in (*UPDATES, REPLACED_CHAINS) if each not in stats] if lists_all and dynamic else []
    return {"replaced filter chains": _not_kept(absent[0])} if absent else {}


def _not_kept(statistic: str) -> str:
    return f"Envoy has no statistic {statistic}; allow it in Envoy's stats_matcher"


def has_replaced(used: Stats) -> bool:
    """Whether Envoy has replaced or removed a listener since it started. What that listener counted is then lost.

    `used` are only the statistics that were used. A counter stays among them after a reset to zero.
    """
    return any(each in used for each in UPDATES if not each.endswith("_added"))


def _undiscovered(account: Account, there: Mapping[str, Group], listeners: Sequence[Listener]) -> dict[str, str]:
    """The listeners with a discovered HTTP connection manager, unless every such manager of Envoy has statistics.

    `there` are the statistics of managers, and `listeners` are all listeners of Envoy. A manager without statistics was
    not used, or it shares its stat_prefix with an excluded listener or the admin API. Nothing shows which manager that
    is.
    """
    left_over = _unknown(there, account.requests, account.ignored_requests)
    managers = {name for each in listeners for name in each.discovered_managers}
    known = all(each.detailed for each in listeners)
    if not account.unknown.listeners or known and len(left_over) >= len(managers):
        return {}
    return dict.fromkeys(account.unknown.listeners, "no statistics are known to be its HTTP connection manager's")


def _unknown(groups: Mapping[str, Group], sources: Mapping[str, Source], ignored: frozenset[str]) -> dict[str, Group]:
    """The statistics that belong to no known listener."""
    return {prefix: each for prefix, each in groups.items() if prefix not in sources and prefix not in ignored}


def unknown_requests(stats: Stats, account: Account) -> set[str]:
    """The HTTP prefixes that belong to no known listener. They may belong to an excluded one."""
    return set(_unknown(group(stats).requests, account.requests, account.ignored_requests))


def count(stats: Stats, account: Account) -> Traffic:
    """Count the traffic of downstreams. A statistic that is missing was never used."""
    groups = group(stats, account.listeners)
    sure, doubtful, unknown = _Sum(account.counts_checks), _Sum(account.counts_checks), list[str]()
    kinds: list[tuple[str, Mapping[str, Source], frozenset[str], Mapping[str, Group], Source]] = [
        ("http", account.requests, account.ignored_requests, groups.requests, account.unknown),
        ("listener", account.connections, account.ignored_connections, groups.connections, UNOWNED),
        ("udp", account.sessions, account.ignored_sessions, groups.sessions, UNOWNED),
    ]
    for kind, sources, ignored, there, otherwise in kinds:
        for prefix, counts in there.items():
            if prefix in ignored:
                continue
            use = account.use.get(prefix) if kind == "listener" else None
            source = use or sources.get(prefix, otherwise)
            into = doubtful if source.doubt else sure
            if use:
                into.add_use(counts)
            elif kind == "http":
                into.add_requests(counts)
                doubtful.add_http3(counts)
            else:
                into.add_connections(counts, [groups.requests.get(each, Group()) for each in source.http])
            if source is UNOWNED:
                unknown.append(f"{kind}.{prefix}")
    return sure.traffic()._replace(
        doubtful=doubtful.traffic() if doubtful.there else None,
        unknown=tuple(unknown),
        updates=sum(stats.get(each, 0) for each in UPDATES),
    )


class _Sum:
    """The sum of groups of statistics."""

    def __init__(self, counts_checks: bool) -> None:
        self.there = False
        self._counts_checks = counts_checks
        self._active = self._completed = self._failed = self._checks = self._connections = self._accepted = 0
        self._twice = 0
        self._used = False

    def add_requests(self, counts: Group) -> None:
        active, total, completed = counts.active or 0, counts.total or 0, counts.completed or 0
        # a request that its client left before the answer looks like a health check, unless Envoy counts these
        checks = (counts.checks or 0) if self._counts_checks else max(0, total - completed - active)
        # the last bytes of a response may still be in Envoy's buffer, though Envoy counts its request as ended
        in_flight = max(active, 1 if counts.unsent else 0)
        self.there = True
        self._active += in_flight
        self._completed += completed
        self._failed += counts.failed or 0
        self._checks += checks
        if counts.total is not None:
            self._twice += completed + in_flight - (total - checks)
        # a counter that was used stays in the answer, even after a reset to zero
        self._used |= bool(active or counts.total is not None or counts.cx_total is not None)

    def add_connections(self, counts: Group, http: Sequence[Group]) -> None:
        self._connections += max(0, (counts.active or 0) - sum(each.cx_active or 0 for each in http))
        self._connections += counts.waiting or 0
        self._accepted += max(0, (counts.total or 0) - sum(each.cx_total or 0 for each in http))
        self.add_use(counts)

    def add_http3(self, counts: Group) -> None:
        """Count open connections of HTTP/3. Their downstreams discard what they have not read when Envoy stops.

        No statistic shows whether they have read everything.
        """
        self.there |= bool(counts.http3)
        self._connections += counts.http3 or 0

    def add_use(self, counts: Group) -> None:
        self.there = True
        self._used |= bool(counts.active or counts.waiting is not None or counts.total is not None)

    def traffic(self) -> Traffic:
        return Traffic(
            in_flight=self._active,
            completed=self._completed,
            failed=self._failed,
            connections=self._connections,
            accepted=self._accepted,
            checks=self._checks,
            used=self._used,
            counted_twice=self._twice,
        )
