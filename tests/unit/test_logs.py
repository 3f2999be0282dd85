"""The log as people and programs read it."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from task_helper.logs import Event, log, log_fault, set_up


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("task_helper")
    levels = root.level, ours.level
    yield
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.raiseExceptions = True


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A line is one JSON object: time in UTC, level, event, then the fields, seconds to the millisecond."""
    set_up("info", "json")
    log(Event.DELAYING, seconds=40.00049, place=Path("/x"))

    line = json.loads(capsys.readouterr().out)
    assert ["time", "level", "event", "seconds", "place"] == list(line)
    assert ("info", "delaying", 40.0, "/x") == (line["level"], line["event"], line["seconds"], line["place"])
    assert line["time"].endswith("Z") and "T" in line["time"]


def test_text(capsys: pytest.CaptureFixture[str]) -> None:
    """As text, a line is for people."""
    set_up("info", "text")
    log(Event.HEALTH_CHECKS_FAILED, attempts=2)

    assert capsys.readouterr().out.endswith("  info     health checks failed  attempts=2\n")


def test_level(capsys: pytest.CaptureFixture[str]) -> None:
    """LOG_LEVEL keeps what is less important out."""
    set_up("warning", "json")
    log(Event.DELAYING, seconds=1)
    log(Event.ENVOY_GONE)

    assert 1 == capsys.readouterr().out.count("\n")


@pytest.mark.parametrize("format", ["json", "text"])
def test_fault(format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A fault comes with its traceback."""
    set_up("info", format)
    try:
        raise RuntimeError("oh")
    except RuntimeError as error:
        log_fault(error)

    out = capsys.readouterr().out
    assert "fault" in out and "Traceback" in out and "RuntimeError: oh" in out


def test_libraries(capsys: pytest.CaptureFixture[str]) -> None:
    """What a library finds wrong comes in the same form, as the event `log`; the rest does not come at all."""
    set_up("info", "json")
    logging.getLogger("botocore").info("Found credentials")
    logging.getLogger("asyncio").warning("took %s", "long")

    line = json.loads(capsys.readouterr().out)
    assert ("log", "took long") == (line["event"], line["message"])


def test_every_event_is_explained() -> None:
    """Every event has a level and a meaning of its own."""
    assert len({event.meaning for event in Event}) == len(Event)
    assert all(event.level in (logging.INFO, logging.WARNING, logging.ERROR) for event in Event)
