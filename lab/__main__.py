"""The lab: rolling updates of real tasks on this machine, judged from a record of every request.

python -m lab demo      the same update without and with the helper, and a picture of both
python -m lab bench     the scenarios, against no helper, the shell trap, and the helper
python -m lab soak      the same update again and again, and how sure the figures are
python -m lab report    the table and the picture of runs that are there
"""

import argparse
import asyncio
import os
import signal
import sys
import traceback
from datetime import datetime
from pathlib import Path

from rich.console import Console

from lab.parts import history
from lab.report import comparison, report, verdict
from lab.run import bench
from lab.run.stage import Stage
from lab.run.task_definition import missing, missing_for
from lab.scenarios.all_scenarios import ALL, BY_NAME, DEMO
from lab.scenarios.scenario import COLUMNS, Column, Scenario
from lab.soak.figures import scenario_of, summary
from lab.soak.page import publish
from lab.soak.play import Soak, play

EVERY: dict[str, Scenario] = {**BY_NAME, DEMO.name: DEMO}


def main() -> int:
    options = _parser().parse_args()
    try:
        return int(options.main(options))
    except KeyboardInterrupt:
        print("interrupted: every process of the lab has been ended", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """One run, in this process; prints what happens and the verdict."""
    options.folder.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(_play(EVERY[options.scenario], options.column, options.folder))
    except ExceptionGroup as errors:
        traceback.print_exception(errors, file=(options.folder / "failure.log").open("w"))
        print(f"the run failed: {errors.exceptions[0]}", flush=True)
        return 1
    record = history.read(options.folder / report.RECORD)
    judgement, figures = verdict.judge(record), verdict.figures(record)
    retired = "" if figures.retired is None else f", retired after {figures.retired:.1f} s"
    print(f"{judgement.kind}: {figures.failed} of {figures.requests} requests failed{retired}", flush=True)
    return 0


async def _play(scenario: Scenario, column: Column, folder: Path) -> None:
    playing = asyncio.ensure_future(Stage(scenario, column, folder, lambda line: print(line, flush=True)).play())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, playing.cancel)
    await playing


def demo(options: argparse.Namespace) -> int:
    console = Console()
    columns: tuple[Column, ...] = ("none", "fixed")
    console.print("The same rolling update twice, side by side, at one fifth of real time: 40 s are 8 s here.")
    jobs = [bench.Job(DEMO, column, options.folder / f"{DEMO.name}-{column}") for column in columns]
    asyncio.run(bench.run(jobs, len(jobs), console, aloud=True))
    worse = report.table(options.folder, console)
    page, picture = report.write(options.folder, DEMO, columns)
    console.print(f"The picture: {picture}\nThe page with everything: {page}")
    return worse


def bench_scenarios(options: argparse.Namespace) -> int:
    console = Console()
    unavailable = {column: why for column in COLUMNS if (why := missing(column))}
    wanted = [EVERY[name] for name in options.scenarios or BY_NAME]
    impossible = {scenario.name: why for scenario in wanted if (why := missing_for(scenario))}
    for why in (*unavailable.values(), *impossible.values()):
        console.print(f"left out: {why}")
    jobs = [
        bench.Job(scenario, column, options.folder / f"{scenario.name}-{column}")
        for scenario in wanted
        if scenario.name not in impossible
        for column in COLUMNS
        if column in scenario.expected and column in options.columns and column not in unavailable
    ]
    asyncio.run(bench.run(jobs, options.jobs, console))
    worse = report.table(options.folder, console, unavailable)
    unplayed = [job.title for job in jobs if not (job.folder / report.RECORD).exists()]
    for title in unplayed:
        console.print(f"[yellow]not played:[/] {title}", soft_wrap=True)
    console.print(f"Records and logs: {options.folder}")
    return 1 if unplayed else worse


def soak(options: argparse.Namespace) -> int:
    """Go on with a folder where it was left, or only read its records; however it ends, the page has what is there."""
    console, folder = Console(), options.report or options.folder
    there = scenario_of(folder)
    name = options.scenario or there or DEMO.name
    if name not in EVERY or there not in (None, name):
        console.print(f"{folder} has updates of {there}, which cannot continue as {name}", soft_wrap=True)
        return 2
    scenario, interrupted = EVERY[name], False
    if not options.report:
        unavailable = {column: why for column in options.columns if (why := missing(column))}
        for why in unavailable.values():
            console.print(f"left out: {why}")
        columns = [each for each in options.columns if each in scenario.expected and each not in unavailable]
        if not columns:
            console.print(f"{name} is played in {', '.join(scenario.expected)}")
            return 2
        count = None if options.hours else options.count
        try:
            asyncio.run(play(Soak(scenario, columns, folder, count, options.hours), options.jobs, console))
        except (KeyboardInterrupt, asyncio.CancelledError):
            interrupted = True
            console.print(f"interrupted, and every process ended: --folder {folder} continues", soft_wrap=True)
    worse = publish(folder, summary(folder, scenario), console)
    return 130 if interrupted else worse


def report_again(options: argparse.Namespace) -> int:
    if len(options.folder) > 1:
        return comparison.table(options.folder, Console())
    (folder,) = options.folder
    worse = report.table(folder, Console())
    for scenario in EVERY.values():
        if report.results(folder, scenario):
            report.write(folder, scenario, COLUMNS)
    return worse


def _name(text: str) -> str:
    if text not in BY_NAME:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(BY_NAME)}")
    return text


def _natural(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    now = Path("runs") / datetime.now().strftime("%Y-%m-%d-%H%M%S")
    scenarios = "\n".join(f"  {each.name:20} {each.title}" for each in ALL)

    one = commands.add_parser("run", help="one run of one scenario")
    one.add_argument("scenario", choices=EVERY, metavar="SCENARIO")
    one.add_argument("column", choices=COLUMNS)
    one.set_defaults(main=run)

    show = commands.add_parser("demo", help="the update without and with the helper, and a picture")
    show.set_defaults(main=demo)

    many = commands.add_parser(
        "bench",
        help="the scenarios, and a table",
        epilog=f"scenarios:\n{scenarios}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    many.add_argument("scenarios", nargs="*", type=_name, metavar="SCENARIO", help="default: all")
    many.add_argument("--columns", nargs="+", choices=COLUMNS, default=COLUMNS)
    many.add_argument(
        "--jobs", type=_natural, default=max(1, os.cpu_count() or 1), help="runs side by side; default: cores"
    )
    many.set_defaults(main=bench_scenarios)

    long = commands.add_parser(
        "soak", help="rolling updates again and again, and a page of how certain the figures are"
    )
    length = long.add_mutually_exclusive_group()
    length.add_argument("--count", type=_natural, default=100, help="updates of each column; default: 100")
    length.add_argument("--hours", type=float, help="new updates until so many hours are over")
    long.add_argument("--scenario", choices=EVERY, metavar="SCENARIO", help=f"default: {DEMO.name}")
    long.add_argument("--columns", nargs="+", choices=COLUMNS, default=COLUMNS[1:], help="default: all but none")
    long.add_argument("--jobs", type=_natural, default=3, help="runs side by side; default: 3")
    long.add_argument("--report", type=Path, metavar="FOLDER", help="play nothing: make the page of these records anew")
    long.set_defaults(main=soak)

    again = commands.add_parser("report", help="table and pictures of the runs in a folder; of several, medians")
    again.add_argument("--folder", type=Path, nargs="+", required=True, help="a pass of `bench` each")
    again.set_defaults(main=report_again)
    for each in (one, show, many, long):
        each.add_argument("--folder", type=Path, default=now, help="for records, logs and reports; default: runs/TIME")
    return parser


if __name__ == "__main__":
    sys.exit(main())
