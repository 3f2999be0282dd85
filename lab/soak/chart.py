"""The picture of a soak: what may be lost, how long tasks are kept, and what requests take, by column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from lab.report import picture
from lab.scenarios.scenario import COLUMN_TITLES, Column
from lab.soak.figures import MILLION, PART_TITLES, PARTS, Summary

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# after Okabe and Ito, as in the other picture
COLOURS: Mapping[Column, str] = {
    "none": picture.FAILED,
    "trap": "#8a8a8a",
    "fixed": picture.NEW,
    "auto": "#009e73",
    "contour": "#cc79a7",
    "gateway": "#e69f00",
}

# where the points of a row lie beside each other that would hide each other: even, and without a pattern
GOLDEN = 0.618


def draw(summary: Summary) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(17, 5.6), layout="constrained")
    lost, kept, latency = figure.subplots(1, 3, width_ratios=[1, 1, 1.1])
    rows = range(len(summary.columns))
    for axes in (lost, kept):
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(rows, [COLUMN_TITLES[column].replace(", ", ",\n") for column in summary.columns], fontsize=12)
        axes.tick_params(axis="y", length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
    _draw_lost(lost, summary)
    _draw_kept(kept, summary)
    _draw_latency(latency, summary)
    return figure


def _title(axes: Axes, words: str) -> None:
    axes.set_title(words, fontsize=14, fontweight="bold", loc="left")


def _draw_lost(axes: Axes, summary: Summary) -> None:
    """A bar from none to what may be lost, a line at what was."""
    _title(axes, "Requests lost per million, at most")
    for row, (column, figures) in enumerate(summary.columns.items()):
        bound = figures.lost_at_most * MILLION
        axes.barh(row, bound, height=0.3, color=COLOURS[column], alpha=0.45, linewidth=0)
        if figures.requests:
            was = figures.lost / figures.requests * MILLION
            axes.plot([was, was], [row - 0.15, row + 0.15], color=COLOURS[column], linewidth=3)
        words = f"at most {bound:,.1f}: {figures.lost:,} of {figures.requests:,} lost"
        axes.text(0, row - 0.22, words, fontsize=11, va="bottom")
    axes.set_xlim(left=0)
    axes.set_xlabel(f"per million, with a confidence of {100 * summary.confidence:g} %")


def _draw_kept(axes: Axes, summary: Summary) -> None:
    """A point an update, and a line at the median."""
    _title(axes, "Seconds for which a task is kept")
    for row, (column, figures) in enumerate(summary.columns.items()):
        places = [row + 0.3 * ((number * GOLDEN) % 1 - 0.5) for number in range(len(figures.held_seconds))]
        axes.scatter(figures.held_seconds, places, s=14, color=COLOURS[column], alpha=0.5, linewidth=0)
        if (median := figures.held["median"]) is not None:
            axes.plot([median, median], [row - 0.2, row + 0.2], color=picture.VIEW, linewidth=2)
            axes.text(median, row - 0.22, f"median {median:.1f}", fontsize=11, va="bottom", ha="center")
    axes.margins(x=0.15)
    axes.set_xlabel("from its stop until ECS stops the application and Envoy")


def _draw_latency(axes: Axes, summary: Summary) -> None:
    """The median hollow, the 99th percentile full, columns beside each other."""
    _title(axes, "Latency in ms: median (hollow), 99 % (full)")
    for number, (column, figures) in enumerate(summary.columns.items()):
        shift = 0.12 * (number - (len(summary.columns) - 1) / 2)
        for share, filled in (("p50", False), ("p99", True)):
            values = [(place + shift, getattr(figures.latency[part], share)) for place, part in enumerate(PARTS)]
            there = [(place, value) for place, value in values if value is not None]
            axes.plot(
                [place for place, _ in there],
                [value for _, value in there],
                marker="o",
                markersize=8,
                linewidth=0.8,
                color=COLOURS[column],
                markerfacecolor=COLOURS[column] if filled else "white",
                label=COLUMN_TITLES[column] if filled else None,
            )
    axes.set_xticks(range(len(PARTS)), [PART_TITLES[part].replace(" ", "\n", 1) for part in PARTS], fontsize=11)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=11)
