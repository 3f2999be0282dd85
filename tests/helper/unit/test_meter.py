"""What the readings of a drain tell."""

import pytest

from task_helper.envoy.traffic import Meter, Traffic

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
        meter.read(moment, Traffic(in_flight, completed, 0, 0))

    assert (arrived, last) == (meter.arrived, meter.last_arrival)


# readings as (moment, in flight, completed, connections) | for how long it is quiet at moment 10
QUIET = {
    "nothing read": ([], 0),
    "one reading tells nothing of before": ([(4, 0, 100, 0)], 6),
    "idle": ([(4, 0, 100, 0), (9, 0, 100, 0)], 6),
    "a request in flight": ([(4, 0, 100, 0), (9, 1, 100, 0)], 1),
    "a request came and ended": ([(4, 0, 100, 0), (7, 0, 101, 0), (9, 0, 101, 0)], 3),
    "a request ended": ([(4, 1, 100, 0), (7, 0, 101, 0), (9, 0, 101, 0)], 3),
    "a connection is open": ([(4, 0, 0, 1), (8, 0, 0, 1)], 2),
    "a connection is closed": ([(4, 0, 0, 1), (5, 0, 0, 0), (8, 0, 0, 0)], 6),
    "Envoy was restarted": ([(4, 0, 100, 0), (7, 0, 1, 0), (9, 0, 1, 0)], 3),
}


@pytest.mark.parametrize("name", QUIET)
def test_quiet_for(name: str) -> None:
    """It is quiet since the last reading that showed anything in flight, come, ended or open."""
    readings, seconds = QUIET[name]
    meter = Meter()
    for moment, *counts in readings:
        in_flight, completed, connections = counts
        meter.read(moment, Traffic(in_flight, completed, 0, connections))

    assert seconds == meter.quiet_for(10)
