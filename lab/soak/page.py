"""The page of a soak: Markdown, the same as one self-contained HTML file, the picture, and the figures as JSON."""

import base64
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from markdown_it import MarkdownIt
from rich.console import Console

from lab.scenarios.scenario import COLUMN_TITLES
from lab.soak import chart
from lab.soak.figures import MILLION, PART_TITLES, QUANTILES, Latency, Summary

PICTURE = "soak.png"
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem;color:#222}"
    "img{width:100%}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3rem .6rem}"
    "td{font-variant-numeric:tabular-nums}"
)
LOST = ("", "updates", "unknown", "requests", "lost", "per million", "at most", "updates that lost any", "at most")


def publish(folder: Path, summary: Summary, console: Console) -> int:
    """Write the page and show it; the exit code: 1 where a run is worse than it must be, or there is none, else 0."""
    if not summary.columns:
        console.print(f"no update in {folder} has been played to its end", soft_wrap=True)
        return 1
    page = write(folder, summary)
    for column, figures in summary.columns.items():
        console.print(
            f"{COLUMN_TITLES[column]}: {figures.lost:,} of {figures.requests:,} requests lost, at most "
            f"{figures.lost_at_most * MILLION:,.1f} per million; {figures.updates_that_lost:,} of "
            f"{figures.updates - figures.unknown:,} updates, at most {100 * figures.updates_that_lost_at_most:.1f} %; "
            f"{figures.unknown:,} could not be judged; kept {_number(figures.held['median'])} s (median)",
            soft_wrap=True,
            highlight=False,
        )
        for each in figures.worse:
            console.print(f"[yellow]worse than it must be:[/] {each}", soft_wrap=True)
    console.print(f"The page: {page}", soft_wrap=True)
    return 1 if any(figures.worse for figures in summary.columns.values()) else 0


def write(folder: Path, summary: Summary) -> Path:
    """Write soak.md, soak.html, soak.png and soak.json into `folder`; the path of the page for a browser."""
    drawing = io.BytesIO()
    chart.draw(summary).savefig(drawing, format="png", dpi=110)
    embedded = f"data:image/png;base64,{base64.b64encode(drawing.getvalue()).decode()}"
    text, page = markdown(summary), folder / "soak.html"
    body = MarkdownIt("commonmark").enable("table").render(text.replace(f"({PICTURE})", f"({embedded})"))
    page.write_text(f"<!doctype html><html lang=en><meta charset=utf-8><title>Soak</title><style>{STYLE}</style>{body}")
    (folder / PICTURE).write_bytes(drawing.getvalue())
    (folder / "soak.md").write_text(text)
    (folder / "soak.json").write_bytes(msgspec.json.format(msgspec.json.encode(summary)) + b"\n")
    return page


def markdown(summary: Summary) -> str:
    """The whole page."""
    updates = sum(figures.updates for figures in summary.columns.values())
    versions = ", ".join(f"{part} {' and '.join(seen)}" for part, seen in summary.versions.items())
    parts = [
        f"# Soak: {summary.title}",
        f"{updates:,} updates, begun between {summary.began[:16]} and {summary.ended[:16]} UTC ({versions}).",
        f"![What may be lost, how long tasks are kept, and what requests take, by column]({PICTURE})",
        "## Requests lost",
        _table(LOST, _lost(summary)),
        f"*At most* is what the figures leave possible, with a confidence of {100 * summary.confidence:g} %: the exact "
        "one-sided bound of Clopper and Pearson, some three divided by their number where none is lost (the rule of "
        "three). That of requests takes each as independent of the others, which those of one update are not; that of "
        "updates does not. An update that could not be judged is unknown, no pass, and in none of the other figures.",
        "## Seconds kept",
        _table(("", *QUANTILES), _kept(summary)),
        "From the stop of a task until ECS stops its application and Envoy, the slowest task of each update. ECS may "
        "stop one a report of health before another, and `auto` then waits until downstreams know both replacements.",
        "## Latency, ms",
        _table(("median / 99 %", *PART_TITLES.values()), _latency(summary)),
        "Of requests that were answered, from when each was due. Old tasks are drained from the first one's stop until "
        "the last one has ended.",
    ]
    if worse := [each for figures in summary.columns.values() for each in figures.worse]:
        parts += ["## Worse than it must be", "\n".join(f"- {each}" for each in worse)]
    return "\n\n".join(parts) + "\n"


def _lost(summary: Summary) -> Iterable[Sequence[str]]:
    for column, figures in summary.columns.items():
        judged = figures.updates - figures.unknown
        yield (
            COLUMN_TITLES[column],
            f"{figures.updates:,}",
            f"{figures.unknown:,} ({_percent(figures.unknown, figures.updates)})",
            f"{figures.requests:,}",
            f"{figures.lost:,}",
            f"{figures.lost / figures.requests * MILLION:,.1f}" if figures.requests else "–",
            f"{figures.lost_at_most * MILLION:,.1f}",
            f"{figures.updates_that_lost:,} ({_percent(figures.updates_that_lost, judged)})",
            f"{100 * figures.updates_that_lost_at_most:.1f} %",
        )


def _kept(summary: Summary) -> Iterable[Sequence[str]]:
    for column, figures in summary.columns.items():
        yield COLUMN_TITLES[column], *(_number(figures.held[name]) for name in QUANTILES)


def _latency(summary: Summary) -> Iterable[Sequence[str]]:
    for column, figures in summary.columns.items():
        yield COLUMN_TITLES[column], *(_pair(figures.latency[part]) for part in PART_TITLES)


def _pair(latency: Latency) -> str:
    return f"{_number(latency.p50)} / {_number(latency.p99)}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "–"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
