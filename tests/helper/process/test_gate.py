"""The gate between running helpers and `healthcheck`, with real processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.parts.processes import free_address
from task_helper import gate
from task_helper.gate import METADATA_URI, Status, status
from tests.helper.process.program import PROGRAM, command, started

SHOW = (
    "import sys; from task_helper.gate import show; [(show(s.strip()), print('shown', flush=True)) for s in sys.stdin]"
)


@pytest.fixture
def container() -> dict[str, str]:
    """The environment that ECS gives a container of its own."""
    return {METADATA_URI: f"http://{free_address()}/v4/helper"}


class Shower:
    """A process that shows the status that a test gives it."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def show(self, shown: Status) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{shown}\n")
        self._process.stdin.flush()
        assert "shown\n" == self._process.stdout.readline()


@contextmanager
def showing(shown: Status, *prefix: str, **environ: str) -> Iterator[Shower]:
    """A process that shows this status, started with a command before it."""
    with started([*prefix, sys.executable, "-c", SHOW], environ, stdin=subprocess.PIPE) as process:
        shower = Shower(process)
        shower.show(shown)
        yield shower


def test_one_status_at_a_time(container: dict[str, str]) -> None:
    """Each status replaces the one before, and none is left after the process has ended."""
    with showing("waiting for Envoy", **container) as helper:
        assert "waiting for Envoy" == status(container)
        helper.show("waiting for the application")
        assert "waiting for the application" == status(container)
        helper.show("in service")
        assert "in service" == status(container)

    assert status(container) is None


def test_two_helpers_in_a_container(container: dict[str, str]) -> None:
    """A container with two helpers is in service after both are."""
    with showing("in service", **container), showing("waiting for Envoy", **container) as second:
        assert "waiting for Envoy" == status(container)
        second.show("in service")
        assert "in service" == status(container)


def test_other_settings_of_the_health_check(container: dict[str, str]) -> None:
    """The health check finds the helper even if an entrypoint exports variables for the helper alone."""
    with showing("in service", **container, ENVOY_ADMIN_URL="http://127.0.0.1:19000"):
        done = command("healthcheck", **container)

    assert (0, "") == (done.returncode, done.stdout)


def test_without_proc() -> None:
    """If `healthcheck` cannot see processes, it prints that in one line and fails."""
    without_proc = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /proc && exec "$@"', "sh")
    if subprocess.run([*without_proc, "true"], capture_output=True, timeout=60).returncode:
        pytest.skip("THIS MACHINE ALLOWS NO MOUNT NAMESPACE: a missing /proc is not tried")
    done = subprocess.run([*without_proc, str(PROGRAM), "healthcheck"], capture_output=True, text=True, timeout=60)

    assert (1, "") == (done.returncode, done.stderr)
    assert done.stdout.startswith("cannot read this container's processes: ")
    assert 1 == done.stdout.count("\n")


def test_imports() -> None:
    """Each container health check of a fleet imports the gate, and nothing that takes as long as Python's own start."""
    # as in the image, without what other packages of the environment have Python import at its start
    folder = Path(gate.__file__).parents[1]
    program = f"import sys; sys.path.append('{folder}'); from task_helper.__main__ import main; sys.exit(main())"
    command = [sys.executable, "-I", "-S", "-X", "importtime", "-c", program, "healthcheck"]
    done = subprocess.run(command, capture_output=True, text=True, env={}, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}

    assert {"task_helper", "task_helper.__main__", "task_helper.gate"} == {
        name for name in imported if name.startswith("task_helper")
    }
    assert not {"typing", "re", "enum", "signal", "argparse", "asyncio", "collections"} & imported


@pytest.mark.parametrize("prefix", [(), ("unshare", "--mount", "--propagation", "unchanged")])
def test_helper_of_another_container(prefix: tuple[str, ...], container: dict[str, str]) -> None:
    """A process that shows the same in another container, even with the same environment, is not heeded."""
    if subprocess.run([*prefix, "true"], capture_output=True, timeout=60).returncode:
        pytest.skip("THIS MACHINE ALLOWS NO MOUNT NAMESPACE: a neighbour's helper is not tried")
    neighbour = container if prefix else {METADATA_URI: "http://169.254.170.2/v4/neighbour"}
    with showing("in service", *prefix, **neighbour):
        assert status(container) is None
