"""Runs scenarios, each a process of its own, a few side by side, and shows how far they are."""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from lab.parts import processes
from lab.scenarios.scenario import COLUMN_TITLES, Column, Scenario

# requests a second from which a run has the machine to itself: it takes most of a core
HEAVY = 100


@dataclass(frozen=True)
class Job:
    """A scenario in a column, and the folder for its record and logs."""

    scenario: Scenario
    column: Column
    folder: Path

    @property
    def title(self) -> str:
        return f"{self.scenario.name}, {COLUMN_TITLES[self.column]}"


async def run(jobs: Sequence[Job], side_by_side: int, console: Console, aloud: bool = False) -> None:
    """Run all jobs, `aloud` with all that happens in them on the console.

    A run that fails leaves a record that cannot be judged, and its reason on the console.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    heavy = [job for job in jobs if job.scenario.rate > HEAVY]
    light = [job for job in jobs if job not in heavy]
    with Progress(*columns, console=console, transient=True) as progress:
        total = progress.add_task(f"{len(jobs)} runs", total=len(jobs))
        for batch, room in ((heavy, asyncio.Semaphore(1)), (light, asyncio.Semaphore(side_by_side))):
            async with asyncio.TaskGroup() as group:
                for job in batch:
                    group.create_task(_one(job, room, progress, total, aloud))


async def _one(job: Job, room: asyncio.Semaphore, progress: Progress, total: TaskID, aloud: bool) -> None:
    async with room:
        try:
            await play(job, progress, aloud)
        finally:
            progress.advance(total)


async def play(job: Job, progress: Progress, aloud: bool = False) -> None:
    """One run, shown in `progress` while it lasts; its verdict on the console. Cancelled, it ends what it started."""
    shown = progress.add_task(job.title, total=None)
    began = time.monotonic()
    command = [sys.executable, "-m", "lab", "run", job.scenario.name, job.column, "--folder", str(job.folder)]
    process = await asyncio.create_subprocess_exec(
        *processes.bound(command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        process_group=0,
    )
    try:
        if process.stdout is None:
            raise ValueError("the run's output is not a pipe")
        last = ""
        async for line in process.stdout:
            last = line.decode().strip()
            if aloud and last.startswith("+"):
                progress.console.print(f"{COLUMN_TITLES[job.column]:14} {last}", soft_wrap=True, highlight=False)
            progress.update(shown, description=f"{job.title}: {last}")
        await process.wait()
        progress.console.print(f"{job.title}: {last} ({time.monotonic() - began:.0f} s)", soft_wrap=True)
    finally:
        await _end(process)
        progress.remove_task(shown)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Let the run clean up after itself, or else let the kernel do it."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            processes.kill_group(process)
            await process.wait()
