"""The picture of runs side by side: requests by outcome over time, above the stages of each task.

matplotlib is imported where something is drawn: a run without a picture does not need its 170 MB.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lab.parts.history import OK, History

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STORY = (
    "ECS replaces two tasks by new ones. It stops the old ones as soon as the new ones are healthy, but the "
    "downstream's Envoy learns that later. Without a helper its requests meet tasks that have stopped. The helper "
    "keeps each old task serving, then has its Envoy fail its health checks so that downstreams stop sending, and then "
    "exits, so that ECS stops the task."
)

# colours that stay apart for the colour-blind (after Okabe and Ito)
OLD, NEW, FAILED = "#7fb2d9", "#1f6fb2", "#d1410c"
STAGES = {
    "starting": "#e3e3e3",
    "in service": "#b8dcc4",
    "delaying": "#f6dd8c",
    "draining": "#efb366",
    "stopped": "#d1410c",
}
WORDS = {"delaying": "delaying:\nserves on", "draining": "draining:\nhealth checks fail"}
VIEW = "#333333"
BIN = 0.5  # seconds

# How much room a label takes: inches a character of 10.5 points, the axes' width in inches, the space beside a label in
# seconds, and the height of a label of two lines as a share of the highest rate.
CHARACTER, AXES_WIDTH, GAP, LABEL_HEIGHT = 0.08, 6.9, 0.2, 0.19


@dataclass(frozen=True)
class TaskStage:
    """A stretch of a task's life. Seconds since the run began."""

    name: str
    begin: float
    end: float


def task_names(history: History) -> dict[str, str]:
    """`old 1`, `old 2`, `new 1` ... by id, in the order in which they were created."""
    names: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for event in history.events:
        if event.what == "task" and event.name == "created":
            age = "old" if event.detail["deployment"] == "ecs-svc/1" else "new"
            counts[age] += 1
            names[event.task] = f"{age} {counts[age]}"
    return names


def stages(history: History, task: str) -> list[TaskStage]:
    """The stages of one task, from its events; the last ends when it has stopped, or with the run."""
    marks = [
        ("starting", history.times("task", "created")),
        ("in service", history.times("task", "healthy")),
        ("delaying", history.times("helper", "delaying")),
        ("draining", history.times("helper", "draining")),
        ("end", history.times("task", "stopped")),
    ]
    begun = [(times[task], name) for name, times in marks if task in times]
    if begun[-1][1] != "end":
        begun.append((end_of(history), "end"))
    return [TaskStage(name, at, until) for (at, name), (until, _) in zip(begun, begun[1:])]


def end_of(history: History) -> float:
    """When the run finished, or broke off."""
    return max(event.at for event in history.events)


def turning_points(history: History) -> list[tuple[float, str]]:
    """The moments that explain the picture, in order, each in a few words."""
    names = task_names(history)
    heard = {task: at for task, at in history.times("downstream", "serving").items() if names[task].startswith("new")}
    failed = history.times("helper", "drain_confirmed")
    points = [
        (history.times("task", "stopping"), "ECS stops\nold tasks"),
        (heard, "downstreams know\nnew tasks"),
        (failed, "health checks fail:\ndownstreams stop"),
        (history.times("task", "stopped") if failed else {}, "old tasks end,\nunused by now"),
    ]
    return sorted((min(times.values()), words) for times, words in points if times)


def draw(runs: Mapping[str, History]) -> Figure:
    """One column a run, on common axes; times count from the change."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    figure = Figure(figsize=(7.6 * len(runs), 7.6), layout="constrained")
    axes = figure.subplots(2, len(runs), sharex=True, sharey="row", squeeze=False, height_ratios=[3, 2])
    seconds = max(end_of(history) - (history.phase("baseline") or 0.0) for history in runs.values())
    rows = []
    for column, (title, history) in enumerate(runs.items()):
        top, bottom = axes[0][column], axes[1][column]
        failed = sum(request.outcome != OK for request in history.requests)
        headline = f"{title.capitalize()}: {failed:,} of {len(history.requests):,} requests failed"
        top.set_title(headline, fontsize=16, fontweight="bold", color=FAILED if failed else NEW, loc="left")
        _draw_requests(top, history)
        _draw_tasks(bottom, history)
        rows.append(_draw_turning_points(top, bottom, history, seconds))
        bottom.set_xlabel("seconds since the change began")
    axes[1][0].invert_yaxis()
    rate = axes[0][0].get_ylim()[1]
    axes[0][0].set_ylim(0, rate * (1 + LABEL_HEIGHT * max(rows)))
    axes[0][0].set_yticks([tick for tick in axes[0][0].get_yticks() if tick <= rate])
    axes[0][0].set_ylabel("requests a second", loc="bottom")
    outcomes = [("answered by an old task", OLD), ("answered by a new task", NEW), ("failed", FAILED)]
    keys: list[Artist] = [Patch(color=colour, label=label) for label, colour in outcomes]
    keys.append(Line2D([], [], color=VIEW, linewidth=3, label="the downstream's Envoy sends to this task"))
    figure.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False, fontsize=12)
    return figure


def _draw_requests(axes: Axes, history: History) -> None:
    names, zero = task_names(history), history.phase("change") or 0.0
    kinds: dict[str, Counter[int]] = {OLD: Counter(), NEW: Counter(), FAILED: Counter()}
    for request in history.requests:
        kind = FAILED if request.outcome != OK else NEW if names.get(request.task, "").startswith("new") else OLD
        kinds[kind][int((request.due - zero) // BIN)] += 1
    bins = sorted({at for counts in kinds.values() for at in counts})
    # the first and the last are cut off by the run's own begin and end
    bins = bins[1:-1]
    below = [0.0] * len(bins)
    for colour in (FAILED, OLD, NEW):
        heights = [kinds[colour][at] / BIN for at in bins]
        axes.bar([at * BIN for at in bins], heights, width=BIN, bottom=below, align="edge", color=colour, linewidth=0)
        below = [low + height for low, height in zip(below, heights)]
    axes.spines[["top", "right"]].set_visible(False)


def _draw_tasks(axes: Axes, history: History) -> None:
    zero, left = history.phase("change") or 0.0, history.phase("baseline") or 0.0
    names, stopped = task_names(history), history.times("task", "stopped")
    for row, task in enumerate(names):
        for stage in stages(history, task):
            begin = max(stage.begin, left) - zero
            width = stage.end - zero - begin
            axes.barh(row, max(width, 0.0), left=begin, height=0.64, color=STAGES[stage.name], linewidth=0)
            if width > (3 if stage.name in WORDS else 2):
                words = WORDS.get(stage.name, stage.name)
                axes.text(begin + width / 2, row, words, ha="center", va="center", fontsize=10, linespacing=1.1)
        if task in stopped:
            end = stopped[task] - zero
            axes.barh(row, 0.25, left=end, height=0.64, color=STAGES["stopped"], linewidth=0)
            axes.text(end + 0.5, row, "stopped", ha="left", va="center", fontsize=10, color=STAGES["stopped"])
        for begin, until in sent_to(history, task):
            axes.plot([max(begin, left) - zero, until - zero], [row + 0.42] * 2, color=VIEW, linewidth=3)
    axes.set_yticks(range(len(names)), list(names.values()), fontsize=12)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def sent_to(history: History, task: str) -> list[tuple[float, float]]:
    """The stretches of time in which the downstream's Envoy took the task for healthy."""
    views = [event for event in history.events if event.what == "downstream" and event.task == task]
    ends = [event.at for event in views[1:]] + [end_of(history)]
    return [(event.at, end) for event, end in zip(views, ends) if event.name == "serving"]


def label_rows(labels: Sequence[tuple[float, float]]) -> list[int]:
    """The row of each label, such that none overlaps another: from 0, and as few rows as possible.

    A label is its moment and its width, both in seconds; labels come in order of time and begin at their moments.
    """
    ends: list[float] = []
    rows = []
    for at, width in labels:
        row = next((row for row, end in enumerate(ends) if end <= at), len(ends))
        ends[row : row + 1] = [at + width]
        rows.append(row)
    return rows


def _draw_turning_points(top: Axes, bottom: Axes, history: History, seconds: float) -> int:
    """Draw the turning points on axes that are so many `seconds` wide; how many rows their labels take."""
    zero = history.phase("change") or 0.0
    points = turning_points(history)
    width_of_character = seconds * CHARACTER / AXES_WIDTH
    rows = label_rows([(at, max(map(len, words.split("\n"))) * width_of_character + GAP) for at, words in points])
    height = top.get_ylim()[1]
    for (at, words), row in zip(points, rows):
        for axes in (top, bottom):
            axes.axvline(at - zero, color="#444444", linewidth=0.8, linestyle=(0, (4, 3)))
        place = (at - zero + GAP, height * (1 + LABEL_HEIGHT * (row + 0.9)))
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # hides the lines of other moments
        top.text(*place, words, va="top", ha="left", fontsize=10.5, linespacing=1.15, bbox=box)
    return max(rows, default=0) + 1
