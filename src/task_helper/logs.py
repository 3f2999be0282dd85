"""The log: one JSON object a line on stdout, with a fixed vocabulary of events. Nothing is logged once a second."""

from __future__ import annotations

import logging
import sys
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Final

import msgspec

_LOGGER: Final = logging.getLogger("task_helper")


class Event(Enum):
    """Every event there is, with its level and what it tells; the docs' table is held to this one by a test."""

    BAD_SETTINGS = logging.ERROR, "the settings cannot be used: `problems`; the helper exits with 78"
    STARTING = logging.INFO, "the helper runs, with these `settings`"
    UNKNOWN_SETTING = logging.WARNING, "a variable starts with DRAIN_ and is no setting"
    WAITING = logging.INFO, "startup waits `because` of this; once for each reason"
    STALE_DRAIN_UNDONE = logging.WARNING, "Envoy was left draining by a helper that died, and takes traffic again"
    IN_SERVICE = logging.INFO, "Envoy is live and the application answers; from now on `healthcheck` exits with 0"
    HEALTHCHECK_UNAVAILABLE = logging.ERROR, "`task-helper healthcheck` cannot tell the status `because` of this"
    NO_HEALTH_CHECK_FILTER = (
        logging.WARNING,
        "health checks on these inbound `listeners` will not fail: no health_check filter",
    )
    EGRESS_DRAINS = logging.WARNING, "these outbound `listeners` drain too; give them `drain_type: MODIFY_ONLY`"
    ADMIN_OPEN = logging.INFO, "the admin API listens on an `address` that other hosts may reach"
    LOOK_FAILED = logging.INFO, "Envoy's configuration could not be looked at `because` of this"
    SIGTERM = logging.INFO, "the task is to stop: the `signal` that came"
    SIGTERM_REPEATED = logging.INFO, "another `signal` came, which changes nothing"
    REPLACEMENT_UNSEEN = logging.WARNING, "whether new tasks are in service cannot be seen `because` of this"
    CLOUD_MAP_DENIED = logging.WARNING, "Cloud Map may not be asked `because` of this; DISCOVERY_LAG is used instead"
    REPLACED = logging.INFO, "as many other tasks as the service desires are in service, after so many `seconds`"
    DELAYING = logging.INFO, "serving on so that new tasks come into service, for `seconds` at the most"
    APPLICATION_GONE = logging.WARNING, "the application has stopped; nothing is gained by serving on"
    ADMIN_FAILING = logging.WARNING, "Envoy could not be told to fail health checks `because` of this; it is told again"
    HEALTH_CHECKS_FAILED = (
        logging.INFO,
        "Envoy has confirmed, after so many `attempts`, that it fails its health checks",
    )
    LISTENERS_DRAINED = logging.INFO, "Envoy refuses new inbound connections, as DRAIN_LISTENERS asks"
    LISTENERS_NOT_DRAINED = logging.WARNING, "Envoy could not be told to refuse new connections `because` of this"
    DRAINING = logging.INFO, "downstreams go and requests end, for `seconds` at the most"
    LIVE_AGAIN = logging.WARNING, "Envoy passes its health checks again, most likely restarted; it is told again"
    TRAFFIC_AFTER_DRAIN = (
        logging.WARNING,
        "`requests` still came at the end of the drain, and the likely `causes`",
    )
    ENVOY_GONE = logging.WARNING, "Envoy has stopped; there is nothing left to drain"
    FAULT = logging.ERROR, "an error inside the helper; the plan goes on with fixed times"
    SUMMARY = logging.INFO, "how the shutdown went; the last line"
    LOG = logging.INFO, "a message of a library, in `message`"

    @property
    def level(self) -> int:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]


def log(event: Event, **fields: object) -> None:
    _LOGGER.log(event.level, event.name.lower(), extra={"fields": fields})


def why(error: OSError) -> str:
    """The error in words: a timeout has none of its own."""
    return str(error) or "no answer in time"


def log_fault(error: BaseException) -> None:
    """Log an error of the helper's own, with its traceback."""
    _LOGGER.log(Event.FAULT.level, Event.FAULT.name.lower(), exc_info=error)


def set_up(level: str, format: str) -> None:
    """Log to stdout from now on; `level` and `format` are the values of LOG_LEVEL and LOG_FORMAT."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(TextFormatter() if format == "text" else JsonFormatter())
    # of libraries only what is wrong: botocore would tell where it has found its credentials
    of_libraries = max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()])
    logging.basicConfig(level=of_libraries, handlers=[handler], force=True)
    _LOGGER.setLevel(level.upper())
    # a reader that has gone must not end a drain, nor fill stderr
    logging.raiseExceptions = False


def _content(record: logging.LogRecord) -> dict[str, Any]:
    if record.name == _LOGGER.name:
        content = {"event": record.msg, **getattr(record, "fields", {})}
    else:
        content = {"event": Event.LOG.name.lower(), "message": record.getMessage()}
    if record.exc_info:
        content["traceback"] = logging.Formatter().formatException(record.exc_info)
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in content.items()}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line = {"time": time.replace("+00:00", "Z"), "level": record.levelname.lower(), **_content(record)}
        return msgspec.json.encode(line, enc_hook=str).decode()


class TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        content = _content(record)
        event, traceback = content.pop("event"), content.pop("traceback", None)
        time = datetime.fromtimestamp(record.created).isoformat(" ", "milliseconds")
        fields = "".join(f"  {key}={value}" for key, value in content.items())
        line = f"{time}  {record.levelname.lower():7}  {event.replace('_', ' ')}{fields}"
        return f"{line}\n{traceback}" if traceback else line
