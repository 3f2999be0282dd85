"""What the records of a soak come to: figures by column, made of nothing but the records."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import msgspec

from lab.parts.history import OK, History, Run, read
from lab.report import verdict
from lab.report.report import RECORD
from lab.scenarios.scenario import COLUMNS, Column, Scenario
from lab.soak.confidence import CONFIDENCE, at_most, quantile

MILLION = 1_000_000

# the parts of an update, by the events of the runtime, which every column has
Part = Literal["before", "starting", "held", "after"]
PARTS: tuple[Part, ...] = get_args(Part)
PART_TITLES: Mapping[Part, str] = {
    "before": "before the update",
    "starting": "new tasks start",
    "held": "old tasks are drained",
    "after": "after it",
}

QUANTILES: Mapping[str, float] = {"least": 0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "most": 1}


class Latency(msgspec.Struct, frozen=True):
    """How long `requests` that were answered took, in milliseconds, from when each was due; None where there are none.

    From when it was due and not from when it was sent: a request that waits in the client counts its wait.
    """

    requests: int
    p50: float | None
    p99: float | None


class ColumnFigures(msgspec.Struct, frozen=True):
    """What all updates of one column come to.

    updates: those that were played; unknown: those of them that could not be judged, and are in no other figure
    requests, lost: of the judged ones, `verdict.Figures.requests` and `failed`
    lost_at_most: the share of requests, taken as independent, that may be lost, with the confidence of the page
    updates_that_lost: those of the judged ones that lost any request; updates_that_lost_at_most: the share that may
    held_seconds: from a task's stop until ECS stops its application or Envoy, the slowest task of each update, in
        ascending order; held: their QUANTILES, None where there are none
    latency: by PARTS
    worse: runs that came to less than their scenario says, each with why
    """

    updates: int
    unknown: int
    requests: int
    lost: int
    lost_at_most: float
    updates_that_lost: int
    updates_that_lost_at_most: float
    held: dict[str, float | None]
    held_seconds: list[float]
    latency: dict[Part, Latency]
    worse: list[str]


class Summary(msgspec.Struct, frozen=True):
    """The whole soak.

    began, ended: UTC times, ISO 8601, at which the first and the last update began
    versions: of each part all that were seen, and the project's `revision`
    """

    scenario: str
    title: str
    began: str
    ended: str
    versions: dict[str, list[str]]
    confidence: float
    columns: dict[Column, ColumnFigures]


@dataclass
class Tally:
    """Counts the updates of one column, one after the other, so that only one record is in memory."""

    updates: int = 0
    unknown: int = 0
    requests: int = 0
    lost: int = 0
    that_lost: int = 0
    kept: Counter[float] = field(default_factory=Counter)
    latency: dict[Part, Counter[float]] = field(default_factory=lambda: {part: Counter() for part in PARTS})
    worse: list[str] = field(default_factory=list)

    def add(self, name: str, history: History | str, scenario: Scenario, column: Column) -> None:
        """One more update: its record, or why it has none that can be read."""
        self.updates += 1
        if isinstance(history, str):
            self.unknown += 1
            self.worse.append(f"{name}: unknown: {history}")
            return
        judgement, measured = verdict.judge(history), verdict.figures(history)
        found = verdict.shortcomings(scenario.expected[column], judgement, measured)
        if judgement.kind == "unknown":
            self.unknown += 1
            # what failed there stands here and nowhere else
            found = [f"{each}; {measured.failed:,} of {measured.requests:,} requests failed" for each in found]
        else:
            self._measure(history, measured)
        self.worse += [f"{name}: {each}" for each in found]

    def _measure(self, history: History, measured: verdict.Figures) -> None:
        self.requests += measured.requests
        self.lost += measured.failed
        self.that_lost += measured.failed > 0
        if measured.retired is not None:
            self.kept[round(measured.retired, 2)] += 1
        for part, milliseconds in latencies(history).items():
            self.latency[part] += milliseconds

    def figures(self) -> ColumnFigures:
        judged = self.updates - self.unknown
        return ColumnFigures(
            self.updates,
            self.unknown,
            self.requests,
            self.lost,
            at_most(self.lost, self.requests),
            self.that_lost,
            at_most(self.that_lost, judged),
            {name: quantile(self.kept, share) for name, share in QUANTILES.items()},
            sorted(self.kept.elements()),
            {
                part: Latency(counts.total(), quantile(counts, 0.5), quantile(counts, 0.99))
                for part, counts in self.latency.items()
            },
            self.worse,
        )


def latencies(history: History) -> dict[Part, Counter[float]]:
    """How often each latency was measured, in milliseconds to the tenth, by the part in which requests were due.

    Old tasks are drained from the first stop of a task until the last one that was stopped has ended. Requests that
    failed have no latency: how fast they did says nothing.
    """
    never = float("inf")
    change = history.phase("change")
    stops, ends = history.times("task", "stopping"), history.times("task", "stopped")
    marks: list[tuple[Part, float]] = [
        ("before", never if change is None else change),
        ("starting", min(stops.values(), default=never)),
        ("held", max(ends.values(), default=never)),
        ("after", never),
    ]
    found: dict[Part, Counter[float]] = {part: Counter() for part in PARTS}
    for request in history.requests:
        if request.outcome == OK:
            part = next(part for part, end in marks if request.due < end)
            found[part][round((request.end - request.due) * 1000, 1)] += 1
    return found


def played(folder: Path) -> list[tuple[Path, Column]]:
    """The updates that were played to their end, each with its column, in the order in which they were due."""
    found = [(file, column) for column in COLUMNS for file in folder.glob(f"*[0-9]-{column}")]
    return sorted(found, key=lambda each: (int(each[0].name.partition("-")[0]), COLUMNS.index(each[1])))


def scenario_of(folder: Path) -> str | None:
    """The name of the scenario that was played there; None if no record there has it."""
    for place, _ in played(folder):
        if not isinstance(history := _record(place), str):
            return history.run.scenario
    return None


def summary(folder: Path, scenario: Scenario) -> Summary:
    """Read every record below `folder`, all of them runs of this scenario."""
    tallies: dict[Column, Tally] = {}
    runs: list[Run] = []
    for place, column in played(folder):
        history = _record(place)
        tallies.setdefault(column, Tally()).add(place.name, history, scenario, column)
        if not isinstance(history, str):
            runs.append(history.run)
    versions: dict[str, list[str]] = {}
    for run in runs:
        for part, version in {"revision": run.revision, **run.versions}.items():
            if version not in versions.setdefault(part, []):
                versions[part].append(version)
    times = sorted(run.began for run in runs) or [""]
    columns = {column: tallies[column].figures() for column in COLUMNS if column in tallies}
    return Summary(scenario.name, scenario.title, times[0], times[-1], versions, CONFIDENCE, columns)


def _record(place: Path) -> History | str:
    """The record of a run, or why there is none."""
    try:
        return read(place / RECORD)
    except (OSError, ValueError) as error:
        return f"no record that can be read: {error}"
