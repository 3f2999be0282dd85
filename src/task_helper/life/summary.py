"""The end of a task's life: the summary in the log, with figures for CloudWatch metrics."""

from __future__ import annotations

import time
from typing import Any, Final

from task_helper.envoy.mesh import Mesh
from task_helper.life.record import Ending, Exit, Record
from task_helper.logs import Event, log
from task_helper.plan import MERGE, Plan
from task_helper.timing import now

# a reading older than this does not describe the end, in seconds
STALE_AFTER: Final = 3.0


def conclude(record: Record, ending: Ending, plan: Plan, metrics: bool) -> Exit:
    """Log the summary, and return the exit code. With `metrics` the summary contains CloudWatch metrics."""
    code = record.exit_code(ending)
    fields = summarise(record, ending, code, now(), plan)
    if (cut := fields["requests_in_flight_at_end"]) and ending != "envoy stopped":
        log(Event.REQUESTS_CUT, requests=cut, reason=ending)
    if _traffic_after_drain(record, plan) and not _handed_over(ending):
        causes = causes_of_traffic(record, plan, now())
        log(Event.TRAFFIC_AFTER_DRAIN, requests=fields["requests_after_drain"], causes=causes)
    if metrics:
        fields |= embedded_metrics(fields, record.service, int(time.time() * 1000))
    log(Event.SUMMARY, whatever_level=metrics, **fields)
    return code


def _handed_over(ending: str) -> bool:
    """Whether another helper continues the plan. Then that helper's summary reports the end."""
    return ending.startswith("handed over")


def _traffic_after_drain(record: Record, plan: Plan) -> bool:
    """Whether requests came at the very end, or surely after every downstream must have checked."""
    if record.still_coming(now()):
        return True
    confirmed_at = record.confirmed_at
    return confirmed_at is not None and record.came_after(confirmed_at + plan.health_check_interval + MERGE)


def causes_of_traffic(record: Record, plan: Plan, now: float) -> list[str]:
    """Why downstreams may still send at the end of a drain: observed causes first, then possible ones."""
    causes = []
    if record.lacks_checks:
        causes.append("no health check came since the stop: the senders do not health check this task")
    match record.mesh:
        case Mesh("consul"):
            causes.append("Consul's downstreams never check: only discovery makes them stop sending")
        case Mesh("kuma", needs_filter=False):
            causes.append("only Kuma's control plane makes downstreams stop sending: it may be down")
    if record.meter.doubtful_quiet_for(now) < STALE_AFTER and record.account:
        causes += [_doubtful(name, doubt) for name, doubt in record.account.doubts.items()]
    if names := record.without_filter:
        causes.append(f"no health_check filter on {', '.join(names)}: health checks keep passing")
    if plan.shortest_drain <= plan.health_check_interval:
        causes.append(
            "DRAIN_TIMEOUT is not longer than HEALTH_CHECK_INTERVAL: some downstreams may not have checked yet"
        )
    # The helper cannot see what sends requests. These causes are possible beside the others.
    return causes + [
        "downstreams that do not health check this task, or only its TCP port, or a path that no filter matches",
        "panic mode: most other tasks of the service fail their health checks, so downstreams send to all tasks",
    ]


def _doubtful(listener: str, doubt: str) -> str:
    """What may send through a listener that is in doubt."""
    who = "requests from the task itself" if "loopback" in doubt or "internal" in doubt else "scrapes or other requests"
    return f"{who} through {listener}: {doubt}, and no traffic_direction"


# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
_UNITS: Final = {
    "delaying_seconds": "Seconds",
    "draining_seconds": "Seconds",
    "budget_left_seconds": "Seconds",
    "requests_in_flight_at_drain": "Count",
    "requests_in_flight_at_end": "Count",
    "requests_after_drain": "Count",
    "drains_not_confirmed": "Count",
}


def summarise(record: Record, ending: Ending, exit_code: int, now: float, plan: Plan) -> dict[str, Any]:
    """The fields of the summary. A figure that is not known is None, which is not zero."""
    stopped = now if record.stop_requested_at is None else record.stop_requested_at
    drain_began = now if record.drain_began_at is None else record.drain_began_at
    first, last, read_at = record.meter.first, record.meter.last, record.meter.read_at
    if read_at is None or now - read_at > STALE_AFTER:
        last = None
    if record.account and record.account.uncounted:
        first = last = None
    at_end = None if _handed_over(ending) else last  # another helper continues the plan: no request is cut yet
    return {
        "reason": ending,
        "exit_code": exit_code,
        "delaying_seconds": drain_began - stopped,
        "draining_seconds": now - drain_began,
        "budget_left_seconds": max(0.0, stopped + plan.budget - now),
        "confirmed": record.confirmed_at is not None,
        "attempts": record.attempts,
        "application_stopped": record.application_stopped_at is not None,
        "requests_in_flight_at_drain": first.whole.in_flight if first else None,
        "requests_in_flight_at_end": at_end.whole.in_flight if at_end else None,
        "requests_after_drain": record.meter.arrived if last else None,
        "connections_at_end": at_end.whole.connections if at_end else None,
        "health_checks_seen": {"delay": record.delay_meter.checks, "drain": record.meter.checks},
    }


def embedded_metrics(fields: dict[str, Any], service: str, milliseconds: int) -> dict[str, Any]:
    """The fields that turn a log line into CloudWatch metrics of `service`, at this time in milliseconds since the
    epoch.
    """
    # CloudWatch adds up numbers, not words. Zeros distinguish a service whose drains are confirmed from one that never
    # drains.
    count = {"drains_not_confirmed": int(fields["reason"] == "not confirmed")}
    left_out = "budget_left_seconds" if _handed_over(fields["reason"]) else None
    metrics = [
        {"Name": name, "Unit": unit}
        for name, unit in _UNITS.items()
        if (fields | count)[name] is not None and name != left_out
    ]
    directive = {"Namespace": "ecs-task-helper", "Dimensions": [["service"]], "Metrics": metrics}
    return {"service": service, **count, "_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": [directive]}}
