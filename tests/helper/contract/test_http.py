"""The HTTP client against servers that behave as they should, and as they do."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from task_helper import http
from task_helper.application import Application, Unready
from task_helper.http import Response, request
from task_helper.settings import Url

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(answer: bytes) -> tuple[Serve, list[bytes]]:
    """A server that reads a request, answers with these bytes and closes; and the request that it got."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    return serve, asked


async def ask(serve: Serve, method: str = "GET") -> Response:
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        return await request(method, Url("http", "127.0.0.1", server.sockets[0].getsockname()[1]), "/x?y")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ],
)
def test_answers(answer: bytes) -> None:
    """An answer is understood with each way to give its length."""
    serve, _ = answering(answer)

    assert Response(200, b"hello") == asyncio.run(ask(serve))


def test_request() -> None:
    """The request names its target and the host, and asks for no second one on its connection."""
    serve, asked = answering(b"HTTP/1.1 204 No Content\r\n\r\n")

    assert 204 == asyncio.run(ask(serve, "POST")).status
    head, *headers = asked[0].decode().lower().split("\r\n")
    assert "post /x?y http/1.1" == head
    assert ["connection: close", "content-length: 0", "", ""] == headers[1:]
    assert headers[0].startswith("host: 127.0.0.1:")


@pytest.mark.parametrize(("host", "answer"), [(None, 400), ("shop.example.com", 200)])
def test_application_that_requires_a_host(host: str | None, answer: int) -> None:
    """An application that answers one Host header alone, as Django may, is ready with APP_HEALTH_HOST."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        allowed = b"\r\nhost: shop.example.com\r\n" in head.lower()
        writer.write(b"HTTP/1.1 %d X\r\ncontent-length: 0\r\n\r\n" % (200 if allowed else 400))
        writer.close()

    async def check() -> int:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            url = Url("http", "127.0.0.1", server.sockets[0].getsockname()[1], "/health")
            try:
                await Application(url, host=host).check()
            except Unready as error:
                assert f"{url} answered 400" == f"{error}"
                return 400
            return 200

    assert answer == asyncio.run(check())


def test_request_and_no_more() -> None:
    """After the request the client sends nothing: it has no body."""

    async def all_that_is_sent() -> bytes:
        sent: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            sent.set_result(head + await reader.read())
            writer.close()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            await request("GET", Url("http", "127.0.0.1", server.sockets[0].getsockname()[1]), "/")
            return await sent

    assert asyncio.run(all_that_is_sent()).endswith(b"content-length: 0\r\n\r\n")


def test_log_of_a_call(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each call is logged for debugging, with its answer or none, and without its query, which can be a secret."""
    caplog.set_level("DEBUG", "task_helper")
    serve, _ = answering(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def ask_both() -> str:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await request("POST", Url("http", "127.0.0.1", port), "/x?token=secret")
        with pytest.raises(FileNotFoundError):
            await request("GET", Url("unix", path=f"{tmp_path}/none"), "/y")
        return f"127.0.0.1:{port}"

    place = asyncio.run(ask_both())

    calls = [getattr(record, "fields") for record in caplog.records if record.msg == "http_call"]
    assert all(0 <= call.pop("seconds") < 60 for call in calls)
    assert [
        {"method": "POST", "target": place, "path": "/x", "status": 204},
        {"method": "GET", "target": f"unix://{tmp_path}/none", "path": "/y", "status": None},
    ] == calls


@pytest.mark.parametrize(("size", "fits"), [(100, True), (101, False)])
def test_largest_body(size: int, fits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of the largest size is taken, one byte more is not."""
    monkeypatch.setattr(http, "LARGEST_BODY", 100)
    serve, _ = answering(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size)

    if fits:
        assert size == len(asyncio.run(ask(serve)).body)
    else:
        with pytest.raises(ConnectionError, match="^the answer is larger than 100 bytes$"):
            asyncio.run(ask(serve))


@pytest.mark.parametrize(
    ("answer", "words"),
    [(b"", "^the connection was closed without an answer$"), (b"hello\r\n\r\n", "^not an HTTP answer$")],
)
def test_words_for_no_answer(answer: bytes, words: str) -> None:
    """The error for an invalid answer has words that a log may contain."""
    serve, _ = answering(answer)

    with pytest.raises(ConnectionError, match=words):
        asyncio.run(ask(serve))


def test_accepts() -> None:
    """A server accepts connections as long as it listens."""

    async def try_both() -> tuple[bool, bool]:
        with socket.create_server(("127.0.0.2", 0)) as server:
            port = server.getsockname()[1]
            there = await http.accepts("127.0.0.2", port)
        return there, await http.accepts("127.0.0.2", port)

    assert (True, False) == asyncio.run(try_both())


@pytest.mark.parametrize("host", ["envoy..local", "a" * 64, "a\0b"])
def test_name_that_no_host_can_have(host: str) -> None:
    """A name that cannot be resolved is an OSError, not a fault of the helper."""
    with pytest.raises(OSError, match="^not a valid host name$"):
        asyncio.run(request("GET", Url("http", host, 80), "/"))
    with pytest.raises(OSError, match="^not a valid host name$"):
        asyncio.run(http.accepts(host, 80))


def test_accepts_where_it_is_unknown() -> None:
    """If a connection fails in another way than a refusal, a server may still listen: that is an error."""
    with pytest.raises(OSError) as raised:
        asyncio.run(http.accepts("255.255.255.255", 80))  # no host has it, and the kernel does not try

    assert not isinstance(raised.value, ConnectionRefusedError)


def test_host_of_an_ipv6_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Host header has an IPv6 address in brackets, which separate it from the port."""
    serve, asked = answering(b"HTTP/1.1 204 No Content\r\n\r\n")

    async def ask_by_ipv6() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            # a machine may have no IPv6
            monkeypatch.setattr(http, "_connect", lambda _: asyncio.open_connection("127.0.0.1", port))
            await request("GET", Url("http", "::1", 9901), "/")

    asyncio.run(ask_by_ipv6())
    assert b"host: [::1]:9901" in asked[0].lower()


def test_unix_socket(tmp_path: Path) -> None:
    """A request over a Unix socket works like one over a TCP port."""
    serve, asked = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    async def ask_unix() -> Response:
        async with await asyncio.start_unix_server(serve, tmp_path / "s"):
            return await request("GET", Url("unix", path=str(tmp_path / "s")), "/")

    assert Response(200, b"") == asyncio.run(ask_unix())
    assert b"host: localhost\r\n" in asked[0].lower()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_answer(answer: bytes) -> None:
    """No answer, half an answer and another protocol are errors of the connection."""
    serve, _ = answering(answer)

    with pytest.raises(ConnectionError):
        asyncio.run(ask(serve))


def test_closed_without_an_answer() -> None:
    """The error has plain words if a server closes the connection instead of answering."""
    serve, _ = answering(b"")

    with pytest.raises(ConnectionError, match="the connection was closed without an answer"):
        asyncio.run(ask(serve))


def test_endless_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper stops reading an answer that would fill the container's memory."""
    monkeypatch.setattr(http, "LARGEST_BODY", 10)
    serve, _ = answering(b"HTTP/1.1 200 OK\r\n\r\nhello, hello, hello")

    with pytest.raises(ConnectionError, match="larger than 10 bytes"):
        asyncio.run(ask(serve))


def test_without_a_server() -> None:
    """Without a server the connection is refused."""
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(request("GET", Url("http", "127.0.0.1", 1), "/"))


def test_a_call_can_be_given_up() -> None:
    """A call that hangs ends with the timeout around it, and leaves nothing behind."""

    async def give_up() -> None:
        done = asyncio.Event()

        async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()  # returns when the other side has closed
            done.set()
            writer.close()

        async with await asyncio.start_server(hang, "127.0.0.1", 0) as server:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await request("GET", Url("http", "127.0.0.1", server.sockets[0].getsockname()[1]), "/")
            async with asyncio.timeout(30):
                await done.wait()

    asyncio.run(give_up())
