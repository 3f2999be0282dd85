"""May the plan end early? Facts in; `Leave` or `Keep`, and why, out. Pure: every early end there is, is decided here,
but for that of a delay which the replacement ends (`replacement.py`).

An early exit, a skipped delay and the verdict that a task is quiet need two independent proofs, one of them that
nothing is being served; `still_sending` is the exception, where it is the wait that costs requests. A fact that is not
known is None: neither zero nor gone, and it keeps the plan. So the helper is never worse than a shell that sleeps,
calls Envoy, and sleeps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from task_helper.envoy.traffic import Traffic

# So many requests have to fail one after another, and none succeed, before nothing counts as served. Where one in ten
# fails for other reasons, that comes about by chance in one of 100,000 tries; each further one is lost where all fail.
ENOUGH_FAILURES: Final = 5

# So many requests have to arrive in ten seconds, after all downstreams should have stopped sending; a scraper of
# metrics that comes every few seconds sends fewer.
ENOUGH_ARRIVALS: Final = 5

# how long nothing may be in flight or arrive before the task is quiet: the second in which a downstream Envoy merges
# what it has learnt, twice, and one more
QUIET: Final = 3.0

# How many times longer a silence has to be than the mean time between two requests. A client that sends at regular
# intervals and does not check is then seen to send after all others have checked.
LONGER_THAN_GAPS: Final = 2.0


class Leave(NamedTuple):
    """The plan, or its stage, may end."""

    because: str


class Keep(NamedTuple):
    """The plan stands."""

    because: str


class GoOn(NamedTuple):
    """The plan continues where another helper has left it: it began so long `ago`, and Envoy has surely drained
    for `drained_for`, both in seconds; `delay_over` says whether it is the drain's turn."""

    ago: float
    drained_for: float
    delay_over: bool


Verdict = Leave | Keep
Ended = Literal["drained", "handed over", "handed over late", "still sending"]


def younger_than_helper(*, uptime: float, helper: float) -> str | None:
    """Why what Envoy has served since its start may not be all since the helper's; None where it is.

    Both are in seconds: Envoy reports its `uptime` rounded down to whole ones, and the `helper` knows its own age. An
    Envoy that was restarted counts from then on.
    """
    if uptime >= helper:
        return None
    if uptime + 1 <= helper:
        return "Envoy was restarted after the helper had started, and counts requests from then on"
    return "Envoy may have started after the helper, and counts requests from then on: it reports whole seconds"


def never_in_service(*, may_have_been: str | None, used: bool | None, uncounted: Sequence[str]) -> Verdict:
    """May a task that this helper has not seen in service be left at once?

    The proofs: it was not in service before either, as far as can be known (else `may_have_been` says why not); and
    none of Envoy's listeners was `used`: no connection, no request and no health check has come since Envoy started,
    which was before the helper did. No listener is `uncounted`.
    """
    if may_have_been:
        return Keep(may_have_been)
    if used is None:
        return Keep("what Envoy has served is not known")
    if used:
        return Keep("Envoy has had connections, requests or health checks")
    if uncounted:
        return Keep(f"no statistic covers {', '.join(uncounted)}")
    return Leave("Envoy has had no connection since it started")


def envoy_stopped(*, stopped: Sequence[str], answers: bool | None, accepts: bool | None) -> Verdict:
    """May the task be left since there is no Envoy any more?

    The proofs: ECS says that the containers with Envoy have `stopped`, which in a task that is stopping is for good;
    and its admin API, which answered once, refuses (`answers` is False), as do all listeners that are known (`accepts`
    is False). A timeout makes either of them None: an Envoy that is busy or frozen looks like that.
    """
    if not stopped:
        return Keep("ECS does not say that Envoy's container has stopped")
    if answers or accepts:
        return Keep("Envoy is there, whatever ECS says")
    if answers is None or accepts is None:
        return Keep("it is unknown whether Envoy is there")
    return Leave(f"Envoy's container has stopped ({', '.join(stopped)}), and does not answer")


def application_stopped(
    *,
    stopped: Sequence[str],
    refuses: bool | None,
    before: Traffic | None,
    after: Traffic | None,
    uncounted: Sequence[str],
) -> Verdict:
    """May the delay end since there is no application any more?

    The proofs: ECS says that all containers beside Envoy have `stopped` for good, and where a URL tells the
    application's port, it `refuses`; and between two readings Envoy served nothing, while requests that came failed.
    Where none come, nothing is known, nor anything gained. No listener is `uncounted`.
    """
    if not stopped:
        return Keep("ECS does not say that all containers beside Envoy have stopped")
    if refuses is False:
        return Keep("the application is there")
    if before is None or after is None:
        return Keep("what Envoy serves is not known")
    if uncounted:
        return Keep(f"no statistic covers {', '.join(uncounted)}")
    if after.under_way or (after.served, after.accepted) != (before.served, before.accepted):
        return Keep("Envoy serves requests")
    if after.failed - before.failed < ENOUGH_FAILURES:
        return Keep("too few requests have come to tell")
    return Leave(f"all containers beside Envoy have stopped ({', '.join(stopped)}), and every request fails")


class Quiet(NamedTuple):
    """What is known of the traffic in a drain, in seconds.

    For `seconds` nothing was in flight and no request came. For `doubtful` seconds nothing of what may be other traffic
    than that of downstreams, and no connection without requests. Both are 0 where it is unknown. `gap` and
    `doubtful_gap` are the mean times between two arrivals in the drain, up to the last one; 0 where none came.
    `unmoved` says why some of those who send are known to send on, whatever they check.
    """

    seconds: float
    doubtful: float
    gap: float = 0.0
    doubtful_gap: float = 0.0
    unmoved: str | None = None


def quiet(*, drained_for: float, least: float, fixed_over: bool, traffic: Quiet, uncounted: Sequence[str]) -> Verdict:
    """May the drain end since downstreams have stopped sending?

    The proofs: Envoy has failed their health checks for as long as one of each takes, `drained_for` at `least`; and for
    QUIET nothing was in flight and nothing came. Until the fixed time is over, one more thing has to be true of each:
    that checks move those who send; and that the silence is longer than those between requests, and covers everything.
    """
    if drained_for < least:
        return Keep("some downstreams may not have checked yet")
    if traffic.seconds < QUIET:
        return Keep("requests are under way, or were until a moment ago")
    if fixed_over:
        return Leave("nothing has been in flight or come for a while")
    if uncounted:
        return Keep(f"no statistic covers {', '.join(uncounted)}")
    if traffic.unmoved:
        return Keep(traffic.unmoved)
    if traffic.doubtful < max(QUIET, LONGER_THAN_GAPS * traffic.doubtful_gap):
        return Keep("what may be downstreams' traffic is under way, or was until a moment ago")
    if traffic.seconds < LONGER_THAN_GAPS * traffic.gap:
        return Keep("requests come so rarely that this silence shows nothing")
    return Leave("nothing has been in flight or come for a while")


def still_sending(*, waits_for_envoy: bool | None, arrived: int, lately: bool) -> Verdict:
    """May the helper exit, in Consul, since downstreams still send long after they should have stopped?

    There `consul-ecs-health-sync` marks the task critical once, at its stop; if that call fails, it does not repeat it.
    Then only its deregistration stops downstreams. It deregisters the task when Envoy has stopped, and before ECS kills
    it. So a helper that keeps Envoy running for longer than health-sync runs costs every request that comes later.

    The proofs: ECS reports that the task is to stop and that this container still runs (`waits_for_envoy`); and Envoy
    counts requests that `arrived` after all downstreams should have stopped sending, some of them `lately`. Where Envoy
    does not answer, none are known to have arrived.
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
    held: float,
    drained: float,
    waits_for_envoy: bool | None = None,
) -> Leave | GoOn:
    """Where does the plan stand that another helper has begun?

    `ended` is how that one did, by its exit code; None for any other code, a crash, or where ECS does not say. In a
    chain that hands over on time it has `held` the task for so long, and Envoy has `drained` for so long, in seconds.

    The proofs that all is done: the other helper has drained, and Envoy is `draining` with nothing `under_way`. That
    the time which has passed counts takes the other helper's word, and that Envoy was told takes Envoy's as well:
    unknown is not long ago. Where Envoy turns downstreams away, there is nothing left to delay. In Consul the other
    helper may have exited as downstreams are still sending (`still_sending`), which holds as long as `waits_for_envoy`.
    """
    if ended == "still sending" and waits_for_envoy:
        return Leave("the helper before this one has exited as downstreams still send, and health-sync still runs")
    if ended == "drained" and draining and under_way is False:
        return Leave("the helper before this one has drained, and nothing is under way")
    return GoOn(
        ago=held if ended in ("handed over", "handed over late") else 0.0,
        drained_for=drained if ended == "handed over" and draining else 0.0,
        delay_over=draining is True,
    )
