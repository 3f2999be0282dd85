"""Was the helper worse than the trap in the same trial? Pure: two records and their schedule in, a judgement out.

Every request that failed is judged by its cause, so that the answer does not depend on which of them were in flight
in the moment of a fault:

- one that met the application while it was down by itself, or Envoy while it was, is excused;
- one that the trap would have seen answered, since it still kept the task running then, the helper has lost;
- one that came later, to a task that had stopped, the helper has lost if the trap had made Envoy drain in time, so that
  downstreams stopped sending. If the trap could not call Envoy either, it is excused.

The helper's promises count the time in which it could run:

- ECS counts stopTimeout from the signal. The helper counts from when it handles the signal, for it cannot know that it
  was frozen before. After its own deadline or, if it is frozen then, after the thaw, it needs LAST_CALLS. Where SIGKILL
  comes sooner than that, the kill is the freeze's. A starved helper gets no such allowance: its margin is for that.
- The time in which Envoy could be called has no frozen part, and is longer for a starved helper.
- A helper of a chain that the schedule kills promises nothing more. The other one has its own stopTimeout.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from lab.faults.outcome import OK, Outcome, Sent
from lab.faults.schedule import ADMIN_FAULTS, CHECK_INTERVAL, LATER_THAN_TRAP, MARGIN, MERGE, Schedule

# what processes, signals and answers take on a busy machine, in seconds
SLACK: Final = 0.4

# where something happened in a trial later than this, the machine was too busy, and it has to be played again
LATE: Final = 0.4

# after Envoy's outage: until a health check has passed, and the downstream has merged that
RECOVERY: Final = CHECK_INTERVAL + MERGE + SLACK

# Time enough to call Envoy with retries: a call that hangs (2 s), the pause after it (1 s), and slack.
CALLED_WITHIN: Final = 4.0

# After its deadline a helper makes two calls at the most, of 2 s each: of the metadata endpoint, and of Envoy.
LAST_CALLS: Final = 4.0


class Judgement(NamedTuple):
    """`kept`, `broken` with what of the property, or `unknown` where it could not be judged: never a pass."""

    kind: Literal["kept", "broken", "unknown"]
    why: tuple[str, ...] = ()


def judge(schedule: Schedule, trap: Outcome, helper: Outcome) -> Judgement:
    """Judge the same schedule's two trials."""
    if unknown := [why for outcome in (trap, helper) for why in _not_judgeable(outcome)]:
        return Judgement("unknown", tuple(unknown))
    kept_until = schedule.stop_timeout if trap.exit is None else trap.exit
    early = [each for each in lost(trap) if _needed_until(each) < kept_until - SLACK]
    if early:
        return Judgement(
            "unknown", (f"the trap lost {_words_of(early)} while it kept the task, which nothing explains",)
        )
    broken = [
        *_lost_by_helper(schedule, trap, helper),
        *_out_of_time(schedule, helper),
        *_not_drained(schedule, helper, trap),
    ]
    if 70 in (helper.code, helper.first_code):
        broken.append("the helper was at fault: exit code 70")
    return Judgement("broken" if broken else "kept", tuple(broken))


def lost(outcome: Outcome) -> list[Sent]:
    """The requests that failed, without those that are excused."""
    return [each for each in outcome.sent if each.outcome != OK and not _excused(each, outcome)]


def _excused(sent: Sent, outcome: Outcome) -> bool:
    """Nor could it have been answered by a task without an application, where the downstream sent it to no task."""
    if sent.host == "new":
        return False
    downs = [(begin, end + 0.1) for begin, end in outcome.downs]
    return any(_overlaps(sent, *each) for each in downs + [(begin, end + RECOVERY) for begin, end in outcome.outages])


def _overlaps(sent: Sent, begin: float, end: float) -> bool:
    return sent.at <= end and begin <= sent.ended


def _needed_until(sent: Sent) -> float:
    """Until when its task had to keep running for it to be answered."""
    return sent.at + sent.wanted


def _not_judgeable(outcome: Outcome) -> list[str]:
    if outcome.late > LATE:
        return [f"beside the {outcome.holder} something came {outcome.late:.1f} s late: the machine is too busy"]
    slow = [each for each in outcome.sent if each.outcome == OK and each.ended - each.at > each.wanted + 3 * LATE]
    if slow:
        return [f"answers beside the {outcome.holder} took {slow[0].ended - slow[0].at:.1f} s: the machine is too busy"]
    if new := [each for each in lost(outcome) if each.host == "new"]:
        return [f"the new task failed, to which nothing happens: {new[0].outcome}"]
    return []


def _lost_by_helper(schedule: Schedule, trap: Outcome, helper: Outcome) -> list[str]:
    """The helper keeps a margin of STOP_TIMEOUT that the trap does not: what needs more is not the helper's to save."""
    end = deadline(schedule, helper)
    kept_until = min(end, schedule.stop_timeout if trap.exit is None else trap.exit)
    failed = lost(helper)
    early = [each for each in failed if _needed_until(each) < kept_until - SLACK]
    later = [each for each in failed if each not in early]
    found = []
    if early:
        found.append(f"lost {_words_of(early)}, which the trap kept the task for, until {kept_until:.1f} s")
    in_time = helper.exit is not None and helper.exit < end - SLACK and not _forgotten(schedule, helper)
    if later and trap.drained and in_time:
        found.append(f"lost {_words_of(later)}, after the trap had made Envoy drain")
    return found


def deadline(schedule: Schedule, helper: Outcome) -> float:
    """Until when the helper, or the last one of a chain, may keep the task running, in seconds after the stop."""
    for which, at in helper.deaths:
        if which == 1:
            return at + schedule.stop_timeouts[1] - MARGIN
        in_its_turn = helper.first_exit is not None and helper.first_exit < at
        return at if in_its_turn else schedule.deadlines[0]
    return schedule.budget


def _out_of_time(schedule: Schedule, helper: Outcome) -> list[str]:
    """Whether ECS had to kill a helper, though it was runnable for long enough before that."""
    if schedule.first_stop_timeout is None:
        turns = [("", 0.0, helper.exit)]
    else:
        handed_over = schedule.stop_timeouts[0] if helper.first_exit is None else helper.first_exit
        turns = [("the first helper ", 0.0, helper.first_exit), ("the second helper ", handed_over, helper.exit)]
    return [
        f"{name}was there when STOP_TIMEOUT, {stop_timeout:g} s, had run out"
        for (name, signalled, exit), stop_timeout in zip(turns, schedule.stop_timeouts, strict=True)
        if exit is None and _could_exit(schedule, signalled, stop_timeout)
    ]


def _could_exit(schedule: Schedule, signalled: float, stop_timeout: float) -> bool:
    own_deadline = schedule.handled(signalled) + stop_timeout - MARGIN
    return signalled + stop_timeout - schedule.handled(own_deadline) >= LAST_CALLS + SLACK


def _runnable(schedule: Schedule, begin: float, end: float) -> float:
    """For how long of this time the helper was not frozen."""
    frozen = [max(0.0, min(end, thaw) - max(begin, freeze)) for freeze, thaw in schedule.frozen]
    return end - begin - sum(frozen)


def _called_within(schedule: Schedule) -> float:
    return CALLED_WITHIN + (LATER_THAN_TRAP if schedule.has("helper is starved") else 0.0)


def _forgotten(schedule: Schedule, helper: Outcome) -> bool:
    """Whether Envoy may have drained, and have forgotten it in a restart that left no time to call it again."""
    last = [end for begin, end in helper.outages if begin >= schedule.delay - SLACK]
    within = _called_within(schedule)
    return helper.exit is not None and any(_runnable(schedule, end, helper.exit) < within for end in last)


def _not_drained(schedule: Schedule, helper: Outcome, trap: Outcome) -> list[str]:
    """A task that no downstream sent requests to needs no drain."""
    asked = any(sent.host == "old" for sent in helper.sent)
    if helper.drained or not asked or _forgotten(schedule, helper):
        return []
    killed_in_its_turn = any(deadline(schedule, helper) == at for _, at in helper.deaths)
    if trap.drained and not killed_in_its_turn:
        return ["left an Envoy that does not drain, though the trap drained it"]
    return [
        f"left an Envoy that does not drain, though it could be called from {begin:.1f} to {end:.1f} s"
        for begin, end in reachable(schedule, helper)
        if end - begin >= _called_within(schedule)
    ][:1]


def reachable(schedule: Schedule, outcome: Outcome) -> list[tuple[float, float]]:
    """From when to when the helper could call Envoy, once the delay is over and before the deadline."""
    closed = [
        (each.at, each.at + each.seconds)
        for each in schedule.happenings
        if each.kind in (*ADMIN_FAULTS, "admin socket is removed")
    ]
    closed += [*outcome.outages, *schedule.frozen]
    end = deadline(schedule, outcome)
    # the second helper cannot know how long a first that was killed has waited, and waits from then on
    waits_from = max([schedule.handled(0.0), *(at for which, at in outcome.deaths if which == 1)])
    windows, begin = [], waits_from + schedule.delay
    for shut, opened in sorted(closed):
        if shut > begin:
            windows.append((begin, min(shut, end)))
        begin = max(begin, opened)
    windows.append((begin, end))
    return [(begin, end) for begin, end in windows if begin < end]


def _words_of(requests: list[Sent]) -> str:
    """In a few words: how many, from when to when they were sent, and how the first of them ended."""
    first = requests[0]
    span = f"sent at {first.at:.1f} s" if len(requests) == 1 else f"sent from {first.at:.1f} to {requests[-1].at:.1f} s"
    return f"{len(requests)} requests {span} ({first.outcome})"
