"""The log as people and programs read it."""

import asyncio
import fcntl
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from task_helper import http
from task_helper.logs import Event, JsonFormatter, PipeHandler, TextFormatter, log, log_fault, set_up, traceback_of
from task_helper.settings import Url


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("task_helper")
    levels = root.level, ours.level
    yield
    logging.basicConfig(handlers=[logging.NullHandler()], force=True)
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


def test_json(capfd: pytest.CaptureFixture[str]) -> None:
    """A line is one JSON object: time in UTC, level, event, then the fields, seconds to the millisecond."""
    set_up("info", "json")
    log(Event.DELAYING, seconds=40.00049, place=Path("/x"))

    line = json.loads(capfd.readouterr().out)
    assert ["time", "level", "event", "seconds", "place"] == list(line)
    assert ("info", "delaying", 40.0, "/x") == (line["level"], line["event"], line["seconds"], line["place"])
    assert line["time"].endswith("Z") and "T" in line["time"]


def test_text(capfd: pytest.CaptureFixture[str]) -> None:
    """With LOG_FORMAT=text a line is for people."""
    set_up("info", "text")
    log(Event.DRAIN_CONFIRMED, attempts=2)

    assert capfd.readouterr().out.endswith("  info     drain confirmed  attempts=2\n")


def test_level(capfd: pytest.CaptureFixture[str]) -> None:
    """LOG_LEVEL keeps what is less important out."""
    set_up("warning", "json")
    log(Event.DELAYING, seconds=1)
    log(Event.ENVOY_STOPPED)

    assert 1 == capfd.readouterr().out.count("\n")


@pytest.mark.parametrize("format", ["json", "text"])
def test_fault(format: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A fault comes with its traceback, which has places and types, and no text of an error."""
    set_up("info", format)
    try:
        try:
            json.loads("hunter2")
        except ValueError as error:
            raise RuntimeError("hunter2") from error
    except RuntimeError as error:
        log_fault(error)

    out = capfd.readouterr().out
    assert "fault" in out and "hunter2" not in out
    assert out.index("json/decoder.py:") < out.index("json.decoder.JSONDecodeError")
    assert out.index("json.decoder.JSONDecodeError") < out.index("unit/test_logs.py:") < out.index("RuntimeError")


def test_traceback_of_the_helpers_own_calls() -> None:
    """A traceback has each of the helper's own calls, and of other packages' calls the innermost."""
    with pytest.raises(OSError) as raised:
        asyncio.run(http.request("GET", Url("http", "127.0.0.1", 1), "/"))

    places = [line.split()[0].partition(":")[0] for line in traceback_of(raised.value).splitlines()[1:-1]]
    assert ["task_helper/http.py"] * 3 == places[-4:-1] and places[-1].startswith("asyncio/")


def test_libraries(capfd: pytest.CaptureFixture[str]) -> None:
    """The event `log` has the place of a library's warning, not its text; lower levels are left out."""
    set_up("info", "json")
    logging.getLogger("botocore").info("Found credentials")
    logging.getLogger("asyncio").warning("took %s", "hunter2")

    line = json.loads(capfd.readouterr().out)
    assert ("log", "warning") == (line["event"], line["level"])
    assert line["place"].startswith("unit/test_logs.py:") and "hunter2" not in f"{line}"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe with room for one page; the first one is for reading."""
    ends = os.pipe()
    fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, 4096)
    yield ends
    for end in ends:
        os.close(end)


def line_of(record_fields: dict[str, object], descriptor: int, format: logging.Formatter) -> PipeHandler:
    """A handler of this descriptor that has been given one line with these fields."""
    handler = PipeHandler(descriptor)
    handler.setFormatter(format)
    logger = logging.getLogger("task_helper")
    handler.handle(
        logger.makeRecord(logger.name, logging.INFO, "", 0, "starting", (), None, extra={"fields": record_fields})
    )
    return handler


def test_full_pipe(pipe: tuple[int, int]) -> None:
    """A line that the log's reader does not take is dropped at once; the next line reports how many were."""
    handler = line_of({"number": 1}, pipe[1], JsonFormatter())
    again = logging.makeLogRecord({"name": "task_helper", "msg": "draining", "levelname": "INFO"})
    for _ in range(100):
        handler.handle(again)  # the fact is that this returns
    taken = os.read(pipe[0], 65536).splitlines()
    handler.handle(again)

    assert 100 + 1 - len(taken) == json.loads(os.read(pipe[0], 65536))["dropped"]
    handler.handle(again)
    assert "dropped" not in json.loads(os.read(pipe[0], 65536))
    assert all(json.loads(line) for line in taken)


def test_closed_pipe() -> None:
    """A log whose reader has ended is no error."""
    reader, writer = os.pipe()
    os.close(reader)
    line_of({}, writer, JsonFormatter())
    os.close(writer)


def test_long_lists_and_texts(pipe: tuple[int, int]) -> None:
    """The log names ten items of a list and counts the others, and cuts long texts."""
    line_of({"listeners": [f"outbound_{n}" for n in range(3000)], "cause": "x" * 5000}, pipe[1], JsonFormatter())

    line = json.loads(os.read(pipe[0], 65536))
    assert [*(f"outbound_{n}" for n in range(10)), "and 2990 more"] == line["listeners"]
    assert 1001 == len(line["cause"])


@pytest.mark.parametrize("format", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_line_that_is_too_long_all_the_same(format: logging.Formatter, pipe: tuple[int, int]) -> None:
    """A line longer than a pipe takes at once is not split: the log has its event, and its length."""
    line_of({f"field_{n}": "x" * 900 for n in range(6)}, pipe[1], format)

    line = os.read(pipe[0], 65536)
    assert len(line) < 200 and b"starting" in line and b"too_long" in line


def test_metrics_at_any_level(capfd: pytest.CaptureFixture[str]) -> None:
    """A line that must be logged is logged at every LOG_LEVEL."""
    set_up("error", "json")
    log(Event.SUMMARY, whatever_level=True, reason="drained")

    line = json.loads(capfd.readouterr().out)
    assert ("summary", "info", "drained") == (line["event"], line["level"], line["reason"])


def test_debug(capfd: pytest.CaptureFixture[str]) -> None:
    """`debug` has more than `info`: every HTTP call."""
    for level in ("info", "debug"):
        set_up(level, "json")
        log(Event.HTTP_CALL, method="GET")

    assert 1 == capfd.readouterr().out.count("http_call")


def test_every_event_is_explained() -> None:
    """Every event has a level and a meaning of its own."""
    assert len({event.meaning for event in Event}) == len(Event)
    assert all(event.level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR) for event in Event)


class _Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("hunter2")


@pytest.mark.parametrize("value", ["\udcff", {"x": ["\udcff"]}, _Unprintable()])
@pytest.mark.parametrize("format", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_line_that_cannot_be_formatted(format: logging.Formatter, value: object, pipe: tuple[int, int]) -> None:
    """A field that cannot be shown raises nothing, and the line still has its event."""
    line_of({"number": value}, pipe[1], format)

    line = os.read(pipe[0], 65536)
    assert b"starting" in line and line.endswith(b"\n") and b"hunter2" not in line
