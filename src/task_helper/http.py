"""One HTTP/1.1 request, on a connection of its own, over TCP or a Unix socket.

Each request has its own connection. The helper sends few requests, mostly on loopback, and a kept connection may turn
out to be dead when it matters. Proxy variables are ignored. Nothing here has a timeout: each function that calls this
module has its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import h11

from task_helper.logs import Event, log
from task_helper.settings import Url
from task_helper.timing import now

# In large meshes Envoy's listeners take a few megabytes. A larger answer does not fit into a helper of 64 MiB.
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

# whether a host accepts connections at a port; raises OSError if that is unknown
Accepts = Callable[[str, int], Awaitable[bool]]


async def request(method: str, url: Url, target: str) -> Response:
    """Send a request for `target` to the host of `url`. Raises OSError without a whole HTTP answer.

    ConnectionRefusedError means that no process listens there. On loopback that is a fact about the other side, not a
    passing failure. A missing file of a Unix socket shows less: the process that created it may still run and serve.
    """
    began, status = now(), None
    try:
        response = await _ask(method, url, target)
        status = response.status
        return response
    finally:
        host = str(url) if url.scheme == "unix" else url.authority
        # The query can be a secret. So can an id: the one of the metadata endpoint also protects a task.
        path = _ID.sub("…", target.partition("?")[0])
        log(Event.HTTP_CALL, method=method, target=host, path=path, status=status, seconds=now() - began)


async def accepts(host: str, port: int) -> bool:
    """Whether the host accepts a connection at this port. The connection sends no data.

    Only a refusal proves that no process listens. Raises OSError if the connection fails in another way: that is
    unknown.
    """
    try:
        _, writer = await _open(host, port)
    except ConnectionRefusedError:
        return False
    writer.close()
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
        # the error's own text repeats parts of the answer
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
    except ValueError as error:  # such as UnicodeError, for a name that cannot be encoded
        raise OSError("not a valid host name") from error


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
