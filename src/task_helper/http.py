"""One HTTP/1.1 request on a connection of its own, over TCP or a Unix socket.

A connection for each request, since the helper asks rarely and mostly on loopback, and a kept one may turn out to be
dead at the one moment that counts. Proxy variables are never looked at. Nothing here is bounded in time: every caller
has a bound of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple

import h11

from task_helper.logs import Event, log
from task_helper.settings import Url
from task_helper.timing import now

# Envoy's listeners, in large meshes, come to a few megabytes; more than this is not for a helper of 64 MiB to hold.
LARGEST_BODY: Final = 8 * 1024 * 1024


# an id in a path, such as that of the metadata endpoint
_ID: Final = re.compile("[0-9A-Fa-f-]{20,}")


class TooLarge(ConnectionError):
    """The answer is larger than LARGEST_BODY."""


class Response(NamedTuple):
    status: int
    body: bytes | bytearray


# a method, the target, and its path
Request = Callable[[str, Url, str], Awaitable[Response]]

# whether somebody at a host and port accepts connections; raises OSError where that is unknown
Accepts = Callable[[str, int], Awaitable[bool]]


async def request(method: str, url: Url, target: str) -> Response:
    """Ask `url`'s host for `target`; raises OSError where there is no whole HTTP answer.

    ConnectionRefusedError says that nobody listens there: on loopback a fact about the other side, not a passing
    failure. A Unix socket whose file is missing says less, as whoever had made it may live and serve.
    """
    began, status = now(), None
    try:
        response = await _ask(method, url, target)
        status = response.status
        return response
    finally:
        host = str(url) if url.scheme == "unix" else url.authority
        # what follows the mark can be a secret, and an id is one: that of the metadata endpoint also protects a task
        path = _ID.sub("…", target.partition("?")[0])
        log(Event.HTTP_CALL, method=method, target=host, path=path, status=status, seconds=now() - began)


async def accepts(host: str, port: int) -> bool:
    """Whether somebody accepts connections there; says nothing over them.

    Only a refusal shows that nobody does. Raises OSError where a connection fails otherwise: that is unknown.
    """
    try:
        _, writer = await _open(host, port)
    except ConnectionRefusedError:
        return False
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    return True


async def _ask(method: str, url: Url, target: str) -> Response:
    reader, writer = await _connect(url)
    try:
        connection = h11.Connection(h11.CLIENT)
        head = h11.Request(
            method=method,
            target=target,
            headers=[("host", url.host_header or url.authority), ("connection", "close"), ("content-length", "0")],
        )
        writer.write((connection.send(head) or b"") + (connection.send(h11.EndOfMessage()) or b""))
        return await _read(connection, reader)
    except h11.RemoteProtocolError as error:
        # its own text repeats parts of the answer
        raise ConnectionError("not an HTTP answer") from error
    finally:
        writer.close()


async def _connect(url: Url) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if url.scheme == "unix":
        try:
            return await asyncio.open_unix_connection(url.path)
        except FileNotFoundError:
            raise FileNotFoundError(f"there is no socket {url.path}") from None
    return await _open(url.host, url.port)


async def _open(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    try:
        return await asyncio.open_connection(host, port)
    except ValueError as error:  # UnicodeError is one, of a name that cannot be encoded
        raise OSError("not the name of a host") from error


async def _read(connection: h11.Connection, reader: asyncio.StreamReader) -> Response:
    status, body = 0, bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            data = await reader.read(65536)
            if not data and not status:
                raise ConnectionError("the connection was closed without an answer")
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            status = event.status_code
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > LARGEST_BODY:
                raise TooLarge(f"the answer is larger than {LARGEST_BODY} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return Response(status, body)  # a copy would take as much memory again
