"""What the helper costs an Envoy of a large mesh: the CPU time that it takes beyond an idle one's, and the helper's
memory.

    python -m measure.mesh [--listeners 2000] [--clusters 5000] [--routes 1]

Each stop has a delay of 5 s and a drain of 6 s, with fixed times and with `auto`. Exits with 1 where a bound is broken.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

from lab.parts import envoy_process, processes
from measure.weight import HELPER, cpu_time, kilobytes, living, proc_status, wait_until_in_service

# how long an idle Envoy is watched, in seconds
WATCHED: Final = 10.0

DELAY, DRAIN = 5.0, 6.0
SETTINGS: Final = {
    "fixed times": {"DRAIN_TIMEOUT": f"{DRAIN:g}"},
    "auto": {"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": f"{DRAIN - 1:g}"},
}

# seconds of Envoy's CPU beyond what an idle one takes in the same time, and megabytes of the helper
MOST_AT_START, MOST_IN_STOP, MOST_MEMORY = 0.3, 0.5, 64.0


class Cost(NamedTuple):
    """What one life costs: Envoy's CPU at the start and in the stop, in seconds; the helper's peak, in megabytes."""

    start: float
    stop: float
    peak: float

    @property
    def broken(self) -> list[str]:
        """Which bounds it breaks."""
        bounds = {"start": MOST_AT_START, "stop": MOST_IN_STOP, "peak": MOST_MEMORY}
        return [
            f"{name} {getattr(self, name):.2f} > {most}" for name, most in bounds.items() if getattr(self, name) > most
        ]


def configuration(address: str, listeners: int, clusters: int, routes: int) -> envoy_process.Json:
    """A task's Envoy with so many outbound listeners, with so many routes each, and clusters."""
    options = envoy_process.EnvoyOptions(address, (address, 8080), egress="MODIFY_ONLY", egress_listeners=listeners)
    config = envoy_process.configuration(options)
    for number, each in enumerate(config["static_resources"]["listeners"][1:]):
        manager = each["filter_chains"][0]["filters"][0]["typed_config"]
        manager["stat_prefix"] = f"outbound_{number}"
        host = manager["route_config"]["virtual_hosts"][0]
        host["routes"] = [{**host["routes"][0], "match": {"prefix": f"/{n:0100}"}} for n in range(routes)]
    for number in range(clusters):
        place = (address, 9000 + number % 1000)
        config["static_resources"]["clusters"].append(envoy_process.cluster(f"cluster-{number}", [place]))
    return config


def measure(pid: int, folder: Path, environ: dict[str, str], idle: float) -> Cost:
    """One life of the helper beside the Envoy with this process ID, which takes `idle` s of CPU in a second."""
    before, began = cpu_time(pid), time.monotonic()
    with living(HELPER, folder, environ) as helper:
        wait_until_in_service(HELPER, helper, folder)
        time.sleep(1)
        start = cpu_time(pid) - before - idle * (time.monotonic() - began)
        before, began = cpu_time(pid), time.monotonic()
        os.kill(helper, signal.SIGTERM)
        peak = 0.0
        while '"summary"' not in (folder / "log").read_text():
            peak = max(peak, kilobytes(proc_status(helper).get("VmHWM", "0 kB")) / 1000)
            time.sleep(0.05)
        return Cost(start, cpu_time(pid) - before - idle * (time.monotonic() - began), peak)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m measure.mesh", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--listeners", type=int, default=2000)
    parser.add_argument("--clusters", type=int, default=5000)
    parser.add_argument("--routes", type=int, default=1, help="of each outbound listener, of some 250 bytes each")
    options = parser.parse_args(arguments)
    table = Table(
        title=f"{options.listeners} outbound listeners, {options.clusters} clusters, Envoy {envoy_process.version()}"
    )
    for heading in ("", "Envoy's CPU at start, s", "in a stop, s", "helper's peak, MB"):
        table.add_column(heading, justify="left" if not heading else "right")
    broken: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder, address = Path(name), processes.free_address()
        config = configuration(address, options.listeners, options.clusters, options.routes)
        admin = envoy_process.EnvoyOptions(address, (address, 8080))
        process = processes.start(envoy_process.command(config, folder / "envoy.json"), folder / "envoy.log")
        try:
            processes.wait_for(lambda: not_ready(admin))
            before = cpu_time(process.pid)
            time.sleep(WATCHED)
            idle = (cpu_time(process.pid) - before) / WATCHED
            for title, settings in SETTINGS.items():
                environ = {"ENVOY_ADMIN_URL": f"http://{address}:9901", "DRAIN_DELAY": f"{DELAY:g}", **settings}
                cost = measure(process.pid, folder, environ, idle)
                envoy_process.ask_admin(admin, "POST", "/healthcheck/ok")
                table.add_row(title, f"{cost.start:.2f}", f"{cost.stop:.2f}", f"{cost.peak:.1f}")
                broken += [f"{title}: {each}" for each in cost.broken]
        finally:
            processes.kill_group(process)
            process.wait()
    Console().print(table, f"idle: {idle:.3f} s of CPU a second", *broken, sep="\n")
    return 1 if broken else 0


def not_ready(options: envoy_process.EnvoyOptions) -> str | None:
    """None once Envoy is live."""
    try:
        status, body = envoy_process.ask_admin(options, "GET", "/ready")
    except OSError as error:
        return repr(error)
    return None if status == 200 else body


if __name__ == "__main__":
    sys.exit(main())
