"""Is the task's replacement in service? The judgement behind DRAIN_DELAY=auto.

ECS stops a task for many reasons: a deployment, a scale-in, a failed health check, a lost host. One question covers all
of them: of the tasks that ECS means to keep, are as many as the service desires known to downstreams? Deployments do
not come into it: in a rolling update that replaces a few tasks at a time, the new deployment is complete only when the
last old task, this one included, has gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

# Cloud Map lists a new task; its control plane pushes it to the Envoys, and they check its health for the first time
PUSH: Final = 5.0

# ECS tells since when a task runs, not since when it is healthy. Its health checks decide within the 300 s that
# startPeriod may last and a few intervals; a healthy task that is older than this has been so for long.
SETTLED: Final = 600.0


class Other(NamedTuple):
    """Another task of the service, one that ECS means to keep.

    `age` is how long it has been running, in seconds; None while it is not. `healthy` is None where its containers
    report no health, `listed` is None where Cloud Map was not asked.
    """

    arn: str
    age: float | None
    healthy: bool | None = None
    listed: bool | None = None


class Look(NamedTuple):
    """One look at a service of so many `tasks`: the other tasks that were seen, and how many of them are desired.

    Of a large service a look sees a sample; `desired` is how many of it have to be in service. Where `listing_failed`,
    what the others say of Cloud Map's listing is what it listed at last, None where it never answered.
    """

    tasks: int
    desired: int
    others: Sequence[Other]
    listing_failed: bool = False

    @property
    def awaits_listing(self) -> bool:
        """Whether enough others are there, and Cloud Map answers and does not list them yet."""
        if self.listing_failed:
            return False
        there = [other for other in self.others if other.age is not None and other.healthy is not False]
        return len(there) >= self.desired and any(other.listed is False for other in there)


class Replacement:
    """What successive looks have told; moments are of the event loop's clock."""

    def __init__(self, discovery_lag: float) -> None:
        self._discovery_lag = discovery_lag
        self._there_since: dict[str, float] = {}

    def in_service_from(self, now: float, look: Look) -> float | None:
        """From when on downstreams know as many other tasks as are desired; None where not enough are there yet."""
        known = sorted(moment for other in look.others if (moment := self._known_from(now, other)) is not None)
        if look.desired <= 0:
            return now
        return known[look.desired - 1] if len(known) >= look.desired else None

    def _known_from(self, now: float, other: Other) -> float | None:
        if other.age is None or other.healthy is False or other.listed is False:
            self._there_since.pop(other.arn, None)
            return None
        started = now - other.age
        # it may have been there for longer than it has been seen, but nobody tells
        seen = self._there_since.setdefault(other.arn, now)
        if other.listed:
            return started if other.age >= SETTLED else seen + PUSH
        return (seen if other.healthy and other.age < SETTLED else started) + self._discovery_lag


# All tasks of a service may be stopping at once, and an account makes 20 reads of a kind a second in a region, after a
# burst of 100, shared with everybody: half of that is ours. From docs/evidence/scale.md; made by measure/scale.py.
SHORTEST_PAUSE: Final = 5.0
LOOKS_A_SECOND: Final = 10.0
FIRST_LOOK_WITHIN: Final = 2.0

# Cloud Map answers 1,000 calls a second: while only its listing is awaited, it alone is asked in between. Half is ours.
SHORTEST_LISTING_PAUSE: Final = 1.0
LISTINGS_A_SECOND: Final = 500.0


def first_pause(draw: float) -> float:
    """Seconds to the first look; `draw` is drawn from 0 to 1."""
    return FIRST_LOOK_WITHIN * draw


def pause(tasks: int, failures: int, draw: float) -> float:
    """Seconds to the next look at a service of so many tasks, after so many failed looks in a row; `draw` as above."""
    return max(SHORTEST_PAUSE, tasks / LOOKS_A_SECOND) * 2.0**failures * (0.5 + draw)


def listing_pause(tasks: int, draw: float) -> float:
    """Seconds to the next look at Cloud Map's listing alone; `tasks` and `draw` as above."""
    return max(SHORTEST_LISTING_PAUSE, tasks / LISTINGS_A_SECOND) * (0.5 + draw)
