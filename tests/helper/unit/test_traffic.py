"""What Envoy's statistics report at one moment."""

import json
import re

import msgspec
import pytest

from task_helper.envoy.traffic import FILTER, Group, Groups, Traffic, group, read, statistic


def test_histograms_have_no_name() -> None:
    """Histograms between the counters are skipped."""
    answer = b'{"stats":[{"histograms":{"supported_quantiles":[0]}},{"name":"http.in.downstream_rq_active","value":1}]}'

    assert {"http.in.downstream_rq_active": 1} == read(answer)


def test_no_answer() -> None:
    """An invalid answer is an error, not zero."""
    with pytest.raises(msgspec.DecodeError):
        read(json.dumps({}).encode())


def test_group() -> None:
    """Statistics are put together by the key of their prefix; what Envoy did not give is None."""
    stats = {
        "http.a:b.downstream_rq_active": 1,
        "http.a_b.downstream_rq_total": 5,
        "http.a_b.downstream_rq_completed": 3,
        "http.a_b.downstream_rq_5xx": 2,
        "http.a_b.downstream_cx_active": 4,
        "http.a_b.downstream_cx_total": 6,
        "listener.[__1]_80.downstream_cx_active": 7,
        "listener.[__1]_80.downstream_cx_total": 8,
        "udp.x.downstream_sess_active": 9,
        "udp.x.downstream_sess_total": 10,
        "http.a_b.downstream_rq_time": 11,
        "http.a_b.downstream_cx_tx_bytes_buffered": 12,
        "http.a_b.downstream_cx_http3_active": 15,
        "http.a_b.tracing.health_check": 13,
        "listener.[__1]_80.downstream_pre_cx_active": 14,
    }

    assert group(stats) == Groups(
        requests={
            "a_b": Group(
                active=1, total=5, completed=3, failed=2, cx_active=4, cx_total=6, unsent=12, http3=15, checks=13
            )
        },
        connections={"[_1]_80": Group(active=7, total=8, waiting=14)},
        sessions={"x": Group(active=9, total=10)},
    )


def test_share_of_a_thread_alone() -> None:
    """A share of a thread is one only beside the whole, for each statistic."""
    stats = {"listener.x.downstream_cx_total": 2, "listener.x.worker_0.downstream_cx_total": 2}
    stats["listener.x.worker_0.downstream_cx_active"] = 1

    assert {"x": Group(total=2), "x.worker_0": Group(active=1)} == group(stats).connections
    assert {"x": Group(total=2), "x.worker_0": Group(total=2, active=1)} == group(stats, {"x.worker_0"}).connections


def test_line_feed_in_a_prefix() -> None:
    """Envoy takes any character in a stat_prefix, and its filter matches it."""
    name = "http.a\nb.downstream_rq_active"

    assert {"a\nb": Group(active=1)} == group({name: 1}).requests
    assert re.search(FILTER, name)


def test_user_agents() -> None:
    """What Envoy counts by user agent is no HTTP connection manager, unless it has a gauge as managers have."""
    stats = {"http.web.downstream_rq_active": 0, "http.web.user_agent.ios.downstream_rq_total": 2}
    stats["http.web.user_agent.android.downstream_cx_total"] = 1

    assert {"web"} == group(stats).requests.keys()
    for gauge in ("rq_active", "cx_active"):
        stats[f"http.web.user_agent.ios.downstream_{gauge}"] = 1
        assert {"web", "web.user_agent.ios"} == group(stats).requests.keys()
        del stats[f"http.web.user_agent.ios.downstream_{gauge}"]


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        ("http.web.downstream_rq_active", True),
        ("http.web.downstream_cx_tx_bytes_buffered", True),
        ("http.web.tracing.health_check", True),
        ("http.web.health_check.ok", False),
        ("http.web.tracing.random_sampling", False),
        ("http.web.downstream_rq_time", False),
        ("listener.x.downstream_pre_cx_active", True),
        ("listener.x.downstream_pre_cx_timeout", False),
        ("udp.x.downstream_sess_total", True),
        ("listener_manager.listener_removed", True),
        ("listener_manager.total_filter_chains_draining", True),
        ("listener_manager.total_listeners_active", False),
        ("cluster.http.x.downstream_rq_active", False),
    ],
)
def test_filter(name: str, reads: bool) -> None:
    """The helper asks Envoy for the statistics that it reads, and for no others."""
    assert reads == bool(re.search(FILTER, name))


def test_statistic() -> None:
    """A field of a group has a statistic of its own."""
    assert "http.web.downstream_cx_tx_bytes_buffered" == statistic("http", "web", "unsent")
    assert "listener.x.downstream_cx_active" == statistic("listener", "x", "active")


def test_requests_that_came() -> None:
    """Requests that came are those completed or in progress; one whose response has begun counts once."""
    assert 7 == Traffic(in_flight=3, completed=6, counted_twice=2).requests


def test_other_statistics_between() -> None:
    """Statistics of another kind are skipped, and those after them are read."""
    assert {"x": Group(active=1)} == group({"server.live": 1, "http.x.downstream_rq_active": 1}).requests


def test_traffic() -> None:
    """Served requests are those without a 5xx; a request or a connection is in progress."""
    assert 7 == Traffic(0, 10, 3, 0).served
    assert [False, True, True] == [Traffic(*each).under_way for each in ((0, 10, 3, 0), (1, 0, 0, 0), (0, 0, 0, 1))]


def test_whole() -> None:
    """The whole has what is doubtful as well."""
    sure = Traffic(1, 2, 3, 4, 5, 6, False)

    assert sure == sure.whole
    assert Traffic(2, 4, 6, 8, 10, 12, True) == sure._replace(doubtful=Traffic(1, 2, 3, 4, 5, 6, True)).whole
    assert 3 == Traffic(counted_twice=1, doubtful=Traffic(counted_twice=2)).whole.counted_twice
    assert Traffic(1, 2, 3, 4, 5, 6, True) == sure._replace(used=True, doubtful=Traffic()).whole
