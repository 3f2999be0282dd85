"""What has happened to the task so far, and what is left of it: the summary in the log, and the exit code. Pure."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, Final, Literal

import msgspec

from task_helper.listeners import Listener, without_health_check_filter
from task_helper.quiet import Meter
from task_helper.settings import Settings

Ending = Literal["never in service", "drained", "not confirmed", "envoy gone", "deadline"]

# requests that came this shortly before the end of the drain would have gone on coming
STILL_COMING: Final = 3.0

# a reading that is older than this says nothing of the end
STALE_AFTER: Final = 3.0


class Exit(IntEnum):
    """Exit codes, those of sysexits.h; `describe-tasks` shows them as the container's."""

    DRAINED = 0
    FAULT = 70
    UNCONFIRMED = 75
    BAD_SETTINGS = 78


class Record(msgspec.Struct):
    """What has happened; moments are of the event loop's clock, None where it has not. `service` names the task's."""

    service: str = "unknown"
    listeners: list[Listener] = []
    in_service_at: float | None = None
    left_draining: bool = False
    stop_requested_at: float | None = None
    application_gone_at: float | None = None
    drain_began_at: float | None = None
    confirmed_at: float | None = None
    attempts: int = 0
    faulty: bool = False
    meter: Meter = msgspec.field(default_factory=Meter)

    def exit_code(self, ending: Ending) -> Exit:
        if self.faulty:
            return Exit.FAULT
        return Exit.UNCONFIRMED if ending == "not confirmed" else Exit.DRAINED

    def still_coming(self, now: float) -> bool:
        """Whether requests came to the very end of the drain."""
        last_arrival = self.meter.last_arrival
        return last_arrival is not None and now - last_arrival < STILL_COMING


def causes_of_traffic(record: Record, settings: Settings) -> list[str]:
    """Why downstreams may still send at the end of a drain, likeliest first."""
    causes = []
    if names := without_health_check_filter(record.listeners):
        causes.append(f"no health_check filter on {', '.join(names)}: health checks go on passing")
    if settings.shortest_drain <= settings.health_check_interval:
        causes.append("DRAIN_TIMEOUT is not longer than HEALTH_CHECK_INTERVAL: downstreams may not have checked yet")
    return causes or [
        "downstreams that do not health check this task, or only its TCP port",
        "panic mode: most hosts of the service fail their health checks, so downstreams use all of them",
    ]


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


def summarise(record: Record, ending: Ending, exit_code: int, now: float, settings: Settings) -> dict[str, Any]:
    """The fields of the summary; a figure that is not known is None, which is not zero."""
    stopped = now if record.stop_requested_at is None else record.stop_requested_at
    drain_began = now if record.drain_began_at is None else record.drain_began_at
    first, last, read_at = record.meter.first, record.meter.last, record.meter.read_at
    if read_at is None or now - read_at > STALE_AFTER:
        last = None
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
    # CloudWatch adds up numbers, not words; zeros tell a service whose drains are confirmed from one that never drains
    count = {"drains_not_confirmed": int(fields["reason"] == "not confirmed")}
    metrics = [{"Name": name, "Unit": unit} for name, unit in _UNITS.items() if (fields | count)[name] is not None]
    directive = {"Namespace": "ecs-task-helper", "Dimensions": [["service"]], "Metrics": metrics}
    return {"service": service, **count, "_aws": {"Timestamp": milliseconds, "CloudWatchMetrics": [directive]}}
