"""Which rule may the helpers of a service poll ECS by, when all its tasks stop at once? A simulation, pure and seeded.

    python -m measure.scale [--picture docs/images/scale.png]

An account makes 20 reads of a kind a second in a region, after a burst of 100, and shares them with everything else
there. Every helper learns by such calls that it may drain. What it learns late, or never, is lost time.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, NamedTuple, get_args

from rich.console import Console
from rich.progress import track
from rich.table import Table

from task_helper.ecs.replacement import first_pause, pause

# https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
BURST, REFILL = 100.0, 20.0
# The account's buckets: "service" reads are DescribeServices, "cluster" resource reads ListTasks and DescribeTasks.
Kind = Literal["service", "cluster"]
PAGE: Final = 100  # tasks that ListTasks gives and DescribeTasks takes

# what other users of the account call, a second and kind, and how their calls differ from those of helper 0, 1, 2 …
OTHERS_RATE, OTHERS = 5.0, -1
CALL_TAKES: Final = 0.1

# DRAIN_DELAY=auto: who has heard nothing leaves after 40 s; STOP_TIMEOUT 120 - 5 s - DRAIN_TIMEOUT 40 is the latest
BLIND_UNTIL, LATEST = 40.0, 75.0

SIZES: Final = (10, 30, 100, 300, 1000, 3000, 10000)


class Bucket:
    """A token bucket: full at first, one token a call."""

    def __init__(self, burst: float = BURST, refill: float = REFILL) -> None:
        self._burst, self._refill = burst, refill
        self._tokens, self._at = burst, 0.0

    def take(self, now: float) -> bool:
        """Whether a call at this moment, in seconds, is answered; a throttled one costs no token."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._refill)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


@dataclass(frozen=True)
class Scenario:
    """A service whose tasks get SIGTERM, `stops` a second. Seconds, each from a task's own SIGTERM to:

    running: ECS counts as many as desired as RUNNING; there: its replacement is there; known: downstreams know it
    """

    name: str
    running: float
    there: float
    known: float
    stops: float = math.inf


AT_ONCE = Scenario("all at once, replaced after 30 s", running=15, there=30, known=35)
# ECS starts at most 500 tasks of a service a minute on Fargate, and stops an old one for each that is there
ROLLING = Scenario(
    "rolling update, 500 tasks a minute, each replaced before", running=0, there=0, known=5, stops=500 / 60
)
SCENARIOS: Final = (
    AT_ONCE,
    ROLLING,
    Scenario("all at once, replaced before", running=0, there=0, known=5),
    Scenario("all at once, running before, listed by Cloud Map after 30 s", running=0, there=30, known=35),
    Scenario("all at once, replaced after 60 s", running=45, there=60, known=65),
)


@dataclass(frozen=True)
class Rule:
    """When a helper looks, and by which calls. `first` and `pause` are as in task_helper.ecs.replacement.

    thorough: each look is at all pages of tasks; else at the counts, and where they suffice at one page
    asks_itself: DescribeTasks of the own task comes first, once, to learn the service
    looks_on: from when the replacement is there until it is known
    """

    name: str
    first: Callable[[float], float]
    pause: Callable[[int, int, float], float]
    thorough: bool = False
    asks_itself: bool = False
    looks_on: bool = False

    def calls(self, tasks: int, enough_run: bool) -> list[Kind]:
        """Of one look at a service of so many tasks."""
        if self.thorough:
            pages = math.ceil(tasks / PAGE)
        else:
            pages = 1 if enough_run else 0
        list_and_describe: list[Kind] = ["cluster", "cluster"]
        return ["service", *(pages * list_and_describe)]


RULES: Final = (
    Rule("every second, all tasks", lambda draw: 0, lambda tasks, failures, draw: 1, thorough=True),
    Rule("every 5 s, all tasks", lambda draw: 0, lambda tasks, failures, draw: 5, thorough=True),
    Rule(
        "max(5 s, tasks/5), jitter 0…1, all tasks",
        lambda draw: 5 * draw,
        lambda tasks, failures, draw: max(5, tasks / 5) * draw,
        thorough=True,
    ),
    Rule("task-helper, but tasks/5", first_pause, lambda tasks, failures, draw: pause(2 * tasks, failures, draw)),
    Rule("task-helper, but never slowed", first_pause, lambda tasks, failures, draw: pause(tasks, 0, draw)),
    Rule("task-helper, but looks on, asks itself", first_pause, pause, asks_itself=True, looks_on=True),
    Rule("task-helper", first_pause, pause),
)
OURS: Final = RULES[-1]


Reason = Literal["learned", "blind", "latest"]


class Ending(NamedTuple):
    """Of one helper's delay: why it ended, and the seconds that it lost against knowing at once.

    Negative where it left before its replacement was known.
    """

    reason: Reason
    lost: float


Life = Generator[tuple[float, Kind], bool, Ending]


def life(rule: Rule, scenario: Scenario, tasks: int, began: float, draw: Callable[[], float]) -> Life:
    """One helper from SIGTERM on: yields its calls and their moments, is sent whether they are answered."""
    known = began + scenario.known
    now = began + rule.first(draw())
    size, failures, heard, identified = 0, 0, False, not rule.asks_itself
    knows_at = math.inf
    while now < began + (LATEST if heard else BLIND_UNTIL):
        calls: list[Kind] = [] if identified else ["cluster"]
        calls += rule.calls(tasks, enough_run=now >= began + scenario.running)
        answered = 0
        while answered < len(calls) and (yield now, calls[answered]):
            answered += 1
            now += CALL_TAKES
        identified = identified or answered > 0
        if answered == len(calls):
            heard, size, failures = True, tasks, 0
            if now >= began + scenario.there:
                knows_at = min(knows_at, now + scenario.known - scenario.there)
        else:
            failures += 1
        if now >= knows_at or (knows_at <= began + LATEST and not rule.looks_on):
            return Ending("learned", knows_at - known)
        now = min(knows_at, now + rule.pause(size, failures, draw()))
    return Ending("latest", began + LATEST - known) if heard else Ending("blind", began + BLIND_UNTIL - known)


@dataclass
class Run:
    """What happened to one service under one rule."""

    seconds: float
    endings: list[Ending] = field(default_factory=list)
    calls: Counter[tuple[Kind, int]] = field(default_factory=Counter)  # of the helpers, by second
    throttled: int = 0
    others: int = 0
    others_throttled: int = 0

    @property
    def lost(self) -> list[float]:
        """Seconds by helper, in order; one that left too early lost none."""
        return sorted(max(0.0, ending.lost) for ending in self.endings)

    def peak(self) -> int:
        """Most calls of one kind in one second."""
        return max(self.calls.values())

    def ended(self, reason: str) -> float:
        """Share of the helpers."""
        return sum(ending.reason == reason for ending in self.endings) / len(self.endings)

    def too_early(self) -> float:
        """Share of the helpers."""
        return sum(ending.lost < 0 for ending in self.endings) / len(self.endings)


def simulate(rule: Rule, scenario: Scenario, tasks: int, seed: int = 1) -> Run:
    """Let the helpers of a service of so many tasks live while others make their calls."""
    dice = random.Random(seed)  # nosec B311  # the same every time
    buckets = {kind: Bucket() for kind in get_args(Kind)}
    began = [number / scenario.stops for number in range(tasks)]
    run = Run(seconds=began[-1] + LATEST)
    lives = [life(rule, scenario, tasks, moment, dice.random) for moment in began]
    # moment, which helper, kind
    calls = [(*others, kind) for kind in buckets for others in others_calls(dice, run.seconds)]
    calls += [(moment, number, kind) for number, (moment, kind) in enumerate(map(next, lives))]
    heapq.heapify(calls)
    while calls:
        moment, number, kind = heapq.heappop(calls)
        answered = buckets[kind].take(moment)
        if number == OTHERS:
            run.others += 1
            run.others_throttled += not answered
            continue
        run.calls[kind, int(moment)] += 1
        run.throttled += not answered
        try:
            moment, kind = lives[number].send(answered)
            heapq.heappush(calls, (moment, number, kind))
        except StopIteration as end:
            run.endings.append(end.value)
    return run


def others_calls(dice: random.Random, seconds: float) -> Iterator[tuple[float, int]]:
    """Calls that come whenever they like, OTHERS_RATE a second."""
    moment = dice.expovariate(OTHERS_RATE)
    while moment < seconds:
        yield moment, OTHERS
        moment += dice.expovariate(OTHERS_RATE)


def show(console: Console, title: str, rows: Sequence[tuple[str, int, Run]]) -> None:
    table = Table(title=title)
    table.add_column("")
    calls_and_throttled = ("tasks", "calls/s peak", "mean", "throttled", "others' throttled")
    lost_and_ended = ("lost s median", "99 %", "mean", "learned", "left at 40 s", "at 75 s", "too early")
    for heading in (*calls_and_throttled, *lost_and_ended):
        table.add_column(heading, justify="right")
    for name, tasks, run in rows:
        calls = run.calls.total()
        table.add_row(
            name,
            f"{tasks:,}",
            f"{run.peak():,}",
            f"{calls / run.seconds:.1f}",
            f"{run.throttled / calls:.0%}",
            f"{run.others_throttled / run.others:.1%}",
            f"{statistics.median(run.lost):.1f}",
            f"{run.lost[math.ceil(0.99 * tasks) - 1]:.1f}",
            f"{statistics.mean(run.lost):.1f}",
            *(f"{run.ended(reason):.0%}" for reason in get_args(Reason)),
            f"{run.too_early():.0%}",
        )
    console.print(table)


def draw(runs: dict[tuple[Rule, Scenario, int], Run], file: Path) -> None:
    """Who learns, what is lost, and what others suffer, by size of the service."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 11), layout="constrained")
    grid = figure.subplots(3, 2, sharex=True, sharey="row")
    shown = {RULES[0]: "#c9b458", RULES[1]: "#d98c3f", RULES[2]: "#c0504d", RULES[-2]: "#7f9fc9", OURS: "#1f4e9c"}
    for column, scenario in enumerate((AT_ONCE, ROLLING)):
        learned, lost, others = grid[:, column]
        learned.set_title(scenario.name)
        for rule, colour in shown.items():
            mine = [runs[rule, scenario, tasks] for tasks in SIZES]
            style = {"color": colour, "marker": "o", "linewidth": 3 if rule is OURS else 1.5, "label": rule.name}
            learned.plot(SIZES, [100 * run.ended("learned") for run in mine], **style)
            lost.plot(SIZES, [statistics.mean(run.lost) for run in mine], **style)
            others.plot(SIZES, [100 * run.others_throttled / run.others for run in mine], **style)
        fixed = BLIND_UNTIL - scenario.known
        lost.axhline(fixed, color="black", linestyle=":", linewidth=1)
        lost.text(SIZES[0], fixed + 0.5, "DRAIN_DELAY=40", fontsize=8)
        others.set_xlabel("tasks of the service")
    for axes in grid.flat:
        axes.set_xscale("log")
        axes.set_xticks(SIZES, [f"{tasks:,}" for tasks in SIZES])
        axes.minorticks_off()
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    grid[0][0].set_ylabel("learn that they may drain, % of tasks")
    grid[1][0].set_ylabel("lost against knowing at once, s a task")
    grid[2][0].set_ylabel("throttled of the account's other calls, %")
    figure.legend(*grid[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m measure.scale", description=__doc__.partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, metavar="FILE", help="draw the comparison of the rules")
    arguments = parser.parse_args()
    cases = [(rule, scenario, tasks) for scenario in (AT_ONCE, ROLLING) for rule in RULES for tasks in SIZES]
    cases += [(OURS, scenario, tasks) for scenario in SCENARIOS for tasks in SIZES]
    runs = {case: simulate(*case, arguments.seed) for case in track(cases, "simulating", transient=True)}
    console = Console()
    for scenario in SCENARIOS:
        rows = [(case[0].name, case[2], run) for case, run in runs.items() if case[1] == scenario]
        show(console, scenario.name, rows)
    if arguments.picture:
        draw(runs, arguments.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
