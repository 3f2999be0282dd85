"""The arithmetic of a stop: how long each stage may take, and how the stages look on paper.

Every time is in seconds. `Settings` holds the one `Plan` of a helper; `task-helper plan` draws it.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from msgspec import structs

Seconds = float
Auto = Literal["auto"]

# ECS sends SIGKILL when stopTimeout has run out; the helper exits this many seconds before.
MARGIN: Final = 5.0

# What a shell trap sleeps, and the default of DRAIN_TIMEOUT: where `auto` cannot count, it takes no less.
TRAP: Final = 40.0

# A drain with `auto` lasts for one health check of each downstream, as one failed check is enough for an Envoy, and for
# the second in which Envoy merges updates (update_merge_window). Where requests cannot be counted, REST comes on top.
MERGE: Final = 1.0
REST: Final = 9.0

# how long Envoy may take to confirm a drain that is still on time
CONFIRMATION: Final = 1.0

# Envoy closes idle connections in the last third of its --drain-time-s, less the drain_timeout of its HTTP connection
# managers, 5 s by default. If that leaves nothing of the third, Envoy closes none. Measured with Envoy 1.40 by
# tests/helper/contract/test_envoy.py.
SHORTEST_DRAIN_TIME: Final = 15.0


# In Consul, what ECS needs to stop the application and Envoy, and consul-ecs-health-sync to deregister the task, before
# ECS kills health-sync; 3 s measured where the application stops at once. And how long after the stop requests still
# have to arrive to prove that downstreams did not learn of it; where they did, the last one came 0.3 s after it.
DEREGISTRATION: Final = 15.0
SHORTEST_PROOF: Final = 10.0


class OtherHelper(msgspec.Struct, frozen=True):
    """The other helper of a chain: the name of its container, and its stopTimeout in seconds."""

    name: str
    stop_timeout: Seconds

    @property
    def budget(self) -> Seconds:
        """How long after its SIGTERM the helper has exited at the latest."""
        return self.stop_timeout - MARGIN

    def __str__(self) -> str:
        return f"{self.name}:{self.stop_timeout:g}"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The times of a stop, by the names of their variables in lower case, and what follows from them."""

    drain_delay: Seconds | Auto
    drain_timeout: Seconds | Auto
    stop_timeout: Seconds
    hands_over_to: OtherHelper | None = None
    takes_over_from: OtherHelper | None = None
    health_check_interval: Seconds
    discovery_lag: Seconds
    health_sync_stop_timeout: Seconds = 30.0
    # With `auto` the drain lasts at least until Envoy has closed idle connections, this long after it began; 0 where
    # Envoy closes none. No variable sets it: `waiting_for_idle` does.
    idle_closed_after: Seconds = 0.0

    @property
    def budget(self) -> Seconds:
        """How long after SIGTERM the helper is gone at the latest."""
        return self.stop_timeout - MARGIN

    @property
    def other_helper(self) -> OtherHelper | None:
        """The one before or after this one, where there is a chain."""
        return self.hands_over_to or self.takes_over_from

    @property
    def held_before(self) -> Seconds:
        """For how long another helper has held the task when it hands over to this one."""
        return self.takes_over_from.budget if self.takes_over_from else 0.0

    @property
    def whole_budget(self) -> Seconds:
        """How long after the task's stop its helpers are gone at the latest, this one and the other of a chain."""
        return self.held_before + self.budget + (self.hands_over_to.budget if self.hands_over_to else 0.0)

    @property
    def whole_stop_timeout(self) -> Seconds:
        """How long after the task's stop ECS has killed its helpers, this one and the other of a chain."""
        return self.stop_timeout + (self.other_helper.stop_timeout if self.other_helper else 0.0)

    @property
    def fixed_delay(self) -> Seconds:
        """The delay before the drain where only the clock is to be trusted."""
        return self.discovery_lag if self.drain_delay == "auto" else self.drain_delay

    @property
    def longest_delay(self) -> Seconds:
        """How long the delay may last and leave enough for the drain; in a chain, that of both helpers together.

        With `auto` it is never less than the time for which the helper delays without an answer (`fixed_delay`).
        """
        if self.drain_delay != "auto":
            return self.drain_delay
        reserved = self.shortest_drain + (REST if self.drain_timeout == "auto" else 0)
        return max(self.fixed_delay, self.whole_budget - reserved)

    @property
    def own_longest_delay(self) -> Seconds:
        """How long after its own SIGTERM the helper may delay, and still drain until downstreams have gone.

        Less than `longest_delay` only in a chain, where the plan need not fit one helper.
        """
        least = min(self.fixed_timeout, self.health_check_interval + MERGE)
        return min(self.longest_delay, max(0.0, self.budget - least))

    @property
    def shortest_drain(self) -> Seconds:
        """How long a drain lasts at least."""
        if self.drain_timeout == "auto":
            return max(self.health_check_interval, self.idle_closed_after) + MERGE
        return self.drain_timeout

    @property
    def fixed_timeout(self) -> Seconds:
        """The length of the drain where only the clock is to be trusted: with `auto` no shorter than that of a shell
        trap, as far as the fixed delay leaves that much."""
        if self.drain_timeout != "auto":
            return self.drain_timeout
        return max(self.shortest_drain + REST, min(TRAP, self.whole_budget - self.fixed_delay))

    @property
    def longest_drain(self) -> Seconds:
        """How long a drain may last that follows the delay; with `auto`, what `fixed_delay` leaves of the budget."""
        return self.whole_budget - self.fixed_delay if self.drain_timeout == "auto" else self.drain_timeout

    def drained_for(self, held: Seconds) -> Seconds:
        """For how long Envoy has failed its health checks at least where a helper has `held` the task and hands over
        on time: fixed times tell; with `auto`, on time is as long as downstreams take."""
        if self.drain_delay == "auto":
            return self.shortest_drain
        return max(0.0, held - self.drain_delay - CONFIRMATION)

    def sees_idle_closed(self, drain_time: Seconds) -> bool:
        """Whether an Envoy with this --drain-time-s closes idle connections, and does so before the drain is over.

        It has closed the last of them a second after that time, its delayed_close_timeout (measured with 1.40).
        """
        return SHORTEST_DRAIN_TIME < drain_time <= self.longest_drain - MERGE

    def waiting_for_idle(self, drain_time: Seconds) -> Plan:
        """This plan, but with `auto` the drain also lasts until an Envoy with this --drain-time-s has closed idle
        connections. In that time a downstream without health checks stops sending."""
        return structs.replace(self, idle_closed_after=drain_time)

    @property
    def still_sending_limit(self) -> Seconds | None:
        """How long after the stop of a task in Consul its downstreams may still send, before the helper exits.

        None where ECS kills health-sync too early for a proof that leaves it the time to deregister the task.
        """
        limit = self.health_sync_stop_timeout - DEREGISTRATION
        return limit if limit >= SHORTEST_PROOF else None

    def problems(self) -> list[str]:
        """Why these times cannot be kept, a sentence each; none where they can."""
        other = self.other_helper
        free = 2 * MARGIN if other else MARGIN
        needed = self.fixed_delay + self.shortest_drain + free
        if self.hands_over_to and self.takes_over_from:
            return [
                "HANDS_OVER_TO: a chain has two helpers, and TAKES_OVER_FROM makes this one the second;"
                " remove one of the two variables"
            ]
        if needed <= self.whole_budget + free:
            return []
        delay_text = f"DRAIN_DELAY {self.fixed_delay:g}s"
        if self.drain_delay == "auto":
            delay_text += f" (at least, as DISCOVERY_LAG is {self.discovery_lag:g}s)"
        drain_text = f"DRAIN_TIMEOUT {self.shortest_drain:g}s"
        if self.drain_timeout == "auto":
            drain_text += f" (at least, as HEALTH_CHECK_INTERVAL is {self.health_check_interval:g}s)"
        given = f"{self.stop_timeout:g}s is"
        remedy = f"raise the container's stopTimeout and STOP_TIMEOUT to {needed:g} (Fargate allows 120)"
        if other:
            given = f"{self.stop_timeout:g}s and the {other.stop_timeout:g}s of {other.name} are"
            remedy = f"raise the stopTimeouts of both containers to {needed:g} in all (Fargate allows 120 each)"
        return [
            f"STOP_TIMEOUT: {given} too short for {delay_text} + {drain_text}"
            f" + {free:g}s that stay free = {needed:g}s, so ECS would kill the drain half way; make them shorter,"
            f" or {remedy}"
        ]


def draw(plan: Plan, width: int) -> str:
    """The stages from SIGTERM to SIGKILL as text, to scale, in lines of at most `width` columns (at least 60).

    For a helper of a chain the drawing shows the plan of both helpers.
    """
    auto_delay, auto_drain = plan.drain_delay == "auto", plan.drain_timeout == "auto"
    end, delay = plan.whole_budget, plan.longest_delay
    if auto_drain:
        # the next event of such a plan is the deadline
        drain, draining_for = end - delay, f"{plan.shortest_drain:g}s or more"
        draining = f"Envoy fails its health checks for {draining_for}, until no request is in flight"
    else:
        drain, draining_for = plan.fixed_timeout, f"{plan.fixed_timeout:g}s"
        draining = f"Envoy fails its health checks; for {draining_for} downstreams stop sending and requests finish"
    delaying_for = f"{'up to ' if auto_delay else ''}{delay:g}s"
    delaying = f"the task keeps serving for {delaying_for}, until replacement tasks are in service"
    if not auto_delay:
        delaying = f"the task keeps serving for {delaying_for}, while replacement tasks start"
    spare = end - delay - drain
    stages = [
        (f"delaying {delaying_for}", delay),
        (f"draining {draining_for}", drain),
        (f"spare {spare:g}s", spare),
        ("", MARGIN),
    ]
    if auto_drain:
        del stages[2]
    helpers = _chain(plan)
    moments = [
        (0.0, "SIGTERM", f"ECS stops the task, and {helpers[0][0] if helpers else 'this container'} first"),
        (0.0, "delaying", f"{delaying} (DRAIN_DELAY)"),
        (delay, "draining", f"{'at the latest, ' if auto_delay else ''}{draining} (DRAIN_TIMEOUT)"),
        (delay + drain, "exit", "the helper exits; then ECS stops the application and Envoy"),
        (end, "deadline", "the helper exits at the latest, whatever Envoy does (STOP_TIMEOUT - 5s)"),
        (end + MARGIN, "SIGKILL", "ECS kills the helper if it still runs (STOP_TIMEOUT)"),
    ]
    if auto_drain:
        del moments[3]
    bars = [stages]
    if helpers:
        bars.append([(f"{name} {length:g}s", length) for name, length in helpers])
        (first, handover), (second, _) = helpers
        if auto_drain or delay + drain > handover:
            moments.append((handover, "handover", f"{first} exits, and {second} continues (STOP_TIMEOUT - 5s)"))
    moments.sort(key=lambda each: each[0])
    lines = [f"{f'{moment:g}s':>6}  {name:9} {meaning}" for moment, name, meaning in moments]
    return "\n".join([*(_bar(each, max(60, min(width, 100)) - 1) for each in bars), "", *lines])


def _chain(plan: Plan) -> list[tuple[str, float]]:
    """The two helpers of a chain, and for how many seconds each may keep the task running; none without a chain."""
    this = "this container"
    if second := plan.hands_over_to:
        return [(this, plan.budget), (second.name, second.stop_timeout)]
    if first := plan.takes_over_from:
        return [(first.name, first.budget), (this, plan.stop_timeout)]
    return []


def _bar(stages: list[tuple[str, float]], columns: int) -> str:
    """The stages' labels between marks that are as far apart as the stages are long, in seconds."""
    scale = columns / sum(length for _, length in stages)
    bar, end = "├", 0.0
    for label, length in stages:
        end += length
        room = round(end * scale) - len(bar)
        if room >= 0:
            bar += (f" {label} " if label and len(label) + 2 <= room else "").center(room, "─") + "┼"
    return f"{bar[:-1]}┤"
