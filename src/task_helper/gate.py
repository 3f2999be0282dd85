"""How `task-helper healthcheck` learns what the running helper knows, without a port, a file or waking it.

The running helper holds a datagram socket in Linux's abstract namespace whose name carries its status. Whoever can
connect to the name knows that a helper with that status lives: the kernel answers, and forgets the name with the
process. Needs no writable file system and no common user.
"""

from __future__ import annotations

import os
import socket
import zlib
from collections.abc import Mapping
from typing import Final, Literal

Status = Literal["waiting for Envoy", "waiting for the application", "in service"]
STATUSES: Final[tuple[Status, ...]] = ("in service", "waiting for Envoy", "waiting for the application")


def _name(environ: Mapping[str, str], status: Status) -> str:
    """Unique to the container, by its mount namespace, and to the Envoy that is looked after in it."""
    container = os.stat("/proc/self/ns/mnt").st_ino
    envoy = f"{environ.get('ENVOY_ADMIN_URL', '')} {environ.get('ENVOY_ADMIN_ACCESS_PORT', '')}"
    return f"\0task-helper/{container}/{zlib.crc32(envoy.encode())}/{status}"


class Gate:
    """The running helper's side: shows one status at a time."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._shown: socket.socket | None = None
        self._status: Status | None = None

    def show(self, status: Status) -> None:
        """Show `status` from now on; raises OSError where another helper shows the same in this container."""
        if status == self._status:
            return
        sign = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sign.bind(_name(self._environ, status))
        except OSError:
            sign.close()
            raise
        self.close()
        self._shown, self._status = sign, status

    def close(self) -> None:
        """Show nothing any more."""
        if self._shown:
            self._shown.close()
        self._shown = self._status = None


def status(environ: Mapping[str, str]) -> Status | None:
    """What the helper of this container shows; None where none lives."""
    for candidate in STATUSES:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
            if asking.connect_ex(_name(environ, candidate)) == 0:
                return candidate
    return None
