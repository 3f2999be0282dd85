"""The campaign of random faults, for real: schedules are played and judged, and the exit code tells."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab.faults.judgement import LATE
from lab.faults.schedule import Schedule, draw
from lab.faults.trial import Life
from lab.faults.world import World


def first(wanted: str) -> int:
    """The number of the first schedule that nothing but this befalls, and that is over soon."""

    def is_it(schedule: Schedule) -> bool:
        kinds = [happening.kind for happening in schedule.happenings]
        return (
            kinds == [wanted] * bool(wanted) and schedule.known and not (schedule.auto_timeout or schedule.auto_delay)
        )

    return next(number for number in range(10_000) if is_it(draw(1, number)))


@pytest.mark.parametrize("happening", ["", "application restarts"])
def test_a_schedule_is_played_and_judged(happening: str) -> None:
    """Both lives are lived through, the judgement is printed with what happened, and the exit code is 0 for `kept`."""
    number = str(first(happening))
    command = [sys.executable, "-m", "lab.faults", "--seed", "1", "--only", number]
    played = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"kept: schedule {number}; python -m lab.faults --seed 1 --only {number}" in played.stdout
    assert "trap: gone at" in played.stdout and "helper: gone at" in played.stdout
    assert "1 kept, 0 broken, 0 could not be judged" in played.stdout
    assert played.stderr == ""


def test_a_machine_that_stands_still_is_noticed(tmp_path: Path) -> None:
    """Time that passes without anybody having had a part in it is the machine's, and the life is not judged by it."""

    async def stand_still() -> float:
        life = Life(World(tmp_path, 2), draw(1, first("")), "helper", tmp_path)
        watching = asyncio.create_task(life._watch_clock())
        await asyncio.sleep(0)
        time.sleep(2 * LATE)
        await asyncio.sleep(0.2)
        watching.cancel()
        return life._late

    assert asyncio.run(stand_still()) > LATE
