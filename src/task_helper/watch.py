"""What may happen to Envoy and the application while the task shuts down: each function returns once it has."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from task_helper.application import Application
from task_helper.listeners import Listener
from task_helper.metadata import Metadata, crashed
from task_helper.quiet import Meter
from task_helper.envoy import Envoy
from task_helper.http import REFUSED
from task_helper.timing import now

# between two looks; nothing tells these things by itself
POLL: Final = 0.5

# an Envoy that its supervisor restarts refuses connections for a moment; one that refuses for this long is gone
GONE_AFTER: Final = 3.0

# between two readings of Envoy's statistics
READING_EVERY: Final = 1.0

# how long nothing may be in flight or arrive before the task is quiet: the second in which a downstream Envoy merges
# what it has learnt, twice, and one more
QUIET: Final = 3.0


async def envoy_gone(envoy: Envoy, metadata: Metadata, stop_requested: datetime) -> None:
    """Wait until Envoy's admin API has refused for GONE_AFTER, or its container has stopped.

    An Envoy that does not answer, or answers with an error, is not gone.
    """
    refused_since = None
    while True:
        try:
            await envoy.state()
            refused_since = None
        except REFUSED:
            refused_since = now() if refused_since is None else refused_since
            task = await metadata.task()
            stopped = task is not None and any(container.is_envoy for container in crashed(task, stop_requested))
            if stopped or now() - refused_since >= GONE_AFTER:
                return
        except OSError:
            refused_since = None
        await asyncio.sleep(POLL)


async def application_gone(application: Application | None, metadata: Metadata, stop_requested: datetime) -> None:
    """Wait until the application's port refuses, or where no URL tells its port, until its container has stopped."""
    while True:
        if application:
            gone = await application.is_gone()
        else:
            task = await metadata.task()
            gone = task is not None and any(not container.is_envoy for container in crashed(task, stop_requested))
        if gone:
            return
        await asyncio.sleep(POLL)


async def quiet(envoy: Envoy, listeners: Sequence[Listener], meter: Meter, not_before: float) -> None:
    """Feed `meter` with Envoy's traffic; return when it has been quiet for QUIET, but `not_before` this moment."""
    while True:
        try:
            meter.read(now(), await envoy.traffic(listeners))
            if now() >= not_before and meter.quiet_for(now()) >= QUIET:
                return
        except OSError:
            pass  # a reading is missing, which the summary shows
        await asyncio.sleep(READING_EVERY)


async def live_again(envoy: Envoy) -> None:
    """Wait until an Envoy that had confirmed the drain says that it is live: it was restarted, and has forgotten."""
    while True:
        await asyncio.sleep(POLL)
        try:
            if await envoy.state() == "LIVE":
                return
        except OSError:
            pass  # gone or busy, which `envoy_gone` judges
