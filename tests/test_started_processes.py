"""How tests start processes: only in ways that kill the process, whatever the test raises."""

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helper.process.program import started

TESTS = Path(__file__).parent
# the one that the tests' own `started` has
EXCEPTIONS = {"helper/process/program.py: subprocess.Popen"}
STARTS = re.compile(
    r"subprocess\.(run|call|check_\w+|get\w*output|Popen)"
    r"|os\.(system|popen|posix_spawnp?|spawn\w+|fork\w*|exec\w+)"
    r"|pty\.(fork|spawn)"
    r"|(.*\.)?(create_subprocess_\w+|subprocess_exec|subprocess_shell|ProcessPoolExecutor)"
    r"|multiprocessing\..*"
)


def other_starts(text: str) -> Iterator[str]:
    """The names in a program that start a process, other than `subprocess.run` with a timeout.

    It finds no program in a string, and nothing that `lab` starts: the lab ends its own processes.
    """
    nodes = list(ast.walk(ast.parse(text)))
    types = {node.value for node in nodes if isinstance(node, ast.Subscript)}  # subprocess.Popen[str]
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    bounded = {call.func for call in calls if any(each.arg == "timeout" for each in call.keywords)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and node not in types:
            name = ast.unparse(node)
            if STARTS.fullmatch(name) and not (name == "subprocess.run" and node in bounded):
                yield name
        elif isinstance(node, ast.ImportFrom):
            names = (f"{node.module}.{each.name}" for each in node.names)
            yield from filter(STARTS.fullmatch, names)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("subprocess.Popen(['true'])", ["subprocess.Popen"]),
        ("subprocess.run(['true'])", ["subprocess.run"]),
        ("subprocess.run(['true'], timeout=60)", []),
        ("subprocess.check_output(['true'], timeout=60)", ["subprocess.check_output"]),
        ("partial(subprocess.run, ['true'])", ["subprocess.run"]),
        ("def end(process: subprocess.Popen[str]) -> None: ...", []),
        ("from subprocess import Popen", ["subprocess.Popen"]),
        ("asyncio.create_subprocess_exec('true')", ["asyncio.create_subprocess_exec"]),
        ("asyncio.run(play())", []),
        ("os.fork()", ["os.fork"]),
        ("multiprocessing.Process(target=play)", ["multiprocessing.Process"]),
        ("from concurrent.futures import ProcessPoolExecutor", ["concurrent.futures.ProcessPoolExecutor"]),
    ],
)
def test_other_starts(line: str, found: list[str]) -> None:
    """This module's check finds each way to start a process that has no end of its own."""
    assert found == list(other_starts(line))


def test_tests_start_processes_only_in_ways_that_kill_them() -> None:
    """A test starts a process with `started` or `running`, in the lab's ways, or to its end within a time."""
    found = {
        f"{file.relative_to(TESTS)}: {name}"
        for file in TESTS.rglob("*.py")
        for name in other_starts(file.read_text(encoding="utf-8"))
    }

    assert EXCEPTIONS == found


def test_what_a_started_process_leaves_behind_is_killed() -> None:
    """`started` kills the group of its process also if the process itself has already exited."""
    reader, writer = os.pipe()
    with started(["sh", "-c", "sleep 600 & echo $!"], {}, stdout=writer) as process:
        os.close(writer)
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)

    with open(reader) as output:
        # the file's end comes when no process can write to the pipe any more
        assert re.fullmatch(r"\d+\n", output.read())
