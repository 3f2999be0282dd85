"""The campaign of random faults, for real: schedules are played and judged, and the exit code tells."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.faults.judgement import LATE
from lab.faults.schedule import Schedule, random_schedule
from lab.faults.shared_parts import SharedParts
from lab.faults.trial import Trial


def first(wanted: str) -> int:
    """The number of the first schedule to which nothing but this happens, and that is over soon."""

    def is_it(schedule: Schedule) -> bool:
        kinds = [happening.kind for happening in schedule.happenings]
        return (
            kinds == [wanted] * bool(wanted) and schedule.known and not (schedule.auto_timeout or schedule.auto_delay)
        )

    return next(number for number in range(10_000) if is_it(random_schedule(1, number)))


@pytest.mark.slow
@pytest.mark.parametrize("happening", ["", "application restarts"])
def test_a_schedule_is_played_and_judged(happening: str) -> None:
    """Both trials are played, the judgement is printed with what happened, and the exit code is 0 for `kept`."""
    number = str(first(happening))
    command = [sys.executable, "-m", "lab.faults", "--seed", "1", "--only", number]
    played = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"kept: schedule {number}; python -m lab.faults --seed 1 --only {number}" in played.stdout
    assert "trap: exit at" in played.stdout and "helper: exit at" in played.stdout
    assert "1 kept, 0 broken, 0 could not be judged" in played.stdout
    assert played.stderr == ""


def test_a_machine_that_stands_still_is_noticed(tmp_path: Path) -> None:
    """Time that passes without anybody having had a part in it is the machine's, and the trial is not judged by it."""

    async def stand_still() -> float:
        trial = Trial(SharedParts(tmp_path, 2), random_schedule(1, first("")), "helper", tmp_path)
        watching = asyncio.create_task(trial._watch_clock())
        await asyncio.sleep(0)
        time.sleep(2 * LATE)
        await asyncio.sleep(0.2)
        watching.cancel()
        return trial._late

    assert asyncio.run(stand_still()) > LATE
