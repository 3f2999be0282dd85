"""A whole task, replaced by another: three containers each, stopped in the order that ECS keeps, under load.

The downstream is a real Envoy, too, which health checks both tasks and does not retry. Without the helper the same
replacement loses requests; else that nothing is lost with it would prove nothing.
"""

import contextlib
import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lab.parts import envoy_process, processes
from tests.image.engine import HARDENED, Engine, environment

APPLICATION = Path(__file__).with_name("application.py")

# seconds; the downstream stops sending after one failed check, up to this long after the helper's call of Envoy
CHECK_INTERVAL = 1.0

# Both tasks are known to the downstream from the start, so that the delay has nothing to wait for. The timeout covers a
# check, and the second in which an Envoy gathers changes of its hosts before it heeds them.
SETTINGS = {"DRAIN_DELAY": "0.5", "DRAIN_TIMEOUT": "4", "STOP_TIMEOUT": "30"}

CLIENTS = 8


@contextlib.contextmanager
def task(engine: Engine, image: str, address: str, folder: Path) -> Iterator[list[tuple[str, int]]]:
    """A task in service; its containers in the order in which they stop, with their stopTimeout: the helper's first."""
    options = envoy_process.EnvoyOptions(address, upstream=(address, envoy_process.APPLICATION_PORT))
    command = envoy_process.command(envoy_process.configuration(options), folder / f"{address}.json")
    binary = str(Path(envoy_process.binary()).parent)
    mounts = [word for path in (binary, str(folder), str(APPLICATION)) for word in ("--volume", f"{path}:{path}:ro")]
    settings = SETTINGS | {
        "ENVOY_ADMIN_URL": f"http://{address}:{envoy_process.ADMIN_PORT}",
        "APP_HEALTH_URL": f"http://{address}:{envoy_process.APPLICATION_PORT}/health",
    }
    serve = ("python3", str(APPLICATION), address, str(envoy_process.APPLICATION_PORT))
    with (
        engine.container(engine.base, *serve, options=(*HARDENED, *mounts)) as application,
        engine.container(engine.base, *command, options=(*HARDENED, *mounts)) as proxy,
        engine.container(image, options=(*HARDENED, "--health-interval", "0.5s", *environment(settings))) as helper,
    ):
        helper.wait_for_health("healthy")
        yield [(helper.name, 30), (application.name, 5), (proxy.name, 5)]


@contextlib.contextmanager
def downstream(addresses: list[str], folder: Path) -> Iterator[str]:
    """A running Envoy that balances over these tasks, and serves; its address."""
    check = {
        "interval": f"{CHECK_INTERVAL}s",
        "no_traffic_interval": f"{CHECK_INTERVAL}s",
        "timeout": "1s",
        "unhealthy_threshold": 3,
        "healthy_threshold": 1,
        "http_health_check": {"path": envoy_process.HEALTH_PATH},
    }
    address = processes.free_address()
    service = envoy_process.cluster("service", [(each, envoy_process.INBOUND_PORT) for each in addresses]) | {
        "health_checks": [check]
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "service"}}
    manager = envoy_process.http_manager("downstream", [route], [], "AUTO")
    config = envoy_process.bootstrap(
        address, [envoy_process.listener("downstream", (address, envoy_process.INBOUND_PORT), manager)], [service]
    )
    log = folder / "downstream.log"
    process = processes.start(envoy_process.command(config, folder / "downstream.json"), log)

    def not_serving() -> str | None:
        try:
            return None if (status := ask(address, "/work")) == 200 else f"answers {status}"
        except (OSError, http.client.HTTPException) as error:
            return f"{error!r}; its log: {log.read_text()[-2000:]}"

    try:
        processes.wait_for(not_serving)
        yield address
    finally:
        processes.kill_group(process)
        process.wait()


def ask(address: str, path: str) -> int:
    connection = http.client.HTTPConnection(address, envoy_process.INBOUND_PORT, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


@contextlib.contextmanager
def load(address: str) -> Iterator[list[str]]:
    """Clients that send one request after the other, each over a connection that lasts; the list gets every outcome."""
    outcomes: list[str] = []
    enough = threading.Event()

    def call() -> None:
        with contextlib.closing(
            http.client.HTTPConnection(address, envoy_process.INBOUND_PORT, timeout=10)
        ) as connection:
            while not enough.is_set():
                try:
                    connection.request("GET", "/work")
                    answer = connection.getresponse()
                    outcomes.append(f"{answer.status} {answer.read().decode()}".strip())
                except (OSError, http.client.HTTPException) as error:
                    outcomes.append(repr(error))
                    connection.close()

    clients = [threading.Thread(target=call) for _ in range(CLIENTS)]
    for each in clients:
        each.start()
    try:
        yield outcomes
    finally:
        enough.set()
        for each in clients:
            each.join()


def lost(engine: Engine, image: str, folder: Path, with_helper: bool) -> tuple[int, Counter[str]]:
    """Stop one of two tasks under load: how many requests there were, and what became of those that failed."""
    old, new = processes.free_address(), processes.free_address()
    with (
        task(engine, image, old, folder) as leaving,
        task(engine, image, new, folder),
        downstream([old, new], folder) as address,
        load(address) as outcomes,
    ):
        time.sleep(1)  # of undisturbed load
        for container, stop_timeout in leaving if with_helper else leaving[1:]:
            engine.docker("stop", "--time", str(stop_timeout), container, seconds=60)
        time.sleep(1)
    failed = Counter(outcome for outcome in outcomes if outcome != "200")
    print(f"{len(outcomes)} requests, {failed.total()} lost: {dict(failed)}")
    return len(outcomes), failed


def test_replaced_with_the_helper(engine: Engine, image: str, tmp_path: Path) -> None:
    """With the helper no request is lost."""
    requests, failed = lost(engine, image, tmp_path, with_helper=True)
    assert not failed
    assert requests > 300


def test_replaced_without_the_helper(engine: Engine, image: str, tmp_path: Path) -> None:
    """Without it, requests are lost."""
    assert lost(engine, image, tmp_path, with_helper=False)[1]
