"""What the records say: a table for the terminal, and for one scenario a picture (PNG) and a page (HTML)."""

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lab.parts.history import History, read
from lab.report import picture
from lab.report.verdict import Figures, Verdict, figures, judge, shortcomings, worse_than_trap
from lab.scenarios.all_scenarios import ALL, DEMO
from lab.scenarios.scenario import COLUMN_TITLES, COLUMNS, Column, Scenario

RECORD = "record.jsonl"
PICTURE_TITLES: dict[Column, str] = {
    "none": "without the helper",
    "trap": "with a shell trap",
    "fixed": "with the helper",
    "auto": "with the helper, auto",
    "contour": "with Contour's shutdown manager",
    "gateway": "with Envoy Gateway's shutdown manager",
}


@dataclass(frozen=True)
class Result:
    """A run, judged."""

    history: History
    verdict: Verdict
    figures: Figures
    shortcomings: list[str]

    @property
    def text(self) -> str:
        """In a few words, for a cell of the table."""
        return f"unknown: {self.verdict.why}" if self.verdict.kind == "unknown" else words(self.figures)


def words(figures: Figures) -> str:
    """Two lines: what failed, and how long the task was kept."""
    failed = f"{figures.failed:,} failed" if figures.failed else "none failed"
    if figures.excused:
        failed += f" but {figures.excused:,} of the application's own"
    if figures.failed and figures.failing:
        failed += f" in {figures.failing:.1f} s"
    return failed if figures.exited is None else f"{failed}\nkept {figures.retired or figures.exited:.1f} s"


def results(folder: Path, scenario: Scenario) -> dict[Column, Result]:
    """The judged runs of a scenario below `folder`, by column, in the table's order."""
    found: dict[Column, Result] = {}
    for column, expected in ((column, scenario.expected.get(column)) for column in COLUMNS):
        file = folder / f"{scenario.name}-{column}" / RECORD
        if expected and file.exists():
            history = read(file)
            verdict, measured = judge(history), figures(history)
            found[column] = Result(history, verdict, measured, shortcomings(expected, verdict, measured))
    if trap := found.get("trap"):
        for column in ("fixed", "auto"):
            if helper := found.get(column):
                helper.shortcomings.extend(worse_than_trap(scenario, trap.figures, helper.figures))
    return found


def table(folder: Path, console: Console, unavailable: Mapping[Column, str] | None = None) -> int:
    """Print the table of all runs below `folder`; the exit code: 1 where one is worse than it must be, else 0."""
    everything = [(each, runs) for each in (*ALL, DEMO) if (runs := results(folder, each))]
    columns = [column for column in COLUMNS if any(column in runs for _, runs in everything)]
    shown = Table(
        title="requests that failed, and how long ECS kept the application and Envoy after the stop",
        show_lines=True,
    )
    shown.add_column("scenario")
    for column in columns:
        shown.add_column(COLUMN_TITLES[column])
    worse = []
    for scenario, runs in everything:
        cells = []
        for column in columns:
            found = runs.get(column)
            if found is None:
                cells.append((unavailable or {}).get(column, "not run") if column in scenario.expected else "–")
                continue
            worse += [f"{scenario.name}, {COLUMN_TITLES[column]}: {each}" for each in found.shortcomings]
            colour = "yellow" if found.shortcomings else "green" if found.verdict.kind == "valid" else "red"
            cells.append(f"[{colour}]{found.text}[/]")
        shown.add_row(scenario.title, *cells)
    console.print(shown)
    for each in worse:
        console.print(f"[yellow]worse than it must be:[/] {each}", soft_wrap=True)
    return 1 if worse else 0


def write(folder: Path, scenario: Scenario, columns: Sequence[Column]) -> tuple[Path, Path]:
    """Write the page and the picture of one scenario's runs below `folder`; their paths."""
    runs = {column: each for column, each in results(folder, scenario).items() if column in columns}
    figure = picture.draw({PICTURE_TITLES[column]: each.history for column, each in runs.items()})
    image, page = folder / f"{scenario.name}.png", folder / f"{scenario.name}.html"
    figure.savefig(image, dpi=110)
    drawing = io.BytesIO()
    figure.savefig(drawing, format="png", dpi=160)
    page.write_text(_page(scenario, runs, base64.b64encode(drawing.getvalue()).decode()))
    return page, image


def _page(scenario: Scenario, runs: Mapping[Column, Result], drawing: str) -> str:
    escape = html.escape
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(scenario.title)}</title>",
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:1200px;margin:2rem auto;padding:0 1rem;color:#222}"
        "img{width:100%}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.3rem .6rem;text-align:left}"
        "td{font-variant-numeric:tabular-nums}.failed{color:#b3261e}</style>",
        f"<h1>{escape(scenario.title.capitalize())}</h1>",
        f"<p>{escape(picture.STORY)}</p>",
        '<img alt="requests by outcome over time above the stages of each task" '
        f'src="data:image/png;base64,{drawing}">',
    ]
    for column, each in runs.items():
        parts += [f"<h2>{escape(COLUMN_TITLES[column].capitalize())}: {each.verdict.kind}</h2>"]
        parts += [f"<p>{escape(each.text.replace(chr(10), ', '))}. {escape('; '.join(each.shortcomings))}</p>"]
        if each.verdict.failed:
            names = picture.task_names(each.history)
            rows = "".join(
                f"<tr><td>{failed.due:.2f} s<td>{escape(failed.stream)}<td>{escape(names.get(failed.task, '?'))}"
                f"<td>{escape(failed.connection or 'none')}<td>{escape(failed.outcome)}"
                for failed in each.verdict.failed
            )
            parts += [
                f"<details><summary class=failed>The {len(each.verdict.failed)} requests that failed</summary><table>"
                f"<tr><th>due<th>stream<th>task<th>connection<th>outcome{rows}</table></details>"
            ]
        run = each.history.run
        facts = {**run.versions, "revision": run.revision, "began": run.began} | dict(run.settings["helper"])
        rows = "".join(f"<tr><td>{escape(key)}<td>{escape(str(value))}" for key, value in facts.items())
        parts += [f"<details><summary>Versions and settings</summary><table>{rows}</table></details>"]
    return "\n".join(parts) + "\n"
