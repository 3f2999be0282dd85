"""Whether the plan, or its stage, may end: facts in; `Leave` or `Keep` with its cause out. Pure.

This module decides the end of a drain with `auto`, and every early end but one: `replacement.py` decides the end of a
delay whose replacement is in service.

An early exit, a skipped delay and a quiet task need two independent proofs. One of them proves that nothing is being
served. `still_sending` is the exception, because there waiting costs requests. A fact that is not known is None. It
never counts as zero or as stopped, and it keeps the plan. So the helper is never worse than a shell that sleeps, calls
Envoy, and sleeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from task_helper.envoy.traffic import Traffic

# So many requests have to fail in a row, and none succeed, before nothing counts as served. If one in ten requests
# fails for other reasons, this happens by chance in one of 100,000 tries. If all requests fail, each further one that
# the helper waits for is lost.
ENOUGH_FAILURES: Final = 5

# So many requests have to arrive in ten seconds, after all downstreams should have stopped sending. A scraper of
# metrics that comes every few seconds sends fewer.
ENOUGH_ARRIVALS: Final = 5

# Seconds without anything in flight or arriving, before the task is quiet. A downstream Envoy merges updates for a
# second; QUIET is twice that second, and one more.
QUIET: Final = 3.0

# How many times longer a silence has to be than the mean time between two requests. It then shows that a client still
# sends which sends at regular intervals without health checks.
LONGER_THAN_GAPS: Final = 2.0


class Leave(NamedTuple):
    """The plan, or its stage, may end, for this cause."""

    cause: str


class Keep(NamedTuple):
    """The plan continues, for this cause."""

    cause: str


class GoOn(NamedTuple):
    """This helper continues the plan that another helper began.

    The plan began `ago` seconds ago, and Envoy has surely drained for `drained_for` seconds. `delay_over` is whether
    the drain comes next.
    """

    ago: float
    drained_for: float
    delay_over: bool


Verdict = Leave | Keep
Ended = Literal["drained", "handed over", "handed over late", "still sending"]


def younger_than_helper(*, uptime: float, helper: float) -> str | None:
    """Why Envoy's counts may not include all requests since the helper's start; None if they do.

    `uptime` and `helper` are the ages of Envoy and the helper in seconds. Envoy rounds its age down to whole seconds. A
    restarted Envoy counts from its restart.
    """
    if uptime >= helper:
        return None
    if uptime + 1 <= helper:
        return "Envoy was restarted after the helper had started, and counts requests only since then"
    return "Envoy may have started after the helper, and counts requests only since then: it reports whole seconds"


def never_in_service(*, may_have_been: str | None, used: bool | None, uncounted: Sequence[str]) -> Verdict:
    """Whether a task that this helper has not seen in service may end at once.

    The first proof: as far as can be known, the task was not in service before either (otherwise `may_have_been` is the
    cause). The second proof: none of Envoy's listeners was `used`. No connection, request or health check has come
    since Envoy started, and Envoy started before the helper. A listener that is `uncounted` keeps the plan.
    """
    if may_have_been:
        return Keep(may_have_been)
    if used is None:
        return Keep("it is unknown what Envoy has served")
    if used:
        return Keep("Envoy has had connections, requests or health checks")
    if uncounted:
        return Keep(f"no statistic covers {', '.join(uncounted)}")
    return Leave("Envoy has had no connection since it started")


def envoy_stopped(*, stopped: Sequence[str], answers: bool | None, accepts: bool | None) -> Verdict:
    """Whether the task may end because Envoy has stopped.

    The first proof: ECS reports that the containers with Envoy have `stopped`, which is final in a task that is
    stopping. The second proof: Envoy's admin API, which answered before, now refuses connections (`answers` is False),
    and so do all known listeners (`accepts` is False). After a timeout `answers` or `accepts` is None, because a busy
    or frozen Envoy looks like that.
    """
    if not stopped:
        return Keep("ECS does not report that Envoy's container has stopped")
    if answers or accepts:
        return Keep("Envoy still answers, although ECS reports that it has stopped")
    if answers is None or accepts is None:
        return Keep("it is unknown whether Envoy still runs")
    return Leave(f"Envoy's container has stopped ({', '.join(stopped)}), and Envoy does not answer")


def application_stopped(
    *,
    stopped: Sequence[str],
    refuses: bool | None,
    before: Traffic | None,
    after: Traffic | None,
    uncounted: Sequence[str],
) -> Verdict:
    """Whether the delay may end because the application has stopped.

    The first proof: ECS reports that all containers beside Envoy have `stopped` for good. If a URL shows the
    application's port, that port also `refuses` connections. The second proof: between two readings Envoy served
    nothing, and the requests that came failed. If no request comes, nothing is known, and a shorter delay would gain
    nothing. A listener that is `uncounted` keeps the plan.
    """
    if not stopped:
        return Keep("ECS does not report that all containers beside Envoy have stopped")
    if refuses is False:
        return Keep("the application's port does not refuse connections")
    if before is None or after is None:
        return Keep("it is unknown what Envoy serves")
    if uncounted:
        return Keep(f"no statistic covers {', '.join(uncounted)}")
    if after.under_way or (after.served, after.accepted) != (before.served, before.accepted):
        return Keep("Envoy serves requests")
    if after.failed - before.failed < ENOUGH_FAILURES:
        return Keep("too few requests have come to prove that the application has stopped")
    return Leave(f"all containers beside Envoy have stopped ({', '.join(stopped)}), and every request fails")


class Quiet(NamedTuple):
    """What is known about the traffic in a drain. All times are in seconds.

    For `seconds` nothing was in flight and no request came. For `doubtful` seconds there was no traffic that may come
    from others than downstreams, and no connection without requests. Both are 0 if unknown. `gap` and `doubtful_gap`
    are the mean times between two arrivals in the drain; 0 if none came. `unmoved` is whether some senders are known to
    keep sending, whatever their health checks show.
    """

    seconds: float
    doubtful: float
    gap: float = 0.0
    doubtful_gap: float = 0.0
    unmoved: bool = False


def quiet(*, drained_for: float, least: float, fixed_over: bool, traffic: Quiet, uncounted: Sequence[str]) -> Verdict:
    """Whether the drain may end because downstreams have stopped sending.

    The first proof: Envoy has failed health checks for `drained_for` seconds, `least` or more, so each downstream has
    checked. The second proof: for QUIET nothing was in flight and nothing came. Until the fixed time is over, each
    proof needs more. Health checks must make the senders stop. The silence must cover all traffic, and be longer than
    the silences between requests.
    """
    if drained_for < least:
        return Keep("some downstreams may not have checked yet")
    if traffic.seconds < QUIET:
        return Keep("requests are in progress, or were a moment ago")
    if fixed_over:
        return Leave("for some seconds nothing was in flight, and no request came")
    if uncounted:
        return Keep(f"no statistic covers {', '.join(uncounted)}")
    if traffic.unmoved:
        return Keep("some senders do not stop because of health checks")
    if traffic.doubtful < max(QUIET, LONGER_THAN_GAPS * traffic.doubtful_gap):
        return Keep("traffic that may come from downstreams is in progress, or was a moment ago")
    if traffic.seconds < LONGER_THAN_GAPS * traffic.gap:
        return Keep("requests come so rarely that this silence proves nothing")
    return Leave("for some seconds nothing was in flight, and no request came")


def still_sending(*, waits_for_envoy: bool | None, arrived: int, lately: bool) -> Verdict:
    """Whether the helper may exit, in Consul, because downstreams still send long after they should have stopped.

    In Consul `consul-ecs-health-sync` marks the task critical once, when ECS stops health-sync. It does not repeat that
    call if it fails. Then downstreams stop sending only when health-sync deregisters the task. It does so after Envoy
    has stopped, and before ECS kills health-sync. If the helper keeps Envoy running for longer, every later request
    fails.

    The first proof: ECS reports that the task is to stop, and that health-sync still runs (`waits_for_envoy`). The
    second proof: requests `arrived` after all downstreams should have stopped sending, some of them `lately`. If Envoy
    does not answer, no requests are known to have arrived.
    """
    if not waits_for_envoy:
        return Keep("ECS does not report that consul-ecs-health-sync still runs in a task that is to stop")
    if arrived < ENOUGH_ARRIVALS or not lately:
        return Keep("too few requests arrive to prove that downstreams still send")
    return Leave(f"{arrived} requests arrived although consul-ecs-health-sync was stopped")


def taken_over(
    *,
    ended: Ended | None,
    draining: bool | None,
    under_way: bool | None,
    elapsed: float,
    drained: float,
    waits_for_envoy: bool | None = None,
) -> Leave | GoOn:
    """Where the plan stands that another helper has begun.

    `ended` is how the other helper ended, by its exit code; None for any other code, a crash, or if ECS does not report
    it. In a chain that hands over on time, `elapsed` seconds of the plan have passed, and Envoy has drained for
    `drained` seconds.

    The proofs that all is done: the other helper reports that it has drained, and Envoy is `draining` with nothing
    `under_way`. Passed time counts if the other helper's exit code confirms it, and the time of the drain also needs
    Envoy's answer. An unknown time counts as none. If Envoy drains, the delay is over. In Consul the other helper may
    have exited because downstreams still send (`still_sending`). That cause is valid as long as `waits_for_envoy`.
    """
    if ended == "still sending" and waits_for_envoy:
        return Leave("the helper before this one exited because downstreams still send, and health-sync still runs")
    if ended == "drained" and draining and under_way is False:
        return Leave("the helper before this one has drained, and no request is in progress")
    return GoOn(
        ago=elapsed if ended in ("handed over", "handed over late") else 0.0,
        drained_for=drained if ended == "handed over" and draining else 0.0,
        delay_over=draining is True,
    )
