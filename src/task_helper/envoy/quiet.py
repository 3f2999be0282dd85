"""What the readings of one drain tell: how many requests came, and for how long nothing has. Pure; takes `now`."""

from __future__ import annotations

from task_helper.envoy.traffic import Traffic


class Meter:
    """The readings of one drain, fed in order of time."""

    def __init__(self) -> None:
        self.first: Traffic | None = None
        self.last: Traffic | None = None
        self.last_arrival: float | None = None
        self.read_at: float | None = None
        self._busy_at: float | None = None
        self._before_restart = 0

    def read(self, now: float, traffic: Traffic) -> None:
        """Take a reading made at `now`."""
        self.read_at = now
        if self.first is None or self.last is None:
            self.first = self.last = traffic
            self._busy_at = now
            return
        before, ended = self.arrived, traffic.completed != self.last.completed
        if traffic.completed < self.last.completed:  # a restarted Envoy counts from zero
            self._before_restart = before
            self.first = Traffic(0, 0, 0, 0)
        self.last = traffic
        if self.arrived > before:
            self.last_arrival = now
        if self.arrived > before or ended or traffic.under_way:
            self._busy_at = now

    def quiet_for(self, now: float) -> float:
        """For how many seconds nothing has been in flight or arrived, as far as readings tell; 0 without any."""
        return 0.0 if self._busy_at is None else now - self._busy_at

    @property
    def arrived(self) -> int:
        """How many requests have come since the first reading."""
        if self.first is None or self.last is None:
            return 0
        since = self.last.completed + self.last.in_flight - self.first.completed - self.first.in_flight
        return self._before_restart + max(0, since)
