"""Real runs: a short choice of scenarios comes to what the table promises, and nothing is left behind."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.parts.history import read
from lab.parts.processes import wait_for
from lab.report import report
from lab.scenarios.scenario import Column
from lab.scenarios.table import ALL, DEMO

SCENARIOS = {each.name: each for each in (*ALL, DEMO)}
DEMONSTRATED: list[tuple[str, Column]] = [("demo", "none"), ("demo", "fixed")]
CHOICE: list[tuple[str, Column]] = [
    ("sigterm-thrice", "fixed"),
    ("application-crash", "fixed"),
    ("scale-in", "auto"),
    ("consul-scale-in", "auto"),
]


def lab(*arguments: str) -> subprocess.Popen[bytes]:
    # tests that a shell runs in the background would hand down that Ctrl-C is ignored
    command = ["env", "--default-signal=INT", sys.executable, "-m", "lab", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`make demo` and the chosen runs. One that could not be judged, on a busy machine, is tried again, twice."""
    folder = tmp_path_factory.mktemp("runs")
    print(lab("demo", "--folder", str(folder)).communicate(timeout=300)[0].decode())
    run_two_by_two(folder, CHOICE)
    for _ in range(2):
        every = [*DEMONSTRATED, *CHOICE]
        run_two_by_two(folder, [each for each in every if result(folder, *each).verdict.kind == "unknown"])
    return folder


def run_two_by_two(folder: Path, wanted: list[tuple[str, Column]]) -> None:
    for first in range(0, len(wanted), 2):
        pair = [lab("run", *each, "--folder", f"{folder}/{'-'.join(each)}") for each in wanted[first : first + 2]]
        for process in pair:
            print(process.communicate(timeout=300)[0].decode())


def result(folder: Path, name: str, column: Column) -> report.Result:
    return report.results(folder, SCENARIOS[name])[column]


@pytest.mark.parametrize(("name", "column"), [*DEMONSTRATED, *CHOICE])
def test_a_scenario_comes_to_what_the_table_promises(runs: Path, name: str, column: Column) -> None:
    """The scenario fails without a helper, and comes to what is promised with it."""
    assert result(runs, name, column).shortcomings == []


def test_each_request_names_its_task_and_its_connection(runs: Path) -> None:
    """Every answered request names the task and the connection; persistent ones are used again, new ones are not."""
    history = read(runs / "sigterm-thrice-fixed" / report.RECORD)
    tasks = history.times("task", "created").keys()
    assert {request.task for request in history.requests} == set(tasks)
    connections: dict[str, list[str]] = {"persistent": [], "new connections": []}
    for request in history.requests:
        connections[request.stream].append(request.connection)
    assert len(set(connections["new connections"])) == len(connections["new connections"])
    assert len(set(connections["persistent"])) < len(connections["persistent"]) / 10


def test_a_repeated_stop_request_reaches_the_helper(runs: Path) -> None:
    """The scenario with three signals has sent three, and the helper has heard the repeated ones."""
    history = read(runs / "sigterm-thrice-fixed" / report.RECORD)
    assert len(history.times("helper", "sigterm_repeated")) == 2


def test_discovery_lags_behind_ecs(runs: Path) -> None:
    """A new task is healthy in Cloud Map a lag after it is in ECS, and the downstream hears of it a push later."""
    history = read(runs / "demo-fixed" / report.RECORD)
    change = history.phase("change")
    assert change is not None
    new = [task for task, at in history.times("task", "created").items() if at > change]
    assert len(new) == DEMO.tasks
    for task in new:
        in_cloud_map = history.times("discovery", "healthy")[task]
        assert in_cloud_map - history.times("task", "healthy")[task] >= DEMO.times.cloud_map
        assert history.times("downstream", "serving")[task] - in_cloud_map >= DEMO.times.push - 0.01


def test_the_demo_leaves_a_picture_and_a_page(runs: Path) -> None:
    """The demo's page holds its picture and needs no other file; both can be made again from the records."""
    for _ in range(2):
        assert (runs / "demo.png").read_bytes().startswith(b"\x89PNG")
        page = (runs / "demo.html").read_text()
        assert "data:image/png;base64," in page
        assert "http:" not in page and "https:" not in page
        # the failed requests are named
        assert "503 " in page
        (runs / "demo.png").unlink()
        (runs / "demo.html").unlink()
        report.write(runs, DEMO, ("none", "fixed"))


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_lab(tmp_path: Path, end: signal.Signals) -> None:
    """However the lab ends, in the middle of a run, every process that it has started ends too."""
    folder = tmp_path / "run"
    process = lab("bench", "sigterm-thrice", "--columns", "fixed", "--folder", str(folder))
    record = folder / "sigterm-thrice-fixed" / report.RECORD

    def not_under_way() -> str | None:
        assert process.poll() is None, process.communicate()[0].decode()
        return None if record.exists() and b'"baseline"' in record.read_bytes() else "no baseline in the record"

    try:
        wait_for(not_under_way, 90)
        family = descendants(process.pid)
        # the run, the downstream, and two tasks of three containers
        assert len(family) >= 8
        process.send_signal(end)

        def alive() -> str | None:
            left = [pid for pid in family if is_alive(pid)]
            return f"alive: {left}" if left else None

        wait_for(alive, 30)
    finally:
        process.kill()
        process.communicate()


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
