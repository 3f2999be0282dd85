"""Random faults, the same for the helper and for the shell trap: is the helper ever worse?

    python -m lab.faults --seed 1 --count 200        a campaign
    python -m lab.faults --seed 1 --only 17          one schedule of it, with all that happened

Each schedule is one trial of a task with a real Envoy and a real application, its times and faults drawn at random, and
is played twice side by side: with the helper, or with two in a chain, and with the trap. The property: no request is
lost that the trap would not have lost; the helper exits before STOP_TIMEOUT; Envoy drains if it can be called. Exits
with 1 where it is broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lab.faults.judgement import Judgement, judge, lost
from lab.faults.outcome import OK, Outcome
from lab.faults.schedule import FOR_EVER, FROM_START, Happening, Schedule, random_schedule
from lab.faults.shared_parts import SharedParts
from lab.faults.trial import Holder, Trial

# Trials mostly wait; so many a core keep it busy, and no request late.
SIDE_BY_SIDE = 8

# a schedule that could not be judged, as the machine was too busy, is played again so often
TRIES = 3


class Played(NamedTuple):
    """A schedule, its two trials and what they come to; a trial that broke off is None."""

    schedule: Schedule
    trap: Outcome | None
    helper: Outcome | None
    judgement: Judgement


async def play(shared: SharedParts, schedule: Schedule, folder: Path) -> Played:
    """Both trials of a schedule, side by side, and played again where they could not be judged."""
    for _ in range(TRIES):
        played = await _play_once(shared, schedule, folder)
        if played.judgement.kind != "unknown":
            break
    return played


async def _play_once(shared: SharedParts, schedule: Schedule, folder: Path) -> Played:
    holders: tuple[Holder, ...] = ("trap", "helper")
    trials = [Trial(shared, schedule, holder, folder).play() for holder in holders]
    trap, helper = await asyncio.gather(*trials, return_exceptions=True)
    for file in folder.glob(f"{schedule.number}-*"):
        file.unlink()
    if isinstance(trap, Outcome) and isinstance(helper, Outcome):
        return Played(schedule, trap, helper, judge(schedule, trap, helper))
    errors = tuple(repr(each) for each in (trap, helper) if isinstance(each, BaseException))
    return Played(schedule, None, None, Judgement("unknown", errors))


async def campaign(schedules: list[Schedule], jobs: int, console: Console) -> list[Played]:
    """Play all of them, with a bar that shows how far they are."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    folder, jobs = Path(tempfile.mkdtemp(prefix="faults-")), min(jobs, len(schedules))
    # of either kind fewer slots than there are trials: each takes Envoy an inotify instance, of which a user has 128
    shared, room = SharedParts(folder, max(2, 3 * jobs // 2)), asyncio.Semaphore(jobs)
    played: list[Played] = []
    try:
        async with shared.running():
            with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as progress:
                bar = progress.add_task("schedules", total=len(schedules))

                async def one(schedule: Schedule) -> None:
                    async with room:
                        result = await play(shared, schedule, folder)
                    played.append(result)
                    progress.advance(bar)
                    if result.judgement.kind != "kept":
                        show(result, progress.console)

                async with asyncio.TaskGroup() as group:
                    for schedule in schedules:
                        group.create_task(one(schedule))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return sorted(played, key=lambda each: each.schedule.number)


async def _campaign(schedules: list[Schedule], jobs: int, console: Console) -> list[Played]:
    """SIGTERM ends it as Ctrl-C does."""
    playing = asyncio.ensure_future(campaign(schedules, jobs, console))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    return await playing


def show(played: Played, console: Console, everything: bool = False) -> None:
    """What a schedule came to, and how it is played again."""
    schedule, judgement = played.schedule, played.judgement
    again = f"python -m lab.faults --seed {schedule.seed} --only {schedule.number}"
    console.print(f"{judgement.kind}: schedule {schedule.number}; {again}", soft_wrap=True, highlight=False)
    for why in judgement.why:
        console.print(f"  {why}", soft_wrap=True, highlight=False, markup=False)
    happenings = "; ".join(map(_happening_words, schedule.happenings)) or "nothing happens to it"
    if schedule.first_stop_timeout is not None:
        first, second = schedule.stop_timeouts
        happenings = f"a chain with stopTimeouts of {first:g} and {second:g} s; {happenings}"
    console.print(f"  {happenings}", soft_wrap=True, highlight=False, markup=False)
    if everything:
        for name, value in schedule._asdict().items():
            console.print(f"  {name}: {value}", soft_wrap=True, highlight=False, markup=False)
    for outcome in (played.trap, played.helper):
        if outcome:
            _show_trial(outcome, console, everything)


def _happening_words(happening: Happening) -> str:
    when = "from the start" if happening.at == FROM_START else f"at {happening.at:g} s"
    end = happening.at + happening.seconds
    return f"{happening.kind} {when}" + (f" until {end:g} s" if happening.seconds != FOR_EVER and end < 900 else "")


def _show_trial(outcome: Outcome, console: Console, everything: bool) -> None:
    ended = "killed" if outcome.exit is None else f"exit at {outcome.exit:.1f} s with {outcome.code}"
    failed = sum(sent.outcome != OK for sent in outcome.sent)
    drained = "Envoy drained" if outcome.drained else "Envoy not drained"
    fault = f"{len(lost(outcome))} of them not excused"
    console.print(
        f"  {outcome.holder}: {ended}, {drained}; {failed} of {len(outcome.sent)} failed, {fault}",
        highlight=False,
        soft_wrap=True,
    )
    if everything:
        for begin, end in (*outcome.downs, *outcome.outages):
            console.print(f"    down from {begin:.2f} to {end:.2f} s", highlight=False, soft_wrap=True)
        for sent in outcome.sent:
            if sent.outcome != OK:
                console.print(f"    {sent}", soft_wrap=True, highlight=False, markup=False)
        for line in outcome.log:
            console.print(f"    {line}", soft_wrap=True, highlight=False, markup=False)


def report(played: list[Played], seconds: float, console: Console) -> int:
    """The whole campaign in a few lines; the exit code."""
    kinds = Counter(each.judgement.kind for each in played)
    requests = sum(len(trial.sent) for each in played for trial in (each.trap, each.helper) if trial)
    trap = sum(len(lost(each.trap)) for each in played if each.trap)
    helper = sum(len(lost(each.helper)) for each in played if each.helper)
    console.print(
        f"{len(played)} schedules in {seconds:.0f} s: {kinds['kept']} kept, {kinds['broken']} broken, "
        f"{kinds['unknown']} could not be judged; {requests:,} requests, of which the trap lost {trap:,}"
        f" and the helper {helper:,}",
        soft_wrap=True,
        highlight=False,
    )
    return 1 if kinds["broken"] or kinds["unknown"] else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lab.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    jobs = SIDE_BY_SIDE * (os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1, help="which schedules are drawn; default: 1")
    parser.add_argument("--count", type=int, default=200, help="how many schedules; default: 200")
    parser.add_argument("--first", type=int, default=0, metavar="K", help="number of the first of them; default: 0")
    parser.add_argument("--only", type=int, metavar="K", help="play schedule K alone, and print everything")
    parser.add_argument("--jobs", type=int, default=jobs, help=f"schedules side by side; default: {jobs}")
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.count) if options.only is None else [options.only]
    console, began = Console(), time.monotonic()
    if shutil.which("curl") is None:
        console.print("the shell trap needs curl")
        return 2
    try:
        played = asyncio.run(
            _campaign([random_schedule(options.seed, number) for number in numbers], options.jobs, console)
        )
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("interrupted: every process of the campaign has been ended")
        return 130
    if options.only is not None:
        show(played[0], console, everything=True)
    return report(played, time.monotonic() - began, console)


if __name__ == "__main__":
    sys.exit(main())
