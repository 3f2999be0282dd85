"""Did the helper leave too early? Pure: a shape and its outcomes in, a judgement out.

It is `broken` if it lost what the trap kept, or if it exited while something that counts was in progress, other than at
its deadline or, with fixed times, at the end of its plan. The trap is played only where the helper lost something, as
nothing else can come of it. Nothing counts that comes first after the stop of a task that was not in service.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from lab.shapes.outcome import OK, Outcome, Use
from lab.shapes.shape import Shape

# what processes, signals and answers take on a busy machine, in seconds
SLACK: Final = 0.5

# a machine that stood still for longer was too busy
LATE: Final = 1.0

# what began less than this before the exit, the helper could not see: it reads once a second
SEEN_AFTER: Final = 1.0

# what is in use for this much longer than it has to be, was slow, however it ended
SLOW: Final = 2.0


class Judgement(NamedTuple):
    """`kept`, `broken` with what of the property, or `unknown` where it could not be judged: never a pass."""

    kind: Literal["kept", "broken", "unknown"]
    why: tuple[str, ...] = ()


def judge(shape: Shape, helper: Outcome, trap: Outcome | None) -> Judgement:
    """Judge a trial; `trap` is None where it was not played, as the helper has lost nothing."""
    if unknown := [*_unserved(shape, helper), *(_unserved(shape, trap) if trap else [])]:
        return Judgement("unknown", tuple(unknown[:1]))
    broken = [*_lost(shape, helper, trap), *_left(shape, helper)]
    if helper.exit is None:
        broken.append(f"was there when STOP_TIMEOUT, {shape.stop_timeout:g} s, had run out")
    if helper.code == 70:
        broken.append("the helper was at fault: exit code 70")
    late = max(helper.late, trap.late if trap else 0.0)
    if broken and (late > LATE or _slow(helper) or (trap and _slow(trap))):
        return Judgement("unknown", (f"the machine was too busy, and stood still for {late:.1f} s", *broken))
    return Judgement("broken" if broken else "kept", tuple(broken))


def lost(shape: Shape, outcome: Outcome) -> list[Use]:
    """What failed of that which counts, and that the trap's plan would have kept."""
    ends = min(shape.trap_ends, shape.budget) - SLACK
    return [each for each in _counted(shape, outcome) if each.outcome != OK and each.needs < ends]


def in_progress(shape: Shape, outcome: Outcome) -> list[Use]:
    """What counts and was in progress when the holder exited, and had been for a while."""
    exit = outcome.exit
    if exit is None:
        return []
    return [
        each
        for each in _counted(shape, outcome)
        if each.begins < exit - SEEN_AFTER and each.needs > exit and each.ended > exit - SLACK
    ]


def exited_early(shape: Shape, outcome: Outcome) -> bool:
    """Whether a helper with `auto` exited before its deadline."""
    return shape.auto_timeout and outcome.exit is not None and outcome.exit < shape.budget - SLACK


def idle_to_deadline(shape: Shape, outcome: Outcome) -> bool:
    """Whether a helper with `auto` stayed to its deadline though nothing that counts had been in progress for long."""
    if not shape.auto_timeout or outcome.exit is None or exited_early(shape, outcome):
        return False
    return all(each.ended < shape.budget - 2 * shape.interval - 5.0 for each in _counted(shape, outcome))


def _counted(shape: Shape, outcome: Outcome) -> list[Use]:
    if not outcome.in_service and not shape.used_before:
        return []
    return [each for each in outcome.uses if shape.counts(shape.listeners[each.client[0]])]


def _lost(shape: Shape, helper: Outcome, trap: Outcome | None) -> list[str]:
    failed = lost(shape, helper)
    by_trap = {each.client for each in lost(shape, trap)} if trap else set()
    found = [each for each in failed if each.client not in by_trap]
    return [f"lost {_words_of(shape, found)}, which the trap kept"] if found else []


def _left(shape: Shape, helper: Outcome) -> list[str]:
    if helper.exit is None or helper.exit >= _may_exit_at(shape) - SLACK:
        return []
    found = in_progress(shape, helper)
    return [f"exited at {helper.exit:.1f} s in the middle of {_words_of(shape, found)}"] if found else []


def _may_exit_at(shape: Shape) -> float:
    """From when on the helper may exit, whatever is in progress."""
    return shape.budget if shape.auto_timeout else min(shape.trap_ends, shape.budget)


def _unserved(shape: Shape, outcome: Outcome) -> list[str]:
    """The shape shows nothing where it does not even serve while the holder is there."""
    exit = outcome.exit if outcome.exit is not None else shape.stop_timeout
    failed = [each for each in outcome.uses if each.outcome != OK and each.ended < exit - SLACK]
    if failed:
        return [f"{_words_of(shape, failed)} failed beside the {outcome.holder}, which was there"]
    return []


def _slow(outcome: Outcome) -> bool:
    return any(each.ended > each.needs + SLOW for each in outcome.uses)


def _words_of(shape: Shape, uses: list[Use]) -> str:
    first = uses[0]
    listener, chain, client = first.client
    where = shape.listeners[listener].all_chains[chain]
    kind = f"{where.protocol} {where.traffic[client].kind}"
    return f"{len(uses)} of {kind} from {first.begins:.1f} s on ({first.outcome})"
