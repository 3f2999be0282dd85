"""Two installed helpers in a chain beside a real Envoy; the test is ECS, which stops them one after the other."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path

from lab.parts import envoy_process as real
from lab.parts.processes import free_address
from task_helper.gate import METADATA_URI
from tests.helper.process.program import Helper, metadata_of, running


class Task:
    """A real Envoy, and two helpers that it is in service for."""

    def __init__(
        self,
        envoy: real.Envoy,
        first: Helper,
        second: Helper,
        wanted: dict[str, object],
        containers: dict[str, dict[str, object]],
        of_second: dict[str, str],
    ) -> None:
        self.envoy, self.first, self.second = envoy, first, second
        self.wanted, self.containers, self.of_second = wanted, containers, of_second

    def stop(self) -> None:
        """ECS wants the task stopped, and begins with the first."""
        self.wanted["DesiredStatus"] = "STOPPED"
        self.first.signal(signal.SIGTERM)

    def first_has_ended(self, exit_code: int) -> None:
        """ECS reports that the first has ended, and stops the second."""
        assert exit_code == self.first.exit()
        ended = {
            "KnownStatus": "STOPPED",
            "ExitCode": exit_code % 256,
            "FinishedAt": datetime.now(timezone.utc).isoformat(),
        }
        self.containers["task-helper"] |= ended
        self.second.signal(signal.SIGTERM)


@contextmanager
def chain(folder: Path, stop_timeout: int = 60, stop_timeout_of_second: int = 60, **settings: str) -> Iterator[Task]:
    """The task; the first hands over 5 s before its `stop_timeout`."""
    names = ("envoy", "app", "task-helper", "task-helper-2")
    containers: dict[str, dict[str, object]] = {
        name: {"Name": name, "Type": "NORMAL", "KnownStatus": "RUNNING", "DesiredStatus": "STOPPED"} for name in names
    }
    wanted: dict[str, object] = {"DesiredStatus": "RUNNING"}
    with ExitStack() as stack:
        envoy = stack.enter_context(real.running(real.EnvoyOptions(free_address(), ("127.0.0.1", 1)), folder))
        uri = stack.enter_context(metadata_of(list(containers.values()), wanted))
        common = {"ENVOY_ADMIN_URL": envoy.admin_url, METADATA_URI: uri, "DRAIN_DELAY": "0.2", **settings}
        first_stops, second_stops = str(stop_timeout), str(stop_timeout_of_second)
        of_first = common | {"STOP_TIMEOUT": first_stops, "HANDS_OVER_TO": f"task-helper-2:{second_stops}"}
        of_second = common | {"STOP_TIMEOUT": second_stops, "TAKES_OVER_FROM": f"task-helper:{first_stops}"}
        first, second = (stack.enter_context(running(**settings)) for settings in (of_first, of_second))
        first.event("in_service")
        second.event("in_service")
        yield Task(envoy, first, second, wanted, containers, of_second)


def test_handed_over(tmp_path: Path) -> None:
    """The first leaves at its deadline with 10, and the second drains for what is left of the plan."""
    with chain(tmp_path, stop_timeout=8, DRAIN_TIMEOUT="4.5") as task:
        task.stop()
        handed_over = task.first.event("summary")
        exit_code = task.first.exit()
        task.first_has_ended(exit_code)
        drained = task.second.event("summary")

        assert 0 == task.second.exit()
    # Of 4.5 s the first has drained for 2.8 s. One second may have passed until Envoy confirmed. On a busy machine it
    # may be longer; then the first reports that.
    reason, left = {10: ("handed over", 2.7), 11: ("handed over late", 4.5)}[exit_code]
    assert (reason, "drained") == (handed_over["reason"], drained["reason"])
    assert left <= drained["draining_seconds"]


def test_first_is_killed_in_the_drain(tmp_path: Path) -> None:
    """The second continues the drain at once, for its whole time, because it is unknown how long it has lasted."""
    with chain(tmp_path, DRAIN_TIMEOUT="6") as task:
        task.stop()
        task.first.event("draining")
        task.first.signal(signal.SIGKILL)
        task.first_has_ended(-signal.SIGKILL)
        drained = task.second.event("summary")

        assert 0 == task.second.exit()
    assert "delaying" not in [line["event"] for line in task.second.log]
    assert drained["draining_seconds"] >= 6


def test_first_is_frozen_across_its_deadline(tmp_path: Path) -> None:
    """The first calls Envoy after its deadline, and hands over late; the second gives the drain all of its time."""
    with chain(tmp_path, stop_timeout=12, DRAIN_DELAY="5", DRAIN_TIMEOUT="1") as task:
        task.first.signal(signal.SIGTERM)
        task.first.event("delaying")
        task.first.signal(signal.SIGSTOP)
        time.sleep(7.2)  # past the first's deadline
        task.first.signal(signal.SIGCONT)
        called = task.first.event("called_at_deadline")
        task.first_has_ended(11)
        drained = task.second.event("summary")

        assert 0 == task.second.exit()
    assert called["confirmed"]
    assert "delaying" not in [line["event"] for line in task.second.log]
    assert drained["draining_seconds"] >= 1


def test_second_dies_in_the_delay_of_the_first(tmp_path: Path) -> None:
    """The first begins the drain while there is time for one, instead of leaving Envoy uncalled to a dead helper."""
    with chain(tmp_path, stop_timeout=12, DRAIN_DELAY="8", DRAIN_TIMEOUT="3") as task:
        task.first.signal(signal.SIGTERM)
        task.first.event("delaying")
        task.second.signal(signal.SIGKILL)
        task.second.exit()
        task.containers["task-helper-2"] |= {"KnownStatus": "STOPPED", "ExitCode": 137}
        stopped = task.first.event("second_helper_stopped")
        summary = task.first.event("summary")

        assert 0 == task.first.exit()
        assert "DRAINING" == task.envoy.admin("GET", "/ready")[1].strip()
    assert 137 == stopped["exit_code"]
    assert summary["confirmed"] and summary["reason"] in ("drained", "deadline")


def test_first_has_drained(tmp_path: Path) -> None:
    """With nothing in progress the second exits at once, without a stage of its own."""
    with chain(tmp_path, DRAIN_TIMEOUT="0.5") as task:
        task.stop()
        task.first_has_ended(0)
        summary = task.second.event("summary")

        assert 0 == task.second.exit()
    assert "drained" == summary["reason"]
    assert {"delaying", "draining"}.isdisjoint(line["event"] for line in task.second.log)


def test_second_starts_while_the_first_drains(tmp_path: Path) -> None:
    """A second helper that comes up in the drain of the first leaves that alone."""
    with chain(tmp_path, DRAIN_TIMEOUT="50") as task:
        task.stop()
        task.first.event("draining")
        with running(**task.of_second) as late:
            late.event("waiting")
            assert "DRAINING" == task.envoy.admin("GET", "/ready")[1].strip()
