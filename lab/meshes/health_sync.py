"""What `consul-ecs-health-sync` does in a task: it reports the health of the task's containers to Consul. On its own
SIGTERM it reports all as critical. It exits after Envoy, and takes the task out of the catalog.

So reads hashicorp/consul-ecs 0.10, subcommand/health-sync. Calls of Consul are its catalog's HTTP API.
"""

import argparse
import json
import signal
import threading
import time
import urllib.request
from contextlib import suppress
from typing import Any

CONTAINER = "consul-ecs-health-sync"
SERVICE = "shop"
# seconds, of each call; health-sync has no limit
TIMEOUT = 30.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--consul", required=True, help="URL of Consul's HTTP API")
    parser.add_argument("--metadata", required=True, help="URL of the task metadata endpoint for this container")
    parser.add_argument("--task", required=True, help="the task's id")
    parser.add_argument("--address", required=True)
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--containers", required=True, nargs="+", help="those whose health it follows")
    parser.add_argument("--interval", required=True, type=float, help="seconds between two looks at the task")
    options = parser.parse_args()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    reported = ""
    while not stopping.is_set():
        try:
            status = status_of(options.containers, fetch(f"{options.metadata}/task")["Containers"])
            if status != reported:
                put(f"{options.consul}/v1/catalog/register", registration(options, status))
                reported = status
        except (OSError, ValueError):  # not up yet, or slow: the next look repeats it
            pass
        stopping.wait(options.interval)
    with suppress(OSError):  # health-sync makes this call once, and the next one too
        put(f"{options.consul}/v1/catalog/register", registration(options, "critical"))
    while True:
        time.sleep(options.interval)
        with suppress(OSError, ValueError):
            if envoy_has_stopped(fetch(f"{options.metadata}/task")["Containers"]):
                break
    with suppress(OSError):
        put(f"{options.consul}/v1/catalog/deregister", deregistration(options.task))


def status_of(followed: list[str], containers: list[dict[str, Any]]) -> str:
    """`passing` once each that it follows is HEALTHY; the agent does not list what it has not created yet."""
    health = {each["Name"]: each.get("Health", {}).get("status") for each in containers}
    return "passing" if all(health.get(name) == "HEALTHY" for name in followed) else "critical"


def envoy_has_stopped(containers: list[dict[str, Any]]) -> bool:
    return any(each["Name"] == "envoy" and each["KnownStatus"] == "STOPPED" for each in containers)


def registration(options: argparse.Namespace, status: str) -> dict[str, Any]:
    """What Consul gets for a task whose checks have this status."""
    service = {"ID": f"{SERVICE}-{options.task}", "Service": SERVICE, "Address": options.address, "Port": options.port}
    check = {"CheckID": f"{SERVICE}-{options.task}", "Name": "containers", "ServiceID": service["ID"], "Status": status}
    return {"Node": options.task, "Address": options.address, "Service": service, "Check": check}


def deregistration(task: str) -> dict[str, Any]:
    return {"Node": task, "ServiceID": f"{SERVICE}-{task}"}


def credentials(token: str | None) -> dict[str, str]:
    """The headers of a request with this token of Consul's ACLs; none without one."""
    return {"X-Consul-Token": token} if token else {}


def fetch(url: str, token: str | None = None) -> Any:
    request = urllib.request.Request(url, headers=credentials(token))
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # nosec B310
        return json.load(answer)


def put(url: str, body: dict[str, Any], token: str | None = None) -> None:
    """Raises OSError where it is not taken."""
    request = urllib.request.Request(url, json.dumps(body).encode(), credentials(token), method="PUT")
    with urllib.request.urlopen(request, timeout=TIMEOUT):  # nosec B310
        pass


if __name__ == "__main__":
    main()
