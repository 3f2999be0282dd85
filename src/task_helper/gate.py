"""How `task-helper healthcheck` learns what the running helper knows, without a port, a file, a socket or waking it.

The running helper carries its status in its own process name, which the kernel keeps in /proc and forgets with the
process. `healthcheck` heeds only helpers in its own mount namespace, which is the container's. Anything in a network
namespace, an abstract socket for one, all containers of a task share: a neighbour could take its name.

ECS runs `healthcheck` every few seconds in every task. So this module imports only what Python has loaded already, and
of the package nothing: `typing` alone takes as much CPU time as the whole check (docs/evidence/weight.md).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # type checkers take it for typing's
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Final, Literal

    Status = Literal["waiting for Envoy", "waiting for the application", "in service"]
else:
    Status = str

# what ECS sets to the address of the task metadata endpoint, of which each container has its own
METADATA_URI: Final = "ECS_CONTAINER_METADATA_URI_V4"

# at most 15 bytes, or the kernel cuts them (proc_pid_comm(5)); the worst first
_NAMES: Final[Mapping[Status, bytes]] = {
    "waiting for Envoy": b"th:await envoy",
    "waiting for the application": b"th:await app",
    "in service": b"th:in service",
}


def show(status: Status) -> None:
    """Show `status` from now on, until this process ends; raises OSError where it cannot."""
    with open("/proc/self/comm", "wb", buffering=0) as name:
        name.write(_NAMES[status])


def healthcheck() -> int:
    """The command `healthcheck`: the exit code, 0 once the task has come into service; the reason for 1 is printed."""
    try:
        shown = status(os.environ)
    except OSError as error:
        print(f"cannot see this container's processes: {error}")
        return 1
    if shown == "in service":
        return 0
    print(f"not in service yet: {shown}" if shown else "no task-helper runs in this container")
    return 1


def status(environ: Mapping[str, str]) -> Status | None:
    """What the helper of this container shows, the worst where there are several; None where none lives.

    Raises OSError without /proc.
    """
    shown = set(_shown(environ))
    return next((status for status, name in _NAMES.items() if name in shown), None)


def _shown(environ: Mapping[str, str]) -> Iterator[bytes]:
    """The names of the helpers in this container.

    Where many containers' worth of them share a mount namespace, as in a test, what ECS gives each tells them apart.
    """
    here = os.stat("/proc/self/ns/mnt").st_ino
    container = [f"{METADATA_URI}={environ[METADATA_URI]}".encode()] if METADATA_URI in environ else []
    for process in filter(str.isdigit, os.listdir("/proc")):
        try:
            name = _read(process, "comm").rstrip()
            if name not in _NAMES.values() or os.stat(f"/proc/{process}/ns/mnt").st_ino != here:
                continue
            given = _read(process, "environ").split(b"\0")
        except OSError:
            continue  # it has gone, or belongs to somebody else
        if container == [each for each in given if each.startswith(METADATA_URI.encode())]:
            yield name


def _read(process: str, file: str) -> bytes:
    with open(f"/proc/{process}/{file}", "rb") as content:
        return content.read()
