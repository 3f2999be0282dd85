"""Envoy's admin API, one method for each purpose.

Every call ends within CALL_TIMEOUT, and raises OSError (TimeoutError is one) if Envoy did not do or answer what was
requested. The calling function decides whether to repeat the call.

The helper calls few paths, because an admin API may allow only some (docs/use/envoy.md). Denied reports a path that is
not allowed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterator, Sequence, Set
from contextlib import aclosing, contextmanager, suppress
from typing import Final, Literal, NamedTuple, get_args
from urllib.parse import quote

import msgspec

from task_helper import http
from task_helper.envoy import accounting, mesh, traffic
from task_helper.envoy.accounting import Account
from task_helper.envoy.listeners import CHEAP_FIELDS, Listener, counted, expression, parse, unread, versions
from task_helper.envoy.traffic import FILTER, Stats, Traffic
from task_helper.settings import Url
from task_helper.timing import now

# An admin API that has not answered on loopback within this time hangs: a new call is better.
CALL_TIMEOUT: Final = 2.0

# The timeout of all calls of one look, or for all listeners. A large mesh on a fraction of a core needs some of it.
LOOK_TIMEOUT: Final = 5.0

State = Literal["LIVE", "DRAINING", "PRE_INITIALIZING", "INITIALIZING"]

# `usedonly` leaves out statistics that were never used. In a large mesh the answer has 300 bytes instead of 300 KB, and
# takes a third of the time.
_STATS: Final = f"/stats?format=json&filter={quote(FILTER, safe='')}"

# A mask selects the small fields of static listeners; of dynamic listeners it selects only the name. If there are at
# most FEW listeners, the helper reads all details at once. Otherwise it reads them in groups: the first group is small,
# and shows how many listeners fit into GROUP_SIZE bytes.
_CHEAP: Final = ",".join(f"listener.{field}" for field in CHEAP_FIELDS)
_VERSIONS: Final = ",".join(
    f"{state}_state.{field}"
    for state in ("active", "draining", "warming")
    for field in ("version_info", "last_updated")
)
_STATIC: Final = "/config_dump?resource=static_listeners"
_DYNAMIC: Final = "/config_dump?resource=dynamic_listeners"
_DETAILS: Final = "/config_dump?mask=static_listeners,dynamic_listeners&name_regex="
FEW: Final = 40
FIRST_GROUP: Final = 8
LARGEST_GROUP: Final = 250
GROUP_SIZE: Final = 1024 * 1024

# If two readings of Envoy's start differ by more than this, in seconds, Envoy has restarted: it rounds its uptime.
_TWO_STARTS: Final = 2.5


class AdminError(OSError):
    """Envoy answered, but not as a healthy admin API does."""


class Denied(AdminError):
    """Envoy answers, but its admin API does not allow this path."""


class About(NamedTuple):
    """What Envoy reports about itself.

    `uptime` is in seconds, rounded down. `version` is a pair such as (1, 40), None if Envoy does not report it.
    `drain_time` is its --drain-time-s, in seconds. `hot_restarted` is whether it has replaced another Envoy in a hot
    restart.
    """

    uptime: float
    version: tuple[int, int] | None
    drain_time: float
    hot_restarted: bool = False


# Envoy merges statistics when it flushes them, every 5 s by default. That is longer than a silence that proves
# anything.
HOT_RESTARTED: Final = "after a hot restart, Envoy reports the requests of its older process seconds late"


class Observation(NamedTuple):
    """The account of all listeners, and the traffic at the moment of the look.

    `uptime` is Envoy's when it was `asked_at` (by the event loop's clock). The traffic is counted for that time. It is
    None if unknown, as after a hot restart. `replaced` is whether Envoy has replaced or removed a listener since it
    started, whose counts may be lost.
    """

    account: Account
    traffic: Traffic
    uptime: float | None
    asked_at: float
    replaced: bool = False


class _Options(msgspec.Struct):
    drain_time: str = "600s"  # Envoy's default
    restart_epoch: int = 0


class _ServerInfo(msgspec.Struct):
    uptime_current_epoch: str
    version: str = ""
    command_line_options: _Options = msgspec.field(default_factory=_Options)


def _seconds(duration: str) -> float:
    """The seconds in a protobuf Duration as JSON writes it, such as `12s`."""
    try:
        return float(duration.removesuffix("s"))
    except ValueError as error:
        raise msgspec.DecodeError("not a duration") from error


class Envoy:
    """The Envoy whose admin API is at `url`."""

    def __init__(self, url: Url, request: http.Request = http.request, accepts: http.Accepts = http.accepts) -> None:
        self.url = url
        self._request = request
        self._accepts = accepts
        # Envoy's configuration in its last answer. Static listeners never change; dynamic ones have versions.
        self._started_at: float | None = None
        self._static: list[Listener] | None = None
        self._dynamic: dict[str, tuple[tuple[str, ...], list[Listener]]] = {}
        self._keeps_all: bool | None = None
        # two looks at once would overwrite each other's findings
        self._one_at_a_time = asyncio.Lock()
        # whether gauges may have values that a hot restart imported; `usedonly` leaves those out
        self._imports = True

    async def state(self) -> State:
        """LIVE, or DRAINING after its health checks fail, or a state of its start. Raises OSError."""
        # The status is 503 unless Envoy is LIVE. The body has a few bytes; /server_info has kilobytes.
        answer = (await self._ask("GET", "/ready", 503)).decode(errors="replace").strip()
        for state in get_args(State):
            if answer == state:
                return state  # type: ignore[no-any-return]
        raise AdminError(
            "/ready answered no state of an Envoy;"
            " set ENVOY_ADMIN_URL to Envoy's admin API, such as http://127.0.0.1:9901"
        )

    async def about(self) -> About:
        """What Envoy reports about itself. Raises OSError."""
        answer = await self._ask("GET", "/server_info")
        with _understood("/server_info"):
            info = msgspec.json.decode(answer, type=_ServerInfo)
            # REVISION/1.40.0/Clean/RELEASE/BoringSSL
            version = re.search(r"/(\d+)\.(\d+)\.", info.version)
            return About(
                uptime=_seconds(info.uptime_current_epoch),
                version=(int(version[1]), int(version[2])) if version else None,
                drain_time=_seconds(info.command_line_options.drain_time),
                hot_restarted=info.command_line_options.restart_epoch > 0,
            )

    async def fail_health_checks(self) -> None:
        """Make Envoy answer health checks with 503, and close connections with its next answers. Raises OSError."""
        await self._ask("POST", "/healthcheck/fail")

    async def pass_health_checks(self) -> None:
        """Undo `fail_health_checks`. Raises OSError."""
        await self._ask("POST", "/healthcheck/ok")

    async def drain_listeners(self, *, graceful: bool) -> None:
        """Make Envoy refuse new inbound connections; this cannot be undone. Raises OSError.

        With `graceful` Envoy accepts new connections to the end. Envoy 1.40 then closes idle ones within its
        --drain-time-s.
        """
        await self._ask("POST", f"/drain_listeners?inboundonly{'&graceful&skip_exit' if graceful else ''}")

    async def listeners(self) -> list[Listener]:
        """Envoy's listeners, as its configuration describes them, within LOOK_TIMEOUT. Raises OSError.

        In a large configuration, outbound listeners have only their cheap fields. `look` reads more if necessary.
        """
        async with asyncio.timeout(LOOK_TIMEOUT), self._one_at_a_time:
            await self._forget_if_restarted()
            return await self._listeners()

    async def _listeners(self) -> list[Listener]:
        if self._static is None:
            self._static = await self._static_listeners()
        await self._update_dynamic_listeners()
        return self._known()

    def _known(self) -> list[Listener]:
        return [*(self._static or ()), *(each for _, found in self._dynamic.values() for each in found)]

    async def _static_listeners(self) -> list[Listener]:
        cheap = await self._parsed(f"{_STATIC}&mask={_CHEAP}", detailed=False)
        if len(cheap) <= FEW:
            with suppress(http.TooLarge, TimeoutError):
                return await self._parsed(_STATIC)
        # the details of a few outbound listeners show what `/healthcheck/fail` does to such listeners
        draining = [each.name for each in cheap if each.excluded and each.drains][:FIRST_GROUP]
        names = {each.name for each in cheap if not each.excluded}.union(draining)
        return _with_details(
            cheap, [each async for group in self._details(names, {e.name for e in cheap}) for each in group]
        )

    async def _update_dynamic_listeners(self) -> None:
        answer = await self._ask("GET", f"{_DYNAMIC}&mask=name,{_VERSIONS}")
        with _understood("/config_dump"):
            there = versions(answer)
        self._dynamic = {name: self._dynamic[name] for name in there if name in self._dynamic}
        if not (
            changed := {name for name in there if name not in self._dynamic or there[name] != self._dynamic[name][0]}
        ):
            return
        found: list[Listener] | None = None
        if len(there) <= FEW:
            with suppress(http.TooLarge, TimeoutError):
                found = await self._parsed(_DYNAMIC)
        if found is None:
            found = [each async for group in self._details(changed, there.keys()) for each in group]
        for name in changed:
            states = [each for each in found if each.dynamic and each.name == name]
            self._dynamic[name] = there[name], states or [unread(name)]

    async def _details(self, names: Set[str], among: Set[str]) -> AsyncGenerator[list[Listener], None]:
        """The listeners with these `names`, in groups that may include other listeners from `among`.

        `among` are the names of all listeners. Listeners that are too large to be read are left out.
        """
        together = FIRST_GROUP
        while names:
            pattern, group = expression(names, among, together)
            try:
                answer = await self._ask("GET", _DETAILS + quote(pattern))
            except (http.TooLarge, TimeoutError) as error:
                # names that differ only before a long ending stay together, even in a smaller group
                if len(group) == 1 or together == 1:
                    if isinstance(error, TimeoutError):
                        raise
                    names = names - group
                together = min(len(group), together) // 4 or 1
                continue
            with _understood("/config_dump"):
                found = parse([answer])
            yield found
            names = names - group - {each.name for each in found}
            together = min(max(GROUP_SIZE * len(found) // len(answer), 1), LARGEST_GROUP)

    async def _parsed(self, target: str, *, detailed: bool = True) -> list[Listener]:
        answer = await self._ask("GET", target)
        with _understood("/config_dump"):
            return parse([answer], detailed=detailed)

    async def bootstrap(self) -> mesh.Bootstrap:
        """Envoy's bootstrap configuration, as far as the helper needs it. Raises OSError."""
        # Of hds_config and lds_config the mask selects only what is not secret. The expression matches no name, and so
        # leaves out clusters.
        mask = (
            "bootstrap.admin,bootstrap.node.metadata,bootstrap.hds_config.api_type,bootstrap.stats_config.stats_matcher"
            ",bootstrap.dynamic_resources.lds_config.resource_api_version"
        )
        dump = await self._ask("GET", f"/config_dump?mask={mask}&name_regex=%5E$")
        with _understood("/config_dump"):
            found = mesh.bootstrap(dump)
        self._keeps_all = not found.leaves_statistics_out
        return found

    async def look(self) -> Observation:
        """The account of everything that Envoy serves with its present configuration, and the traffic. Raises OSError.

        It takes at most LOOK_TIMEOUT.
        """
        async with asyncio.timeout(LOOK_TIMEOUT), self._one_at_a_time:
            return await self._look()

    async def _look(self) -> Observation:
        about = await self._forget_if_restarted()
        look = await self._look_at(now(), about.uptime if about and not about.hot_restarted else None)
        if about and about.hot_restarted:
            uncounted = {**look.account.uncounted, "all listeners": HOT_RESTARTED}
            return look._replace(account=look.account._replace(uncounted=uncounted))
        return look

    async def _look_at(self, asked_at: float, uptime: float | None) -> Observation:
        listeners = await self._listeners()
        if self._keeps_all is None:
            await self.bootstrap()
        if self._keeps_all:
            stats = await self._stats()
            account = accounting.account(listeners, stats, lists_all=False)
            if accounting.unknown_requests(stats, account):
                account = await self._attributed(account, stats)
            return Observation(
                account, accounting.count(stats, account), uptime, asked_at, accounting.has_replaced(stats)
            )
        answer = await self._ask("GET", _STATS)
        with _understood("/stats"):
            stats = traffic.read(answer)
        account, used = accounting.account(listeners, stats, lists_all=True), await self._stats()
        return Observation(account, accounting.count(used, account), uptime, asked_at, accounting.has_replaced(used))

    async def _attributed(self, account: Account, stats: Stats) -> Account:
        """The account with details of as many excluded listeners as it takes to know the owner of every statistic."""
        without = [each for each in self._known() if each.excluded and not each.detailed]
        used = traffic.group(stats).connections
        likely = {each.name for each in without if each.stat_name in used}
        among = {each.name for each in self._known()}
        for names in (likely, {each.name for each in without} - likely):
            async with aclosing(self._details(names, among)) as groups:
                async for group in groups:
                    self._static = _with_details(self._static or [], group)
                    account = accounting.account(self._known(), stats, lists_all=False)
                    if not accounting.unknown_requests(stats, account):
                        return account
        return account

    async def traffic(self, account: Account) -> Traffic:
        """The traffic of downstreams. Raises OSError."""
        return accounting.count(await self._stats(), account)

    async def _stats(self) -> Stats:
        """The statistics that were used, and all that may not be zero."""
        targets = [f"{_STATS}&usedonly"]
        if self._imports:
            targets = [f"{_STATS}&usedonly&type=Counters", f"{_STATS}&type=Gauges"]
        answers = [await self._ask("GET", target) for target in targets]
        with _understood("/stats"):
            return {name: value for answer in answers for name, value in traffic.read(answer).items()}

    async def _forget_if_restarted(self) -> About | None:
        """What Envoy reports about itself, None if nothing. Forgets earlier answers if Envoy has restarted since."""
        try:
            about = await self.about()
        except AdminError:
            self._imports = True
            return None
        self._imports = about.hot_restarted
        started_at = now() - about.uptime
        if self._started_at is None or abs(started_at - self._started_at) > _TWO_STARTS:
            self._started_at, self._static, self._dynamic, self._keeps_all = started_at, None, {}, None
        return about

    async def answers(self) -> bool | None:
        """Whether Envoy's admin API answers at all, even with an error.

        False only if it refuses the connection, or if its Unix socket is missing. None if unknown, as after a timeout.
        """
        try:
            await self._ask("GET", "/ready")
        except AdminError:
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return None
        return True

    async def accepts(self, listeners: Sequence[Listener]) -> bool | None:
        """Whether one of these `listeners`, as they were configured, still accepts connections of downstreams.

        False if all of them refuse, or if none is known. None if unknown: a listener did not refuse, but did not accept
        within CALL_TIMEOUT either.
        """
        for address, port in (place for each in counted(listeners) for place in each.places):
            try:
                async with asyncio.timeout(CALL_TIMEOUT):
                    if await self._accepts(self._host_of(address), port):
                        return True
            except OSError:
                return None
        return False

    def _host_of(self, address: str) -> str:
        """The host at which a listener of this address can be reached. One for all addresses has the admin API's
        host.
        """
        from ipaddress import ip_address  # only needed for an Envoy that may have stopped

        try:
            is_any = ip_address(address).is_unspecified
        except ValueError:
            is_any = not address
        return self.url.host or "127.0.0.1" if is_any else address

    async def _ask(self, method: str, target: str, *also: int) -> bytes | bytearray:
        """The body of the answer. Its status must be 200 or one of `also`."""
        async with asyncio.timeout(CALL_TIMEOUT):
            response = await self._request(method, self.url, target)
        path = target.partition("?")[0]
        if response.status == 403:
            raise Denied(f"{method} {path} is denied: allow it in the admin API's allow_paths")
        if response.status not in (200, *also):
            raise AdminError(f"{path} answered {response.status}")
        return response.body


def _with_details(cheap: Sequence[Listener], found: Sequence[Listener]) -> list[Listener]:
    """The static listeners, with the details of those that were `found`."""
    details = {each.name: each for each in found if not each.dynamic}
    return [details.get(each.name, each) for each in cheap]


@contextmanager
def _understood(target: str) -> Iterator[None]:
    """Turn the errors of reading an answer into AdminError: an unreadable answer counts as none."""
    try:
        yield
    # msgspec.DecodeError is a ValueError, and a statistic that is not a number raises ValueError too. Deeply nested
    # JSON raises RecursionError.
    except (ValueError, RecursionError) as error:
        # the error's own text may repeat parts of the answer
        raise AdminError(f"{target}: the answer cannot be read") from error
