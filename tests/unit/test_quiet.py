"""Counting traffic from Envoy's statistics."""

import json

import msgspec
import pytest

from task_helper.listeners import Listener
from task_helper.quiet import Meter, Traffic, count


def stats(**values: int) -> bytes:
    return json.dumps({"stats": [{"name": name, "value": value} for name, value in values.items()]}).encode()


def http(prefix: str, active: int, completed: int) -> dict[str, int]:
    return {f"http.{prefix}.downstream_rq_active": active, f"http.{prefix}.downstream_rq_completed": completed}


def listener(name: str, inbound: bool, *prefixes: str) -> Listener:
    return Listener(name, inbound, not inbound, True, prefixes, True, f"stat_{name}")


@pytest.mark.parametrize(
    "prefix",
    ["admin", "egress", "egress.orders", "outbound_0.0.0.0", "envoy_prometheus_metrics", "stats", "kuma:metrics"],
)
def test_names_that_do_not_count(prefix: str) -> None:
    """By name alone, what serves no downstream is left out."""
    assert Traffic(1, 10, 0) == count(stats(**http("ingress", 1, 10), **http(prefix, 5, 50)), [])


@pytest.mark.parametrize(
    "prefix", ["ingress", "ingress_http", "public_listener.orders", "localhost_8080", "my.service"]
)
def test_names_that_count(prefix: str) -> None:
    """By name alone, any other stat prefix counts."""
    assert Traffic(1, 10, 0) == count(stats(**http(prefix, 1, 10)), [])


def test_direction_goes_before_the_name() -> None:
    """Where the configuration knows a prefix, its listener's direction decides."""
    listeners = [listener("a", True, "stats"), listener("b", False, "ingress")]

    assert Traffic(1, 10, 0) == count(stats(**http("stats", 1, 10), **http("ingress", 5, 50)), listeners)


def test_connections_count_only_without_http() -> None:
    """Connections count on inbound listeners that have no requests, and are not counted again for each worker."""
    listeners = [listener("web", True, "ingress"), listener("tcp", True), listener("out", False)]
    answer = stats(
        **{
            "listener.stat_web.downstream_cx_active": 7,
            "listener.stat_tcp.downstream_cx_active": 2,
            "listener.stat_tcp.worker_0.downstream_cx_active": 2,
            "listener.stat_out.downstream_cx_active": 9,
            "listener.admin.downstream_cx_active": 1,
        }
    )

    assert Traffic(0, 0, 2) == count(answer, listeners)


def test_histograms_have_no_name() -> None:
    """What Envoy puts between the counters is passed over."""
    answer = b'{"stats":[{"histograms":{"supported_quantiles":[0]}},{"name":"http.in.downstream_rq_active","value":1}]}'

    assert Traffic(1, 0, 0) == count(answer, [])


def test_no_answer() -> None:
    """An answer that is none is an error, not zero."""
    with pytest.raises(msgspec.DecodeError):
        count(b"{}", [])


# readings as (moment, in flight, completed) | arrived, moment of the last arrival
METERS = {
    "nothing read": ([], 0, None),
    "one reading": ([(0, 3, 100)], 0, None),
    "requests that were there end": ([(0, 3, 100), (1, 0, 103)], 0, None),
    "requests come and end": ([(0, 0, 100), (1, 0, 105), (2, 0, 105)], 5, 1),
    "requests come and stay": ([(0, 0, 100), (1, 2, 100)], 2, 1),
    "one comes as another ends": ([(0, 1, 100), (1, 1, 101)], 1, 1),
    "a restarted Envoy counts from zero": ([(0, 0, 100), (1, 0, 110), (2, 1, 4), (3, 0, 5)], 15, 2),
}


@pytest.mark.parametrize("name", METERS)
def test_meter(name: str) -> None:
    """Arrivals are what has come since the first reading, whatever ends meanwhile."""
    readings, arrived, last = METERS[name]
    meter = Meter()
    for moment, in_flight, completed in readings:
        meter.read(moment, Traffic(in_flight, completed, 0))

    assert (arrived, last) == (meter.arrived, meter.last_arrival)
