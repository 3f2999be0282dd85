"""The facts about the task so far."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, Literal

import msgspec

from task_helper.envoy.accounting import Account
from task_helper.envoy.listeners import Listener, without_health_check_filter
from task_helper.envoy.mesh import Bootstrap, Mesh
from task_helper.envoy.traffic import Meter

Ending = Literal[
    "never in service",
    "drained",
    "not confirmed",
    "envoy stopped",
    "deadline",
    "handed over",
    "handed over late",
    "still sending",
]

# requests that came within this time before the end of the drain show that downstreams still send
STILL_COMING: Final = 3.0


class Exit(IntEnum):
    """The helper's exit codes. `describe-tasks` reports them as the container's; those of faults are from sysexits.h.

    In a chain, the code also reports to the second helper how far the first one came.
    """

    DRAINED = 0
    HANDED_OVER = 10
    HANDED_OVER_LATE = 11
    STILL_SENDING = 12
    FAULT = 70
    UNCONFIRMED = 75
    BAD_SETTINGS = 78


_EXITS: Final[dict[Ending, Exit]] = {
    "not confirmed": Exit.UNCONFIRMED,
    "handed over": Exit.HANDED_OVER,
    "handed over late": Exit.HANDED_OVER_LATE,
    "still sending": Exit.STILL_SENDING,
}


class Record(msgspec.Struct):
    """What has happened. Moments are of the event loop's clock; None if it has not happened. `service` is the task's
    service.

    In the second helper of a chain the plan may have begun before its own stop was requested. Its delay may be over,
    and Envoy may have drained for `drained_before` seconds.

    `attempts` counts the calls of Envoy to fail its health checks. `called` is whether one of these calls has ended,
    even with an error. `alone` is whether the second helper of a chain is known to have stopped.
    """

    service: str = "unknown"
    began_at: float = 0.0
    envoy_answered: bool = False
    listeners: list[Listener] = []
    bootstrap: Bootstrap | None = None
    mesh: Mesh | None = None
    in_service_at: float | None = None
    left_draining: bool = False
    drain_undone: bool = False
    stop_requested_at: float | None = None
    plan_began_at: float = 0.0
    delay_over: bool = False
    drained_before: float = 0.0
    application_stopped_at: float | None = None
    drain_began_at: float | None = None
    confirmed_at: float | None = None
    attempts: int = 0
    called: bool = False
    alone: bool = False
    faulty: bool = False
    account: Account | None = None
    unknown: tuple[str, ...] = ()
    updates: int = 0
    logged_no_checks: bool = False
    delay_meter: Meter = msgspec.field(default_factory=Meter)
    meter: Meter = msgspec.field(default_factory=Meter)

    @property
    def without_filter(self) -> list[str]:
        """Names of the listeners whose health checks will not fail, in a mesh whose downstreams need these checks."""
        needed = self.mesh is None or self.mesh.needs_filter
        return without_health_check_filter(self.listeners) if needed else []

    def exit_code(self, ending: Ending) -> Exit:
        if self.faulty:
            return Exit.FAULT
        return _EXITS.get(ending, Exit.DRAINED)

    @property
    def lacks_checks(self) -> bool:
        """Whether requests came since the stop, but no health check, in a mesh whose downstreams need health checks."""
        meters = (self.delay_meter, self.meter)
        needed = self.mesh is None or self.mesh.needs_filter
        return needed and any(each.arrived for each in meters) and not any(each.checks for each in meters)

    def unmoved(self, checked_by: float, interval: float) -> bool:
        """Whether some senders are known not to stop because of health checks.

        Downstreams that check at `interval` have all checked by the moment `checked_by`. A request that came later is
        from such a sender. So may be a connection, or what may be a downstream's request. Requests for longer than one
        interval without a health check show such senders too.
        """
        after = self.meter.last_doubtful_arrival_after
        doubtful_came_after = after is not None and after >= checked_by
        return self.came_after(checked_by) or doubtful_came_after or self.lacks_checks_for(interval)

    def lacks_checks_for(self, interval: float) -> bool:
        """Whether requests came for longer than `interval` after the stop was requested, but no health check did."""
        last = self.meter.last_arrival_after or self.delay_meter.last_arrival_after
        since = self.stop_requested_at
        return self.lacks_checks and last is not None and since is not None and last - since >= interval

    def came_after(self, checked_by: float) -> bool:
        """Whether a request surely came after this moment of the drain."""
        after = self.meter.last_arrival_after
        return after is not None and after >= checked_by

    def still_coming(self, now: float) -> bool:
        """Whether requests came at the very end of the drain."""
        last_arrival = self.meter.last_arrival
        return last_arrival is not None and now - last_arrival < STILL_COMING
