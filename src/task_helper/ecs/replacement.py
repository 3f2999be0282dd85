"""Whether the task's replacement is in service: the judgement behind DRAIN_DELAY=auto.

ECS stops a task for many reasons: a deployment, a scale-in, a failed health check, a lost host. One question covers all
of them. Of the tasks that ECS means to keep, do downstreams know as many as the service desires?

The state of the deployment does not answer it. A rolling update may replace a few tasks at a time. Its deployment is
complete only after the last old task has stopped, and this task is one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

# The time from Cloud Map's listing of a new task until downstreams use it. Its control plane pushes the task to the
# Envoys, and they health check it for the first time.
PUSH: Final = 5.0

# ECS reports since when a task runs, not since when it is healthy. Its health checks decide within startPeriod, at most
# 300 s, and a few intervals. A healthy task that is older than this became healthy long ago.
SETTLED: Final = 600.0


class Other(NamedTuple):
    """Another task of the service that ECS means to keep.

    `age` is how long the task has been running, in seconds; None if it does not run. `healthy` is None if its
    containers report no health. `listed` is None if Cloud Map was not called.
    """

    arn: str
    age: float | None
    healthy: bool | None = None
    listed: bool | None = None


class Look(NamedTuple):
    """One look at a service of so many `tasks`: the other tasks that were seen, and how many of them are `desired`.

    In a large service a look covers a sample, and `desired` is how many tasks of the sample have to be in service. If
    `listing_failed`, Cloud Map did not answer. Then `listed` of each task comes from its last answer; it is None if
    there was none.
    """

    tasks: int
    desired: int
    others: Sequence[Other]
    listing_failed: bool = False

    @property
    def awaits_listing(self) -> bool:
        """Whether enough other tasks run, and Cloud Map answers but does not list all of them yet."""
        if self.listing_failed:
            return False
        there = [other for other in self.others if other.age is not None and other.healthy is not False]
        return len(there) >= self.desired and any(other.listed is False for other in there)


class Replacement:
    """What successive looks have shown. Moments are of the event loop's clock."""

    def __init__(self, discovery_lag: float) -> None:
        self._discovery_lag = discovery_lag
        self._there_since: dict[str, float] = {}

    def in_service_from(self, now: float, look: Look) -> float | None:
        """The moment from which downstreams know as many other tasks as are desired; None if too few are there yet."""
        known = sorted(moment for other in look.others if (moment := self._known_from(now, other)) is not None)
        if look.desired <= 0:
            return now
        return known[look.desired - 1] if len(known) >= look.desired else None

    def _known_from(self, now: float, other: Other) -> float | None:
        if other.age is None or other.healthy is False or other.listed is False:
            self._there_since.pop(other.arn, None)
            return None
        started = now - other.age
        # the task may have run longer than the helper has seen it, but no source reports that
        seen = self._there_since.setdefault(other.arn, now)
        if other.listed:
            return started if other.age >= SETTLED else seen + PUSH
        return (seen if other.healthy and other.age < SETTLED else started) + self._discovery_lag


# All tasks of a service may stop at once. AWS allows an account 20 reads of a kind a second in a region, after a burst
# of 100. All programs of the account share them; the helpers use half. From docs/evidence/scale.md; measured by
# measure/scale.py.
SHORTEST_PAUSE: Final = 5.0
LOOKS_A_SECOND: Final = 10.0
FIRST_LOOK_WITHIN: Final = 2.0

# Cloud Map answers 1,000 calls a second; the helpers use half. While only the listing is missing, the helper calls
# Cloud Map alone between two whole looks.
SHORTEST_LISTING_PAUSE: Final = 1.0
LISTINGS_A_SECOND: Final = 500.0


def first_pause(fraction: float) -> float:
    """Seconds until the first look; `fraction` is a random number from 0 to 1."""
    return FIRST_LOOK_WITHIN * fraction


def pause(tasks: int, failures: int, fraction: float) -> float:
    """Seconds until the next look at a service of so many `tasks`, after so many `failures` in a row.

    `fraction` is as above.
    """
    return max(SHORTEST_PAUSE, tasks / LOOKS_A_SECOND) * 2.0**failures * (0.5 + fraction)


def listing_pause(tasks: int, fraction: float) -> float:
    """Seconds until the next look at Cloud Map's listing alone; `tasks` and `fraction` as above."""
    return max(SHORTEST_LISTING_PAUSE, tasks / LISTINGS_A_SECOND) * (0.5 + fraction)
