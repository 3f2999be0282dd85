"""What the helper weighs in every task: the installed `task-helper` beside what people use instead, in one run.

    python -m measure.weight [--repeat 5] [--clients]

Each figure is a median over several lives on one core beside a real Envoy. Exits with 1 where one breaks its bound.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import signal
import socket
import statistics
import subprocess  # nosec B404
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from aiohttp import web
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from lab.ecs import aws, cloud_map, runtime, state
from lab.parts import envoy_process, history, processes

PROGRAM: Final = Path(sys.executable).with_name("task-helper")

# What people write today: the entry point of a sidecar container.
SHELL_TRAP: Final = """
drain() { sleep "$DRAIN_DELAY"; curl -s -X POST "$ENVOY_ADMIN_URL/healthcheck/fail"; sleep "$DRAIN_TIMEOUT"; exit; }
trap drain TERM
while :; do sleep 3600 & wait; done
"""

# How long an idle process is watched, once what it does at the start is over.
SETTLED_AFTER, WATCHED = 1.0, 10.0

Samples = dict[str, list[float]]


class Line(NamedTuple):
    """One promise of the helper: at most `bound`, aimed at `goal`; both are the largest value that is good."""

    key: str
    meaning: str
    unit: str
    goal: float | None
    bound: float | None
    predecessor: float | None = None


LINES: Final = (
    Line("idle", "resident memory, in service", "MB", 24, 32, predecessor=33),
    Line("idle_pss", "  of it its own or its share (PSS)", "MB", None, None),
    Line("wake_ups", f"wake-ups in {WATCHED:g} s, in service", "", 0, 0),
    Line("armed", "from exec to SIGTERM caught, on a free core", "ms", 25, 60, predecessor=200),
    Line("called", "from SIGTERM to POST /healthcheck/fail, no delay", "ms", None, 10, predecessor=22),
    Line("healthcheck", "CPU time of one container health check", "ms", 17, 30),
    Line("interpreter", "  CPU time of a Python that does nothing", "ms", None, None),
    Line("peak", "peak memory of a life, fixed times", "MB", None, 36),
    Line("cpu", "  CPU time from SIGTERM on", "ms", None, None),
    Line("peak_auto", "peak memory of a life, auto", "MB", None, 64),
    Line("cpu_auto", "  CPU time from SIGTERM on", "ms", None, None),
)


class Subject(NamedTuple):
    """A program that drains Envoy: the command that runs it, and its container's health check."""

    name: str
    command: list[str]
    healthcheck: list[str]
    says_in_service: bool


HELPER: Final = Subject("task-helper", [str(PROGRAM), "run"], [str(PROGRAM), "healthcheck"], says_in_service=True)


def shell_trap(admin_url: str) -> Subject:
    """The shell trap beside the Envoy whose admin API is at `admin_url`."""
    bash, curl = shutil.which("bash"), shutil.which("curl")
    if not bash or not curl:
        raise FileNotFoundError("the shell trap needs bash and curl; on Debian: apt-get install bash curl")
    return Subject(
        "bash trap + curl", [bash, "-c", SHELL_TRAP], [curl, "-sf", "-o", "/dev/null", f"{admin_url}/ready"], False
    )


# one life


@contextlib.contextmanager
def living(subject: Subject, folder: Path, environ: dict[str, str]) -> Iterator[int]:
    """Run the subject; its PID, which is also its process group, at the moment of its exec."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    with one_core():
        process = processes.start(subject.command, log, environ)
    try:
        yield process.pid
    finally:
        processes.kill_group(process)
        process.wait()


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """Children that are started in the block stay on the last core."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def wait_until_armed(pid: int) -> None:
    while not int(proc_status(pid)["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1:
        time.sleep(0.0001)


def wait_until_in_service(subject: Subject, pid: int, folder: Path) -> None:
    def not_yet() -> str | None:
        log = (folder / "log").read_text()
        return None if '"in_service"' in log or not subject.says_in_service else log

    wait_until_armed(pid)
    processes.wait_for(not_yet)


def measure_life(subject: Subject, folder: Path, environ: dict[str, str]) -> dict[str, float]:
    """Idle memory, wake-ups and peak memory of a whole life."""
    with living(subject, folder, environ) as pid:
        wait_until_in_service(subject, pid, folder)
        time.sleep(SETTLED_AFTER)
        switches = context_switches(pid)
        time.sleep(WATCHED)
        figures = {
            "wake_ups": context_switches(pid) - switches,
            "idle": sum(kilobytes(proc_status(each)["VmRSS"]) for each in group(pid)) / 1024,
            "idle_pss": sum(kilobytes(fields(each, "smaps_rollup")["Pss"]) for each in group(pid)) / 1024,
        }
        os.kill(pid, signal.SIGTERM)
        return figures | shutdown(pid)


def measure_auto(folder: Path, environ: dict[str, str]) -> dict[str, float]:
    """The helper's peak memory where it asks ECS and Cloud Map for its replacement, and Envoy for its traffic."""
    auto = {"DRAIN_DELAY": "auto", "DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "1"}
    with (
        aws_where_it_is_replaced(folder) as (old_task, aws_environ),
        living(HELPER, folder, environ | auto | aws_environ) as pid,
    ):
        wait_until_in_service(HELPER, pid, folder)
        time.sleep(SETTLED_AFTER)
        old_task.desired = "STOPPED"
        os.kill(pid, signal.SIGTERM)
        return {f"{key}_auto": value for key, value in shutdown(pid).items()}


def measure_armed(subject: Subject, folder: Path, environ: dict[str, str]) -> dict[str, float]:
    with living(subject, folder, environ) as pid:
        began, waited = time.monotonic(), waited_for_core(pid)
        wait_until_armed(pid)
        waited = waited_for_core(pid) - waited
        # a wait that began before counts whole
        return {"armed": max(0.0, 1000 * (time.monotonic() - began - waited))}


def measure_call(subject: Subject, folder: Path, environ: dict[str, str]) -> dict[str, float]:
    """From the signal to the request's arrival at an admin API of the measurement's own."""
    with AdminStandIn() as admin, living(subject, folder, environ | {"ENVOY_ADMIN_URL": admin.url}) as pid:
        wait_until_in_service(subject, pid, folder)
        time.sleep(SETTLED_AFTER)
        began = time.monotonic()
        os.kill(pid, signal.SIGTERM)
        processes.wait_for(lambda: None if admin.called_at else "not called yet")
        return {"called": 1000 * (admin.called_at - began)}


def measure_healthchecks(
    subject: Subject, folder: Path, environ: dict[str, str], repeat: int
) -> Iterator[dict[str, float]]:
    with living(subject, folder, environ) as pid:
        wait_until_in_service(subject, pid, folder)
        for _ in range(repeat):
            with one_core():
                figures = {"healthcheck": cpu_milliseconds(subject.healthcheck, environ)}
                if subject is HELPER:
                    figures["interpreter"] = cpu_milliseconds([sys.executable, "-c", ""], environ)
            yield figures


def cpu_milliseconds(command: list[str], environ: dict[str, str]) -> float:
    """CPU time of one run of `command`; raises CalledProcessError where it does not exit with 0."""
    process = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)  # nosec B603
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return 1000 * (usage.ru_utime + usage.ru_stime)


class AdminStandIn:
    """The few answers of Envoy's admin API that a drain needs; `called_at`: when it was asked to fail."""

    def __init__(self) -> None:
        self.called_at = 0.0
        self._listening = socket.create_server((processes.free_address(), 0))
        self.url = "http://{}:{}".format(*self._listening.getsockname())

    def __enter__(self) -> AdminStandIn:
        threading.Thread(target=self._serve).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listening.accept()
                with connection:
                    self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        request = connection.recv(65536)
        if request.startswith(b"POST /healthcheck/fail"):
            self.called_at = time.monotonic()
        status, body = (503, b"DRAINING\n") if self.called_at and request.startswith(b"GET") else (200, b"LIVE\n")
        head = b"HTTP/1.1 %d X\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        connection.sendall(head + body)


@contextlib.contextmanager
def aws_where_it_is_replaced(folder: Path) -> Iterator[tuple[state.TaskState, dict[str, str]]]:
    """The lab's API of AWS, where the replacement is in service.

    It yields the task that is replaced, and its helper's environment.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    address = processes.free_address()
    old_task, runner = asyncio.run_coroutine_threadsafe(serve_aws(address, folder), loop).result()
    url = f"http://{address}:{aws.PORT}"
    try:
        yield old_task, {"ECS_CONTAINER_METADATA_URI_V4": f"{url}/v4/old/helper", **aws.environment(url)}
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def serve_aws(address: str, folder: Path) -> tuple[state.TaskState, web.AppRunner]:
    record = history.Recorder(folder / "record", history.Run("", {}, "", "", "", {}, history.began_now()))
    service = runtime.Runtime(runtime.Service(desired=1), lambda *_: [], folder, record, asyncio.TaskGroup())
    for id in ("old", "new"):
        helper = state.ContainerState(
            "helper", checked=True, status="RUNNING", reported_health="HEALTHY", started_at=0.0
        )
        service.tasks[id] = state.TaskState(id, id, "ecs-svc/1", {"helper": helper})
    listed = {"new": cloud_map.Instance("new", "new", healthy=True)}
    runner = web.AppRunner(aws.Aws(service, listed, record).application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, address, aws.PORT).start()
    return service.tasks["old"], runner


# what the kernel reports


def fields(pid: int, file: str) -> dict[str, str]:
    """The `name: value` lines of a file in /proc/PID; raises OSError once the process has ended."""
    lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def proc_status(pid: int) -> dict[str, str]:
    return fields(pid, "status")


def kilobytes(value: str) -> int:
    return int(value.removesuffix(" kB"))


def group(pid: int) -> list[int]:
    """The processes of the group that `pid` leads: a shell does its work in children."""
    members = []
    for entry in os.listdir("/proc"):
        with contextlib.suppress(ValueError, ProcessLookupError):
            if os.getpgid(int(entry)) == pid:
                members.append(int(entry))
    return members


def context_switches(pid: int) -> int:
    """Of all threads of the group, voluntary and not."""
    total = 0
    for member in group(pid):
        for thread in os.listdir(f"/proc/{member}/task"):
            status = fields(member, f"task/{thread}/status")
            total += int(status["voluntary_ctxt_switches"]) + int(status["nonvoluntary_ctxt_switches"])
    return total


def shutdown(pid: int) -> dict[str, float]:
    """From now until the group's leader has ended: the peak memory of its life in MB, each process counted with the
    most it ever had, and the CPU time in ms."""
    peak, began, ended = 0, cpu_time(pid), 0.0
    while "VmHWM" in proc_status(pid):  # a process that has ended has no memory
        now = 0
        for member in group(pid):
            with contextlib.suppress(OSError, KeyError):  # it has just ended
                now += kilobytes(proc_status(member)["VmHWM"])
        peak, ended = max(peak, now), cpu_time(pid)
        time.sleep(0.002)
    return {"peak": peak / 1024, "cpu": 1000 * (ended - began)}


def waited_for_core(pid: int) -> float:
    """Seconds in which a process could have run but others did, see sched-stats in the kernel's documentation."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9


def cpu_time(pid: int) -> float:
    """Seconds that a process and its ended children have taken."""
    times = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


# HTTP clients

# what each client's process does: one request, then it reports its memory and CPU time
CLIENTS: Final = {
    "none": "async def ask(url): pass",
    "h11": """
from task_helper import settings
from task_helper import http
async def ask(url): await http.request('GET', settings.health_url(url), '/')""",
    "h11, without OpenSSL, as task-helper has it": """
sys.modules['ssl'] = None
import asyncio
del sys.modules['ssl']
from task_helper import settings
from task_helper import http
async def ask(url): await http.request('GET', settings.health_url(url), '/')""",
    "httpx2": """
import httpx2
async def ask(url):
    async with httpx2.AsyncClient(trust_env=False) as client: await client.get(url)""",
    "aiohttp": """
import aiohttp
async def ask(url):
    async with aiohttp.ClientSession() as session, session.get(url) as answer: await answer.read()""",
}
CLIENT_PROCESS: Final = """
import argparse, logging, msgspec, resource, sys
{client}
import asyncio
asyncio.run(ask(sys.argv[1]))
usage = resource.getrusage(resource.RUSAGE_SELF)
resident = int(open('/proc/self/status').read().partition('VmRSS:')[2].split()[0])
print(resident / 1024, 1000 * (usage.ru_utime + usage.ru_stime))
"""


def measure_client(code: str) -> tuple[float, float]:
    """Resident MB and CPU ms of a process after one request; raises CalledProcessError, ModuleNotFoundError."""
    with AdminStandIn() as server, one_core():
        command = [sys.executable, "-c", CLIENT_PROCESS.format(client=code), server.url]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)  # nosec B603
    if "ModuleNotFoundError" in run.stderr:
        raise ModuleNotFoundError(run.stderr.splitlines()[-1])
    run.check_returncode()
    memory, cpu = map(float, run.stdout.split())
    return memory, cpu


def compare_clients(console: Console, repeat: int) -> None:
    table = Table(title="HTTP clients: a process with asyncio, logging, argparse and msgspec, after one request")
    for heading in ("client", "resident MB", "CPU ms"):
        table.add_column(heading, justify="left" if heading == "client" else "right")
    for name, code in CLIENTS.items():
        try:
            memory, cpu = zip(*(measure_client(code) for _ in range(repeat)))
            table.add_row(name, f"{statistics.median(memory):.1f}", f"{statistics.median(cpu):.0f}")
        except ModuleNotFoundError:
            table.add_row(name, "not installed", f"pip install {name}")
    console.print(table)


# all of it


def measure(
    subjects: Sequence[Subject], neighbour: envoy_process.Envoy, folder: Path, repeat: int
) -> dict[str, Samples]:
    """Every figure of every subject, `repeat` times; by subject and line."""
    results: dict[str, Samples] = {subject.name: defaultdict(list) for subject in subjects}
    environ = {"PATH": os.environ["PATH"], "ENVOY_ADMIN_URL": neighbour.admin_url}
    short = environ | {"DRAIN_DELAY": "0", "DRAIN_TIMEOUT": "2"}
    quick = 4 * repeat

    def note(subject: Subject, figures: dict[str, float]) -> None:
        for key, value in figures.items():
            results[subject.name][key].append(value)
        progress.advance(bar)

    with Progress(transient=True) as progress:
        bar = progress.add_task("measuring", total=len(subjects) * (3 * quick + repeat) + repeat)
        # taking turns, so that whatever else the machine does meets all of them
        for _ in range(quick):
            for subject in subjects:
                note(subject, measure_armed(subject, folder, short))
                note(subject, measure_call(subject, folder, short))
        for subject in subjects:
            for figures in measure_healthchecks(subject, folder, short, quick):
                note(subject, figures)
        for _ in range(repeat):
            for subject in subjects:
                note(subject, measure_life(subject, folder, short))
                neighbour.admin("POST", "/healthcheck/ok")
            note(HELPER, measure_auto(folder, short))
            neighbour.admin("POST", "/healthcheck/ok")
    return results


def show(console: Console, results: dict[str, Samples]) -> list[str]:
    """Print the table; the broken bounds, a sentence each."""
    broken = []
    table = Table(title="weight: median (least … most)")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    for heading in ("predecessor (as measured earlier)", "goal", "bound", ""):
        table.add_column(heading, justify="right")
    for line in LINES:
        median = statistics.median(results[HELPER.name][line.key])
        fits = line.bound is None or median <= line.bound
        if not fits:
            broken.append(f"{line.meaning}: {median:.1f} {line.unit}, bound {line.bound:g} {line.unit}")
        reached = line.goal is None or median <= line.goal
        verdict = "" if line.bound is None else "ok" if fits and reached else "misses its goal" if fits else "BROKEN"
        table.add_row(
            line.meaning,
            *(spread(samples.get(line.key, []), line.unit) for samples in results.values()),
            *("" if value is None else f"{value:g} {line.unit}" for value in (line.predecessor, line.goal, line.bound)),
            verdict,
        )
    console.print(table)
    return broken


def spread(values: list[float], unit: str) -> str:
    if not values:
        return "–"
    digits = 1 if unit else 0
    return (
        f"{statistics.median(values):.{digits}f} {unit} ({min(values):.{digits}f} … {max(values):.{digits}f})".replace(
            "  ", " "
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m measure.weight", description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=5, help="lives of each program; quick figures four times that")
    parser.add_argument("--clients", action="store_true", help="compare HTTP clients too; httpx2 where installed")
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = envoy_process.EnvoyOptions(
            processes.free_address(), upstream=("127.0.0.1", envoy_process.APPLICATION_PORT)
        )
        with envoy_process.running(options, folder) as neighbour:
            subjects = [HELPER, shell_trap(neighbour.admin_url)]
            results = measure(subjects, neighbour, folder, arguments.repeat)
    load = os.getloadavg()[0] / len(os.sched_getaffinity(0))
    versions = f"Python {sys.version.split()[0]}, Envoy {envoy_process.version()}"
    print(f"{versions}, one core; load of the machine: {load:.1f} a core")
    broken = show(console, results)
    if arguments.clients:
        compare_clients(console, 2 * arguments.repeat)
    for sentence in broken:
        print(f"broken: {sentence}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
