"""What the helper makes of the answers that Envoy gives, or does not."""

import asyncio
from collections.abc import Sequence

import pytest

from task_helper.envoy.admin import About, AdminError, Envoy
from task_helper.envoy.listeners import Listener
from task_helper.envoy.accounting import Account
from task_helper.http import Response
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
        return (host, port) in accepting

    return Envoy(url, request, accepts)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Response(200, b"LIVE\n"), True),
        (Response(503, b"DRAINING\n"), True),
        (Response(403, b""), True),
        (ConnectionRefusedError("refused"), False),
        (ConnectionResetError("reset"), False),
        (None, False),
    ],
)
def test_answers(answer: Response | Exception | None, expected: bool) -> None:
    """Whatever answers is there; what refuses, resets or hangs gives no sign of life."""
    assert expected == virtual.run(envoy(answer).answers())


HANGS = 7


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
        (at(("0.0.0.0", HANGS)), [], False),
        (at(None, ("0.0.0.0", 80)), [("127.0.0.1", 80)], True),
        (at(("", 80)), [("127.0.0.1", 80)], True),
        (at(("orders.internal", 80)), [("orders.internal", 80)], True),
        (at(None), [], None),
        ([], [], None),
        ([listener("out", excluded=True, places=(("0.0.0.0", 81),)), *at(("0.0.0.0", 80))], [("127.0.0.1", 81)], False),
    ],
)
def test_accepts(listeners: list[Listener], accepting: list[tuple[str, int]], expected: bool | None) -> None:
    """One listener for downstreams that accepts is enough; one for all addresses is found at the admin API's host."""
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
def test_uptime_that_is_not_told(body: bytes) -> None:
    """An answer that does not tell the times is none."""
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
    """The version is known as far as Envoy tells it."""
    options = '"command_line_options":{"drain_time":"30s"}'
    body = f'{{"uptime_current_epoch":"12s","version":"{version}",{options}}}'.encode()

    assert About(12, expected, 30) == virtual.run(envoy(Response(200, body)).about())


def test_drain_time_that_is_not_told() -> None:
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
    """What Envoy did not do is told by path and answer."""
    options = {"graceful": True} if call == "drain_listeners" else {}
    with pytest.raises(AdminError) as raised:
        virtual.run(getattr(envoy(answer), call)(**options))

    assert str(raised.value).startswith(words)


def test_calls_are_bounded() -> None:
    """A call that gets no answer is given up after two seconds."""

    async def ask() -> float:
        with pytest.raises(TimeoutError):
            await envoy(None).fail_health_checks()
        return asyncio.get_running_loop().time()

    assert 2 == virtual.run(ask())


def test_words_for_statistics() -> None:
    """Statistics that cannot be read are told by their path."""
    with pytest.raises(AdminError, match="^/stats: the answer cannot be read"):
        virtual.run(envoy(Response(200, b"<html>")).traffic(Account()))


def test_words_for_statistics_at_the_beginning() -> None:
    """So they are where they are read for the first time, after the configuration."""

    async def request(method: str, url: Url, target: str) -> Response:
        return Response(200, b"<html>" if target.startswith("/stats") else b"{}")

    with pytest.raises(AdminError, match="^/stats: the answer cannot be read"):
        virtual.run(Envoy(ENVOY, request).look())


def test_what_shows_that_envoy_answers() -> None:
    """The cheapest of its paths is asked."""
    asked: list[tuple[str, str]] = []

    async def request(method: str, url: Url, target: str) -> Response:
        asked.append((method, target))
        return Response(200, b"LIVE\n")

    virtual.run(Envoy(ENVOY, request).answers())

    assert [("GET", "/ready")] == asked
