"""Reads the settings from the container's environment variables, and checks all of them before anything else happens.

SETTINGS lists every setting once. A test compares it with the README's table and with `task-helper run --help`. Seconds
are plain numbers; fractions and a trailing `s` are allowed. A variable that is set but empty counts as unset, because
templates often produce empty variables.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from textwrap import wrap
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import structs

from task_helper.gate import METADATA_URI
from task_helper.plan import DEFAULT_STAGE, MARGIN, Auto, OtherHelper, Plan, Seconds

Graceful = Literal["graceful"]


class Url(msgspec.Struct, frozen=True):
    """The address of an HTTP server, over TCP or a Unix socket.

    With the scheme `http`, the URL has a host, a port and optionally a target, `path`. With the scheme `unix`, `path`
    is the path of the socket. If `host_header` is set, requests send it as their Host header instead of the
    `authority`.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    host_header: str = ""

    @property
    def authority(self) -> str:
        """HOST:PORT, as in a URL and in the Host header. For a Unix socket it is `localhost`, because Envoy wants a
        host there too.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if host else "localhost"

    def __str__(self) -> str:
        """The URL without its query, which can contain a secret."""
        path, mark, _ = self.path.partition("?")
        return f"unix://{self.path}" if self.scheme == "unix" else f"http://{self.authority}{path}{mark and '?…'}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, by the lower-case names of their variables. `plan` contains the times."""

    plan: Plan
    envoy_admin_url: Url
    app_health_url: Url | None
    app_health_host: str | None
    cloud_map_service: str | None
    drain_listeners: bool | Graceful
    metrics: str | None
    log_level: str
    log_format: str

    def shown(self) -> dict[str, object]:
        """Each setting by the lower-case name of its variable, with its value as a person would write it."""
        values = structs.asdict(self) | structs.asdict(self.plan)
        names = (setting.name.lower() for setting in SETTINGS)
        return {name: str(value) if isinstance(value := values[name], Url | OtherHelper) else value for name in names}


class BadSettings(ValueError):
    """The settings cannot be used. `problems` has one sentence for each error."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def seconds(text: str) -> Seconds:
    try:
        # Python's float() also accepts 1_0 and the digits of every script
        value = float(text.removesuffix("s")) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("is not a time; give seconds, such as 40, 2.5 or 40s")
    if value < 0:
        raise ValueError("is negative; give seconds, such as 40, 2.5 or 40s")
    return value


def some_seconds(text: str) -> Seconds:
    if not (value := seconds(text)):
        raise ValueError("must be greater than 0; give seconds, such as 30")
    return value


def seconds_or_auto(text: str) -> Seconds | Auto:
    try:
        return "auto" if text.lower() == "auto" else seconds(text)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


def stop_timeout(text: str) -> Seconds:
    if (value := seconds(text)) <= MARGIN:
        raise ValueError(f"must be greater than {MARGIN:g}s; give the container's stopTimeout, such as 120")
    return value


def other_helper(text: str) -> OtherHelper:
    name, _, timeout = text.partition(":")
    if not re.fullmatch("[A-Za-z0-9_-]{1,255}", name) or not timeout:
        raise ValueError("must be CONTAINER:STOP_TIMEOUT of the other helper, such as task-helper-2:120")
    try:
        return OtherHelper(name, stop_timeout(timeout))
    except ValueError as error:
        raise ValueError(f"has a stopTimeout that {error}") from None


def admin_url(text: str) -> Url:
    remedy = "give http://HOST:PORT or unix:///PATH, such as http://127.0.0.1:9901"
    if text.startswith("unix:"):
        if not text.startswith("unix:///"):
            raise ValueError(f"must have an absolute path to a socket; {remedy}")
        return Url("unix", path=text.removeprefix("unix://"))
    url = _http_url(text, remedy)
    if url.path not in ("", "/"):
        raise ValueError(f"must not have a path; {remedy}")
    return Url("http", url.host, url.port)


def health_url(text: str) -> Url:
    return _http_url(text, "give http://HOST:PORT/PATH, such as http://127.0.0.1:8080/health")


def _http_url(text: str, remedy: str) -> Url:
    # the texts of these errors repeat parts of the URL, which may be secret
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, 80 if parts.port is None else parts.port
    except ValueError:
        raise ValueError(f"has an invalid host or port; {remedy}") from None
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"has a space or another character that must be written as %XX; {remedy}")
    if not text.lower().startswith("http://"):
        raise ValueError(f"must start with http://; {remedy}")
    if not host:
        raise ValueError(f"has no host; {remedy}")
    # Python cannot resolve such a name. Its IDNA codec would report that too, but takes memory in every task.
    if not all(0 < len(label) < 64 for label in host.removesuffix(".").split(".")):
        raise ValueError(f"has an invalid host: a label is empty or longer than 63 characters; {remedy}")
    if port == 0:
        raise ValueError(f"has port 0; ports are 1 to 65535; {remedy}")
    if parts.username is not None:
        raise ValueError(f"must not have a user name or a password; the helper does not send them; {remedy}")
    if parts.fragment:
        raise ValueError(f"must not have a fragment (#); {remedy}")
    # In some containers localhost is ::1 first, but Envoy and the application do not listen there.
    host = "127.0.0.1" if host == "localhost" else host
    return Url("http", host, port, parts.path + (f"?{parts.query}" if parts.query else ""))


def host_header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._~:\[\]-]{1,255}", text):
        raise ValueError("must be HOST or HOST:PORT, such as shop.example.com")
    return text


def how_to_drain_listeners(text: str) -> bool | Graceful:
    try:
        return _DRAIN_LISTENERS[text.lower()]
    except KeyError:
        raise ValueError("must be true, false or graceful") from None


_DRAIN_LISTENERS: Final[Mapping[str, bool | Graceful]] = {"true": True, "false": False, "graceful": "graceful"}


def cloud_map_service(text: str) -> str:
    namespace, slash, service = text.partition("/")
    if not (namespace and slash and service) or "/" in service:
        raise ValueError("must be NAMESPACE/SERVICE, such as example.local/orders")
    return text


def one_of(*words: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"must be {' or '.join(words)}")
        return text.lower()

    return choose


class Setting(NamedTuple):
    """One environment variable. `parse` raises ValueError with what is wrong, what is allowed and an example."""

    name: str
    default: str | None
    parse: Callable[[str], object]
    meaning: str


SETTINGS: Final = (
    Setting(
        "DRAIN_DELAY",
        f"{DEFAULT_STAGE:g}",
        seconds_or_auto,
        "seconds from SIGTERM to `POST /healthcheck/fail`, in which the task keeps serving; `auto`: until replacement"
        " tasks are in service, which needs a task role that may call ECS",
    ),
    Setting(
        "DRAIN_TIMEOUT",
        f"{DEFAULT_STAGE:g}",
        seconds_or_auto,
        "seconds from `POST /healthcheck/fail` to the helper's exit; `auto`: until downstreams stop sending and"
        " requests finish",
    ),
    Setting(
        "STOP_TIMEOUT",
        "120",
        stop_timeout,
        "the `stopTimeout` of the helper's container; the helper exits before it ends",
    ),
    Setting(
        "HANDS_OVER_TO",
        None,
        other_helper,
        "`CONTAINER:STOP_TIMEOUT` of a second helper, which ECS stops after this one; for stops longer than one"
        " stopTimeout",
    ),
    Setting(
        "TAKES_OVER_FROM",
        None,
        other_helper,
        "`CONTAINER:STOP_TIMEOUT` of the helper that ECS stops before this one; this helper continues that helper's"
        " plan",
    ),
    Setting(
        "ENVOY_ADMIN_URL",
        "http://127.0.0.1:9901",
        admin_url,
        "Envoy's admin API, `http://HOST:PORT` or `unix:///PATH`; if unset, the helper uses App Mesh's"
        " `ENVOY_ADMIN_ACCESS_PORT` where that is set",
    ),
    Setting(
        "APP_HEALTH_URL",
        None,
        health_url,
        "if set, startup waits until this URL answers 2xx or 3xx; if unset, but `PORT` and `HEALTHCHECK_PATH` are set:"
        " `http://127.0.0.1:$PORT$HEALTHCHECK_PATH`",
    ),
    Setting(
        "APP_HEALTH_HOST",
        None,
        host_header,
        "the Host header of calls to APP_HEALTH_URL, such as `shop.example.com`, if the application answers 400 to"
        " others; if unset, the URL's host and port",
    ),
    Setting(
        "HEALTH_CHECK_INTERVAL",
        "30",
        some_seconds,
        "seconds between two health checks of one downstream; a drain with `auto` lasts at least that long",
    ),
    Setting(
        "DISCOVERY_LAG",
        "40",
        seconds,
        "seconds until every downstream knows a new task; `auto` uses this where it cannot query ECS or Cloud Map",
    ),
    Setting(
        "HEALTH_SYNC_STOP_TIMEOUT",
        "30",
        some_seconds,
        "in Consul, the `stopTimeout` of `consul-ecs-health-sync`; if downstreams still send 15 s before it ends, the"
        " helper exits, so that health-sync deregisters the task",
    ),
    Setting(
        "CLOUD_MAP_SERVICE",
        None,
        cloud_map_service,
        "`NAMESPACE/SERVICE` by which downstreams discover this service in Cloud Map; if ECS registers it there, `auto`"
        " finds it without this setting",
    ),
    Setting(
        "DRAIN_LISTENERS",
        "false",
        how_to_drain_listeners,
        "`true`: after the drain is confirmed, Envoy also refuses new connections; for TCP listeners and TCP health"
        " checks, which `/healthcheck/fail` cannot fail. `graceful`: Envoy 1.40 closes idle connections within its"
        " `--drain-time-s`, and accepts new ones; for downstreams that do not health check",
    ),
    Setting("METRICS", None, one_of("emf"), "`emf`: the summary contains CloudWatch embedded metrics"),
    Setting(
        "LOG_LEVEL",
        "info",
        one_of("debug", "info", "warning", "error"),
        "the lowest level that is logged: `debug`, `info`, `warning` or `error`",
    ),
    Setting("LOG_FORMAT", "json", one_of("json", "text"), "`json`: one object per line; `text`: lines for people"),
)


def described() -> str:
    """The settings as plain text for a terminal, one paragraph each."""
    lines = ["settings, as environment variables; times in seconds:"]
    for setting in SETTINGS:
        meaning = wrap(setting.meaning.replace("`", ""), 94)
        default = f" [{setting.default}]" if setting.default else ""
        lines += [f"  {setting.name}{default}", *(f"      {line}" for line in meaning)]
    return "\n".join(lines)


def from_env(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`. Raises BadSettings with every problem."""
    given = {name: value.strip() for name, value in environ.items() if value.strip()}
    if port := given.get("ENVOY_ADMIN_ACCESS_PORT"):
        given.setdefault("ENVOY_ADMIN_URL", f"http://127.0.0.1:{port}")
    if "PORT" in given and "HEALTHCHECK_PATH" in given:
        given.setdefault("APP_HEALTH_URL", f"http://127.0.0.1:{given['PORT']}/{given['HEALTHCHECK_PATH'].lstrip('/')}")
    times: dict[str, Any] = {}
    values: dict[str, Any] = {}
    problems = []
    for setting in SETTINGS:
        text = given.get(setting.name, setting.default)
        try:
            name = setting.name.lower()
            (times if name in Plan.__struct_fields__ else values)[name] = None if text is None else setting.parse(text)
        except ValueError as error:
            problems.append(f"{setting.name}: {_shown(text)} {error}")
    try:
        health_url(given.get(METADATA_URI, "http://unset"))
    except ValueError as error:
        problems.append(f"{METADATA_URI}: {_shown(given[METADATA_URI])} {error}, or remove the variable: ECS sets it")
    if not problems:
        problems = contradictions(settings := Settings(plan=Plan(**times), **values))
    if problems:
        raise BadSettings(problems)
    return settings


def _shown(text: str | None) -> str:
    """A refused value as an error message may show it: only if it looks like a number.

    Any other text may be or contain a secret, such as a URL without its scheme or the value of another variable.
    """
    return repr(text) if text and re.fullmatch(r"[-+]?[0-9][0-9.,_]{0,9}[a-z]{0,3}", text, re.ASCII) else "the value"


def contradictions(settings: Settings) -> list[str]:
    """One sentence for each pair of settings that are valid alone but not together."""
    problems = settings.plan.problems()
    if settings.app_health_host and not settings.app_health_url:
        problems.append("APP_HEALTH_HOST: it has no effect without APP_HEALTH_URL; set both, or remove APP_HEALTH_HOST")
    if settings.metrics == "emf" and settings.log_format == "text":
        problems.append("METRICS: 'emf' needs LOG_FORMAT=json, because CloudWatch reads metrics from JSON lines")
    return problems


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """One sentence for each variable that starts with DRAIN_ and is not a setting: most likely a misspelt name."""
    names = [setting.name for setting in SETTINGS]
    return [
        # a name may have bytes that are not UTF-8, which the log cannot contain
        f"{name if name.isprintable() else ascii(name)[1:-1]} is not a setting"
        + "".join(f"; did you mean {near}?" for near in get_close_matches(name, names, n=1, cutoff=0.75))
        for name in environ
        if name.startswith("DRAIN_") and name not in names
    ]
