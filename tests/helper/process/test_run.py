"""The installed program under real signals, beside real Envoys."""

import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lab.parts import envoy_process as real
from lab.parts.processes import free_address, wait_for
from task_helper.gate import METADATA_URI
from tests.helper.process.program import PATIENCE, PROGRAM, command, metadata_of, running, started, wait_until_armed

QUICK = {"DRAIN_DELAY": "0.2", "DRAIN_TIMEOUT": "0.3", "STOP_TIMEOUT": "30"}

# logged where an Envoy without CPU confirms only the second call
BUSY = "admin_failing"

# as the image's entry point has it
BLOCKED = "--block-signal=TERM,INT,QUIT"


@pytest.fixture
def envoy(tmp_path: Path) -> Iterator[real.Envoy]:
    with real.running(real.EnvoyOptions(free_address(), ("127.0.0.1", 1)), tmp_path) as running:
        yield running


@pytest.fixture
def older_envoy(envoy: real.Envoy) -> real.Envoy:
    """An Envoy that is older than a helper that starts now, and reports that."""
    envoy.wait_until_older()
    return envoy


@pytest.fixture
def closed_port() -> str:
    """An address at which no server listens."""
    return f"http://{free_address()}:9901"


def state(envoy: real.Envoy) -> str:
    _, body = envoy.admin("GET", "/ready")
    return body.strip()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=lambda number: str(number.name))
def test_drain(number: signal.Signals, envoy: real.Envoy) -> None:
    """A signal to stop drains a real Envoy by plan, and ends with exit code 0 and one summary."""
    with running(ENVOY_ADMIN_URL=envoy.admin_url, DRAIN_DELY="1", **QUICK) as helper:
        helper.event("in_service")
        helper.signal(number)
        summary = helper.event("summary")

        assert 0 == helper.exit()
    assert ("drained", "DRAINING") == (summary["reason"], state(envoy))
    assert 0.2 <= summary["delaying_seconds"] and 0.3 <= summary["draining_seconds"]
    assert [
        "unknown_setting",
        "starting",
        "in_service",
        "sigterm",
        "delaying",
        "drain_confirmed",
        "draining",
        "summary",
    ] == [line["event"] for line in helper.log if line["event"] != BUSY]


def test_drain_over_a_unix_socket(tmp_path: Path) -> None:
    """An admin API on a Unix socket is drained as well."""
    options = real.EnvoyOptions(free_address(), ("127.0.0.1", 1), admin=tmp_path / "admin.sock")
    with real.running(options, tmp_path) as envoy, running(ENVOY_ADMIN_URL=envoy.admin_url, **QUICK) as helper:
        helper.event("in_service")
        helper.signal(signal.SIGTERM)

        assert 0 == helper.exit()
        assert "DRAINING" == state(envoy)


def test_proxies_are_ignored(envoy: real.Envoy) -> None:
    """Proxy variables in the task do not divert the helper's calls."""
    proxy = f"http://{free_address()}:3128"
    with running(ENVOY_ADMIN_URL=envoy.admin_url, HTTP_PROXY=proxy, http_proxy=proxy, ALL_PROXY=proxy) as helper:
        assert helper.event("in_service")


def test_repeated_sigterm(envoy: real.Envoy) -> None:
    """SIGTERM three times is as SIGTERM once."""
    with running(ENVOY_ADMIN_URL=envoy.admin_url, **QUICK | {"DRAIN_TIMEOUT": "5"}) as helper:
        helper.event("in_service")
        helper.signal(signal.SIGTERM)
        helper.event("delaying")
        helper.signal(signal.SIGTERM)
        helper.event("draining")
        helper.signal(signal.SIGTERM)
        helper.event("summary")

        assert 0 == helper.exit()
    events = [line["event"] for line in helper.log]
    assert [1, 1, 1] == [events.count(name) for name in ("sigterm", "delaying", "drain_confirmed")]
    assert 2 == events.count("sigterm_repeated")


def test_second_interrupt(envoy: real.Envoy) -> None:
    """A second Ctrl-C at a terminal exits at once."""
    ours, terminal = pty.openpty()
    try:
        with running((), terminal, ENVOY_ADMIN_URL=envoy.admin_url) as helper:
            helper.event("in_service")
            helper.signal(signal.SIGINT)
            helper.event("delaying")
            helper.signal(signal.SIGINT)

            assert 130 == helper.exit()
    finally:
        os.close(ours)
        os.close(terminal)


def test_repeated_stop_signal(envoy: real.Envoy) -> None:
    """If STOPSIGNAL is SIGINT, ECS may repeat SIGINT like any other signal."""
    with running(ENVOY_ADMIN_URL=envoy.admin_url, **QUICK) as helper:
        helper.event("in_service")
        helper.signal(signal.SIGINT)
        helper.event("delaying")
        helper.signal(signal.SIGINT)

        assert "drained" == helper.event("summary")["reason"]
        assert 0 == helper.exit()


def test_never_in_service(older_envoy: real.Envoy, closed_port: str) -> None:
    """If a task stops before it was in service, and its Envoy has served nothing, the helper skips the plan."""
    with running(ENVOY_ADMIN_URL=older_envoy.admin_url, APP_HEALTH_URL=closed_port) as helper:
        helper.event("waiting")
        helper.signal(signal.SIGTERM)
        summary = helper.event("summary")

        assert 0 == helper.exit()
    assert "never in service" == summary["reason"]
    # of a plan of 80 s: a busy machine may take a few
    assert summary["delaying_seconds"] + summary["draining_seconds"] < 20


@pytest.mark.parametrize("desired", ["STOPPED", "RUNNING"])
def test_restart_beside_an_envoy_that_drains(envoy: real.Envoy, desired: str) -> None:
    """A helper that is restarted in place undoes the drain of one before it; if the task is to stop, it keeps it."""
    envoy.admin("POST", "/healthcheck/fail")
    with metadata_of([], {"DesiredStatus": desired}) as uri:
        with running(ENVOY_ADMIN_URL=envoy.admin_url, **{METADATA_URI: uri}, **QUICK) as helper:
            helper.event("sigterm" if desired == "STOPPED" else "in_service")
            found = state(envoy)
            if desired == "RUNNING":
                helper.signal(signal.SIGTERM)

            assert 0 == helper.exit()
    assert ("DRAINING" if desired == "STOPPED" else "LIVE", "DRAINING") == (found, state(envoy))


def test_never_answered(closed_port: str) -> None:
    """ENVOY_ADMIN_URL may be wrong, and Envoy may serve: the helper calls it until the deadline."""
    with running(ENVOY_ADMIN_URL=closed_port, **QUICK | {"STOP_TIMEOUT": "6"}) as helper:
        helper.event("waiting")
        helper.signal(signal.SIGTERM)
        summary = helper.event("summary")

        assert 75 == helper.exit()
    assert "not confirmed" == summary["reason"]
    assert summary["budget_left_seconds"] <= 0


def test_envoy_dead_at_sigterm(envoy: real.Envoy) -> None:
    """If ECS reports that Envoy has stopped, there is nothing to drain: the helper skips the whole plan."""
    task: dict[str, object] = {"Name": "envoy", "Type": "NORMAL", "KnownStatus": "RUNNING"}
    with metadata_of([task]) as uri, running(ENVOY_ADMIN_URL=envoy.admin_url, **{METADATA_URI: uri}) as helper:
        helper.event("in_service")
        envoy.process.kill()
        envoy.process.wait()
        finished = datetime.now(timezone.utc).isoformat()
        task |= {"DesiredStatus": "STOPPED", "KnownStatus": "STOPPED", "FinishedAt": finished}
        helper.signal(signal.SIGTERM)
        summary = helper.event("summary")

        assert 0 == helper.exit()
    assert "envoy stopped" == summary["reason"]
    # of a plan of 80 s: a busy machine may take a few
    assert summary["delaying_seconds"] + summary["draining_seconds"] < 20


def test_full_stdout(envoy: real.Envoy) -> None:
    """A log without a reader, with a full pipe at SIGTERM, does not delay the drain."""
    reader, writer = os.pipe()
    try:
        with started([PROGRAM, "run"], {"ENVOY_ADMIN_URL": envoy.admin_url, **QUICK}, stdout=writer) as process:
            taken = b""
            while b"in_service" not in taken:
                taken += os.read(reader, 65536)
            # of this end of the pipe alone: the helper's own stays as it was
            own = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
            with suppress(BlockingIOError), os.fdopen(own, "wb", buffering=0) as filling:
                while filling.write(b"x" * 512) is not None:
                    pass
            process.send_signal(signal.SIGTERM)

            assert 0 == process.wait(PATIENCE)
    finally:
        os.close(reader)
        os.close(writer)
    assert "DRAINING" == state(envoy)


def test_signal_in_the_first_moment(older_envoy: real.Envoy) -> None:
    """One SIGTERM is enough from the moment on that the kernel knows the handler, long before the imports are done."""
    with running(ENVOY_ADMIN_URL=older_envoy.admin_url, **QUICK) as helper:
        wait_until_armed(helper.process.pid)
        helper.signal(signal.SIGTERM)

        assert "SIGTERM" == helper.event("sigterm")["signal"]
        assert 0 == helper.exit()


def unshare() -> tuple[str, ...]:
    """A command that runs another as PID 1 of a PID namespace."""
    return "unshare", "--pid", "--fork", "--kill-child", *(() if os.geteuid() == 0 else ("--map-root-user",))


def pid_1(unshare_pid: int) -> int:
    children = Path(f"/proc/{unshare_pid}/task/{unshare_pid}/children")
    wait_for(lambda: None if children.read_text() else "unshare has no child yet")
    return int(children.read_text())


@pytest.fixture
def namespaces() -> None:
    if subprocess.run([*unshare(), "true"], capture_output=True, timeout=PATIENCE).returncode:
        pytest.skip("THIS MACHINE ALLOWS NO PID NAMESPACE: the helper is not tested as PID 1")


@pytest.mark.usefixtures("namespaces")
def test_pid_1(envoy: real.Envoy) -> None:
    """The helper also drains as PID 1, which gets no signal without a handler."""
    with running(unshare(), ENVOY_ADMIN_URL=envoy.admin_url, **QUICK) as helper:
        helper.event("in_service")
        os.kill(pid_1(helper.process.pid), signal.SIGTERM)

        assert "drained" == helper.event("summary")["reason"]
        assert 0 == helper.exit()


@pytest.mark.usefixtures("namespaces")
def test_pid_1_in_the_first_moment(older_envoy: real.Envoy) -> None:
    """Also as PID 1, one SIGTERM is enough after the handlers are set."""
    with running(unshare(), ENVOY_ADMIN_URL=older_envoy.admin_url, **QUICK) as helper:
        pid = pid_1(helper.process.pid)
        wait_for(lambda: None if b"task-helper" in Path(f"/proc/{pid}/cmdline").read_bytes() else "not yet executed")
        wait_until_armed(pid)
        os.kill(pid, signal.SIGTERM)

        assert 0 == helper.exit()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT], ids=lambda number: str(number.name))
def test_signal_before_python(number: signal.Signals, older_envoy: real.Envoy) -> None:
    """A signal that came while it was blocked, before Python was executed, stops the task, and none stays blocked."""
    raised = f'kill -{number.name.removeprefix("SIG")} $$; exec "$@"'
    prefix = ("env", BLOCKED, "sh", "-c", raised, "sh")
    with running(prefix, ENVOY_ADMIN_URL=older_envoy.admin_url, **QUICK) as helper:
        assert number.name == helper.event("sigterm")["signal"]
        assert 0 == helper.exit()


def test_no_signal_stays_blocked(envoy: real.Envoy) -> None:
    """The helper and its threads unblock the signals that the image's entry point blocks."""
    with running(("env", BLOCKED), ENVOY_ADMIN_URL=envoy.admin_url) as helper:
        helper.event("in_service")
        status = Path(f"/proc/{helper.process.pid}/status").read_text()

        assert 0 == int(status.partition("SigBlk:")[2].split()[0], 16)


def test_closed_stdout(envoy: real.Envoy) -> None:
    """If the log's reader ends, the helper and the drain continue."""
    with started([PROGRAM, "run"], {"ENVOY_ADMIN_URL": envoy.admin_url, **QUICK}) as process:
        assert process.stdout
        while "in_service" not in process.stdout.readline():
            assert process.poll() is None
        process.stdout.close()
        process.send_signal(signal.SIGTERM)

        assert 0 == process.wait(PATIENCE)
    assert "DRAINING" == state(envoy)


def test_hanging_admin_api() -> None:
    """With an admin API that accepts connections and does not answer, the helper exits by its deadline."""
    with socket.create_server((address := free_address(), 9901)) as server:
        with running(ENVOY_ADMIN_URL=f"http://{address}:9901", **QUICK | {"STOP_TIMEOUT": "6"}) as helper:
            helper.event("starting")
            server.accept()[0].close()
            helper.event("waiting")
            helper.signal(signal.SIGTERM)

            assert 75 == helper.exit()
            # how late it may be is a matter of the machine; without a deadline it would wait for ever
            assert helper.event("summary")["budget_left_seconds"] <= 0


def test_admin_api_that_hangs_in_the_drain(envoy: real.Envoy) -> None:
    """If Envoy does not confirm, the helper keeps the task running until the deadline; the exit code reports it."""
    with running(ENVOY_ADMIN_URL=envoy.admin_url, **QUICK | {"STOP_TIMEOUT": "6"}) as helper:
        helper.event("in_service")
        envoy.process.send_signal(signal.SIGSTOP)
        helper.signal(signal.SIGTERM)
        summary = helper.event("summary")

        assert 75 == helper.exit()
    assert "not confirmed" == summary["reason"]
    # not the drain's own length: what the delay took longer is the drain's loss
    assert summary["budget_left_seconds"] <= 0


def test_frozen_across_the_deadline(envoy: real.Envoy) -> None:
    """A helper that was frozen until after its deadline calls an Envoy that was never called, once, in the margin."""
    settings = {"DRAIN_DELAY": "6", "DRAIN_TIMEOUT": "0.3", "STOP_TIMEOUT": "12"}
    with running(ENVOY_ADMIN_URL=envoy.admin_url, **settings) as helper:
        helper.event("in_service")
        began = time.monotonic()
        helper.signal(signal.SIGTERM)
        helper.event("delaying")
        helper.signal(signal.SIGSTOP)
        time.sleep(7.2)  # past the deadline, seven seconds after the signal
        helper.signal(signal.SIGCONT)
        summary = helper.event("summary")
        took = time.monotonic() - began

        assert 75 == helper.exit()
        assert "DRAINING" == state(envoy)
    assert ("not confirmed", True, 1, 0) == tuple(
        summary[field] for field in ("reason", "confirmed", "attempts", "budget_left_seconds")
    )
    (called,) = [line for line in helper.log if line["event"] == "called_at_deadline"]
    assert called["confirmed"] and 0.2 <= called["seconds_late"] <= took - 7


def test_request_that_the_drain_cuts(tmp_path: Path) -> None:
    """A request that a real Envoy still has in flight at the end of the drain is warned of; the exit code stays 0."""
    with socket.create_server((application := free_address(), 8080)) as server:
        options = real.EnvoyOptions(free_address(), (application, 8080))
        # time for a look at the traffic, on a busy machine too
        settings = QUICK | {"DRAIN_DELAY": "1", "DRAIN_TIMEOUT": "4"}
        with real.running(options, tmp_path) as envoy, running(ENVOY_ADMIN_URL=envoy.admin_url, **settings) as helper:
            helper.event("in_service")
            with socket.create_connection((options.address, real.INBOUND_PORT)) as client:
                client.sendall(b"GET / HTTP/1.1\r\nhost: task\r\n\r\n")
                connection = server.accept()[0]  # the application has the request, and does not answer
                helper.signal(signal.SIGTERM)
                cut = helper.event("requests_cut")

                assert 0 == helper.exit()
                connection.close()
    assert (1, "drained", "warning") == (cut["requests"], cut["reason"], cut["level"])


def test_bad_settings() -> None:
    """Bad settings end the helper before it does anything, with all of them in one message."""
    done = command("run", DRAIN_DELAY="soon", DRAIN_TIMEOUT="-1")

    assert 78 == done.returncode
    (line,) = done.stdout.splitlines()
    assert "DRAIN_DELAY: the value is not a time" in line
    assert "DRAIN_TIMEOUT: '-1' is negative" in line


def test_healthcheck(envoy: real.Envoy) -> None:
    """`healthcheck` fails with a reason until the task is in service, then passes until the helper exits."""
    url, container = envoy.admin_url, {METADATA_URI: f"http://{free_address()}:1/v4/helper"}

    def check() -> tuple[int, str]:
        done = command("healthcheck", **container)
        return done.returncode, done.stdout

    app = free_address()
    assert (1, "no task-helper runs in this container\n") == check()
    settings = {"APP_HEALTH_URL": f"http://{app}:8080/", **QUICK, "DRAIN_TIMEOUT": "6", **container}
    with running(ENVOY_ADMIN_URL=url, **settings) as helper:
        helper.event("waiting")
        assert (1, "not in service yet: waiting for the application\n") == check()
        with socket.create_server((app, 8080)) as server:
            connection = server.accept()[0]
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            connection.close()
            helper.event("in_service")
        assert (0, "") == check()
        helper.signal(signal.SIGTERM)
        helper.event("draining")
        assert (0, "") == check()
        helper.exit()
        assert (1, "no task-helper runs in this container\n") == check()


def test_in_service_without_a_wake_up(envoy: real.Envoy) -> None:
    """In service the kernel does not schedule the helper at all, and it has no port."""
    with running(ENVOY_ADMIN_URL=envoy.admin_url) as helper:
        helper.event("in_service")
        proc = Path(f"/proc/{helper.process.pid}")

        def switches() -> list[str]:
            return [line for line in (proc / "status").read_text().splitlines() if "ctxt_switches" in line]

        def busy() -> str | None:  # at first it looks at Envoy's configuration
            before = switches()
            time.sleep(2)  # the fact is that nothing happens in this time
            return None if switches() == before else f"{before} became {switches()}"

        wait_for(busy)
        listening = {
            line.split()[9] for line in (proc / "net/tcp").read_text().splitlines()[1:] if line.split()[3] == "0A"
        }
        opened = {os.readlink(fd).strip("socket:[]") for fd in (proc / "fd").iterdir()}
        assert set() == listening & opened
