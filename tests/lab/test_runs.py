"""Real runs: a short choice of scenarios comes to what the table promises, and nothing is left behind."""

import fcntl
import html
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from lab.parts.history import read
from lab.parts.processes import wait_for
from lab.report import report
from lab.scenarios.all_scenarios import ALL, DEMO
from lab.scenarios.scenario import Column
from tests.helper.process.program import PATIENCE, started
from tests.lab.playing import EXACT

SCENARIOS = {each.name: each for each in (*ALL, DEMO)}

# how often a run is played that a busy machine spoils, and the seconds that the lab may take for each call
TRIES, SECONDS = 3, 200
# the limits of tests whose fixture plays: one run, or what `make demo` plays and then its two runs
plays_one_run = pytest.mark.timeout(TRIES * SECONDS + 100)
plays_the_demo = pytest.mark.timeout((1 + 2 * TRIES) * SECONDS + 100)


def lab(*arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    # tests that a shell runs in the background would hand down that Ctrl-C is ignored
    command = ["env", "--default-signal=INT", sys.executable, "-m", "lab", *arguments]
    return started(command, os.environ, stderr=subprocess.STDOUT)


def finish(*arguments: str) -> None:
    """Run the lab to its end and print what it has written."""
    with lab(*arguments) as process:
        print(process.communicate(timeout=SECONDS)[0])


def play(folder: Path, *runs: tuple[str, Column]) -> Path:
    """Play these runs. A run that a busy machine has spoiled is played again, twice."""
    for _ in range(TRIES):
        for each in runs:
            place = folder / "-".join(each)
            if not place.exists() or is_spoiled(result(folder, *each)):
                finish("run", *each, "--folder", str(place))
    return folder


def is_spoiled(played: report.Result) -> bool:
    """Whether it could not be judged, or has no other shortcoming than that something took too long."""
    late = [each for each in played.shortcomings if each.startswith(("retired after", "exited after"))]
    return played.verdict.kind == "unknown" or played.shortcomings == late != []


def result(folder: Path, name: str, column: Column) -> report.Result:
    return report.results(folder, SCENARIOS[name])[column]


def once(name: str, factory: pytest.TempPathFactory, make: Callable[[Path], object]) -> Path:
    """The folder that `make` has filled, in one worker of xdist for all of them."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            make(folder)
            (folder / "made").touch()
    return folder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make demo` leaves."""

    def make(folder: Path) -> None:
        finish("demo", "--folder", str(folder))
        play(folder, ("demo", "none"), ("demo", "fixed"))

    return once("demo", tmp_path_factory, make)


@pytest.fixture(scope="module")
def thrice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return once("thrice", tmp_path_factory, lambda folder: play(folder, ("sigterm-thrice", "fixed")))


@plays_one_run
def test_a_rolling_update_loses_nothing(thrice: Path) -> None:
    """With the helper a rolling update comes to what the table promises."""
    assert result(thrice, "sigterm-thrice", "fixed").shortcomings == []


@plays_one_run
def test_each_request_names_its_task_and_its_connection(thrice: Path) -> None:
    """Every answered request names the task and the connection; persistent ones are used again, new ones are not."""
    history = read(thrice / "sigterm-thrice-fixed" / report.RECORD)
    tasks = history.times("task", "created").keys()
    assert {request.task for request in history.requests} == set(tasks)
    connections: dict[str, list[str]] = {"persistent": [], "new connections": []}
    for request in history.requests:
        connections[request.stream].append(request.connection)
    assert len(set(connections["new connections"])) == len(connections["new connections"])
    assert len(set(connections["persistent"])) < len(connections["persistent"]) / 10


@plays_one_run
def test_a_repeated_stop_request_reaches_the_helper(thrice: Path) -> None:
    """The scenario with three signals has sent three, and the helper has heard the repeated ones."""
    history = read(thrice / "sigterm-thrice-fixed" / report.RECORD)
    assert len(history.times("helper", "sigterm_repeated")) == 2


@pytest.mark.slow
@plays_one_run
@pytest.mark.parametrize(
    ("name", "column"),
    [("application-crash", "fixed"), ("scale-in", "auto"), ("consul-scale-in", "auto")],
)
def test_a_scenario_comes_to_what_the_table_promises(tmp_path: Path, name: str, column: Column) -> None:
    """The scenario comes to what is promised with the helper."""
    assert result(play(tmp_path, (name, column)), name, column).shortcomings == []


@pytest.mark.slow
@plays_the_demo
@pytest.mark.parametrize("column", ["none", "fixed"])
def test_the_demo_shows_what_it_promises(demo: Path, column: Column) -> None:
    """The demo's update fails without a helper, and loses nothing with it."""
    assert result(demo, "demo", column).shortcomings == []


@pytest.mark.slow
@plays_the_demo
def test_discovery_lags_behind_ecs(demo: Path) -> None:
    """A new task is healthy in Cloud Map a lag after it is in ECS, and the downstream hears of it a push later."""
    history = read(demo / "demo-fixed" / report.RECORD)
    change = history.phase("change")
    assert change is not None
    new = [task for task, at in history.times("task", "created").items() if at > change]
    assert len(new) == DEMO.tasks
    for task in new:
        in_cloud_map = history.times("discovery", "healthy")[task]
        assert in_cloud_map - history.times("task", "healthy")[task] >= DEMO.times.cloud_map - EXACT
        assert history.times("downstream", "serving")[task] - in_cloud_map >= DEMO.times.push - 0.01


@pytest.mark.slow
@plays_the_demo
def test_the_demo_leaves_a_picture_and_a_page(demo: Path) -> None:
    """The demo's page contains its picture and needs no other file; both can be made again from the records."""
    for _ in range(2):
        assert (demo / "demo.png").read_bytes().startswith(b"\x89PNG")
        page = (demo / "demo.html").read_text()
        assert "data:image/png;base64," in page
        assert "http:" not in page and "https:" not in page
        (demo / "demo.png").unlink()
        (demo / "demo.html").unlink()
        report.write(demo, DEMO, ("none", "fixed"))
    # the failed requests are named: in the page of these records, of which some may have been played again
    failed = result(demo, "demo", "none").verdict.failed
    assert failed and {html.escape(each.outcome) for each in failed} <= set(re.findall("<td>([^<]+)", page))


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_lab(tmp_path: Path, end: signal.Signals) -> None:
    """However the lab ends, in the middle of a run, every process that it has started ends too."""
    folder = tmp_path / "run"
    record = folder / "sigterm-thrice-fixed" / report.RECORD

    with lab("bench", "sigterm-thrice", "--columns", "fixed", "--folder", str(folder)) as process:

        def not_under_way() -> str | None:
            assert process.poll() is None, process.communicate(timeout=PATIENCE)[0]
            return None if record.exists() and b'"baseline"' in record.read_bytes() else "no baseline in the record"

        wait_for(not_under_way, 90)
        family = descendants(process.pid)
        # the run, the downstream, and two tasks of three containers
        assert len(family) >= 8
        process.send_signal(end)

        def alive() -> str | None:
            left = [pid for pid in family if is_alive(pid)]
            return f"alive: {left}" if left else None

        wait_for(alive, 30)


def descendants(pid: int) -> list[int]:
    """The children of a process, and theirs."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = each.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(each.parent.name))
    found = []
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            found.append(child)
            waiting.append(child)
    return found


def is_alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
