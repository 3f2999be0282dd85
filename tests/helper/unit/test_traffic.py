"""Counting what downstreams have under way from Envoy's statistics."""

import json
from typing import Any

import msgspec
import pytest

from task_helper.envoy.listeners import Listener
from task_helper.envoy.traffic import Traffic, Unreadable, count, read, watched


def http(prefix: str, active: int = 0, completed: int = 0, failed: int = 0, connections: int = 0) -> dict[str, int]:
    return {
        f"http.{prefix}.downstream_rq_active": active,
        f"http.{prefix}.downstream_rq_completed": completed,
        f"http.{prefix}.downstream_rq_5xx": failed,
        f"http.{prefix}.downstream_cx_active": connections,
    }


def tcp(stat_name: str, connections: int) -> dict[str, int]:
    return {f"listener.{stat_name}.downstream_cx_active": connections}


def listener(name: str, *prefixes: str, **fields: Any) -> Listener:
    """A listener for downstreams by HTTP, but for `fields`; its statistics go by its name."""
    usual = Listener(
        name=name,
        inbound=True,
        outbound=False,
        for_others=False,
        declared_inbound=True,
        drains=True,
        prefixes=prefixes,
        other_protocols=not prefixes,
        fails_health_checks=True,
        stat_name=name,
        place=None,
    )
    return usual._replace(**fields)


def counted(stats: dict[str, int], *listeners: Listener) -> Traffic:
    return count(stats, watched(listeners, stats))


# the listeners | the statistics beside those of the inbound listener `in` | what they come to
IN = listener("in", "ingress")
COUNTS: dict[str, tuple[list[Listener], dict[str, int], Traffic]] = {
    "requests": ([], {}, Traffic(1, 10, 3, 0)),
    "health checks, the admin API and its connections do not count": (
        [],
        {**http("admin", 1, 100, 0, 1), **tcp("admin", 1), **tcp("admin.main_thread", 1)},
        Traffic(1, 10, 3, 0),
    ),
    "what surely is for others does not count": (
        [listener("out", "egress", for_others=True)],
        http("egress", 5, 50),
        Traffic(1, 10, 3, 0),
    ),
    "a prefix that the configuration does not know counts": ([], http("ready-app", 1, 2), Traffic(2, 12, 3, 0)),
    "a prefix of both directions counts": (
        [listener("out", "ingress", "egress", for_others=True)],
        http("egress", 5, 50),
        Traffic(1, 10, 3, 0),
    ),
    "another listener that calls itself admin counts": (
        [listener("web", "admin")],
        http("admin", 2, 20),
        Traffic(3, 30, 3, 0),
    ),
    "connections of HTTP do not count": ([], tcp("in", 7), Traffic(1, 10, 3, 0)),
    "connections without HTTP count, and once, not for each worker": (
        [listener("tcp")],
        {**tcp("tcp", 2), **tcp("tcp.worker_0", 1), **tcp("tcp.worker_11", 1)},
        Traffic(1, 10, 3, 2),
    ),
    "connections without HTTP to what surely is for others do not": (
        [listener("out", for_others=True)],
        tcp("out", 2),
        Traffic(1, 10, 3, 0),
    ),
    "a listener of both counts by what is not HTTP": (
        [listener("both", "b", other_protocols=True)],
        {**tcp("both", 7), **http("b", connections=5)},
        Traffic(1, 10, 3, 2),
    ),
    "connections of several listeners add up, and HTTP that was never used is none of them": (
        [listener("tcp"), listener("both", "b", other_protocols=True)],
        {**tcp("tcp", 2), **tcp("both", 3), "http.b.downstream_rq_active": 0, "http.b.downstream_rq_completed": 0},
        Traffic(1, 10, 3, 5),
    ),
    "a listener of both that shares its prefix counts whole": (
        [listener("both", "ingress", other_protocols=True)],
        tcp("both", 7),
        Traffic(1, 10, 3, 7),
    ),
    "fewer connections than HTTP ones are none": (
        [listener("both", "b", other_protocols=True)],
        {**tcp("both", 4), **http("b", connections=5)},
        Traffic(1, 10, 3, 0),
    ),
    "a listener that has come since counts": ([], tcp("10.0.0.1_15006", 1), Traffic(1, 10, 3, 1)),
}


@pytest.mark.parametrize("name", COUNTS)
def test_count(name: str) -> None:
    """Everything counts but what is surely for others."""
    listeners, stats, expected = COUNTS[name]

    assert expected == counted({**http("ingress", 1, 10, 3, 2), **stats}, IN, *listeners)


@pytest.mark.parametrize("other_protocols", [False, True])
def test_all_are_for_others(other_protocols: bool) -> None:
    """Where every listener says that it is outbound, that cannot be true, and all count."""
    only = listener("out", "egress", for_others=True, other_protocols=other_protocols)

    expected = Traffic(1, 10, 0, int(other_protocols))
    assert expected == counted({**http("egress", 1, 10), **tcp("out", 1)}, only)


def test_no_listeners() -> None:
    """Without any listener whatever has requests counts."""
    assert Traffic(1, 10, 0, 2) == counted({**http("x", 1, 10), **tcp("y", 2), **http("admin", 1, 1)})


def test_nothing_used_yet() -> None:
    """A statistic that was never used is left out later, and is zero."""
    which = watched([IN, listener("tcp")], {**http("ingress"), **tcp("tcp", 0)})

    assert Traffic(0, 0, 0, 0) == count({}, which)


@pytest.mark.parametrize(
    "missing",
    [
        "http.ingress.downstream_rq_active",
        "http.ingress.downstream_rq_completed",
        "listener.tcp.downstream_cx_active",
    ],
)
def test_missing(missing: str) -> None:
    """A statistic that would count and that Envoy does not keep makes the statistics unreadable."""
    stats = {**http("ingress"), **tcp("tcp", 0)}
    del stats[missing]

    with pytest.raises(Unreadable, match=f"no statistic {missing}"):
        watched([IN, listener("tcp")], stats)


def test_missing_of_others() -> None:
    """What does not count may be missing, and the count of failures, without which all requests count as served."""
    stats = http("ingress", 0, 7)
    del stats["http.ingress.downstream_rq_5xx"]

    assert 7 == counted(stats, IN, listener("out", "egress", for_others=True)).served


def test_histograms_have_no_name() -> None:
    """What Envoy puts between the counters is passed over."""
    answer = b'{"stats":[{"histograms":{"supported_quantiles":[0]}},{"name":"http.in.downstream_rq_active","value":1}]}'

    assert {"http.in.downstream_rq_active": 1} == read(answer)


def test_names_with_colons() -> None:
    """Envoy 1.36 writes the colons of a prefix as they are, 1.40 as underscores: both are read alike."""
    answer = b'{"stats":[{"name":"http.ready:8080.downstream_rq_active","value":1}]}'

    assert {"http.ready_8080.downstream_rq_active": 1} == read(answer)


def test_no_answer() -> None:
    """An answer that is none is an error, not zero."""
    with pytest.raises(msgspec.DecodeError):
        read(json.dumps({}).encode())


def test_served() -> None:
    """What was served is what was not answered with a 5xx; a request or a connection is under way."""
    assert 7 == Traffic(0, 10, 3, 0).served
    assert [False, True, True] == [Traffic(*each).under_way for each in ((0, 10, 3, 0), (1, 0, 0, 0), (0, 0, 0, 1))]
