"""Envoy's admin API by intent. Every call is bounded by CALL_TIMEOUT and raises OSError (TimeoutError is one) where
Envoy did not do or say what was asked; the caller decides whether to ask again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal
from urllib.parse import quote

import msgspec

from task_helper import http
from task_helper.listeners import Listener, open_admin, parse
from task_helper.quiet import FILTER, Traffic, count
from task_helper.settings import Url

# An admin API that has not answered on loopback in this time is hanging: better to ask anew.
CALL_TIMEOUT: Final = 2.0

State = Literal["LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"]


class AdminError(OSError):
    """Envoy answered, but not what a healthy admin API answers."""


class _ServerInfo(msgspec.Struct):
    state: State


class Envoy:
    """The Envoy whose admin API is at `url`."""

    def __init__(self, url: Url, request: http.Request = http.request) -> None:
        self.url = url
        self._request = request

    async def state(self) -> State:
        """LIVE, or DRAINING once its health checks fail; raises OSError."""
        answer = await self._ask("GET", "/server_info")
        with _understood("/server_info"):
            return msgspec.json.decode(answer, type=_ServerInfo).state

    async def fail_health_checks(self) -> None:
        """Answer health checks with 503 from now on, and close connections with the next answers; raises OSError."""
        await self._ask("POST", "/healthcheck/fail")

    async def pass_health_checks(self) -> None:
        """Undo `fail_health_checks`; raises OSError."""
        await self._ask("POST", "/healthcheck/ok")

    async def drain_listeners(self) -> None:
        """Refuse new inbound connections from now on; cannot be undone; raises OSError."""
        await self._ask("POST", "/drain_listeners?inboundonly")

    async def listeners(self) -> list[Listener]:
        """Its listeners, as its configuration has them; raises OSError."""
        dumps = [await self._ask("GET", f"/config_dump?resource={kind}_listeners") for kind in ("static", "dynamic")]
        with _understood("/config_dump"):
            return parse(dumps)

    async def open_admin(self) -> str | None:
        """The admin API's own address where other hosts can reach it, else None; raises OSError."""
        dump = await self._ask("GET", "/config_dump?mask=bootstrap.admin")
        with _understood("/config_dump"):
            return open_admin(dump)

    async def traffic(self, listeners: Sequence[Listener]) -> Traffic:
        """What downstreams have under way on its inbound `listeners`; raises OSError."""
        answer = await self._ask("GET", f"/stats?format=json&filter={quote(FILTER, safe='')}")
        with _understood("/stats"):
            return count(answer, listeners)

    async def _ask(self, method: str, target: str) -> bytes:
        async with asyncio.timeout(CALL_TIMEOUT):
            response = await self._request(method, self.url, target)
        if response.status != 200:
            raise AdminError(f"{target} answered {response.status}")
        return response.body


@contextmanager
def _understood(target: str) -> Iterator[None]:
    """An answer that cannot be read is as good as none."""
    try:
        yield
    except msgspec.DecodeError as error:
        raise AdminError(f"{target}: {error}") from error
