"""The campaign of random faults, for real: schedules are played and judged, and the exit code reports the result."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest

from lab.faults import stepped_clock
from lab.faults.judgement import LATE
from lab.faults.schedule import DEATHS, Kind, Schedule, random_schedule
from lab.faults.shared_parts import SharedParts
from lab.faults.trial import QUOTA_PERIOD, Trial
from lab.parts.container_process import ContainerProcess
from tests.lab.playing import EXACT


def first(*wanted: Kind, chain: bool = False, is_it: Callable[[Schedule], bool] = lambda schedule: True) -> int:
    """The number of the first schedule to which nothing but this happens, and that is over soon."""

    def fits(schedule: Schedule) -> bool:
        kinds = tuple(happening.kind for happening in schedule.happenings)
        plain = schedule.known and not (schedule.auto_timeout or schedule.auto_delay)
        return plain and kinds == wanted and chain == (schedule.first_stop_timeout is not None) and is_it(schedule)

    return next(number for number in range(10_000) if fits(random_schedule(1, number)))


def play(number: int) -> str:
    """Play a schedule, which has to be kept; what the campaign prints of it."""
    command = [sys.executable, "-m", "lab.faults", "--seed", "1", "--only", str(number)]
    played = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"kept: schedule {number}; python -m lab.faults --seed 1 --only {number}" in played.stdout
    assert "trap: exit at" in played.stdout and "helper: exit at" in played.stdout
    assert "1 kept, 0 broken, 0 could not be judged" in played.stdout
    assert played.stderr == ""
    return played.stdout


@pytest.mark.slow
@pytest.mark.parametrize("happening", [(), ("application restarts",), ("helper is starved",)])
def test_a_schedule_is_played_and_judged(happening: tuple[Kind, ...]) -> None:
    """Both trials are played, the judgement is printed with what happened, and the exit code is 0 for `kept`."""
    play(first(*happening))


@pytest.mark.slow
def test_a_frozen_helper_is_played() -> None:
    """A helper that is frozen across the end of its delay calls Envoy after the thaw, as the trap does."""
    number = first("helper is frozen", is_it=lambda each: each.call_due > each.delay + 0.3 and each.frozen[0][0] > 0)
    shown = play(number)
    assert shown.count("Envoy drained") == 2


@pytest.mark.slow
def test_a_step_of_the_clock_is_played() -> None:
    """The helper's log shows that its clock has stepped, and its plan takes the time that it would have taken."""
    number = first(
        "clock steps",
        is_it=lambda each: each.settings == () and each.happenings[0].at > 0 and each.step > 0,
    )
    lines = [line.strip() for line in play(number).splitlines() if line.strip().startswith("{")]
    times = [datetime.fromisoformat(json.loads(line)["time"]) for line in lines]
    assert max(after - before for before, after in pairwise(times)) > timedelta(seconds=59)


@pytest.mark.slow
def test_a_chain_is_played() -> None:
    """The first helper of a chain exits in the drain at its deadline, and the second one drains for the rest."""
    number = first(chain=True, is_it=lambda each: each.delay < each.deadlines[0] < each.delay + each.timeout - 1)
    shown = play(number)
    assert "a chain with stopTimeouts of" in shown
    assert "taking_over" in shown


@pytest.mark.slow
@pytest.mark.parametrize("death", DEATHS)
def test_a_death_in_a_chain_is_played(death: Kind) -> None:
    """One helper of a chain is killed in the delay, and the other one carries out the plan."""
    play(first(death, chain=True, is_it=lambda each: 0.2 < each.happenings[0].at < each.delay - 0.5))


def test_a_starved_holder_gets_its_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that could use a whole core gets the share of the schedule, and runs on when that is over.

    On a busy machine the trial stops it late. So its CPU time is compared with the time between the trial's signals.
    """
    schedule = random_schedule(1, first("helper is starved"))
    stopped, resumed = list[float](), list[float]()

    async def starve() -> tuple[float, str]:
        trial = Trial(SharedParts(tmp_path, 2), schedule, "helper", tmp_path)
        stand = trial._stand

        def noted(why: Literal["frozen", "starved"], stands: bool) -> None:
            """The process runs, at the most, from before the one signal until after the other."""
            if not stands:
                resumed.append(time.monotonic())
            stand(why, stands)
            if stands:
                stopped.append(time.monotonic())

        monkeypatch.setattr(trial, "_stand", noted)
        busy = ContainerProcess([sys.executable, "-c", "while True: pass"], os.environ, tmp_path / "log")
        await busy.start()
        trial._processes["helper"] = busy
        status = Path(f"/proc/{busy.pid}/stat")
        try:
            resumed.append(time.monotonic())
            before = sum(map(int, status.read_text().split()[13:15]))
            await trial._starve(trial._now() + 3)
            used = (sum(map(int, status.read_text().split()[13:15])) - before) / os.sysconf("SC_CLK_TCK")
            stopped.append(time.monotonic())
            return used, status.read_text().split()[2]
        finally:
            await busy.kill()
            busy.close()

    used, state = asyncio.run(starve())
    ran = [stop - resume for resume, stop in zip(resumed, stopped, strict=True)]
    stood = [resume - stop for stop, resume in zip(stopped[:-1], resumed[1:], strict=True)]
    runs = schedule.cpu * QUOTA_PERIOD
    assert schedule.cpu <= 0.1
    assert min(stood) >= QUOTA_PERIOD - runs - EXACT
    assert min(ran[1:]) >= runs - EXACT
    assert used <= sum(ran) + 0.1  # a signal takes effect a little later, and the kernel counts in ticks of 10 ms
    assert state != "T"


def test_a_clock_steps_for_all_that_reads_it(tmp_path: Path) -> None:
    """A step shifts the times and the dates of a program, and not the clock by which its timers go."""
    stepped_clock.write(tmp_path / "clock", 0.0)
    program = """
import sys, time
from datetime import datetime, timezone
from pathlib import Path
from lab.faults import stepped_clock

def read():
    return [time.time(), time.time_ns() / 1e9, datetime.now(timezone.utc).timestamp(), datetime.now().timestamp()]

clock = Path(sys.argv[1])
stepped_clock.shift(clock)
before, began = read(), time.monotonic()
stepped_clock.write(clock, -200.0)
print(time.monotonic() - began < 100 and [round(after - first, -1) for first, after in zip(before, read())])
"""
    command = [sys.executable, "-c", program, str(tmp_path / "clock")]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60).stdout == f"{[-200.0] * 4}\n"


def test_a_machine_that_stands_still_is_noticed(tmp_path: Path) -> None:
    """Time that passes without anybody having had a part in it is the machine's, and the trial is not judged by it."""

    async def stand_still() -> float:
        trial = Trial(SharedParts(tmp_path, 2), random_schedule(1, first()), "helper", tmp_path)
        watching = asyncio.create_task(trial._watch_clock())
        await asyncio.sleep(0)
        time.sleep(2 * LATE)
        await asyncio.sleep(0.2)
        watching.cancel()
        return trial._late

    assert asyncio.run(stand_still()) > LATE
