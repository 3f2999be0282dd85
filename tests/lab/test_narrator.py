"""The story of a run, from its record."""

from lab.parts.history import Event, Request
from lab.run.narrator import Narrator


def request(end: float, outcome: str) -> Request:
    return Request("persistent", end, end, end, outcome)


def test_story() -> None:
    """From the change on, each event is a sentence with its time; failing requests are reported once."""
    reported: list[str] = []
    narrator = Narrator(reported.append)
    for line in (
        Event(0.0, "phase", "starting"),
        Event(1.0, "task", "created", "a"),
        Event(2.0, "task", "healthy", "a"),
        Event(10.0, "phase", "change"),
        Event(10.0, "task", "created", "b"),
        Event(12.0, "task", "stopping", "a"),
        Event(12.1, "api", "DescribeTasks"),
        request(12.2, "ok"),
        request(12.3, "503"),
        request(12.4, "503"),
        Event(13.0, "downstream", "serving", "b"),
        request(12.8, "ok"),
        request(13.1, "ok"),
        Event(14.0, "phase", "tail"),
    ):
        narrator.hear(line)

    assert [
        "starting",
        "  +0.0 s  ECS starts new 1",
        "  +2.0 s  ECS stops old 1",
        "  +2.3 s  requests fail",
        "  +3.0 s  downstreams send to new 1",
        "  +3.1 s  requests succeed again, 2 have failed",
    ] == reported
