"""The record of one run: everything that happened, one JSON object a line, to be judged afterwards.

The first line is the run: revision, versions, scenario, settings. Times are seconds since the run began.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

OK = "ok"


class Run(msgspec.Struct, frozen=True, tag="run", tag_field="kind"):
    """What was run. `began` is the UTC time, ISO 8601, that all times in the record count from."""

    revision: str
    versions: dict[str, str]
    scenario: str
    title: str
    column: str
    settings: dict[str, Any]
    began: str


class Event(msgspec.Struct, frozen=True, tag="event", tag_field="kind"):
    """Something that happened: `what` is `phase`, `task`, `container`, `helper`, `downstream`, `discovery`, `api`,
    `admin`."""

    at: float
    what: str
    name: str
    task: str = ""
    detail: dict[str, Any] = {}


class Request(msgspec.Struct, frozen=True, tag="request", tag_field="kind"):
    """One request: when it was due, when it was sent, when it ended and how: OK or the reason of the failure.

    stream: the name of its stream of the load; a record has it under the key `caller`
    task: the task that answered or failed, where known; connection: the downstream Envoy's number of the connection
    to the task, so that requests over one connection can be grouped
    """

    stream: str = msgspec.field(name="caller")
    due: float
    start: float
    end: float
    outcome: str
    task: str = ""
    connection: str = ""


class History(msgspec.Struct, frozen=True):
    """A record, read back."""

    run: Run
    events: list[Event]
    requests: list[Request]

    def times(self, what: str, name: str) -> dict[str, float]:
        """When each task first had such an event, by task."""
        first: dict[str, float] = {}
        for event in self.events:
            if event.what == what and event.name == name:
                first.setdefault(event.task, event.at)
        return first

    def phase(self, name: str) -> float | None:
        """When that phase of the run began; None if it never did."""
        return self.times("phase", name).get("")


class Recorder:
    """Writes the record of a run from now on, and passes each line to `hear`. Close it to be sure of the last lines."""

    def __init__(
        self,
        file: Path,
        run: Run,
        hear: Callable[[Run | Event | Request], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.began = run.began
        self._clock, self._zero = clock, clock()
        self._wall_zero = datetime.fromisoformat(run.began).timestamp()
        self._encode = msgspec.json.Encoder().encode
        self._output = file.open("wb")
        self._hear = hear
        self._write(run)

    def now(self) -> float:
        """Seconds since the run began."""
        return self._clock() - self._zero

    def event(self, what: str, name: str, task: str = "", *, clock: str | None = None, **detail: Any) -> None:
        """Record an event now, or at the wall `clock` time, ISO 8601, that a process has reported."""
        at = self.now() if clock is None else datetime.fromisoformat(clock).timestamp() - self._wall_zero
        self._write(Event(round(at, 4), what, name, task, detail))

    def request(self, request: Request) -> None:
        self._write(request)

    def close(self) -> None:
        self._output.close()

    def _write(self, line: Run | Event | Request) -> None:
        self._output.write(self._encode(line) + b"\n")
        self._hear(line)


def began_now() -> str:
    return datetime.now(UTC).isoformat()


def read(file: Path) -> History:
    """Read a record; raises msgspec.ValidationError on a line that is none, ValueError where the run is missing."""
    lines = msgspec.json.Decoder(Run | Event | Request).decode_lines(file.read_bytes())
    if not lines or not isinstance(lines[0], Run):
        raise ValueError(f"{file}: the first line is not a run")
    events = sorted((line for line in lines if isinstance(line, Event)), key=lambda event: event.at)
    return History(lines[0], events, [line for line in lines if isinstance(line, Request)])
