"""What several tests of the lab need."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.parts.history import History, Recorder, Run, began_now, read
from lab.report.report import RECORD
from lab.report.verdict import judge
from lab.run.stage import Stage
from lab.scenarios.scenario import Scenario


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Recorder]:
    """The record of a run, in the test's folder."""
    recorder = Recorder(tmp_path / "record.jsonl", Run("", {}, "", "", "", {}, began_now()))
    yield recorder
    recorder.close()


def played(scenario: Scenario, folder: Path) -> History:
    """A run with `auto` in this process. One that could not be judged, on a busy machine, is tried again, twice."""
    for attempt in range(3):
        run = folder / str(attempt)
        run.mkdir()
        asyncio.run(Stage(scenario, "auto", run, print).play())
        record = read(run / RECORD)
        if judge(record).kind != "unknown":
            break
    return record


def write_program(path: Path, answer: str) -> None:
    """A program that says the same, whatever it is asked, and ends with 0."""
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
