"""How `task-helper healthcheck` reads the status of the running helper: without a port, a file, a socket or waking it.

The running helper writes its status into its own process name. The kernel keeps the name in /proc, and forgets it with
the process. `healthcheck` reads only helpers in its own mount namespace, which is that of its container. All containers
of a task share their network namespace: there, another container could take the helper's name, of an abstract socket
for example.

ECS runs `healthcheck` every few seconds in every task. So this module imports only what Python has already loaded, and
nothing of the package. The import of `typing` alone takes as much CPU time as the whole check
(docs/evidence/weight.md).
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

# ECS sets this variable to the address of the task metadata endpoint; each container has its own address
METADATA_URI: Final = "ECS_CONTAINER_METADATA_URI_V4"

# at most 15 bytes, because the kernel cuts longer names (proc_pid_comm(5)); the worst status first
_NAMES: Final[Mapping[Status, bytes]] = {
    "waiting for Envoy": b"th:await envoy",
    "waiting for the application": b"th:await app",
    "in service": b"th:in service",
}


def show(status: Status) -> None:
    """Show `status` from now on, until this process ends. Raises OSError if it cannot."""
    with open("/proc/self/comm", "wb", buffering=0) as name:
        name.write(_NAMES[status])


def healthcheck() -> int:
    """The command `healthcheck`: returns 0 if the task has come into service, otherwise prints the reason and returns
    1.
    """
    try:
        shown = status(os.environ)
    except OSError as error:
        print(f"cannot read this container's processes: {error}")
        return 1
    if shown == "in service":
        return 0
    print(f"not in service yet: {shown}" if shown else "no task-helper runs in this container")
    return 1


def status(environ: Mapping[str, str]) -> Status | None:
    """The status that the helper of this container shows; the worst one if there are several, None if no helper runs.

    Raises OSError without /proc.
    """
    shown = set(_shown(environ))
    return next((status for status, name in _NAMES.items() if name in shown), None)


def _shown(environ: Mapping[str, str]) -> Iterator[bytes]:
    """The process names of the helpers in this container.

    In a test, the helpers of many containers share a mount namespace. The metadata address that ECS gives each
    container distinguishes them.
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
            continue  # the process has ended, or belongs to another user
        if container == [each for each in given if each.startswith(METADATA_URI.encode())]:
            yield name


def _read(process: str, file: str) -> bytes:
    with open(f"/proc/{process}/{file}", "rb") as content:
        return content.read()
