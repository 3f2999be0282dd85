"""What is left of a shutdown: the figures of the last log line, also as CloudWatch metrics. Pure."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from task_helper.quiet import Meter
from task_helper.settings import Settings

Ending = Literal["never in service", "drained", "not confirmed", "envoy gone", "deadline"]


class Record(msgspec.Struct):
    """What has happened to the task so far; moments are of the event loop's clock, None where it has not happened."""

    in_service_at: float | None = None
    left_draining: bool = False
    stop_requested_at: float | None = None
    application_gone_at: float | None = None
    drain_began_at: float | None = None
    confirmed_at: float | None = None
    attempts: int = 0
    faults: int = 0
    meter: Meter = msgspec.field(default_factory=Meter)


# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
_UNITS: Final = {
    "delaying_seconds": "Seconds",
    "draining_seconds": "Seconds",
    "budget_left_seconds": "Seconds",
    "requests_in_flight_at_drain": "Count",
    "requests_in_flight_at_end": "Count",
    "requests_after_drain": "Count",
}


def summarise(record: Record, ending: Ending, exit_code: int, now: float, settings: Settings) -> dict[str, Any]:
    """The fields of the summary; a figure that is not known is None, which is not zero."""
    stopped = now if record.stop_requested_at is None else record.stop_requested_at
    drain_began = now if record.drain_began_at is None else record.drain_began_at
    first, last = record.meter.first, record.meter.last
    return {
        "reason": ending,
        "exit_code": exit_code,
        "delaying_seconds": drain_began - stopped,
        "draining_seconds": now - drain_began,
        "budget_left_seconds": stopped + settings.budget - now,
        "confirmed": record.confirmed_at is not None,
        "attempts": record.attempts,
        "application_gone": record.application_gone_at is not None,
        "requests_in_flight_at_drain": first.in_flight if first else None,
        "requests_in_flight_at_end": last.in_flight if last else None,
        "requests_after_drain": record.meter.arrived if last else None,
    }


def embedded_metrics(fields: dict[str, Any], service: str, milliseconds: int) -> dict[str, Any]:
    """What turns a log line with `fields` into CloudWatch metrics of `service`, at this time since the epoch."""
    metrics = [{"Name": name, "Unit": unit} for name, unit in _UNITS.items() if fields[name] is not None]
    directive = {"Namespace": "ecs-task-helper", "Dimensions": [["service"]], "Metrics": metrics}
    return {"service": service, "_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": [directive]}}
