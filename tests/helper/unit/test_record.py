"""The record of a task's life, and its CloudWatch metrics."""

from typing import Any

import pytest

from task_helper.envoy.accounting import Account
from task_helper.envoy.traffic import Traffic
from task_helper.life.record import Record
from task_helper.life.summary import causes_of_traffic
from task_helper.settings import from_env
from tests.helper.unit.test_accounting import listener
from tests.helper.unit.timelines import Life, Timeline, World

SIGTERM = (100, "SIGTERM")


def metrics(life: Life) -> dict[str, Any]:
    """The metrics that CloudWatch makes of the summary, by name."""
    return metrics_of(life.fields("summary"))


def metrics_of(fields: dict[str, Any]) -> dict[str, Any]:
    (directive,) = fields["_aws"]["CloudWatchMetrics"]
    return {each["Name"]: fields[each["Name"]] for each in directive["Metrics"]}


@pytest.mark.parametrize(
    "timeline, ending, count",
    [
        ([SIGTERM], "drained", 0),
        ([SIGTERM, (120, "envoy 500")], "not confirmed", 1),
        ([SIGTERM, (120, "envoy hangs")], "not confirmed", 1),
        ([(0, "app 503"), (5, "SIGTERM")], "never in service", 0),
        ([SIGTERM, (120.1, "envoy dies"), (120.2, "container envoy stops")], "envoy stopped", 0),
    ],
)
def test_drains_not_confirmed(timeline: Timeline, ending: str, count: int) -> None:
    """A drain that Envoy did not confirm counts one; where there was nothing to drain, none is missing."""
    life = World().live(timeline, metadata=True, METRICS="emf")

    assert (ending, count) == (life.ending, metrics(life)["drains_not_confirmed"])


def test_unknown_figures_are_no_metrics() -> None:
    """A figure that is not known is no metric: zero would mean that nothing was cut."""
    assert "requests_in_flight_at_end" not in metrics(World().live([(0, "SIGTERM")], METRICS="emf"))


def test_what_a_second_helper_reports() -> None:
    """Requests in flight as one helper hands over are not cut: the second one's summary has those that are."""
    world = World()
    settings = {"DRAIN_TIMEOUT": "auto", "METRICS": "emf"}

    first, second = world.live_in_chain([(99, "envoy gets requests"), SIGTERM], settings, 120, 120)

    assert "handed over" == first.ending and "requests_cut" not in first.events
    assert (None, None) == tuple(first.log[-1][2][f"{what}_at_end"] for what in ("requests_in_flight", "connections"))
    assert not {"requests_in_flight_at_end", "budget_left_seconds"} & metrics_of(first.log[-1][2]).keys()
    assert 0 == metrics_of(second.log[-1][2])["budget_left_seconds"]
    assert 3 == metrics_of(second.log[-1][2])["requests_in_flight_at_end"]
    assert {"requests": 3, "reason": "deadline"} == second.fields("requests_cut")


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        ([SIGTERM], {"requests": 3, "reason": "drained"}),
        ([SIGTERM, (139, "envoy 500"), (200, "envoy fine")], {"requests": 3, "reason": "deadline"}),
        ([SIGTERM, (170, "envoy ends requests")], None),
        ([SIGTERM, (150, "envoy statistics fail")], None),
        ([SIGTERM, (141, "envoy dies"), (141, "container envoy stops")], None),
    ],
    ids=["by the drain's end", "by the deadline", "none", "unknown", "by the end of Envoy"],
)
def test_requests_that_are_cut(timeline: Timeline, expected: dict[str, object] | None) -> None:
    """Requests in flight at the end of the drain are warned of with their number, where Envoy reports it."""
    world = World()
    world.envoy.in_flight = 3

    life = world.live(timeline, metadata=True)

    assert [expected] * bool(expected) == [fields for _, event, fields in life.log if event == "requests_cut"]
    assert 0 == life.exit


@pytest.mark.parametrize(
    ("doubt", "who"),
    [
        ("it is on loopback", "requests from the task itself"),
        ("it is internal", "requests from the task itself"),
        ("its name has 'metrics'", "scrapes or other requests"),
    ],
)
@pytest.mark.parametrize("seen", [True, False])
def test_cause_of_traffic_that_may_be_other(doubt: str, who: str, seen: bool) -> None:
    """Traffic that may not be downstreams' is a cause only if there was any at the end."""
    record = Record(account=Account(doubts={"web": doubt}))
    record.meter.read(0, Traffic(doubtful=Traffic()))
    record.meter.read(10, Traffic(doubtful=Traffic(completed=int(seen))))

    causes = causes_of_traffic(record, from_env({}).plan, 10)

    assert seen == (f"{who} through web: {doubt}, and no traffic_direction" in causes)


def test_all_causes_of_traffic() -> None:
    """Every observed cause of traffic at the end is reported, before the possible ones."""
    listeners = [listener(name, "ingress", fails_health_checks=False) for name in ("a", "b")]
    record = Record(listeners=listeners, account=Account(doubts={"web": "it is on loopback"}))
    record.meter.read(0, Traffic())
    record.meter.read(10, Traffic(completed=1, doubtful=Traffic(completed=1)))

    observed = [cause.partition(":")[0] for cause in causes_of_traffic(record, from_env({}).plan, 10)[:-2]]

    assert [
        "no health check came since the stop",
        "requests from the task itself through web",
        "no health_check filter on a, b",
    ] == observed


@pytest.mark.parametrize(
    ("readings", "lacks"),
    [
        ([100, 104], False),
        ([100, 104, 106], False),
        ([100, 105, 106], True),
        ([100, 104, 106, 108], True),
    ],
)
def test_requests_without_health_checks(readings: list[float], lacks: bool) -> None:
    """Requests lack health checks if one surely came a whole interval of 5 s after the stop; it was at 100."""
    record = Record(stop_requested_at=100)
    for count, moment in enumerate(readings):
        record.delay_meter.read(moment, Traffic(completed=count))

    assert lacks == record.lacks_checks_for(5) == record.unmoved(checked_by=200, interval=5)


@pytest.mark.parametrize("came", [Traffic(completed=1), Traffic(accepted=1), Traffic(doubtful=Traffic(completed=1))])
@pytest.mark.parametrize(("checked_by", "unmoved"), [(145, True), (146, True), (146.1, False)])
def test_arrivals_when_all_must_have_checked(came: Traffic, checked_by: float, unmoved: bool) -> None:
    """An arrival shows a sender that health checks do not stop if it surely came after all must have checked."""
    record = Record(stop_requested_at=100)
    for moment, traffic in ((140, Traffic()), (146, Traffic()), (147, came)):
        record.meter.read(moment, traffic)

    assert unmoved == record.unmoved(checked_by, interval=60)
    assert (unmoved and came.completed > 0) == record.came_after(checked_by)
