"""Several passes of the same scenarios, on made-up records."""

import io
from pathlib import Path

import msgspec
from rich.console import Console

from lab.parts.history import Event, Request, Run
from lab.report import comparison
from lab.report.report import RECORD

RUN = Run("abc", {}, "admin-hangs", "a title", "fixed", {}, "2026-11-25T00:00:00+00:00")


def played(folder: Path, kept: float = 20.0, failed: int = 0, finished: bool = True) -> Path:
    """A pass in which a task is kept for `kept` seconds, and `failed` of ten requests fail."""
    events = [
        Event(5.0, "task", "stopping", "old"),
        Event(5.0, "container", "sigterm", "old", {"container": "helper"}),
        Event(5.0 + kept, "container", "stopped", "old", {"container": "helper"}),
        Event(5.0 + kept, "container", "sigterm", "old", {"container": "envoy"}),
        *([Event(60.0, "phase", "finished")] if finished else []),
    ]
    outcomes = ["503"] * failed + ["ok"] * (10 - failed)
    requests = [Request("persistent", 1.0 + at, 1.0 + at, 1.1 + at, each) for at, each in enumerate(outcomes)]
    record = folder / "admin-hangs-fixed" / RECORD
    record.parent.mkdir(parents=True)
    record.write_bytes(msgspec.json.Encoder().encode_lines([RUN, *events, *requests]))
    return folder


def table(*passes: Path) -> tuple[int, list[str]]:
    """Exit code, and the lines below the table's head."""
    shown = io.StringIO()
    return comparison.table(passes, Console(file=shown, width=80)), shown.getvalue().splitlines()[2:]


def test_passes_that_agree(tmp_path: Path) -> None:
    """Of passes with the same verdict the table has the medians, and the largest difference between times kept."""
    assert table(played(tmp_path / "1", 20), played(tmp_path / "2", 22.4), played(tmp_path / "3", 21)) == (
        0,
        [
            "| admin API hangs for a while | none failed, kept 21.0 s |",
            "All 3 passes have the same verdicts. Kept equally long to within 2.4 s (admin-hangs, helper, fixed).",
        ],
    )


def test_passes_that_differ(tmp_path: Path) -> None:
    """A verdict that is not the same in all passes is named, and why it is worse than it must be."""
    code, (row, *details) = table(played(tmp_path / "1"), played(tmp_path / "2", failed=2), played(tmp_path / "3"))
    assert (code, row) == (1, "| admin API hangs for a while | none failed, kept 20.0 s |")
    assert details[:-1] == [
        "admin-hangs, helper, fixed: not the same verdict: valid, invalid, valid",
        "admin-hangs, helper, fixed: 2 of 10 requests failed",
    ]


def test_passes_that_miss_something(tmp_path: Path) -> None:
    """What was not played to its end, or not at all in one of the passes, is no agreement."""
    code, (row, *details) = table(played(tmp_path / "1", finished=False), tmp_path / "2")
    assert (code, row) == (1, "| admin API hangs for a while | unknown |")
    assert details[:-1] == [
        "admin-hangs, helper, fixed: played in 1 of 2 passes",
        "admin-hangs, helper, fixed: unknown: the run did not finish",
    ]


def test_no_passes_at_all(tmp_path: Path) -> None:
    """Folders without any record are an error, and no agreement."""
    assert table(tmp_path / "1", tmp_path / "2")[0] == 2
