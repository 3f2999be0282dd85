"""The log: one JSON object per line on stdout, with a fixed vocabulary of events. No event is logged once a second.

Logging never delays the plan. If the log's reader does not take a line at once, the helper drops it. The next line
reports how many were dropped.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import traceback
from collections.abc import Mapping
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Final

import msgspec

_LOGGER: Final = logging.getLogger("task_helper")

# A pipe that reports that it is writable takes this many bytes at once (PIPE_BUF, pipe(7)). A longer line could block.
LONGEST_LINE: Final = 4096

# The limits of a field in one line: so many items of a list, and so many characters of a text. A mesh can have
# thousands of listeners.
MOST_ITEMS: Final = 10
MOST_CHARACTERS: Final = 1000


class Event(Enum):
    """Every event, with its level and its meaning. A test compares the table in docs/operate/log.md with this class."""

    BAD_SETTINGS = logging.ERROR, "the settings cannot be used: `problems`; the helper exits with 78"
    STARTING = logging.INFO, "the helper runs, with these `settings`"
    UNKNOWN_SETTING = logging.WARNING, "a variable starts with DRAIN_ but is not a setting; the helper ignores it"
    WAITING = logging.INFO, "startup waits for this `cause`; logged once for each cause"
    STALE_DRAIN_UNDONE = (
        logging.WARNING,
        "a helper that died had left Envoy draining; this helper has ended that drain, so Envoy passes its health"
        " checks again",
    )
    IN_SERVICE = logging.INFO, "Envoy is live and the application answers; from now on `healthcheck` exits with 0"
    HEALTHCHECK_UNAVAILABLE = logging.ERROR, "`task-helper healthcheck` cannot read the status, for this `cause`"
    MESH = logging.INFO, "Envoy's configuration shows that it belongs to this `mesh`; `hints` are what to know about it"
    NO_HEALTH_CHECK_FILTER = (
        logging.WARNING,
        "health checks on these inbound `listeners` will not fail, because they have no health_check filter",
    )
    EGRESS_DRAINS = logging.WARNING, "these outbound `listeners` drain too; give them `drain_type: MODIFY_ONLY`"
    TCP_CUT = (
        logging.WARNING,
        "the drain will cut the TCP connections of these `listeners`, because of `check_drain_close`",
    )
    ADMIN_OPEN = logging.INFO, "the admin API listens on an `address` that other hosts may reach"
    NO_INBOUND_LISTENER = (
        logging.WARNING,
        "DRAIN_LISTENERS will have no effect: none of these `listeners` has `traffic_direction: INBOUND`",
    )
    OLD_ENVOY = (
        logging.WARNING,
        "DRAIN_LISTENERS=graceful will not close idle connections, because this `version` of Envoy is older than"
        " 1.40",
    )
    IDLE_CONNECTIONS_STAY_OPEN = (
        logging.WARNING,
        "DRAIN_LISTENERS=graceful will not close idle connections, because Envoy's --drain-time-s is"
        " `drain_time`; it must be more than 15, and at least one second less than the drain's `seconds`",
    )
    NO_LISTENERS = logging.WARNING, "Envoy is live, but after these `seconds` it has no listener for downstreams"
    CONFIGURATION_UNREADABLE = (
        logging.INFO,
        "the helper could not read Envoy's configuration, for this `cause`; it gives no warnings about it",
    )
    SIGTERM = (
        logging.INFO,
        "ECS stops the task: the `signal`, or null if the stop began before the helper ran; `late_seconds` is how"
        " long the helper then waited for CPU time, or null if unknown",
    )
    SIGTERM_REPEATED = logging.INFO, "another `signal` came; it changes nothing"
    REPLACEMENT_UNKNOWN = (
        logging.WARNING,
        "the helper cannot detect whether replacement tasks are in service, for this `cause`; the delay continues"
        " until `waits_until`",
    )
    CLOUD_MAP_DENIED = (
        logging.WARNING,
        "the task role does not allow a call to Cloud Map (`cause`); the helper uses DISCOVERY_LAG instead",
    )
    CLOUD_MAP_UNKNOWN = (
        logging.WARNING,
        "Cloud Map did not answer (`cause`); the helper uses its last answer, or DISCOVERY_LAG if there was none",
    )
    REPLACED = logging.INFO, "replacement tasks are in service, `seconds` after the stop"
    PLAN_KEPT = (
        logging.INFO,
        "the helper did not see the task in service, but cannot prove that it never served (`cause`), so it"
        " drains as planned",
    )
    TAKING_OVER = (
        logging.INFO,
        "this helper continues another helper's plan; the other one exited with `exit_code`, or null if ECS does"
        " not report it; `draining` is whether Envoy drains; the plan started `plan_started_seconds_ago`, and"
        " Envoy confirmed `told_seconds_ago`; if `cause` is there, the plan ends for that cause",
    )
    DELAYING = logging.INFO, "the task keeps serving while replacement tasks start, for at most `seconds`"
    APPLICATION_STOPPED = (
        logging.WARNING,
        "the application has stopped (`cause`), so the helper skips the rest of the delay",
    )
    ADMIN_FAILING = (
        logging.WARNING,
        "Envoy did not confirm that it fails its health checks, for this `cause`; the helper calls it again",
    )
    DRAIN_CONFIRMED = (
        logging.INFO,
        "Envoy confirmed, after this number of `attempts`, that it now fails its health checks",
    )
    LISTENERS_DRAINED = (
        logging.INFO,
        "Envoy accepted the call of DRAIN_LISTENERS: its INBOUND listeners refuse new connections or, if"
        " `graceful`, close idle ones",
    )
    LISTENERS_NOT_DRAINED = (
        logging.WARNING,
        "Envoy did not accept the call of DRAIN_LISTENERS, for this `cause`; the helper calls it again",
    )
    DRAINING = logging.INFO, "downstreams stop sending and requests finish, for at most `seconds`"
    DIRECTION_UNKNOWN = (
        logging.INFO,
        "traffic through these `listeners` may not come from downstreams, and keeps the drain until its fixed"
        " time; declare `traffic_direction: INBOUND` or `OUTBOUND`",
    )
    LISTENERS_UNCOUNTED = (
        logging.WARNING,
        "Envoy has no statistic for the traffic of these `listeners`, for the cause given; the drain takes its"
        " fixed time",
    )
    NO_HEALTH_CHECKS_SEEN = (
        logging.WARNING,
        "in the `seconds` since the stop `requests` came, but no health check, so the drain will not make the"
        " senders stop; it takes its fixed time",
    )
    TRAFFIC_UNREADABLE = (
        logging.WARNING,
        "the helper cannot count the requests and connections in progress, for this `cause`; the drain takes its"
        " fixed time",
    )
    DRAIN_LOST = (
        logging.WARNING,
        "Envoy passes its health checks again, most likely because it restarted; the helper calls it again",
    )
    REQUESTS_CUT = (
        logging.WARNING,
        "this number of `requests` was still in flight when the drain ended for this `reason`; ECS now stops the"
        " application and Envoy, which cuts them",
    )
    TRAFFIC_AFTER_DRAIN = (
        logging.WARNING,
        "of the `requests` in the drain some came at its very end, or after every downstream must have checked;"
        " the likely `causes`, observed ones first",
    )
    CALLED_AT_DEADLINE = (
        logging.WARNING,
        "the helper had not called Envoy by its deadline, and called it once, `seconds_late`; `confirmed` is"
        " whether Envoy then failed its health checks",
    )
    SECOND_HELPER_STOPPED = (
        logging.WARNING,
        "the second helper of the chain has stopped with `exit_code`, or is not in the task; the first helper"
        " drains within its own stopTimeout",
    )
    ENVOY_STOPPED = logging.WARNING, "Envoy has stopped (`cause`); there is nothing left to drain"
    STILL_SENDING = (
        logging.WARNING,
        "in Consul, downstreams still send requests (`cause`); the helper exits, so that health-sync deregisters"
        " the task before ECS kills health-sync",
    )
    FAULT = (
        logging.ERROR,
        "an error inside the helper; the plan continues with fixed times, and the gate opens by a plain rule",
    )
    SUMMARY = logging.INFO, "how the stop went; the last line"
    HTTP_CALL = (
        logging.DEBUG,
        "an HTTP call: its `method`, `target` and `path`, and the answer's `status`, or null without one",
    )
    LOG = (
        logging.INFO,
        "a library logged a message, at `place` in its source; the text may contain secrets and is left out",
    )

    @property
    def level(self) -> int:
        return self.value[0]

    @property
    def meaning(self) -> str:
        return self.value[1]


def log(event: Event, *, whatever_level: bool = False, **fields: object) -> None:
    """Log `event` with its fields; with `whatever_level` even below LOG_LEVEL."""
    if whatever_level:
        name = event.name.lower()
        _LOGGER.handle(_LOGGER.makeRecord(_LOGGER.name, event.level, "", 0, name, (), None, extra={"fields": fields}))
    else:
        _LOGGER.log(event.level, event.name.lower(), extra={"fields": fields})


def why(error: OSError) -> str:
    """The error in words. The system's errors have no file name, and a timeout has a text of its own."""
    return error.strerror or str(error) or "no answer in time"


def log_fault(error: BaseException) -> None:
    """Log an error inside the helper, with its traceback."""
    _LOGGER.log(Event.FAULT.level, Event.FAULT.name.lower(), exc_info=error)


def traceback_of(error: BaseException | None) -> str:
    """The places where `error` and its causes were raised, with their types but without texts. The first cause comes
    first.

    An error's text may contain a secret, such as the URL of the credentials, or a part of an answer. Of the calls in
    other packages, only the innermost one is included.
    """
    lines: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        frames = traceback.extract_tb(error.__traceback__)
        kept = [frame for frame in frames if frame.filename.startswith(_OURS) or frame is frames[-1]]
        places = [f"  {_place(frame.filename)}:{frame.lineno} {frame.name}" for frame in kept]
        lines = [*places, f"{type(error).__module__}.{type(error).__qualname__}", *lines]
        error = error.__cause__ or error.__context__
    return "\n".join(["Traceback, without the errors' texts:", *lines])


# the directories of all installed packages and of this package
_PACKAGES: Final = f"{os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}/"
_OURS: Final = f"{_PACKAGES}task_helper/"


def _place(file: str) -> str:
    """The last two parts of the path of a source file."""
    return "/".join(file.split("/")[-2:])


def log_uncaught() -> None:
    """From now on, log uncaught errors and warnings without their texts. Python itself would print the texts."""
    sys.excepthook = lambda type, error, frames: log_fault(error)
    threading.excepthook = _log_of_python
    sys.unraisablehook = _log_of_python
    logging.captureWarnings(True)


def _log_of_python(uncaught: threading.ExceptHookArgs | sys.UnraisableHookArgs) -> None:
    """Log an error that ends a thread, or that Python ignores, as an event of a library."""
    logging.getLogger("python").error("", exc_info=uncaught.exc_value)


def set_up(level: str, format: str) -> None:
    """Log to stdout from now on. `level` and `format` are the values of LOG_LEVEL and LOG_FORMAT."""
    handler = PipeHandler(1)
    handler.setFormatter(TextFormatter() if format == "text" else JsonFormatter())
    # libraries log only warnings and errors: botocore would log where it has found its credentials
    of_libraries = max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()])
    logging.basicConfig(level=of_libraries, handlers=[handler], force=True)
    _LOGGER.setLevel(level.upper())


class PipeHandler(logging.Handler):
    """Writes each line whole to a file descriptor, or drops it if writing would have to wait.

    The descriptor stays in blocking mode, because other processes share that mode, such as a person's shell.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        record.dropped = self._dropped
        try:
            line = self._line(record)
        except Exception as error:  # a field may contain anything, such as an unpaired surrogate; the plan continues
            record.fields, record.exc_info = {"not_shown": type(error).__name__}, None
            line = self._line(record)
        if len(line) > LONGEST_LINE:
            record.fields, record.exc_info = {"too_long": len(line)}, None
            line = self._line(record)
        try:
            if self._room.poll(0):
                os.write(self._descriptor, line)
                self._dropped = 0
                return
        except OSError:
            pass  # the log's reader has closed the pipe
        self._dropped += 1

    def _line(self, record: logging.LogRecord) -> bytes:
        return f"{self.format(record)}\n".encode(errors="replace")


def _content(record: logging.LogRecord) -> dict[str, Any]:
    if record.name == _LOGGER.name:
        content = {"event": record.msg, **_bounded(getattr(record, "fields", {}))}
    else:
        content = {"event": Event.LOG.name.lower(), "place": f"{_place(record.pathname)}:{record.lineno}"}
    if record.exc_info:
        content["traceback"] = traceback_of(record.exc_info[1])[-MOST_CHARACTERS:]
    if dropped := getattr(record, "dropped", 0):
        content["dropped"] = dropped
    return content


def _bounded(fields: Mapping[str, object]) -> dict[str, Any]:
    return {key: _short(value) for key, value in fields.items()}


def _short(value: object) -> object:
    match value:
        case float():
            return round(value, 3)
        case str():
            return value if len(value) <= MOST_CHARACTERS else f"{value[:MOST_CHARACTERS]}…"
        case list() | tuple():
            first = [_short(each) for each in value[:MOST_ITEMS]]
            return first if len(value) <= MOST_ITEMS else [*first, f"and {len(value) - MOST_ITEMS} more"]
    return value


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
