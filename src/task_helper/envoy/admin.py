"""Envoy's admin API by intent. Every call is bounded by CALL_TIMEOUT and raises OSError (TimeoutError is one) where
Envoy did not do or say what was asked; the caller decides whether to ask again.

What is asked for is little, as an admin API may allow only some paths (docs/envoy.md): a Denied call says so.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Literal, NamedTuple, get_args
from urllib.parse import quote

import msgspec

from task_helper import http
from task_helper.envoy import mesh, traffic
from task_helper.envoy.listeners import Listener, for_downstreams, parse
from task_helper.envoy.traffic import FILTER, Traffic, Watched
from task_helper.settings import Url

# An admin API that has not answered on loopback in this time is hanging: better to ask anew.
CALL_TIMEOUT: Final = 2.0

State = Literal["LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"]

# `usedonly` leaves out what was never touched: in a large mesh 200 bytes instead of 700 KB, in a third of the time
_STATS: Final = f"/stats?format=json&filter={quote(FILTER, safe='')}"
_USED_STATS: Final = f"{_STATS}&usedonly"


class AdminError(OSError):
    """Envoy answered, but not what a healthy admin API answers."""


class Denied(AdminError):
    """Envoy is there, and its admin API does not allow this path."""


class About(NamedTuple):
    """What Envoy says of itself.

    For how many seconds it has been running, rounded down; its version, such as (1, 40), None where it is not told; and
    its --drain-time-s, in seconds.
    """

    uptime: float
    version: tuple[int, int] | None
    drain_time: float


class _Options(msgspec.Struct):
    drain_time: str = "600s"  # which is its default


class _ServerInfo(msgspec.Struct):
    uptime_current_epoch: str
    version: str = ""
    command_line_options: _Options = msgspec.field(default_factory=_Options)


def _seconds(duration: str) -> float:
    """A protobuf Duration as JSON has it: `12s`."""
    try:
        return float(duration.removesuffix("s"))
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error


class Envoy:
    """The Envoy whose admin API is at `url`."""

    def __init__(self, url: Url, request: http.Request = http.request, accepts: http.Accepts = http.accepts) -> None:
        self.url = url
        self._request = request
        self._accepts = accepts

    async def state(self) -> State:
        """LIVE, or DRAINING once its health checks fail; raises OSError."""
        # 503 where it is not LIVE; five bytes, where /server_info has kilobytes
        answer = (await self._ask("GET", "/ready", 503)).decode(errors="replace").strip()
        for state in get_args(State):
            if answer == state:
                return state  # type: ignore[no-any-return]
        raise AdminError(f"/ready answered {answer[:40]!r}, which is no state of an Envoy")

    async def about(self) -> About:
        """What it says of itself; raises OSError."""
        answer = await self._ask("GET", "/server_info")
        with _understood("/server_info"):
            info = msgspec.json.decode(answer, type=_ServerInfo)
            # REVISION/1.40.0/Clean/RELEASE/BoringSSL
            version = re.search(r"/(\d+)\.(\d+)\.", info.version)
            return About(
                uptime=_seconds(info.uptime_current_epoch),
                version=(int(version[1]), int(version[2])) if version else None,
                drain_time=_seconds(info.command_line_options.drain_time),
            )

    async def fail_health_checks(self) -> None:
        """Answer health checks with 503 from now on, and close connections with the next answers; raises OSError."""
        await self._ask("POST", "/healthcheck/fail")

    async def pass_health_checks(self) -> None:
        """Undo `fail_health_checks`; raises OSError."""
        await self._ask("POST", "/healthcheck/ok")

    async def drain_listeners(self, *, graceful: bool) -> None:
        """Refuse new inbound connections from now on; cannot be undone; raises OSError.

        With `graceful` accept them to the end; Envoy 1.40 then closes idle ones within its --drain-time-s.
        """
        await self._ask("POST", f"/drain_listeners?inboundonly{'&graceful&skip_exit' if graceful else ''}")

    async def listeners(self) -> list[Listener]:
        """Its listeners, as its configuration has them; raises OSError."""
        dumps = [await self._ask("GET", f"/config_dump?resource={kind}_listeners") for kind in ("static", "dynamic")]
        with _understood("/config_dump"):
            return parse(dumps)

    async def bootstrap(self) -> mesh.Bootstrap:
        """What it was started with, as far as it matters here; raises OSError."""
        # of hds_config only what is no secret
        mask = "bootstrap.admin,bootstrap.node.metadata,bootstrap.hds_config.api_type"
        dump = await self._ask("GET", f"/config_dump?mask={mask}")
        with _understood("/config_dump"):
            return mesh.bootstrap(dump)

    async def watched(self) -> Watched:
        """Which of its statistics tell what downstreams have under way, as it is configured now; raises OSError."""
        listeners = await self.listeners()
        answer = await self._ask("GET", _STATS)
        with _understood("/stats"):
            return traffic.watched(listeners, traffic.read(answer))

    async def traffic(self, which: Watched) -> Traffic:
        """What downstreams have under way; raises OSError."""
        answer = await self._ask("GET", _USED_STATS)
        with _understood("/stats"):
            return traffic.count(traffic.read(answer), which)

    async def answers(self) -> bool:
        """Whether its admin API answers at all, be it with an error."""
        try:
            await self._ask("GET", "/ready")
        except AdminError:
            return True
        except OSError:
            return False
        return True

    async def accepts(self, listeners: Sequence[Listener]) -> bool | None:
        """Whether one of these `listeners`, as they were once, still accepts connections of downstreams.

        None where there is none to try.
        """
        places = [each.place for each in for_downstreams(listeners) if each.place]
        if not places:
            return None
        with suppress(TimeoutError):
            async with asyncio.timeout(CALL_TIMEOUT):
                for address, port in places:
                    if await self._accepts(self._host_of(address), port):
                        return True
        return False

    def _host_of(self, address: str) -> str:
        """Where to find a listener of this address: one for all addresses is where the admin API is."""
        from ipaddress import ip_address  # only for an Envoy that may be gone

        try:
            is_any = ip_address(address).is_unspecified
        except ValueError:
            is_any = not address
        return self.url.host or "127.0.0.1" if is_any else address

    async def _ask(self, method: str, target: str, *also: int) -> bytes:
        """The body of the answer, which has status 200 or one of `also`."""
        async with asyncio.timeout(CALL_TIMEOUT):
            response = await self._request(method, self.url, target)
        path = target.partition("?")[0]
        if response.status == 403:
            raise Denied(f"{method} {path} is denied: allow it in the admin API's allow_paths")
        if response.status not in (200, *also):
            raise AdminError(f"{path} answered {response.status}")
        return response.body


@contextmanager
def _understood(target: str) -> Iterator[None]:
    """An answer that cannot be read is as good as none."""
    try:
        yield
    except ValueError as error:  # msgspec.DecodeError is one, and so is a statistic that is no number
        raise AdminError(f"{target}: {error}") from error
