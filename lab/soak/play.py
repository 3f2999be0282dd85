"""Plays rolling updates for as long as it is asked to: each in all columns, which meet the same noise of the machine.

What has been played has its final name, so that a folder that is given again continues where it was left.
"""

import asyncio
import itertools
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lab.run import bench
from lab.scenarios.scenario import Column, Scenario

# an update under way has a folder of this name, which is removed when it has been played to its end
UNDER_WAY = ".part"

# seconds of the past by which the time that is left is estimated: of a few updates, each of them half a minute or more
PACE_OF = 1800.0


@dataclass(frozen=True)
class Soak:
    """What is to be played: `count` updates in all, or more of them until `hours` are over, in each column."""

    scenario: Scenario
    columns: Sequence[Column]
    folder: Path
    count: int | None = None
    hours: float | None = None

    def job(self, number: int, column: Column) -> bench.Job:
        return bench.Job(self.scenario, column, self.folder / f"{number:04}-{column}")

    def jobs(self) -> Iterator[bench.Job]:
        """What is still to be played, update by update; which column comes first changes each time."""
        ends = None if self.hours is None else time.monotonic() + self.hours * 3600
        for number in itertools.count(1):
            if (self.count is not None and number > self.count) or (ends is not None and time.monotonic() > ends):
                return
            turn = number % len(self.columns)
            for column in (*self.columns[turn:], *self.columns[:turn]):
                if not (job := self.job(number, column)).folder.exists():
                    yield job


async def play(soak: Soak, side_by_side: int, console: Console) -> None:
    """Play it all, so many runs at a time; SIGTERM ends it as Ctrl-C does, and what was under way is played anew."""
    soak.folder.mkdir(parents=True, exist_ok=True)
    for left in soak.folder.glob(f"*{UNDER_WAY}"):
        shutil.rmtree(left)
    playing = asyncio.ensure_future(_play(soak, side_by_side, console))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    await playing


async def _play(soak: Soak, side_by_side: int, console: Console) -> None:
    look = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    room = asyncio.Semaphore(1 if soak.scenario.rate > bench.HEAVY else side_by_side)
    began = time.monotonic()
    with Progress(*look, console=console, transient=True, speed_estimate_period=PACE_OF) as progress:
        bar = progress.add_task("soak", total=None)
        if soak.count is not None:
            progress.update(bar, total=sum(1 for _ in soak.jobs()), description=f"{soak.count} updates a column")
        elif soak.hours is not None:
            progress.update(bar, total=soak.hours * 3600, description=f"{soak.hours:g} hours of updates")

        async def one(job: bench.Job) -> None:
            try:
                draft = job.folder.with_name(job.folder.name + UNDER_WAY)
                await bench.play(replace(job, folder=draft), progress)
                # one that could not even make its folder could not be judged, and counts as played
                draft.mkdir(exist_ok=True)
                draft.rename(job.folder)
            finally:
                room.release()
            if soak.hours is None:
                progress.advance(bar)
            else:
                progress.update(bar, completed=time.monotonic() - began)

        async with asyncio.TaskGroup() as group:
            for job in soak.jobs():
                await room.acquire()
                group.create_task(one(job))
