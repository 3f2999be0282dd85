"""Other programs that drain an Envoy, in the helper's place: the shutdown managers of Contour and of Envoy Gateway.

Kubernetes calls them before it stops a container. ECS has no such hook, so a shell runs them on SIGTERM, as users
would have to. CONTOUR and ENVOY_GATEWAY name the programs, `contour` and `envoy-gateway`.
"""

import os
import shlex
import shutil
import subprocess  # nosec B404
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from lab.parts import envoy_process
from lab.scenarios.scenario import Column, Scenario

# Both count in seconds of real time, of which these are their defaults: between two counts of connections, and for how
# long Envoy Gateway's drains at least and at most. Its other poll, each second, has no option.
CHECK_INTERVAL, SHORTEST_DRAIN, LONGEST_DRAIN = 5.0, 10.0, 60.0

# internal/xds/bootstrap of Envoy Gateway
GATEWAY_ADMIN_PORT = 19000

PROGRAMS: Mapping[Column, str] = {"contour": "CONTOUR", "gateway": "ENVOY_GATEWAY"}

# Envoy Gateway's calls `localhost`, and leaves a file in /tmp; it has no option for either. A mount namespace gives it
# a hosts file and a /tmp of its own. The program is opened before, as it may be in the /tmp of all.
_IN_NAMESPACE = (
    'exec 9<"$1"; shift; mount --bind "$HOSTS" /etc/hosts && mount -t tmpfs none /tmp && exec /proc/self/fd/9 "$@"'
)

_ON_SIGTERM = """
trap '{command}; exit 0' TERM
while :; do sleep 1 & wait $!; done
"""


def program(column: Column) -> Path | None:
    """The program of this column; None where its variable names none. Raises FileNotFoundError where it is none."""
    name = os.environ.get(PROGRAMS[column], "")
    if name and not os.access(name, os.X_OK):
        raise FileNotFoundError(f"{name} is no program: {PROGRAMS[column]} is to name one")
    return Path(name).absolute() if name else None


def missing(column: Column) -> str | None:
    """Why this column cannot be run here; None if it can."""
    if program(column) is None:
        return f"needs {PROGRAMS[column]}"
    if column == "gateway" and not _has_namespaces():
        return "needs a mount namespace of its own: `unshare --map-root-user --mount`"
    return None


@cache
def _has_namespaces() -> bool:
    tool = shutil.which("unshare")
    return (
        tool is not None
        and not subprocess.run(  # nosec B603
            [tool, "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"],  # nosec B108
            capture_output=True,
            timeout=30,
        ).returncode
    )


def versions(column: Column) -> Mapping[str, str]:
    """The version of this column's program, for the first line of the record."""
    path = program(column) if column in PROGRAMS else None
    if path is None:
        return {}
    done = subprocess.run([str(path), "version"], capture_output=True, text=True, timeout=30)  # nosec B603
    return {path.name: (done.stdout + done.stderr).strip().splitlines()[0]}


def command(scenario: Scenario, column: Column, options: envoy_process.EnvoyOptions, folder: Path) -> list[str]:
    """What the container runs; `folder` is the task's own, for its files."""
    shutdown = _contour(scenario, options, folder) if column == "contour" else _gateway(scenario, options, folder)
    return ["bash", "-c", _ON_SIGTERM.format(command=shlex.join(shutdown).replace("'", "'\\''"))]


def _contour(scenario: Scenario, options: envoy_process.EnvoyOptions, folder: Path) -> list[str]:
    words = [str(program("contour")), "envoy", "shutdown", f"--admin-address={options.admin}"]
    words += [f"--ready-file={folder}/ok", f"--check-interval={_scaled(scenario, CHECK_INTERVAL)}"]
    return words + ([f"--drain-delay={scenario.times.delay:g}s"] if scenario.peers_delay else [])


def _gateway(scenario: Scenario, options: envoy_process.EnvoyOptions, folder: Path) -> list[str]:
    hosts = folder / "hosts"
    hosts.write_text(f"{options.address} localhost\n")
    words = ["unshare", "--map-root-user", "--mount", "env", f"HOSTS={hosts}", "sh", "-c", _IN_NAMESPACE, "sh"]
    words += [str(program("gateway")), "envoy", "shutdown"]
    words += [f"--min-drain-duration={_scaled(scenario, SHORTEST_DRAIN)}"]
    delay = scenario.times.delay if scenario.peers_delay else 0.0
    words += [f"--drain-timeout={delay + LONGEST_DRAIN * scenario.times.scale:g}s"]
    return words + ([f"--health-check-failure-delay={delay:g}s"] if delay else [])


def _scaled(scenario: Scenario, seconds: float) -> str:
    return f"{seconds * scenario.times.scale:g}s"
