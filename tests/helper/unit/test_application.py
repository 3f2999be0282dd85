"""When the application counts as ready, and when its port counts as closed."""

import asyncio

import pytest

from task_helper.application import Application, Unready
from task_helper.http import Response
from task_helper.settings import Url
from tests.helper import virtual


def application(answer: Response | Exception, path: str = "/health") -> tuple[Application, list[tuple[str, str]]]:
    """An application that gives this answer, and the calls that it got."""
    asked: list[tuple[str, str]] = []

    async def request(method: str, url: Url, target: str) -> Response:
        asked.append((method, target))
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Application(Url("http", "127.0.0.1", 8080, path), request), asked


@pytest.mark.parametrize(
    ("status", "ready"), [(199, False), (200, True), (204, True), (302, True), (399, True), (400, False), (503, False)]
)
def test_ready(status: int, ready: bool) -> None:
    """It is ready when it answers with a 2xx or 3xx."""
    subject, asked = application(Response(status, b""))

    if ready:
        virtual.run(subject.check())
    else:
        with pytest.raises(Unready, match=f"^http://127.0.0.1:8080/health answered {status}$"):
            virtual.run(subject.check())
    assert [("GET", "/health")] == asked


def test_application_that_hangs() -> None:
    """An application that gives no answer within two seconds is not ready."""

    async def request(method: str, url: Url, target: str) -> Response:
        await asyncio.sleep(3600)
        return Response(200, b"")

    async def check() -> float:
        with pytest.raises(TimeoutError):
            await Application(Url("http", "127.0.0.1", 8080), request).check()
        return asyncio.get_running_loop().time()

    assert 2 == virtual.run(check())


def test_without_a_path() -> None:
    """If the URL has no path, the helper calls the root path."""
    subject, asked = application(Response(200, b""), path="")
    virtual.run(subject.check())

    assert [("GET", "/")] == asked


@pytest.mark.parametrize(
    ("answer", "refuses"),
    [
        (Response(200, b""), False),
        (Response(503, b""), False),
        (TimeoutError(), False),
        (ConnectionResetError("reset"), False),
        (ConnectionRefusedError("refused"), True),
    ],
)
def test_refuses(answer: Response | Exception, refuses: bool) -> None:
    """Only a refused connection shows that the port is closed."""
    subject, _ = application(answer)

    assert refuses == virtual.run(subject.refuses())
