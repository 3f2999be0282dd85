"""The load, an open one (requests are due at fixed times, whatever became of the last) over each protocol."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from lab.parts.downstream import NEW_CONNECTION_HEADER
from lab.parts.envoy_process import INBOUND_PORT, Protocol
from lab.parts.history import OK, Recorder, Request
from lab.parts.sample_application import GRPC_WORK_PATH, WORK_PATH

TIMEOUT = 40.0  # seconds for a request; long enough for a slow answer, which is not none


@dataclass(frozen=True)
class Stream:
    """A stream of requests: `rate` a second, each answered by the application after `seconds`.

    Over TCP `seconds` is how long a connection is open, with a request each half second.
    new_connections: each request over a new connection to the task, else over persistent ones
    """

    name: str
    rate: float
    seconds: float = 0.01
    new_connections: bool = False


@dataclass(frozen=True)
class Load:
    """What all streams send together.

    own_connections: whether the connections to the tasks are the clients' own, as nothing between looks at requests
    """

    streams: tuple[Stream, ...]
    protocol: Protocol
    own_connections: bool = False


# sends the request that is due at that time, or for TCP a conversation, and records how it ended
Send = Callable[[Stream, float], Coroutine[None, None, None]]


async def call(load: Load, address: str, record: Recorder, names: Mapping[str, str], stop: asyncio.Event) -> None:
    """Send until `stop`, then wait for the answers. `names` gives the task of an address."""
    http = _http_of_its_own if load.own_connections else _http
    clients = {"http1": http, "http2": http, "grpc": _grpc, "tcp": _tcp}
    async with clients[load.protocol](address, record, names) as send, asyncio.TaskGroup() as group:

        async def send_all(stream: Stream) -> None:
            due = record.now()
            while not stop.is_set():
                group.create_task(send(stream, due))
                due += 1 / stream.rate
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), max(0.0, due - record.now()))

        for stream in load.streams:
            group.create_task(send_all(stream))


@asynccontextmanager
async def _http(address: str, record: Recorder, names: Mapping[str, str]) -> AsyncIterator[Send]:
    url = f"http://{address}:{INBOUND_PORT}{WORK_PATH}"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session:

        async def send(stream: Stream, due: float) -> None:
            headers = {NEW_CONNECTION_HEADER: "1"} if stream.new_connections else {}
            start = record.now()
            reported: Mapping[str, str] = {}
            try:
                async with session.get(url, params={"seconds": stream.seconds}, headers=headers) as answer:
                    reported, text = answer.headers, await answer.text()
                    outcome = OK if answer.status == 200 else f"{answer.status} {text[:100]}"
            except (aiohttp.ClientError, TimeoutError) as error:
                outcome = repr(error)
            task = _task(names, reported.get("x-host", ""))
            record.request(
                Request(stream.name, due, start, record.now(), outcome, task, reported.get("x-connection", ""))
            )

        yield send


@asynccontextmanager
async def _http_of_its_own(address: str, record: Recorder, names: Mapping[str, str]) -> AsyncIterator[Send]:
    """Over connections that end in a task: a new one for each request, or one that an earlier request has left open.

    The task names itself in its answer. Not GET, which aiohttp sends again where an idle connection was just closed.
    """
    url = f"http://{address}:{INBOUND_PORT}{WORK_PATH}"
    persistent, new = aiohttp.TCPConnector(limit=0), aiohttp.TCPConnector(limit=0, force_close=True)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    async with (
        aiohttp.ClientSession(connector=persistent, timeout=timeout) as keeping,
        aiohttp.ClientSession(connector=new, timeout=timeout) as connecting,
    ):

        async def send(stream: Stream, due: float) -> None:
            start, task = record.now(), ""
            session = connecting if stream.new_connections else keeping
            try:
                async with session.post(url, params={"seconds": stream.seconds}) as answer:
                    task, text = answer.headers.get("x-task", ""), await answer.text()
                    outcome = OK if answer.status == 200 else f"{answer.status} {text[:100]}"
            except (aiohttp.ClientError, TimeoutError) as error:
                outcome = repr(error)
            record.request(Request(stream.name, due, start, record.now(), outcome, task))

        yield send


async def answered(address: str) -> bool:
    """Whether the downstream on this address has tasks for both kinds of requests over HTTP/1.1."""
    url = f"http://{address}:{INBOUND_PORT}{WORK_PATH}?seconds=0"
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            for headers in ({}, {NEW_CONNECTION_HEADER: "1"}):
                async with session.get(url, headers=headers) as answer:
                    if answer.status != 200:
                        return False
    except (aiohttp.ClientError, TimeoutError):
        return False
    return True


@asynccontextmanager
async def _grpc(address: str, record: Recorder, names: Mapping[str, str]) -> AsyncIterator[Send]:
    import grpc

    # transparent retries would hide what the lab looks for
    options = [("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(f"ipv4:{address}:{INBOUND_PORT}", options=options) as channel:
        method = channel.unary_unary(GRPC_WORK_PATH)

        async def send(stream: Stream, due: float) -> None:
            metadata = ((NEW_CONNECTION_HEADER, "1"),) if stream.new_connections else ()
            start = record.now()
            one = method(str(stream.seconds).encode(), timeout=TIMEOUT, metadata=metadata)
            try:
                await one
                outcome, reported = OK, dict(await one.initial_metadata())
            except grpc.aio.AioRpcError as error:
                outcome = f"{error.code().name} {error.details()}"
                reported = {**dict(error.initial_metadata() or ()), **dict(error.trailing_metadata() or ())}
            task = _task(names, reported.get("x-host", ""))
            record.request(
                Request(stream.name, due, start, record.now(), outcome, task, reported.get("x-connection", ""))
            )

        yield send


@asynccontextmanager
async def _tcp(address: str, record: Recorder, names: Mapping[str, str]) -> AsyncIterator[Send]:
    async def send(stream: Stream, due: float) -> None:
        start, task, own_end = record.now(), "", ""
        writer = None
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(address, INBOUND_PORT), TIMEOUT)
            own_end = "{}:{}".format(*writer.get_extra_info("sockname"))
            last = start + stream.seconds
            while start < last:
                writer.write(b"work\n")
                line = (await asyncio.wait_for(reader.readline(), TIMEOUT)).decode().strip()
                task = line or task
                outcome = OK if line else "connection closed"
                record.request(Request(stream.name, due, start, record.now(), outcome, task, own_end))
                if not line:
                    break
                due = start + 0.5
                await asyncio.sleep(due - record.now())
                start = record.now()
        except (OSError, TimeoutError) as error:
            record.request(Request(stream.name, due, start, record.now(), repr(error), task, own_end))
        finally:
            if writer:
                writer.close()

    yield send


def _task(names: Mapping[str, str], host: str) -> str:
    """The task of the downstream's `address:port`."""
    return names.get(host.partition(":")[0], "")
