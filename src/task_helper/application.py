"""The application beside the helper: does it serve, and does it still listen?"""

from __future__ import annotations

import asyncio
from typing import Final

from msgspec import structs

from task_helper import http
from task_helper.settings import Url

# An application that is starting may answer slowly. One that takes longer than this is not ready for requests.
CALL_TIMEOUT: Final = 2.0


class Unready(OSError):
    """The application answered with a status other than 2xx or 3xx."""


class Application:
    """The application that answers at `url`. If `host` is given, requests send it as their Host header."""

    def __init__(self, url: Url, request: http.Request = http.request, *, host: str | None = None) -> None:
        self.url = structs.replace(url, host_header=host or "")
        self._request = request

    async def check(self) -> None:
        """Return if the application answers 2xx or 3xx; otherwise raise OSError."""
        async with asyncio.timeout(CALL_TIMEOUT):
            response = await self._request("GET", self.url, self.url.path or "/")
        if not 200 <= response.status < 400:
            raise Unready(f"{self.url} answered {response.status}")

    async def refuses(self) -> bool:
        """Whether the application's port refuses connections. A slow answer or a 5xx comes from an application that
        runs.
        """
        try:
            await self.check()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False
