"""What the readings of a drain show."""

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
    """Arrivals are all requests since the first reading, including those that have ended."""
    readings, arrived, last = METERS[name]
    meter = Meter()
    for moment, in_flight, completed in readings:
        meter.read(moment, Traffic(in_flight, completed, 0, 0))

    assert (arrived, last) == (meter.arrived, meter.last_arrival)


# readings as (moment, in flight, completed, connections) | for how long it is quiet at moment 10
QUIET = {
    "nothing read": ([], 0),
    "one reading shows nothing about the time before": ([(4, 0, 100, 0)], 6),
    "idle": ([(4, 0, 100, 0), (9, 0, 100, 0)], 6),
    "a request in flight": ([(4, 0, 100, 0), (9, 1, 100, 0)], 1),
    "a request came and ended": ([(4, 0, 100, 0), (7, 0, 101, 0), (9, 0, 101, 0)], 3),
    "a request ended": ([(4, 1, 100, 0), (7, 0, 101, 0), (9, 0, 101, 0)], 3),
    "a connection is open": ([(4, 0, 0, 1), (8, 0, 0, 1)], 2),
    "a connection is closed": ([(4, 0, 0, 1), (5, 0, 0, 0), (8, 0, 0, 0)], 6),
    "Envoy was restarted": ([(4, 0, 100, 0), (7, 0, 1, 0), (9, 0, 1, 0)], 3),
    "Envoy was restarted, and nothing came since": ([(4, 0, 100, 0), (7, 0, 0, 0), (9, 0, 0, 0)], 3),
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


def fed(*readings: tuple[float, Traffic]) -> Meter:
    meter = Meter()
    for moment, traffic in readings:
        meter.read(moment, traffic)
    return meter


def test_arrival_between_two_readings() -> None:
    """An arrival surely came after the reading before the one that shows it."""
    meter = fed((0, Traffic()), (4, Traffic(completed=1)), (9, Traffic(completed=2)), (12, Traffic(completed=2)))

    assert (4, 9) == (meter.last_arrival_after, meter.last_arrival)


def test_nothing_read() -> None:
    """Without a reading nothing has arrived, at no known moment."""
    meter = Meter()

    assert (0, None, None, None) == (meter.arrived, meter.checks, meter.last_arrival, meter.last_arrival_after)


def test_recounted_without_health_checks() -> None:
    """If the account changes at the second reading, no health check is known to have come, and silence begins anew."""
    meter = fed((0, Traffic(completed=5, checks=7)))
    meter.read(1, Traffic(completed=1, checks=1), recounted=True)

    assert (0, 0, 1, 0) == (meter.arrived, meter.checks, meter.quiet_for(2), meter.doubtful_quiet_for(1))


def test_arrivals_beside_streams() -> None:
    """Streams whose response has begun hide no arrival when they end."""
    streams = Traffic(4, 4, counted_twice=4)
    meter = fed((0, streams), (1, Traffic(4, 5, counted_twice=4)), (2, Traffic(0, 5)), (6, Traffic(0, 6)))

    assert (2, 6) == (meter.arrived, meter.last_arrival)


def test_arrivals_if_streams_are_counted_twice() -> None:
    """An Envoy that does not count health checks counts streams twice. An arrival after their end counts."""
    meter = fed((0, Traffic(4, 4)), (1, Traffic(0, 4)), (5, Traffic(0, 5)))

    assert (1, 5) == (meter.arrived, meter.last_arrival)


def test_health_checks() -> None:
    """Health checks are counted since the first reading, over a restart; with one reading they are unknown."""
    readings = [(0.0, Traffic(completed=5, checks=7)), (1.0, Traffic(completed=5, checks=9)), (2.0, Traffic(checks=3))]

    assert [None, None, 2, 5] == [fed(*readings[:number]).checks for number in range(4)]


@pytest.mark.parametrize(
    ("before", "after", "quiet_for"),
    [
        (Traffic(), Traffic(), 9),
        (Traffic(), Traffic(connections=1), 0),
        (Traffic(), Traffic(doubtful=Traffic(in_flight=1)), 9),
    ],
)
def test_doubtful_traffic_is_no_other(before: Traffic, after: Traffic, quiet_for: float) -> None:
    """Traffic in doubt does not make the task busy."""
    assert quiet_for == fed((1, before), (10, after)).quiet_for(10)


@pytest.mark.parametrize(
    ("before", "after", "quiet_for"),
    [
        (None, None, 9),
        (None, Traffic(completed=0), 9),
        (Traffic(completed=3), Traffic(completed=3), 9),
        (Traffic(), Traffic(in_flight=1), 0),
        (Traffic(), Traffic(connections=1), 0),
        (Traffic(completed=3), Traffic(completed=4), 0),
        (Traffic(accepted=3), Traffic(accepted=4), 0),
    ],
)
def test_doubtful_quiet_for(before: Traffic | None, after: Traffic | None, quiet_for: float) -> None:
    """Traffic in doubt is quiet since the last reading that showed any of it."""
    meter = fed((1, Traffic(doubtful=before)), (10, Traffic(doubtful=after)))

    assert quiet_for == meter.doubtful_quiet_for(10)
    assert 0 == Meter().doubtful_quiet_for(10)


def test_connection_that_came_and_went() -> None:
    """Short connections without requests may be checks: they are in doubt, and do not make the task busy."""
    meter = fed((1, Traffic(accepted=3)), (10, Traffic(accepted=4)))

    assert (9, 0) == (meter.quiet_for(10), meter.doubtful_quiet_for(10))


def test_reading_of_something_else() -> None:
    """If the account changes, earlier requests stay counted, and the difference is not an arrival."""
    meter = fed((0, Traffic(completed=100, checks=3)), (1, Traffic(completed=110, checks=5)))
    meter.read(2, Traffic(completed=7, checks=90), recounted=True)
    assert (10, 2, 1) == (meter.arrived, meter.checks, meter.last_arrival)

    meter.read(3, Traffic(completed=9, checks=91))

    assert (12, 3, 3) == (meter.arrived, meter.checks, meter.last_arrival)


def test_gap() -> None:
    """The mean time between requests ends with the last one."""
    meter = fed((0, Traffic()), (4, Traffic(completed=1)), (8, Traffic(completed=2)), (9, Traffic(completed=2)))

    assert (4, 3, 0.25, 0) == tuple(map(meter.gap, (0, 2, 7.5, 9)))
    assert 0 == fed((0, Traffic())).gap(0)


def test_gap_between_connections_that_pass_two_listeners() -> None:
    """One connection that two listeners count is one arrival."""
    readings = [
        (second, Traffic(accepted=count, doubtful=Traffic(accepted=count)))
        for second, count in [(0, 0), (4, 1), (8, 2)]
    ]

    assert (4, 3, 0.25, 0) == tuple(map(fed(*readings).doubtful_gap, (0, 2, 7.5, 9)))


def test_a_single_connection_shows_no_gap() -> None:
    """After one connection without requests nothing shows when the next one may come."""
    assert float("inf") == fed((0, Traffic()), (4, Traffic(accepted=1))).doubtful_gap(0)
    assert 0 == fed((0, Traffic()), (4, Traffic())).doubtful_gap(0)


@pytest.mark.parametrize(
    ("before", "after", "arrivals"),
    [
        (Traffic(doubtful=Traffic(completed=3)), Traffic(doubtful=Traffic(completed=4)), 1),
        (Traffic(doubtful=Traffic(in_flight=1)), Traffic(doubtful=Traffic(in_flight=2)), 1),
        (Traffic(doubtful=Traffic(in_flight=1)), Traffic(doubtful=Traffic(completed=1)), 0),
        (Traffic(doubtful=Traffic(in_flight=2)), Traffic(doubtful=Traffic(in_flight=1, completed=1)), 0),
        (Traffic(doubtful=Traffic(completed=3, accepted=1)), Traffic(doubtful=Traffic(completed=4, accepted=1)), 1),
        (Traffic(doubtful=Traffic(accepted=3)), Traffic(doubtful=Traffic(accepted=4)), 1),
        (Traffic(doubtful=Traffic(accepted=3)), Traffic(doubtful=Traffic(accepted=3)), 0),
        (Traffic(accepted=3), Traffic(accepted=4), 1),
        (Traffic(accepted=3), Traffic(accepted=3), 0),
        (Traffic(accepted=3), Traffic(accepted=4, doubtful=Traffic(accepted=1)), 1),
        (Traffic(accepted=4), Traffic(accepted=1), 0),
    ],
)
def test_doubtful_arrivals(before: Traffic, after: Traffic, arrivals: int) -> None:
    """A reading shows an arrival in doubt if a request or a connection came since the one before."""
    meter = fed((1, before), (2, after), (3, after))

    assert (arrivals, 2 if arrivals else None) == (meter.doubtful_arrivals, meter.last_doubtful_arrival)
    assert (1 if arrivals else None) == meter.last_doubtful_arrival_after


def test_doubtful_traffic_that_ends() -> None:
    """What is in doubt is quiet only since it ended."""
    meter = fed((1, Traffic(doubtful=Traffic(in_flight=1))), (9, Traffic(doubtful=Traffic(completed=1))))

    assert 1 == meter.doubtful_quiet_for(10)
