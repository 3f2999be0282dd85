"""Prints a run as it happens: what ECS and the helpers do, which tasks downstreams know, how their requests fare."""

from collections.abc import Callable

from lab.parts.history import OK, Event, Request, Run

# seconds without a failure after which requests succeed again
CALM = 0.5

SENTENCES = {
    ("task", "created"): "ECS starts {task}",
    ("task", "healthy"): "{task} is healthy for ECS",
    ("task", "stopping"): "ECS stops {task}",
    ("helper", "delaying"): "{task} delays: it serves on",
    ("helper", "application_stopped"): "{task} has lost its application",
    ("helper", "replaced"): "{task} sees its replacement in service",
    ("helper", "drain_confirmed"): "{task} drains: its health checks fail",
    ("helper", "envoy_stopped"): "{task} has lost its Envoy",
    ("helper", "summary"): "{task} is left by its helper",
    ("downstream", "serving"): "downstreams send to {task}",
    ("downstream", "failed"): "downstreams find {task} failing",
    ("downstream", "gone"): "downstreams have left {task}",
    ("task", "stopped"): "{task} has stopped",
}


class Narrator:
    """Hears every line of a record, and says those that belong to the story, from the change on."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._changed_at: float | None = None
        self._names: dict[str, str] = {}
        self._failed = 0
        self._failing_at: float | None = None

    def hear(self, line: Run | Event | Request) -> None:
        """Take the next line of the record."""
        if isinstance(line, Event):
            self._hear_event(line)
        elif isinstance(line, Request):
            self._hear_request(line)

    def _hear_event(self, event: Event) -> None:
        if event.what == "phase" and event.name == "change":
            self._changed_at = event.at
        elif event.what == "phase" and self._changed_at is None:
            self._say(event.name)
        if (event.what, event.name) == ("task", "created"):
            age = "old" if self._changed_at is None else "new"
            self._names[event.task] = f"{age} {1 + sum(name.startswith(age) for name in self._names.values())}"
        sentence = SENTENCES.get((event.what, event.name))
        if sentence and self._changed_at is not None:
            self._say(f"{self._clock(event.at)}  {sentence.format(task=self._names.get(event.task, event.task))}")

    def _hear_request(self, request: Request) -> None:
        if request.outcome != OK:
            if self._failing_at is None:
                self._say(f"{self._clock(request.end)}  requests fail")
            self._failed += 1
            self._failing_at = request.end
        elif self._failing_at is not None and request.end - self._failing_at > CALM:
            self._failing_at = None
            self._say(f"{self._clock(request.end)}  requests succeed again, {self._failed} have failed")

    def _clock(self, at: float) -> str:
        """The time since the change."""
        return f"{at - (self._changed_at or 0.0):+6.1f} s"
