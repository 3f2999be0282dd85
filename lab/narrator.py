"""Tells a run as it happens, in sentences: what ECS does, what the helpers do, whom the callers know, and how they fare."""

from collections.abc import Callable

from lab.history import OK, Event, Request, Run

SENTENCES = {
    ("task", "created"): "ECS starts {task}",
    ("task", "healthy"): "{task} is healthy for ECS",
    ("task", "stopping"): "ECS stops {task}",
    ("helper", "delaying"): "{task} delays: it serves on",
    ("helper", "application_gone"): "{task} has lost its application",
    ("helper", "replaced"): "{task} sees its replacement in service",
    ("helper", "health_checks_failed"): "{task} drains: its health checks fail",
    ("helper", "envoy_gone"): "{task} has lost its Envoy",
    ("helper", "summary"): "{task} is left by its helper",
    ("downstream", "serving"): "callers send to {task}",
    ("downstream", "failed"): "callers find {task} failing",
    ("downstream", "gone"): "callers have left {task}",
    ("task", "stopped"): "{task} has stopped",
}


class Narrator:
    """Hears every line of a record, and says those that belong to the story, from the change on."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._changed_at: float | None = None
        self._names: dict[str, str] = {}
        self._failed = 0
        self._failing = False

    def hear(self, line: Run | Event | Request) -> None:
        """Take the next line of the record."""
        if isinstance(line, Event):
            self._hear_event(line)
        elif isinstance(line, Request):
            self._hear_request(line)

    def _hear_event(self, event: Event) -> None:
        if event.what == "phase":
            self._changed_at = event.at if event.name == "change" else self._changed_at
            self._say(event.name if self._changed_at is None else f"{self._clock(event.at)}  {event.name}")
        if (event.what, event.name) == ("task", "created"):
            age = "old" if self._changed_at is None else "new"
            self._names[event.task] = f"{age} {1 + sum(name.startswith(age) for name in self._names.values())}"
        sentence = SENTENCES.get((event.what, event.name))
        if sentence and self._changed_at is not None:
            self._say(f"{self._clock(event.at)}  {sentence.format(task=self._names.get(event.task, event.task))}")

    def _hear_request(self, request: Request) -> None:
        fails = request.outcome != OK
        self._failed += fails
        if fails != self._failing:
            self._failing = fails
            now = self._clock(request.end)
            self._say(
                f"{now}  requests fail" if fails else f"{now}  requests succeed again, {self._failed} have failed"
            )

    def _clock(self, at: float) -> str:
        """The time since the change."""
        return f"{at - (self._changed_at or 0.0):+6.1f} s"
