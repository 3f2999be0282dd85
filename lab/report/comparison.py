"""The same scenarios played several times: do they come to the same, and what is in the middle?"""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median_low
from typing import Any

from rich.console import Console

from lab.report.report import Result, results, words
from lab.report.verdict import Figures
from lab.scenarios.all_scenarios import ALL
from lab.scenarios.scenario import COLUMN_TITLES, COLUMNS, Column

# a cell of the table: a scenario, by its name, in a column, each time it was played
Cells = dict[tuple[str, Column], list[Result]]


def table(folders: Sequence[Path], console: Console) -> int:
    """Print a table in Markdown of the medians, and then what differs.

    The exit code: 1 where the passes, a folder each, differ in a verdict, or one is worse than it must be, 2 without a
    record, else 0.
    """
    cells = _cells(folders)
    if not cells:
        console.print(f"no record in {' '.join(map(str, folders))}", soft_wrap=True)
        return 2
    columns = [column for column in COLUMNS if any(column == each for _, each in cells)]
    lines = [["scenario", *(COLUMN_TITLES[column] for column in columns)], ["---"] * (len(columns) + 1)]
    for scenario in ALL:
        if any(scenario.name == name for name, _ in cells):
            lines.append([scenario.title, *(_cell(cells.get((scenario.name, column), ())) for column in columns)])
    for line in lines:
        console.print(f"| {' | '.join(line)} |", soft_wrap=True, markup=False, highlight=False)
    differences = [
        f"{name}, {COLUMN_TITLES[column]}: {each}"
        for (name, column), runs in cells.items()
        for each in _differences(runs, len(folders))
    ]
    for each in differences:
        console.print(f"[yellow]{each}[/]", soft_wrap=True)
    spread, (name, column) = max((_spread(runs), cell) for cell, runs in cells.items())
    kept = f"Kept equally long to within {spread:.1f} s ({name}, {COLUMN_TITLES[column]})."
    console.print(kept if differences else f"All {len(folders)} passes have the same verdicts. {kept}", soft_wrap=True)
    return 1 if differences else 0


def _cells(folders: Sequence[Path]) -> Cells:
    cells: Cells = {}
    for scenario in ALL:
        for folder in folders:
            for column, result in results(folder, scenario).items():
                cells.setdefault((scenario.name, column), []).append(result)
    return cells


def _cell(runs: Sequence[Result]) -> str:
    judged = [run.figures for run in runs if run.verdict.kind != "unknown"]
    return words(_median(judged)).replace("\n", ", ") if judged else "unknown" if runs else "–"


def _median(figures: Sequence[Figures]) -> Figures:
    """Each figure's median by itself; where it was not measured in each pass, of those in which it was."""
    medians: dict[str, Any] = {}
    for field in fields(Figures):
        measured = [value for each in figures if (value := getattr(each, field.name)) is not None]
        medians[field.name] = median_low(measured) if measured else None
    return Figures(**medians)


def _differences(runs: Sequence[Result], passes: int) -> list[str]:
    """What is to be said of the runs of one cell."""
    kinds = [run.verdict.kind for run in runs]
    differences = [] if len(set(kinds)) == 1 else [f"not the same verdict: {', '.join(kinds)}"]
    if len(runs) < passes:
        differences.append(f"played in {len(runs)} of {passes} passes")
    return differences + [each for run in runs for each in run.shortcomings]


def _spread(runs: Sequence[Result]) -> float:
    kept = [run.figures.retired for run in runs if run.figures.retired is not None]
    return max(kept) - min(kept) if kept else 0.0
