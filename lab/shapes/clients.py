"""Clients of a shape's listeners: each does what its `Traffic` says, and records how each use ended."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, cast

import aiohttp
import h11
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError

from lab.parts.envoy_process import HEALTH_PATH
from lab.parts.sample_application import WORK_PATH
from lab.shapes.application import LARGE_PATH, LARGE_SIZE, STREAM_PATH, WEBSOCKET_PATH
from lab.shapes.configuration import Endpoint
from lab.shapes.outcome import OK, Use
from lab.shapes.shape import PAUSED, Traffic

# how much longer an answer may take than it has to, and a connection, in seconds
PATIENCE: Final = 10.0

# the header of every answer of an Envoy that fails its health checks
FAILING: Final = "x-envoy-immediate-health-check-fail"

# the same for a datagram, which may be lost
UDP_PATIENCE: Final = 2.0

# when health checks begin; so many in a row without an answer are a failed one
CHECKS_FROM, UNANSWERED = -0.9, 3

# how long before its answer a client leaves a request, in seconds
LEFT_BEFORE: Final = 2.0

# A slow reader reads slowly until so long before its end, in seconds, and then the rest. Its buffers, the kernel's and
# asyncio's, have so many bytes.
SLOW_UNTIL, SLOW_BUFFER = 0.6, 32 * 1024

# of HTTP/2 (RFC 9113): bytes of a frame's header, and the type of a frame
FRAME_HEADER, GOAWAY = 9, 0x7

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter
_PATHS: Final[Mapping[str, str]] = {"stream": STREAM_PATH, "slow": LARGE_PATH}
FAILURES: Final = (OSError, TimeoutError, EOFError, h11.ProtocolError, ProtocolError, aiohttp.ClientError)


class Route(NamedTuple):
    """How a client comes to its listener.

    target: what a PROXY header names as the original destination
    server_name: for TLS, else empty
    http3: what the downstream at `place` is to send to, by HTTP/3
    slow: whether it has small buffers, for a slow reader
    """

    place: Endpoint
    target: Endpoint | None = None
    server_name: str = ""
    http3: str = ""
    slow: bool = False

    async def connect(self) -> tuple[Reader, Writer]:
        reader, writer = await self.connect_silently()
        writer.write(self.header)
        return reader, writer

    async def connect_silently(self) -> tuple[Reader, Writer]:
        """Without its PROXY header, if it has one."""
        async with asyncio.timeout(PATIENCE):
            if self.place.path:
                streams = asyncio.open_unix_connection(self.place.path, **self._options())
            else:
                streams = asyncio.open_connection(self.place.address, self.place.port, **self._options())
            reader, writer = await streams
        if self.slow:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
            if self.server_name:
                # of asyncio's transport for TLS, whose type is not public
                cast(Any, writer.transport).set_read_buffer_limits(SLOW_BUFFER)
        return reader, writer

    @property
    def header(self) -> bytes:
        target = self.target
        return f"PROXY TCP4 127.0.0.1 {target.address} 50000 {target.port}\r\n".encode() if target else b""

    def _options(self) -> dict[str, Any]:
        tls = {"ssl": trusting_tls(), "server_hostname": self.server_name} if self.server_name else {}
        return tls | ({"limit": SLOW_BUFFER} if self.slow else {})


def trusting_tls() -> ssl.SSLContext:
    """It takes any certificate, such as those that the lab makes."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Answer(NamedTuple):
    status: int
    failing: bool


# is awaited after each piece of an answer, with its bytes
Pace: TypeAlias = Callable[[int], Awaitable[None]]


async def at_once(size: int) -> None:
    """The pace of a client that is not slow."""


class Requester(Protocol):
    """Sends one request after another, over a connection that is kept as long as the other side lets it."""

    async def get(self, path: str) -> Answer:
        """Returns when the whole answer has come; raises one of FAILURES."""

    def close(self) -> None:
        """The connection, if there is one."""


class Http1:
    def __init__(self, route: Route, pace: Pace = at_once) -> None:
        self._route, self._pace = route, pace
        self._streams: tuple[Reader, Writer] | None = None
        self._connection = h11.Connection(h11.CLIENT)

    async def get(self, path: str) -> Answer:
        if self._streams is None or self._streams[0].at_eof():
            self.close()
            self._streams, self._connection = await self._route.connect(), h11.Connection(h11.CLIENT)
        reader, writer = self._streams
        try:
            answer = await self._exchange(reader, writer, path)
        except BaseException:
            self.close()
            raise
        if self._connection.our_state is h11.MUST_CLOSE or self._connection.their_state is h11.MUST_CLOSE:
            self.close()
        else:
            self._connection.start_next_cycle()
        return answer

    async def _exchange(self, reader: Reader, writer: Writer, path: str) -> Answer:
        headers = [("host", "lab")]
        if self._route.http3:
            headers.append(("x-envoy-original-dst-host", self._route.http3))
        writer.write(self._connection.send(h11.Request(method="GET", target=path, headers=headers)) or b"")
        writer.write(self._connection.send(h11.EndOfMessage()) or b"")
        answer = Answer(0, False)
        while True:
            event = self._connection.next_event()
            if event is h11.NEED_DATA:
                data = await reader.read(65536)
                self._connection.receive_data(data)
                await self._pace(len(data))
            elif isinstance(event, h11.Response):
                answer = Answer(event.status_code, any(name == FAILING.encode() for name, _ in event.headers))
            elif isinstance(event, h11.EndOfMessage):
                return answer
            elif isinstance(event, h11.ConnectionClosed):
                raise EOFError("connection closed")

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


class Http2:
    """One stream at a time."""

    def __init__(self, route: Route, pace: Pace = at_once) -> None:
        self._route, self._pace = route, pace
        self._streams: tuple[Reader, Writer] | None = None
        self._connection = H2Connection()
        self._ends, self._pending = False, b""

    async def get(self, path: str) -> Answer:
        if self._streams:
            # what has come since the last answer may be that this connection takes no more
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.002):
                    await self._read(*self._streams)
        if self._streams is None or self._ends:
            self.close()
            self._streams, self._ends, self._pending = await self._route.connect(), False, b""
            self._connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
            self._connection.initiate_connection()
        reader, writer = self._streams
        try:
            return await self._exchange(reader, writer, path)
        except BaseException:
            self.close()
            raise

    async def _exchange(self, reader: Reader, writer: Writer, path: str) -> Answer:
        stream = self._connection.get_next_available_stream_id()
        headers = [(":method", "GET"), (":scheme", "http"), (":authority", "lab"), (":path", path)]
        self._connection.send_headers(stream, headers, end_stream=True)
        writer.write(self._connection.data_to_send())
        answer = Answer(0, False)
        while True:
            for event in await self._read(reader, writer):
                if isinstance(event, ResponseReceived):
                    got = {str(name): str(value) for name, value in event.headers}
                    answer = Answer(int(got[":status"]), FAILING in got)
                elif isinstance(event, DataReceived):
                    await self._pace(event.flow_controlled_length)
                    self._connection.acknowledge_received_data(event.flow_controlled_length, stream)
                    writer.write(self._connection.data_to_send())
                elif isinstance(event, StreamEnded):
                    return answer
                elif isinstance(event, StreamReset):
                    raise EOFError("stream reset")
            if reader.at_eof():
                raise EOFError("connection closed")

    async def _read(self, reader: Reader, writer: Writer) -> list[Any]:
        data = await reader.read(65536)
        if not data:
            self._ends = True
            return []
        events = self._connection.receive_data(self._without_goaway(data))
        writer.write(self._connection.data_to_send())
        return list(events)

    def _without_goaway(self, data: bytes) -> bytes:
        """The whole frames that have come, but for GOAWAY, after which h2 takes no answer of an open stream."""
        whole, self._pending = b"", self._pending + data
        while len(self._pending) >= FRAME_HEADER:
            length = FRAME_HEADER + int.from_bytes(self._pending[:3], "big")
            if len(self._pending) < length:
                break
            frame, self._pending = self._pending[:length], self._pending[length:]
            if frame[3] == GOAWAY:
                self._ends = True
            else:
                whole += frame
        return whole

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams = None


class Clock:
    """Seconds since the stop: up to PAUSED before it, until it `begins`, and what is due later waits for that."""

    def __init__(self, stop_in: float) -> None:
        self._zero = time.monotonic() + stop_in
        self._stop = asyncio.Event()

    def begin(self) -> None:
        """The stop is now."""
        self._zero = time.monotonic()
        self._stop.set()

    def now(self) -> float:
        passed = time.monotonic() - self._zero
        return passed if self._stop.is_set() else min(passed, PAUSED)

    async def sleep_until(self, at: float) -> None:
        if at > PAUSED:
            await self._stop.wait()
        await asyncio.sleep(at - self.now())


class Client:
    """Does what `traffic` says, over `route`, until its end; `record` takes each of its uses.

    interval: between two of its health checks, in seconds
    """

    def __init__(
        self,
        id: tuple[int, int, int],
        traffic: Traffic,
        route: Route,
        protocol: str,
        interval: float,
        clock: Clock,
        record: Callable[[Use], None],
    ) -> None:
        self._id, self._traffic, self._route, self._protocol = id, traffic, route, protocol
        self._interval, self._clock, self._record = interval, clock, record
        self._stops_sending = False  # since a health check has failed

    async def run(self) -> None:
        match self._traffic.kind, self._protocol:
            case "session", "udp":
                await self._once(self._datagrams)
            case "short", "udp":
                await self._repeat(self._datagram, 0.0)
            case "short", _:
                await self._repeat(self._line, 0.0)
            case "session" | "idle", _:
                await self._once(self._lines)
            case "awaits", _:
                await self._once(self._awaited)
            case "websocket", _:
                await self._once(self._websocket)
            case _:
                await self._http()

    async def _once(self, use: Callable[[], Coroutine[Any, Any, str]]) -> None:
        await self._clock.sleep_until(self._traffic.begins)
        await self._recorded(use, self._traffic.ends)

    async def _repeat(self, use: Callable[[], Coroutine[Any, Any, str]], takes: float) -> None:
        """One use after another."""
        at = self._traffic.begins
        while at < self._traffic.ends:
            await self._clock.sleep_until(at)
            if self._stops_sending:
                return
            await self._recorded(use, self._clock.now() + takes)
            at = max(at + self._traffic.every, self._clock.now())

    async def _recorded(self, use: Callable[[], Coroutine[Any, Any, str]], needs: float) -> None:
        begins = self._clock.now()
        try:
            outcome = await use()
        except FAILURES as error:
            outcome = f"{type(error).__name__} {error}".strip()
        self._record(Use(self._id, begins, max(needs, begins), self._clock.now(), outcome))

    # over HTTP

    async def _http(self) -> None:
        traffic, requester = self._traffic, self._requester()

        async def send(path: str, takes: float) -> str:
            async with asyncio.timeout(takes + PATIENCE):
                answer = await requester.get(f"{path}?seconds={takes:.2f}")
            self._stops_sending |= answer.failing and traffic.checks
            return OK if answer.status == 200 else f"status {answer.status}"

        try:
            if traffic.in_one:
                path = _PATHS.get(traffic.kind, WORK_PATH)
                await self._once(lambda: send(path, traffic.ends - self._clock.now()))
            elif traffic.kind == "leaves":
                await self._repeat(lambda: self._leave(requester), traffic.takes)
            elif traffic.kind == "checks":
                await self._check()
            else:
                async with asyncio.TaskGroup() as group:
                    checking = group.create_task(self._check()) if traffic.checks else None
                    await self._repeat(lambda: send(WORK_PATH, traffic.takes), traffic.takes)
                    if checking and not self._stops_sending:
                        checking.cancel()
        finally:
            requester.close()

    async def _leave(self, requester: Requester) -> str:
        """It is well if no answer has come, and the connection was there, when it leaves."""
        takes = self._traffic.takes
        try:
            async with asyncio.timeout(takes):
                answer = await requester.get(f"{WORK_PATH}?seconds={takes + LEFT_BEFORE:.2f}")
        except TimeoutError:
            return OK
        return f"status {answer.status}"

    def _requester(self) -> Requester:
        slow = self._traffic.kind == "slow"
        kind = Http2 if self._protocol == "http2" else Http1
        return kind(self._route._replace(slow=slow), self._read_slowly if slow else at_once)

    async def _read_slowly(self, size: int) -> None:
        """Half of the response until SLOW_UNTIL before its end. The rest then waits in Envoy."""
        until = self._traffic.ends - SLOW_UNTIL
        pause = 2 * size / LARGE_SIZE * (until - self._traffic.begins)
        await asyncio.sleep(max(0.0, min(pause, until - self._clock.now())))

    async def _check(self) -> None:
        """Health checks until one fails: by its answer at once, else by UNANSWERED in a row, as in Envoy."""
        requester, unanswered, at = self._requester(), 0, CHECKS_FROM
        try:
            while not self._stops_sending and at < self._traffic.ends:
                await self._clock.sleep_until(at)
                try:
                    async with asyncio.timeout(PATIENCE):
                        answer = await requester.get(HEALTH_PATH)
                    unanswered = 0
                    self._stops_sending |= answer.status != 200 or answer.failing
                except FAILURES:
                    unanswered += 1
                    self._stops_sending |= unanswered >= UNANSWERED
                at = max(at + self._interval, self._clock.now())
        finally:
            requester.close()

    async def _websocket(self) -> str:
        connector: aiohttp.BaseConnector | None = None
        place = self._route.place
        if place.path:
            connector = aiohttp.UnixConnector(place.path)
        host = f"[{place.address}]" if ":" in place.address else place.address
        url = f"{'wss' if self._route.server_name else 'ws'}://{host or 'lab'}:{place.port or 80}{WEBSOCKET_PATH}"
        more: dict[str, Any] = {}
        if self._route.server_name:
            more = {"ssl": trusting_tls(), "server_hostname": self._route.server_name}
        async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(url, **more) as messages:

            async def exchange() -> bool:
                await messages.send_str("work")
                return (await messages.receive()).type is aiohttp.WSMsgType.TEXT

            return await self._converse(exchange)

    # over TCP and UDP

    async def _line(self) -> str:
        reader, writer = await self._route.connect()
        try:
            return OK if await _answered(reader, writer) else "connection closed"
        finally:
            writer.close()

    async def _lines(self) -> str:
        reader, writer = await self._route.connect()
        try:
            if self._traffic.kind == "session":
                return await self._converse(lambda: _answered(reader, writer))
            if not await _answered(reader, writer):
                return "connection closed"
            await self._stay_silent(reader)
            return OK if await _answered(reader, writer) else "connection closed"
        finally:
            writer.close()

    async def _stay_silent(self, reader: asyncio.StreamReader) -> None:
        """Wait until the traffic is to end, or until Envoy closes the connection. Envoy sends nothing meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._traffic.ends - self._clock.now()):
                await reader.read(1)

    async def _awaited(self) -> str:
        reader, writer = await self._route.connect_silently()
        try:
            await self._stay_silent(reader)
            writer.write(self._route.header)
            if self._protocol == "tcp":
                return OK if await _answered(reader, writer) else "connection closed"
            writer.write(f"GET {WORK_PATH}?seconds=0 HTTP/1.1\r\nhost: lab\r\n\r\n".encode())
            async with asyncio.timeout(PATIENCE):
                line = await reader.readline()
            return OK if b" 200 " in line else f"answer {line!r}"
        finally:
            writer.close()

    async def _datagram(self) -> str:
        with self._udp_socket() as sender:
            return OK if await _datagram_answered(sender) else "no answer"

    async def _datagrams(self) -> str:
        with self._udp_socket() as sender:
            return await self._converse(lambda: _datagram_answered(sender))

    def _udp_socket(self) -> socket.socket:
        place = self._route.place
        sender = socket.socket(socket.AF_INET6 if ":" in place.address else socket.AF_INET, socket.SOCK_DGRAM)
        sender.setblocking(False)
        sender.connect((place.address, place.port))
        return sender

    async def _converse(self, exchange: Callable[[], Coroutine[Any, Any, bool]]) -> str:
        """Messages that are answered, until the end; what became of them."""
        while True:
            async with asyncio.timeout(PATIENCE):
                if not await exchange():
                    return "connection closed"
            at = self._clock.now() + self._traffic.every
            if at >= self._traffic.ends:
                await self._clock.sleep_until(self._traffic.ends)
                return OK
            await self._clock.sleep_until(at)


async def _answered(reader: Reader, writer: Writer) -> bool:
    writer.write(b"work\n")
    async with asyncio.timeout(PATIENCE):
        return await reader.readline() == b"task\n"  # HTTP would answer that this is no request


async def _datagram_answered(sender: socket.socket) -> bool:
    """Once more where the first one is lost, as over UDP it may be; raises OSError where nothing listens."""
    loop = asyncio.get_running_loop()
    for _ in range(2):
        await loop.sock_sendall(sender, b"work")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(UDP_PATIENCE):
                await loop.sock_recv(sender, 100)
                return True
    return False
