"""The account of everything that Envoy serves, from its own lists of listeners and statistics."""

from typing import Any

import pytest

from task_helper.envoy.accounting import UNOWNED, Account, Source, account, count, has_replaced, unknown_requests
from task_helper.envoy.listeners import Listener
from task_helper.envoy.traffic import Traffic


def http(prefix: str, active: int = 0, completed: int = 0, failed: int = 0, connections: int = 0) -> dict[str, int]:
    return {
        f"http.{prefix}.downstream_rq_active": active,
        f"http.{prefix}.downstream_rq_completed": completed,
        f"http.{prefix}.downstream_rq_total": active + completed,
        f"http.{prefix}.downstream_rq_5xx": failed,
        f"http.{prefix}.downstream_cx_active": connections,
        f"http.{prefix}.downstream_cx_total": connections,
        f"http.{prefix}.downstream_cx_tx_bytes_buffered": 0,
        f"http.{prefix}.downstream_cx_http3_active": 0,
    }


def tcp(name: str, active: int, total: int | None = None) -> dict[str, int]:
    total = active if total is None else total
    return {
        f"listener.{name}.downstream_cx_active": active,
        f"listener.{name}.downstream_cx_total": total,
        f"listener.{name}.downstream_pre_cx_active": 0,
    }


def udp(prefix: str, active: int, total: int) -> dict[str, int]:
    return {f"udp.{prefix}.downstream_sess_active": active, f"udp.{prefix}.downstream_sess_total": total}


def listener(name: str, *prefixes: str, **fields: Any) -> Listener:
    """A listener for downstreams, by HTTP where it has prefixes; its connections go by its name."""
    usual = Listener(
        name=name,
        inbound=True,
        outbound=False,
        excluded=False,
        declared_inbound=True,
        doubt=None,
        drains=True,
        prefixes=prefixes,
        other_protocols=not prefixes,
        fails_health_checks=True,
        stat_name=name,
    )
    return usual._replace(**fields)


def counted(stats: dict[str, int], *listeners: Listener) -> Traffic:
    return count(stats, account(listeners, stats, lists_all=False))


IN = listener("in", "ingress")
OUT = listener("out", "egress", excluded=True)
OUT_TCP = listener("out", excluded=True)

# the listeners beside `in` | statistics beside those of `in` | in flight, completed, connections; and of these in doubt
COUNTS: dict[str, tuple[list[Listener], dict[str, int], tuple[int, int, int], tuple[int, int, int] | None]] = {
    "requests": ([], {}, (1, 10, 0), None),
    "the admin API does not count": (
        [],
        {**http("admin", 1, 100, 0, 1), **tcp("admin", 1), **tcp("admin.main_thread", 1)},
        (1, 10, 0),
        None,
    ),
    "what is excluded does not count": ([OUT], {**http("egress", 5, 50), **tcp("out", 5)}, (1, 10, 0), None),
    "what is excluded does not count by connections": ([OUT_TCP], tcp("out", 5), (1, 10, 0), None),
    "a prefix of both directions counts": (
        [listener("out", "ingress", "egress", excluded=True)],
        http("egress", 5, 50),
        (1, 10, 0),
        None,
    ),
    "connections of both directions count": (
        [listener("x"), listener("y", stat_name="x", excluded=True)],
        tcp("x", 2),
        (1, 10, 2),
        None,
    ),
    "idle connections of HTTP do not count": ([], tcp("in", 7), (1, 10, 0), None),
    "connections without HTTP count, once and not for each thread": (
        [listener("tcp")],
        {**tcp("tcp", 2), **tcp("tcp.worker_0", 1), **tcp("tcp.worker_11", 1), **tcp("tcp.main_thread", 1)},
        (1, 10, 2),
        None,
    ),
    "a listener that is called like a thread's share": (
        [listener("x.worker_1"), listener("x")],
        {**tcp("x.worker_1", 1), **tcp("x.worker_1.worker_0", 1), **tcp("x", 1), **tcp("x.worker_0", 1)},
        (1, 10, 2),
        None,
    ),
    "one that is called so, and no other one": ([], tcp("x.worker_1", 1), (1, 10, 0), (0, 0, 1)),
    "a TCP listener with the admin API's prefix": (
        [listener("a", stat_name="admin")],
        {**tcp("admin", 4), **tcp("admin.main_thread", 1), **tcp("admin.worker_0", 1), **tcp("admin.worker_1", 2)},
        (1, 10, 3),
        None,
    ),
    "a listener of both counts by what is not HTTP": (
        [listener("both", "b", other_protocols=True)],
        {**tcp("both", 7), **http("b", connections=5)},
        (1, 10, 2),
        None,
    ),
    "a listener of both that shares its prefix counts whole": (
        [listener("both", "ingress", other_protocols=True)],
        tcp("both", 7),
        (1, 10, 7),
        None,
    ),
    "a listener of both counts whole beside one of which the prefixes are unknown": (
        [listener("both", "b", other_protocols=True), listener("out", excluded=True, detailed=False)],
        {**tcp("both", 7), **http("b", connections=50)},
        (1, 10, 7),
        None,
    ),
    "fewer connections than HTTP ones are none": (
        [listener("both", "b", other_protocols=True)],
        {**tcp("both", 4), **http("b", connections=5)},
        (1, 10, 0),
        None,
    ),
    "a listener in two versions with the same address": (
        [listener("b", "new", other_protocols=True), listener("b", "old", other_protocols=True)],
        {**tcp("b", 7), **http("old", connections=2), **http("new", connections=4)},
        (1, 10, 1),
        None,
    ),
    "UDP sessions count": ([listener("u", sessions=("s",), other_protocols=False)], udp("s", 2, 3), (1, 10, 2), None),
    "UDP sessions that are excluded do not": (
        [listener("u", sessions=("s",), excluded=True)],
        udp("s", 2, 3),
        (1, 10, 0),
        None,
    ),
    "UDP sessions of both directions count": (
        [listener("u", sessions=("s",)), listener("v", sessions=("s",), excluded=True)],
        udp("s", 2, 3),
        (1, 10, 2),
        None,
    ),
    "an unknown prefix is in doubt": ([], http("new", 1, 2), (1, 10, 0), (1, 2, 0)),
    "unknown connections are in doubt": ([], tcp("10.0.0.1_15006", 1), (1, 10, 0), (0, 0, 1)),
    "unknown sessions are in doubt": ([], udp("s", 1, 1), (1, 10, 0), (0, 0, 1)),
    "what may be other traffic is in doubt": (
        [listener("web", "web", doubt="it is on loopback"), listener("tcp", doubt="it is internal")],
        {**http("web", 2, 20), **tcp("tcp", 3)},
        (1, 10, 0),
        (2, 20, 3),
    ),
    "open connections of HTTP/3 are in doubt: what their downstreams have not read is lost": (
        [],
        {"http.ingress.downstream_cx_http3_active": 2},
        (1, 10, 0),
        (0, 0, 2),
    ),
    "no open connection of HTTP/3 is no doubt": (
        [],
        {"http.ingress.downstream_cx_http3_active": 0},
        (1, 10, 0),
        None,
    ),
    "what one of two is sure of is in no doubt": (
        [listener("web", "ingress", doubt="it is on loopback")],
        {},
        (1, 10, 0),
        None,
    ),
    "… whichever of the two comes first": (
        [
            listener("a", stat_name="x", doubt="it is on loopback"),
            listener("b", stat_name="x"),
        ],
        tcp("x", 2),
        (1, 10, 2),
        None,
    ),
    "HTTP of a listener of both that was never used": (
        [listener("both", "b", other_protocols=True)],
        tcp("both", 7),
        (1, 10, 7),
        None,
    ),
    "an unknown prefix belongs to a manager by discovery": (
        [listener("web", discovered_managers=("m",), other_protocols=False)],
        {**http("found", 2, 20), **tcp("web", 3)},
        (3, 30, 0),
        None,
    ),
    "an unknown prefix of one that is in doubt": (
        [listener("web", discovered_managers=("m",), other_protocols=False, doubt="it is on loopback")],
        http("found", 2, 20),
        (1, 10, 0),
        (2, 20, 0),
    ),
    "what is uncounted does not count": (
        [listener("web", "admin", uncountable="so"), listener("y", uncountable="so")],
        {**http("admin", 2, 20), **tcp("web", 3), **tcp("y", 3)},
        (1, 10, 0),
        None,
    ),
    "other statistics do not matter": (
        [],
        {"http.ingress.downstream_rq_2xx": 7, "server.live": 1, "x": 3},
        (1, 10, 0),
        None,
    ),
}


@pytest.mark.parametrize("name", COUNTS)
def test_count(name: str) -> None:
    """Everything counts but what is excluded; what may be other traffic counts apart."""
    listeners, stats, sure, doubtful = COUNTS[name]

    found = counted({**http("ingress", 1, 10, 3, 2), **stats}, IN, *listeners)

    other = found.doubtful
    assert (sure, 3) == ((found.in_flight, found.completed, found.connections), found.failed)
    assert doubtful == ((other.in_flight, other.completed, other.connections) if other else None)


def test_sums() -> None:
    """Running responses and open connections of HTTP/3 are summed over all listeners."""
    stats: dict[str, int] = {}
    for prefix, connections in (("ingress", 2), ("web", 1)):
        # one response has begun, so that its request is completed, and still in flight
        stats |= http(prefix, 1, 5) | {f"http.{prefix}.downstream_rq_total": 5}
        stats[f"http.{prefix}.downstream_cx_http3_active"] = connections

    found = counted(stats, IN, listener("web", "web"))

    assert found.doubtful
    assert (2, 10, 2, 10, 3) == (
        found.in_flight,
        found.completed,
        found.counted_twice,
        found.requests,
        found.doubtful.connections,
    )


@pytest.mark.parametrize("other_protocols", [False, True])
def test_all_are_excluded(other_protocols: bool) -> None:
    """If every listener is declared outbound, that cannot be true, and all count."""
    only = listener("out", "egress", excluded=True, other_protocols=other_protocols)

    found = counted({**http("egress", 1, 10), **tcp("out", 1)}, only)

    assert (1, 10, int(other_protocols), None) == (found.in_flight, found.completed, found.connections, found.doubtful)


def test_no_listeners() -> None:
    """Without any known listener all requests, connections and sessions count, in doubt, and are named."""
    found = counted({**http("x", 1, 10), **tcp("y", 2), **udp("z", 1, 1), **http("admin", 1, 1)})

    assert (("http.x", "listener.y", "udp.z"), False) == (found.unknown, found.under_way)
    assert (1, 10, 3) == (found.whole.in_flight, found.whole.completed, found.whole.connections)


def test_nothing_used_yet() -> None:
    """A statistic that was never used is left out, and is zero."""
    assert Traffic() == counted({}, IN, listener("tcp"), listener("u", sessions=("s",)))


@pytest.mark.parametrize(
    ("stats", "used"),
    [
        ({}, False),
        (http("admin", 1, 100, 0, 1), False),
        (http("egress", 1, 100, 0, 1), False),
        (tcp("out", 1), False),
        ({"http.ingress.downstream_rq_active": 0}, False),
        ({"http.ingress.downstream_rq_active": 1}, True),
        ({"http.ingress.downstream_rq_total": 1}, True),
        ({"http.ingress.downstream_cx_total": 1}, True),
        ({"listener.tcp.downstream_cx_total": 1}, True),
        ({"listener.tcp.downstream_cx_active": 1}, True),
        ({"listener.tcp.downstream_cx_active": 0}, False),
        ({"listener.unknown.downstream_cx_total": 1}, True),
        ({"udp.s.downstream_sess_total": 1}, True),
        # the counters were reset, but had been used
        ({"http.ingress.downstream_rq_total": 0}, True),
        ({"http.ingress.downstream_cx_total": 0}, True),
        ({"listener.tcp.downstream_cx_total": 0}, True),
    ],
)
def test_used(stats: dict[str, int], used: bool) -> None:
    """One connection, request or health check since Envoy started shows use, even after a reset."""
    assert used == counted(stats, IN, OUT, listener("tcp"), listener("u", sessions=("s",))).whole.used


def test_health_checks() -> None:
    """Health checks of all managers are counted, and are no requests."""
    stats = {**http("ingress", 1, 5), **http("web", 0, 3), CHECKS: 7, "http.web.tracing.health_check": 2}
    stats["http.ingress.downstream_rq_total"] += 7
    stats["http.web.downstream_rq_total"] += 2

    found = counted(stats, IN, listener("web", "web"))

    assert (9, 9) == (found.checks, found.requests)


def test_total_that_was_read_before_the_others() -> None:
    """A request that completes between two statistics is no negative number of health checks."""
    stats = {**ALL, **http("ingress", 0, 3), "http.ingress.downstream_rq_total": 2}

    assert 0 == count(stats, account([IN], stats, lists_all=True)).checks


CHECKS = "http.ingress.tracing.health_check"


def test_requests_that_their_clients_left() -> None:
    """A request that its client left before the answer is a request, and no health check."""
    found = counted({**http("ingress", 1, 5), "http.ingress.downstream_rq_total": 10, CHECKS: 2}, IN)

    assert (2, 8) == (found.checks, found.requests)


def test_health_checks_that_envoy_does_not_count() -> None:
    """If Envoy leaves out its count of health checks, they are the requests neither completed nor active."""
    stats = {**ALL, **http("ingress", 1, 5), "http.ingress.downstream_rq_total": 10}

    for counts, checks in (({CHECKS: 2}, 2), ({}, 4)):
        found = count(stats | counts, account([IN], stats | counts, lists_all=True))
        assert (checks, 10 - checks) == (found.checks, found.requests)


def test_request_whose_response_has_begun() -> None:
    """Envoy counts it as completed and as active; it is one request."""
    stats = {**http("ingress", 2, 5), "http.ingress.downstream_rq_total": 5}

    assert 5 == count(stats, account([IN], stats, lists_all=False)).requests


def test_requests_without_a_total() -> None:
    """Without the total, requests are those completed or active."""
    stats = {"http.ingress.downstream_rq_active": 1, "http.ingress.downstream_rq_completed": 5}

    assert 6 == counted(stats, IN).requests


@pytest.mark.parametrize(("active", "in_flight"), [(0, 1), (1, 1), (3, 3)])
def test_response_that_waits_to_be_sent(active: int, in_flight: int) -> None:
    """While bytes of responses wait in Envoy's buffer, at least one request is in flight; none has come for that."""
    stats = {**http("ingress", active, 5), "http.ingress.downstream_cx_tx_bytes_buffered": 9}

    assert (in_flight, active + 5) == ((found := counted(stats, IN)).in_flight, found.requests)


def test_connection_that_a_listener_filter_awaits() -> None:
    """A connection whose first bytes a listener filter awaits is open without HTTP, and shows use with HTTP."""
    stats = {"listener.in.downstream_pre_cx_active": 1, "listener.tcp.downstream_pre_cx_active": 2}

    assert (2, True) == ((found := counted(stats, IN, listener("tcp"))).connections, found.used)
    del stats["listener.tcp.downstream_pre_cx_active"]
    assert (0, True) == ((found := counted(stats, IN, listener("tcp"))).connections, found.used)
    assert not counted({"listener.out.downstream_pre_cx_active": 1}, IN, OUT).used


def test_use_of_a_listener_in_doubt() -> None:
    """A connection to a listener in doubt that is counted by requests shows use, in doubt."""
    found = counted(tcp("web", 1), IN, listener("web", "web", doubt="it is on loopback"))

    assert (False, True, 0) == (found.used, found.whole.used, found.whole.connections)


DYNAMIC = listener("in", "ingress", dynamic=True)
DRAINING = "listener_manager.total_filter_chains_draining"
CHANGES = [f"listener_manager.listener_{what}" for what in ("added", "modified", "removed")]


def test_replaced_filter_chains() -> None:
    """Filter chains that an update replaced are uncounted while Envoy still serves them."""
    for lists_all in (True, False):
        stats = {**ALL, **dict.fromkeys(CHANGES, 1), DRAINING: 1}
        found = account([DYNAMIC], stats, lists_all=lists_all)
        assert {
            "replaced filter chains": "Envoy still serves their connections, and does not list them any more"
        } == found.uncounted
        assert {} == account([DYNAMIC], {**stats, DRAINING: 0}, lists_all=lists_all).uncounted


@pytest.mark.parametrize("missing", [*CHANGES, DRAINING])
def test_replaced_filter_chains_that_are_unknown(missing: str) -> None:
    """If Envoy leaves out what shows replaced filter chains, they are uncounted; static listeners have none."""
    stats = {name: 0 for name in (*CHANGES, DRAINING) if name != missing}

    found = account([DYNAMIC], {**ALL, **stats}, lists_all=True)

    assert {
        "replaced filter chains": f"Envoy has no statistic {missing}; allow it in Envoy's stats_matcher"
    } == found.uncounted
    assert {} == account([IN], {**ALL, **stats}, lists_all=True).uncounted
    assert {} == account([DYNAMIC], {**ALL, **stats}, lists_all=False).uncounted


@pytest.mark.parametrize(("counter", "replaced"), list(zip(CHANGES, (False, True, True), strict=True)))
def test_listeners_that_were_replaced(counter: str, replaced: bool) -> None:
    """A listener that was added lost no counts; one that was replaced or removed did."""
    assert replaced == has_replaced({counter: 1})
    assert not has_replaced({})


@pytest.mark.parametrize("counter", CHANGES[1:])
def test_listeners_that_were_replaced_before_a_reset(counter: str) -> None:
    """A counter that was used and reset to zero still shows that a listener was replaced or removed."""
    assert has_replaced({counter: 0})


def test_updates() -> None:
    """Each listener that was added, replaced or removed is an update."""
    assert 7 == counted({CHANGES[0]: 4, CHANGES[1]: 2, CHANGES[2]: 1}, IN).updates


def test_order_of_statistics() -> None:
    """Statistics that do not count may come before those that do."""
    stats = {"server.live": 1, **http("admin", 1, 1), **tcp("in", 3), **http("ingress", 1, 5), **tcp("tcp", 2)}

    found = counted(stats, IN, listener("tcp"))

    assert (1, 5, 2) == (found.in_flight, found.completed, found.connections)


def test_statistics_in_part() -> None:
    """A statistic that was not used adds nothing to those of its prefix that were."""
    stats = {"http.ingress.downstream_cx_active": 0, "listener.tcp.downstream_cx_total": 0}
    stats |= {"listener.both.downstream_cx_active": 3, "http.b.downstream_cx_active": 1}

    found = counted(stats, IN, listener("tcp"), listener("both", "b", other_protocols=True))

    assert (0, 2, 0) == (found.checks, found.connections, found.accepted)


def test_connections_that_are_all_of_http() -> None:
    """If HTTP has accepted as many connections as its listener, no other protocol has any."""
    stats = {"listener.both.downstream_cx_total": 3, "http.b.downstream_cx_total": 3}

    assert 0 == counted(stats, listener("both", "b", other_protocols=True)).accepted
    stats["http.b.downstream_cx_active"] = stats.pop("http.b.downstream_cx_total")
    assert 3 == counted(stats, listener("both", "b", other_protocols=True)).accepted


def test_use_of_one_is_use() -> None:
    """An unused statistic does not hide a used one, in any order."""
    used = {"http.ingress.downstream_rq_total": 1, "listener.tcp.downstream_cx_total": 1}
    unused = {"http.web.downstream_rq_active": 0, "listener.other.downstream_cx_active": 0}
    for one in used:
        for stats in ({one: 1, **unused}, {**unused, one: 1}):
            assert counted(stats, IN, listener("web", "web"), listener("tcp"), listener("other")).used


def test_connections_that_were_accepted() -> None:
    """Connections without HTTP are counted since Envoy started, too."""
    stats = {**tcp("tcp", 1, 9), **tcp("both", 2, 30), **http("b", connections=4), **tcp("in", 1, 100)}

    assert 9 + 26 == counted(stats, IN, listener("tcp"), listener("both", "b", other_protocols=True)).accepted


ALL = {**http("ingress"), **tcp("tcp", 0), **udp("s", 0, 0), **http("admin")}


@pytest.mark.parametrize(
    ("missing", "listener_name"),
    [
        ("http.ingress.downstream_rq_active", "in"),
        ("http.ingress.downstream_rq_total", "in"),
        ("http.ingress.downstream_rq_completed", "in"),
        ("http.ingress.downstream_cx_tx_bytes_buffered", "in"),
        ("http.ingress.downstream_cx_http3_active", "in"),
        ("listener.tcp.downstream_cx_active", "tcp"),
        ("listener.tcp.downstream_cx_total", "tcp"),
        ("listener.tcp.downstream_pre_cx_active", "tcp"),
        ("udp.s.downstream_sess_active", "u"),
        ("udp.s.downstream_sess_total", "u"),
    ],
)
def test_missing(missing: str, listener_name: str) -> None:
    """A listener of whose statistics Envoy does not keep one is uncounted; the log names the statistic."""
    listeners = [IN, OUT, listener("tcp"), listener("u", sessions=("s",), other_protocols=False)]
    stats = {name: value for name, value in ALL.items() if name != missing}

    uncounted = account(listeners, stats, lists_all=True).uncounted

    assert {listener_name: f"Envoy has no statistic {missing}; allow it in Envoy's stats_matcher"} == uncounted
    assert {} == account(listeners, ALL, lists_all=True).uncounted
    assert {} == account(listeners, stats, lists_all=False).uncounted


def test_missing_of_several() -> None:
    """Every listener that is missing is named with its own cause; one may be called like a thread's share."""
    listeners = [
        IN,
        listener("x"),
        listener("x.worker_1"),
        listener("web", discovered_managers=("m",), other_protocols=False),
    ]
    stats = {**tcp("x", 0), **tcp("x.worker_1", 0)}

    assert {"in", "web"} == account(listeners, stats, lists_all=True).uncounted.keys()


def test_missing_of_a_shared_prefix() -> None:
    """Every listener with the prefix that is missing is uncounted."""
    assert {"in", "web"} == account([IN, listener("web", "ingress")], {}, lists_all=True).uncounted.keys()


def test_missing_of_a_manager_by_discovery() -> None:
    """A manager by discovery is uncounted where no statistics can be its own."""
    web = listener("web", discovered_managers=("m",), other_protocols=False)

    assert {"web": "no statistics are known to be its HTTP connection manager's"} == account(
        [IN, web], ALL, lists_all=True
    ).uncounted
    assert {} == account([IN, web], {**ALL, **http("found")}, lists_all=True).uncounted


@pytest.mark.parametrize(
    "other",
    [
        listener("out", discovered_managers=("n",), other_protocols=False, excluded=True),
        listener("out", other_protocols=False, excluded=True, detailed=False),
    ],
    ids=["discovered as well", "not read"],
)
def test_statistics_that_may_be_an_excluded_managers(other: Listener) -> None:
    """Statistics that are left over may belong to an excluded listener: the manager by discovery is uncounted."""
    web = listener("web", discovered_managers=("m",), other_protocols=False)

    assert {"web"} == account([web, other], http("found"), lists_all=False).uncounted.keys()


def test_each_discovered_manager_has_statistics() -> None:
    """If as many statistics are left over as there are discovered managers, each manager has its own."""
    web = listener("web", discovered_managers=("m",), other_protocols=False)
    out = listener("out", discovered_managers=("n",), other_protocols=False, excluded=True)

    assert {} == account([web, out], {**http("found"), **http("other")}, lists_all=False).uncounted


def test_uncounted() -> None:
    """A listener that no statistic can cover is uncounted, with the cause, unless it is excluded."""
    listeners = [IN, listener("x", uncountable="so"), listener("y", uncountable="thus", excluded=True)]

    assert {"x": "so"} == account(listeners, {}, lists_all=False).uncounted


def test_unknown_requests() -> None:
    """Prefixes that belong to no known listener are named: those of excluded listeners may be known later."""
    stats = {**http("ingress"), **http("egress"), **http("admin"), **http("a:b"), **tcp("z", 1)}
    found = account([IN, OUT], stats, lists_all=False)

    assert {"a_b"} == unknown_requests(stats, found)


def test_account() -> None:
    """The account has each listener where it is counted, and the doubts."""
    web = listener("web", "web", "ingress", other_protocols=True, doubt="it is on loopback")

    assert Account(
        requests={"ingress": Source(("in", "web")), "web": Source(("web",), "it is on loopback")},
        connections={"web": Source(("web",), "it is on loopback", ("web",))},
        sessions={},
        ignored_requests=frozenset({"admin", "egress"}),
        use={"in": Source(("in",))},
        ignored_connections=frozenset({"out"}),
        ignored_sessions=frozenset(),
        unknown=UNOWNED,
        uncounted={},
        doubts={"web": "it is on loopback"},
    ) == account([IN, web, OUT], {}, lists_all=False)
