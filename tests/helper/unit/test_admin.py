"""How the helper reads Envoy's answers, and what it does without them."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Sequence

import pytest

from task_helper.envoy.accounting import Account
from task_helper.envoy.admin import LOOK_TIMEOUT, About, AdminError, Envoy, Observation
from task_helper.envoy.listeners import Listener
from task_helper.http import Response, TooLarge
from task_helper.settings import Url
from tests.helper import virtual
from tests.helper.fakes import ENVOY
from tests.helper.unit.test_accounting import listener


def envoy(answer: Response | Exception | None, accepting: Sequence[tuple[str, int]] = (), url: Url = ENVOY) -> Envoy:
    """One that gives this answer to every call, none for None, and accepts connections at these places."""

    async def request(method: str, url: Url, target: str) -> Response:
        if isinstance(answer, Exception):
            raise answer
        return answer or await asyncio.get_running_loop().create_future()

    async def accepts(host: str, port: int) -> bool:
        if port == HANGS:
            await asyncio.get_running_loop().create_future()
        if port == UNREACHABLE:
            raise OSError("No route to host")
        return (host, port) in accepting

    return Envoy(url, request, accepts)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Response(200, b"LIVE\n"), True),
        (Response(503, b"DRAINING\n"), True),
        (Response(403, b""), True),
        (ConnectionRefusedError("refused"), False),
        (FileNotFoundError("there is no socket"), False),
        (ConnectionResetError("reset"), None),
        (socket.gaierror("unknown name"), None),
        (None, None),
    ],
)
def test_answers(answer: Response | Exception | None, expected: bool | None) -> None:
    """An Envoy that answers runs; one that refuses does not; one that resets, hangs or is unreachable may run."""
    assert expected is virtual.run(envoy(answer).answers())


HANGS, UNREACHABLE = 7, 8


def at(*places: tuple[str, int] | None) -> list[Listener]:
    return [listener(f"l{n}", places=(place,) if place else ()) for n, place in enumerate(places)]


@pytest.mark.parametrize(
    ("listeners", "accepting", "expected"),
    [
        (at(("10.0.0.1", 80)), [("10.0.0.1", 80)], True),
        (at(("10.0.0.1", 80)), [("127.0.0.1", 80)], False),
        (at(("0.0.0.0", 80)), [("127.0.0.1", 80)], True),
        (at(("::", 80)), [("127.0.0.1", 80)], True),
        (at(("0.0.0.0", 80), ("0.0.0.0", 81)), [("127.0.0.1", 81)], True),
        (at(("0.0.0.0", 80), ("0.0.0.0", HANGS)), [("127.0.0.1", 80)], True),
        (at(("0.0.0.0", HANGS)), [], None),
        (at(("0.0.0.0", 80), ("0.0.0.0", HANGS)), [], None),
        (at(("0.0.0.0", 80), ("0.0.0.0", UNREACHABLE)), [], None),
        (at(None, ("0.0.0.0", 80)), [("127.0.0.1", 80)], True),
        (at(("", 80)), [("127.0.0.1", 80)], True),
        (at(("orders.internal", 80)), [("orders.internal", 80)], True),
        (at(None), [], False),
        ([], [], False),
        ([listener("out", excluded=True, places=(("0.0.0.0", 81),)), *at(("0.0.0.0", 80))], [("127.0.0.1", 81)], False),
    ],
)
def test_accepts(listeners: list[Listener], accepting: list[tuple[str, int]], expected: bool | None) -> None:
    """One listener for downstreams that accepts is enough, and one that does not refuse makes it unknown.

    One for all addresses is found at the admin API's host.
    """
    assert expected is virtual.run(envoy(None, accepting).accepts(listeners))


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b"<html>",
        b'{"uptime_current_epoch":"long"}',
        b'{"uptime_current_epoch":"1s","command_line_options":{"drain_time":"long"}}',
    ],
)
def test_uptime_that_is_missing(body: bytes) -> None:
    """An answer without the times counts as none."""
    with pytest.raises(AdminError, match="^/server_info: the answer cannot be read$"):
        virtual.run(envoy(Response(200, body)).about())


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("d96c5a2/1.40.0/Clean/RELEASE/BoringSSL", (1, 40)),
        ("d96c5a2/1.36.4-dev/Modified/DEBUG/OpenSSL", (1, 36)),
        ("my own", None),
        ("", None),
    ],
)
def test_version(version: str, expected: tuple[int, int] | None) -> None:
    """The version is known if Envoy reports it."""
    options = '"command_line_options":{"drain_time":"30s"}'
    body = f'{{"uptime_current_epoch":"12s","version":"{version}",{options}}}'.encode()

    assert About(12, expected, 30) == virtual.run(envoy(Response(200, body)).about())


def test_drain_time_that_is_missing() -> None:
    """Without a word of it, it is Envoy's default."""
    assert About(1, None, 600) == virtual.run(envoy(Response(200, b'{"uptime_current_epoch":"1s"}')).about())


@pytest.mark.parametrize(
    ("url", "host"), [(Url("http", "envoy", 9901), "envoy"), (Url("unix", path="/run/admin.sock"), "127.0.0.1")]
)
def test_host_of_listeners(url: Url, host: str) -> None:
    """Over a link or a bridge Envoy's listeners are where its admin API is; a Unix socket is of the same host."""
    assert virtual.run(envoy(None, [(host, 80)], url).accepts(at(("0.0.0.0", 80))))


@pytest.mark.parametrize(
    ("call", "answer", "words"),
    [
        ("state", Response(200, b"hello"), "/ready answered no state of an Envoy"),
        ("state", Response(200, b"\xff"), "/ready answered no state of an Envoy"),
        ("state", Response(500, b""), "/ready answered 500"),
        ("state", Response(403, b""), "GET /ready is denied: allow it in the admin API's allow_paths"),
        ("fail_health_checks", Response(503, b""), "/healthcheck/fail answered 503"),
        ("bootstrap", Response(200, b"<html>"), "/config_dump: the answer cannot be read"),
        ("listeners", Response(200, b"<html>"), "/config_dump: the answer cannot be read"),
        ("drain_listeners", Response(403, b""), "POST /drain_listeners is denied"),
    ],
)
def test_words(call: str, answer: Response, words: str) -> None:
    """The error names the path and the answer of what Envoy did not do."""
    options = {"graceful": True} if call == "drain_listeners" else {}
    with pytest.raises(AdminError) as raised:
        virtual.run(getattr(envoy(answer), call)(**options))

    assert str(raised.value).startswith(words)


def test_calls_are_bounded() -> None:
    """A call that gets no answer times out after two seconds."""

    async def ask() -> float:
        with pytest.raises(TimeoutError):
            await envoy(None).fail_health_checks()
        return asyncio.get_running_loop().time()

    assert 2 == virtual.run(ask())


@pytest.mark.parametrize("path", ["/server_info", "/config_dump", "/stats"])
def test_answers_that_are_nested_too_deeply(path: str) -> None:
    """An answer that is nested more deeply than Python can read counts as none."""
    deep = b'{"uptime_current_epoch":"1s","x":%s%s}' % (b"[" * 20000, b"]" * 20000)

    async def request(method: str, url: Url, target: str) -> Response:
        fine = b'{"uptime_current_epoch":"1s"}'
        return Response(200, deep if target.startswith(path) else fine)

    call = Envoy(ENVOY, request).about() if path == "/server_info" else Envoy(ENVOY, request).look()
    with pytest.raises(AdminError, match=f"^{path}: the answer cannot be read$"):
        virtual.run(call)


def test_words_for_statistics() -> None:
    """The error names the path of statistics that cannot be read."""
    with pytest.raises(AdminError, match="^/stats: the answer cannot be read"):
        virtual.run(envoy(Response(200, b"<html>")).traffic(Account()))


def test_words_for_statistics_at_the_beginning() -> None:
    """So they are where they are read for the first time, after the configuration."""

    async def request(method: str, url: Url, target: str) -> Response:
        return Response(200, b"<html>" if target.startswith("/stats") else b"{}")

    with pytest.raises(AdminError, match="^/stats: the answer cannot be read"):
        virtual.run(Envoy(ENVOY, request).look())


def test_what_shows_that_envoy_answers() -> None:
    """The helper calls the cheapest path."""
    asked: list[tuple[str, str]] = []

    async def request(method: str, url: Url, target: str) -> Response:
        asked.append((method, target))
        return Response(200, b"LIVE\n")

    virtual.run(Envoy(ENVOY, request).answers())

    assert [("GET", "/ready")] == asked


Calls = Callable[[str], Awaitable[bytes]]


def by_lds(names: Sequence[str], details: Calls) -> Envoy:
    """An Envoy to which LDS brought listeners of these names; `details` answers calls for more of them."""
    states = [{"name": name, "active_state": {"version_info": "1"}} for name in names]

    async def request(method: str, url: Url, target: str) -> Response:
        if target.startswith("/server_info"):
            return Response(200, b'{"uptime_current_epoch":"100s"}')
        if target.startswith("/config_dump?resource=dynamic_listeners&mask=name"):
            return Response(200, json.dumps({"configs": states}).encode())
        if target.startswith("/config_dump?resource="):
            return Response(200, b'{"configs":[]}')
        return Response(200, await details(target))

    return Envoy(ENVOY, request)


SAME_ENDING = [f"{number:03d}.{'x' * 60}" for number in range(50)]


def test_names_that_no_expression_distinguishes() -> None:
    """Listeners whose names differ only before a long ending are left out together, where they are too large."""
    calls = 0

    async def details(target: str) -> bytes:
        nonlocal calls
        calls += 1
        assert calls < 100, "it would ask for ever"
        raise TooLarge("too large")

    found = virtual.run(by_lds(SAME_ENDING, details).listeners())

    assert [(name, False) for name in SAME_ENDING] == sorted((each.name, each.detailed) for each in found)


def test_words_for_details() -> None:
    """The error names the path of details that cannot be read."""

    async def details(target: str) -> bytes:
        return b"<html>"

    with pytest.raises(AdminError, match="^/config_dump: the answer cannot be read$"):
        virtual.run(by_lds(SAME_ENDING, details).listeners())


async def _never(target: str) -> bytes:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def _slowly(target: str) -> bytes:
    await asyncio.sleep(1.5)
    return b'{"configs":[]}'


@pytest.mark.parametrize(
    ("names", "details"),
    [(SAME_ENDING, _never), ([f"listener-{number}" for number in range(50)], _slowly)],
    ids=["no answer", "slow answers"],
)
def test_listeners_are_bounded(names: list[str], details: Calls) -> None:
    """Reading listeners that Envoy does not report within the time of a look times out."""

    async def ask() -> float:
        with pytest.raises(TimeoutError):
            await by_lds(names, details).listeners()
        return asyncio.get_running_loop().time()

    assert LOOK_TIMEOUT >= virtual.run(ask())


def test_two_looks_at_once() -> None:
    """A look that finds Envoy restarted does not remove the listeners of a concurrent look."""
    uptimes = iter((100, 103, 0))
    udp = {"name": "dns", "address": {"socket_address": {"port_value": 53, "protocol": "UDP"}}}

    async def request(method: str, url: Url, target: str) -> Response:
        await asyncio.sleep(0.5)
        if target.startswith("/server_info"):
            return Response(200, b'{"uptime_current_epoch":"%ds"}' % next(uptimes))
        if target.startswith("/config_dump?resource=static_listeners"):
            return Response(200, json.dumps({"configs": [{"listener": udp}]}).encode())
        return Response(200, b'{"stats":[]}' if target.startswith("/stats") else b'{"configs":[{"bootstrap":{}}]}')

    async def look_thrice() -> list[Observation]:
        envoy = Envoy(ENVOY, request)
        await envoy.look()
        second = asyncio.create_task(envoy.look())
        await asyncio.sleep(0.2)
        return [await envoy.look(), await second]

    for look in virtual.run(look_thrice()):
        assert ["dns"] == list(look.account.uncounted)
