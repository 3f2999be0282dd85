"""`task-helper run`: creates the parts and runs the task's lifecycle."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import NoReturn

from task_helper import gate
from task_helper.application import Application
from task_helper.ecs.metadata import Metadata
from task_helper.ecs.service import looking
from task_helper.envoy.admin import Envoy
from task_helper.life.lifecycle import Lifecycle, Stop, Surroundings
from task_helper.life.record import Exit
from task_helper.logs import Event, log, log_fault, log_uncaught, set_up
from task_helper.settings import BadSettings, Settings, from_env, misspelt

# the exit code after a second Ctrl-C at a terminal: shells use it for a program that SIGINT has ended
INTERRUPTED = 128 + signal.SIGINT


def run(environ: Mapping[str, str], early_signals: Sequence[tuple[str, float]]) -> int:
    """Run until the task is stopped, and return the exit code."""
    log_uncaught()
    try:
        settings = from_env(environ)
    except BadSettings as error:
        set_up("info", "json")
        log(Event.BAD_SETTINGS, problems=error.problems)
        return Exit.BAD_SETTINGS
    set_up(settings.log_level, settings.log_format)
    for problem in misspelt(environ):
        log(Event.UNKNOWN_SETTING, problem=problem)
    asyncio.run(_live(settings, environ, early_signals))
    raise AssertionError("leave does not return")


async def _live(settings: Settings, environ: Mapping[str, str], early_signals: Sequence[tuple[str, float]]) -> None:
    log(Event.STARTING, settings=settings.shown())
    stop = Stop()
    listen(stop, early_signals)
    other = settings.plan.other_helper
    metadata = Metadata(
        environ.get(gate.METADATA_URI, "").strip() or None,
        since=datetime.now(timezone.utc),
        other_helper=other.name if other else None,
    )
    surroundings = Surroundings(
        Envoy(settings.envoy_admin_url),
        Application(settings.app_health_url, host=settings.app_health_host) if settings.app_health_url else None,
        metadata,
        gate.show,
        looking(metadata, settings.cloud_map_service),
    )
    try:
        leave(await Lifecycle(settings, surroundings, stop).live())
    except Exception as error:
        log_fault(error)
        leave(Exit.FAULT)


def listen(stop: Stop, early_signals: Sequence[tuple[str, float]]) -> None:
    """Turn signals into requests to stop. Signals that came before the event loop ran are requested first."""
    loop = asyncio.get_running_loop()
    interrupts = 0

    def request(name: str, at: float) -> None:
        nonlocal interrupts
        # Without a terminal, ECS sends SIGINT (if STOPSIGNAL is SIGINT), and may repeat it.
        interrupts += name == "SIGINT" and os.isatty(0)
        if interrupts > 1:
            leave(INTERRUPTED)
        stop.request(name, at)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        loop.add_signal_handler(number, lambda name: request(name, loop.time()), number.name)
    for name, at in early_signals:
        request(name, at)


def leave(code: int) -> NoReturn:
    """Exit now. Closing the event loop would remove the signal handlers, and wait for any thread that hangs."""
    logging.shutdown()
    os._exit(code)
