"""What several tests of the lab need."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.history import Recorder, Run, began_now


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Recorder]:
    """The record of a run, in the test's folder."""
    recorder = Recorder(tmp_path / "record.jsonl", Run("", {}, "", "", "", {}, began_now()))
    yield recorder
    recorder.close()
