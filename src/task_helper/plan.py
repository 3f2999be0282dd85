"""The arithmetic of a stop: how long each stage may last, and a drawing of the stages.

Every time is in seconds. `Settings` contains the one `Plan` of a helper; `task-helper plan` draws it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
from msgspec import structs

Seconds = float
Auto = Literal["auto"]

# ECS sends SIGKILL when stopTimeout ends; the helper exits this many seconds earlier.
MARGIN: Final = 5.0

# The default of DRAIN_DELAY and of DRAIN_TIMEOUT (settings.py), as long as each sleep of a shell trap. Where `auto`
# cannot count requests, it drains for at least this long.
DEFAULT_STAGE: Final = 40.0

# A drain with `auto` lasts for one health check of each downstream, because one failed check is enough for an Envoy.
# MERGE is added: Envoy merges updates for that long (update_merge_window). Where requests cannot be counted, REST is
# added too.
MERGE: Final = 1.0
REST: Final = 9.0

# how long Envoy may take to confirm a drain that still counts as on time
CONFIRMATION: Final = 1.0

# Envoy closes idle connections in the last third of its --drain-time-s, less the drain_timeout of its HTTP connection
# managers, 5 s by default. If that leaves nothing of the third, Envoy closes none. Measured with Envoy 1.40 by
# tests/helper/contract/test_envoy.py.
SHORTEST_DRAIN_TIME: Final = 15.0


# DEREGISTRATION: in Consul, ECS stops the application and Envoy, and then health-sync deregisters the task, before ECS
# kills health-sync. That took 3 s where the application stopped at once (measured).
# SHORTEST_PROOF: requests that arrive this long after the stop prove that downstreams did not learn of it. Where they
# learned of it, the last request came after 0.3 s (measured).
DEREGISTRATION: Final = 15.0
SHORTEST_PROOF: Final = 10.0


# a drawing fills a stage with UP_TO if `auto` ends that stage, with FIXED if the clock ends it
FIXED: Final = "─"
UP_TO: Final = "┄"
Stage = tuple[Sequence[str], float, str]  # its labels, its seconds, its fill
LEGEND: Final = f"{UP_TO} auto: the stage ends once its condition is met; this and later times are the latest"


class OtherHelper(msgspec.Struct, frozen=True):
    """The other helper of a chain: the name of its container, and its stopTimeout in seconds."""

    name: str
    stop_timeout: Seconds

    @property
    def budget(self) -> Seconds:
        """How long after its SIGTERM that helper has exited at the latest."""
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
    # With `auto` the drain lasts at least until Envoy has closed idle connections: this long after the drain began. It
    # is 0 if Envoy closes none. `waiting_for_idle` sets it; no variable does.
    idle_closed_after: Seconds = 0.0

    @property
    def budget(self) -> Seconds:
        """How long after SIGTERM the helper has exited at the latest."""
        return self.stop_timeout - MARGIN

    @property
    def other_helper(self) -> OtherHelper | None:
        """The helper before or after this one, if there is a chain."""
        return self.hands_over_to or self.takes_over_from

    @property
    def elapsed_before(self) -> Seconds:
        """How long another helper has kept the task running when it hands over to this helper."""
        return self.takes_over_from.budget if self.takes_over_from else 0.0

    @property
    def whole_budget(self) -> Seconds:
        """How long after the task's stop all its helpers have exited at the latest: this one, and in a chain the other
        one.
        """
        return self.elapsed_before + self.budget + (self.hands_over_to.budget if self.hands_over_to else 0.0)

    @property
    def whole_stop_timeout(self) -> Seconds:
        """How long after the task's stop ECS has killed all its helpers: this one, and in a chain the other one."""
        return self.stop_timeout + (self.other_helper.stop_timeout if self.other_helper else 0.0)

    @property
    def fixed_delay(self) -> Seconds:
        """The delay before the drain if only the clock decides."""
        return self.discovery_lag if self.drain_delay == "auto" else self.drain_delay

    @property
    def longest_delay(self) -> Seconds:
        """The longest delay that leaves enough time for the drain; in a chain, the delay of both helpers together.

        With `auto` it is at least the delay that the helper uses without an answer (`fixed_delay`).
        """
        if self.drain_delay != "auto":
            return self.drain_delay
        reserved = self.shortest_drain + (REST if self.drain_timeout == "auto" else 0)
        return max(self.fixed_delay, self.whole_budget - reserved)

    @property
    def own_longest_delay(self) -> Seconds:
        """The longest delay after the helper's own SIGTERM that still leaves downstreams time to stop sending.

        It is less than `longest_delay` only in a chain, where the whole plan need not fit into one helper's time.
        """
        least = min(self.fixed_timeout, self.health_check_interval + MERGE)
        return min(self.longest_delay, max(0.0, self.budget - least))

    @property
    def shortest_drain(self) -> Seconds:
        """The shortest duration of a drain."""
        if self.drain_timeout == "auto":
            return max(self.health_check_interval, self.idle_closed_after) + MERGE
        return self.drain_timeout

    @property
    def fixed_timeout(self) -> Seconds:
        """The duration of the drain if only the clock decides.

        With `auto` it is at least that of a shell trap, if the fixed delay leaves that much.
        """
        if self.drain_timeout != "auto":
            return self.drain_timeout
        return max(self.shortest_drain + REST, min(DEFAULT_STAGE, self.whole_budget - self.fixed_delay))

    @property
    def longest_drain(self) -> Seconds:
        """The longest duration of a drain after the delay; with `auto`, all that `fixed_delay` leaves of the budget."""
        return self.whole_budget - self.fixed_delay if self.drain_timeout == "auto" else self.drain_timeout

    def drained_for(self, elapsed: Seconds) -> Seconds:
        """For how long Envoy has failed its health checks, at least, when a helper hands over on time after `elapsed`
        seconds.

        With fixed times the settings give this duration. With `auto`, "on time" means as long as downstreams take.
        """
        if self.drain_delay == "auto":
            return self.shortest_drain
        return max(0.0, elapsed - self.drain_delay - CONFIRMATION)

    def sees_idle_closed(self, drain_time: Seconds) -> bool:
        """Whether an Envoy with this --drain-time-s closes its idle connections before the drain ends.

        It closes the last one a second after that time (its delayed_close_timeout; measured with 1.40).
        """
        return SHORTEST_DRAIN_TIME < drain_time <= self.longest_drain - MERGE

    def waiting_for_idle(self, drain_time: Seconds) -> Plan:
        """This plan, but with `auto` the drain also lasts until Envoy has closed idle connections, after `drain_time`.

        Within that time (Envoy's --drain-time-s) a downstream without health checks stops sending.
        """
        return structs.replace(self, idle_closed_after=drain_time)

    @property
    def still_sending_limit(self) -> Seconds | None:
        """How long after the stop of a task in Consul downstreams may still send before the helper exits.

        None if ECS kills health-sync too early: then a proof leaves health-sync no time to deregister the task.
        """
        limit = self.health_sync_stop_timeout - DEREGISTRATION
        return limit if limit >= SHORTEST_PROOF else None

    def problems(self) -> list[str]:
        """One sentence for each reason why the plan does not fit; none if it fits."""
        other = self.other_helper
        free = 2 * MARGIN if other else MARGIN
        needed = self.fixed_delay + self.shortest_drain + free
        if self.hands_over_to and self.takes_over_from:
            return [
                "HANDS_OVER_TO: a chain has only two helpers, and TAKES_OVER_FROM makes this one the second;"
                " remove HANDS_OVER_TO or TAKES_OVER_FROM"
            ]
        if needed <= self.whole_budget + free:
            return []
        delay_text = f"DRAIN_DELAY {self.fixed_delay:g}s"
        if self.drain_delay == "auto":
            delay_text += f" (at least, because DISCOVERY_LAG is {self.discovery_lag:g}s)"
        drain_text = f"DRAIN_TIMEOUT {self.shortest_drain:g}s"
        if self.drain_timeout == "auto":
            drain_text += f" (at least, because HEALTH_CHECK_INTERVAL is {self.health_check_interval:g}s)"
        given = f"{self.stop_timeout:g}s is"
        remedy = f"raise the container's stopTimeout and STOP_TIMEOUT to {needed:g} (Fargate allows 120)"
        if other:
            given = f"{self.stop_timeout:g}s and the {other.stop_timeout:g}s of {other.name} are"
            remedy = f"raise the stopTimeouts of both containers to {needed:g} in all (Fargate allows 120 each)"
        return [
            f"STOP_TIMEOUT: {given} too short for {delay_text} + {drain_text}"
            f" + {free:g}s in reserve = {needed:g}s, so ECS would kill the helper during the drain; make them shorter,"
            f" or {remedy}"
        ]


def draw(plan: Plan, width: int) -> str:
    """The stages from SIGTERM to SIGKILL as text, to scale, in lines of at most `width` columns (at least 60).

    For a helper of a chain the drawing shows the plan of both helpers. Where `auto` ends a stage, the last line
    explains its fill.
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
    stages: list[Stage] = [
        ([f"delaying {delaying_for}"], delay, UP_TO if auto_delay else FIXED),
        ([f"draining {draining_for}"], drain, UP_TO if auto_drain else FIXED),
        ([f"spare {spare:g}s"], spare, FIXED),
        ([], MARGIN, FIXED),
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
        bars.append([([f"{name} {length:g}s"], length, FIXED) for name, length in helpers])
        (first, handover), (second, _) = helpers
        if auto_drain or delay + drain > handover:
            moments.append((handover, "handover", f"{first} exits, and {second} continues (STOP_TIMEOUT - 5s)"))
    moments.sort(key=lambda each: each[0])
    lines = [f"{f'{moment:g}s':>6}  {name:9} {meaning}" for moment, name, meaning in moments]
    legend = [LEGEND] if auto_delay or auto_drain else []
    columns = max(60, min(width, 100)) - 1
    drawn = [bar(each, columns / sum(length for _, length, _ in each)) for each in bars]
    return "\n".join([*drawn, "", *lines, *legend])


def _chain(plan: Plan) -> list[tuple[str, float]]:
    """The two helpers of a chain, and for how many seconds each may keep the task running; none without a chain."""
    this = "this container"
    if second := plan.hands_over_to:
        return [(this, plan.budget), (second.name, second.stop_timeout)]
    if first := plan.takes_over_from:
        return [(first.name, first.budget), (this, plan.stop_timeout)]
    return []


def bar(stages: Sequence[Stage], scale: float) -> str:
    """The stages' labels, each in its fill, between marks that are as far apart as the stages are long.

    A second has `scale` columns. A stage gets the first of its labels that it has room for.
    """
    drawn, end = "├", 0.0
    for labels, length, fill in stages:
        end += length
        room = round(end * scale) - len(drawn)
        if room >= 0:
            label = next((f" {each} " for each in labels if len(each) + 2 <= room), "")
            drawn += label.center(room, fill) + "┼"
    return f"{drawn[:-1]}┤"
