"""What the container's environment variables say: one frozen value, checked as a whole before anything else happens.

Every setting stands once, in SETTINGS; the README's table and `task-helper run --help` are held to it by a test.
Seconds are plain numbers, fractions allowed, a trailing `s` accepted. A variable that is set but empty counts as unset,
as task definitions written from templates leave them.
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
from task_helper.plan import MARGIN, Auto, OtherHelper, Plan, Seconds

Graceful = Literal["graceful"]


class Url(msgspec.Struct, frozen=True):
    """Where to ask: `http` has host, port and, where it matters, the target as `path`; `unix` has the socket's path.

    `host_header` is the Host header of requests, where it is not the `authority`.
    """

    scheme: str
    host: str = ""
    port: int = 0
    path: str = ""
    host_header: str = ""

    @property
    def authority(self) -> str:
        """HOST:PORT as a URL and the Host header have it; `localhost` for a Unix socket, where Envoy wants one too."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if host else "localhost"

    def __str__(self) -> str:
        """As it may be shown: what follows a question mark can be a secret."""
        path, mark, _ = self.path.partition("?")
        return f"unix://{self.path}" if self.scheme == "unix" else f"http://{self.authority}{path}{mark and '?…'}"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings by the names of their variables in lower case; `plan` has those that are times."""

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
        """Each setting by the name of its variable in lower case, as a person would write it."""
        values = structs.asdict(self) | structs.asdict(self.plan)
        names = (setting.name.lower() for setting in SETTINGS)
        return {name: str(value) if isinstance(value := values[name], Url | OtherHelper) else value for name in names}


class BadSettings(ValueError):
    """The settings cannot be used; `problems` has one sentence for each thing to mend."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)


def seconds(text: str) -> Seconds:
    try:
        # Python reads 1_0 and digits of every script as well
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
        raise ValueError("is no time at all; give seconds, such as 30")
    return value


def seconds_or_auto(text: str) -> Seconds | Auto:
    try:
        return "auto" if text.lower() == "auto" else seconds(text)
    except ValueError as error:
        raise ValueError(f"{error}, or auto") from None


def stop_timeout(text: str) -> Seconds:
    if (value := seconds(text)) <= MARGIN:
        raise ValueError(f"leaves nothing before the last {MARGIN:g}s; give the container's stopTimeout, such as 120")
    return value


def other_helper(text: str) -> OtherHelper:
    name, _, timeout = text.partition(":")
    if not re.fullmatch("[A-Za-z0-9_-]{1,255}", name) or not timeout:
        raise ValueError("is not CONTAINER:STOP_TIMEOUT; give the other helper's, such as task-helper-2:120")
    try:
        return OtherHelper(name, stop_timeout(timeout))
    except ValueError as error:
        raise ValueError(f"has a stopTimeout that {error}") from None


def admin_url(text: str) -> Url:
    remedy = "give http://HOST:PORT or unix:///PATH"
    if text.startswith("unix:"):
        if not text.startswith("unix:///"):
            raise ValueError(f"names no socket by its whole path; {remedy}")
        return Url("unix", path=text.removeprefix("unix://"))
    url = _http_url(text, remedy)
    if url.path not in ("", "/"):
        raise ValueError(f"has a path, which the admin API has not; {remedy}")
    return Url("http", url.host, url.port)


def health_url(text: str) -> Url:
    return _http_url(text, "give http://HOST:PORT/PATH")


def _http_url(text: str, remedy: str) -> Url:
    # the errors' own texts repeat parts of the URL, which may be secret
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, 80 if parts.port is None else parts.port
    except ValueError:
        raise ValueError(f"has a host or a port that cannot be read; {remedy}") from None
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError(f"has a space or another character that a URL has only as %XX; {remedy}")
    if not text.lower().startswith("http://"):
        raise ValueError(f"does not begin with http://; {remedy}")
    if not host:
        raise ValueError(f"has no host; {remedy}")
    # Python resolves no such name; its IDNA codec would report that too, but takes memory in every task
    if not all(0 < len(label) < 64 for label in host.removesuffix(".").split(".")):
        raise ValueError(f"has a host that no name server knows: a part of it is empty or longer than 63; {remedy}")
    if port == 0:
        raise ValueError(f"has port 0, at which no program listens; {remedy}")
    if parts.username is not None:
        raise ValueError(f"has a user name or a password, which the helper does not send; {remedy}")
    if parts.fragment:
        raise ValueError(f"has a fragment (#), which no request carries; {remedy}")
    # some containers resolve localhost to ::1 first, where neither Envoy nor the application listens
    host = "127.0.0.1" if host == "localhost" else host
    return Url("http", host, port, parts.path + (f"?{parts.query}" if parts.query else ""))


def host_header(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._~:\[\]-]{1,255}", text):
        raise ValueError("is not HOST or HOST:PORT, such as shop.example.com")
    return text


def how_to_drain_listeners(text: str) -> bool | Graceful:
    try:
        return _DRAIN_LISTENERS[text.lower()]
    except KeyError:
        raise ValueError("is none of true, false and graceful") from None


_DRAIN_LISTENERS: Final[Mapping[str, bool | Graceful]] = {"true": True, "false": False, "graceful": "graceful"}


def cloud_map_service(text: str) -> str:
    namespace, slash, service = text.partition("/")
    if not (namespace and slash and service) or "/" in service:
        raise ValueError("is not NAMESPACE/SERVICE, such as example.local/orders")
    return text


def one_of(*words: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"is not one of {', '.join(words)}")
        return text.lower()

    return choose


class Setting(NamedTuple):
    """One environment variable; `parse` raises ValueError with what is wrong and the remedy."""

    name: str
    default: str | None
    parse: Callable[[str], object]
    meaning: str


SETTINGS: Final = (
    Setting(
        "DRAIN_DELAY",
        "40",
        seconds_or_auto,
        "time to wait after SIGTERM and before `/healthcheck/fail`; or `auto`: until new tasks are in service",
    ),
    Setting(
        "DRAIN_TIMEOUT",
        "40",
        seconds_or_auto,
        "time to wait after `/healthcheck/fail`; or `auto`: until downstreams have gone and requests have ended",
    ),
    Setting(
        "STOP_TIMEOUT", "120", stop_timeout, "the container's `stopTimeout`; the helper is gone before it runs out"
    ),
    Setting(
        "HANDS_OVER_TO",
        None,
        other_helper,
        "for longer than one stopTimeout: `CONTAINER:STOP_TIMEOUT` of a second helper, which ECS stops after this one",
    ),
    Setting(
        "TAKES_OVER_FROM",
        None,
        other_helper,
        "`CONTAINER:STOP_TIMEOUT` of the helper that ECS stops before this one, with whose plan this one goes on",
    ),
    Setting(
        "ENVOY_ADMIN_URL",
        "http://127.0.0.1:9901",
        admin_url,
        "Envoy's admin API, `http://HOST:PORT` or `unix:///PATH`; where it is unset and App Mesh's"
        " `ENVOY_ADMIN_ACCESS_PORT` is set, that port",
    ),
    Setting(
        "APP_HEALTH_URL",
        None,
        health_url,
        "if set, startup waits for a 2xx or 3xx from it; `PORT` and `HEALTHCHECK_PATH`, which older task definitions"
        " set, make `http://127.0.0.1:$PORT$HEALTHCHECK_PATH`",
    ),
    Setting(
        "APP_HEALTH_HOST",
        None,
        host_header,
        "the Host header of the calls to APP_HEALTH_URL, such as `shop.example.com`, for an application that answers"
        " 400 to others; by default the URL's host and port",
    ),
    Setting(
        "HEALTH_CHECK_INTERVAL",
        "30",
        some_seconds,
        "the interval at which downstreams health check this task; `auto` drains for at least that long",
    ),
    Setting(
        "DISCOVERY_LAG",
        "40",
        seconds,
        "how long after it is up a new task is known to all downstreams; `auto` uses it where it cannot see that",
    ),
    Setting(
        "HEALTH_SYNC_STOP_TIMEOUT",
        "30",
        some_seconds,
        "in Consul, the `stopTimeout` of `consul-ecs-health-sync`: if downstreams still send 15 s before it is over,"
        " the helper exits, so that ECS stops Envoy and health-sync deregisters the task",
    ),
    Setting(
        "CLOUD_MAP_SERVICE",
        None,
        cloud_map_service,
        "`NAMESPACE/SERVICE` that downstreams discover this service by; where ECS registers it, `auto` finds it",
    ),
    Setting(
        "DRAIN_LISTENERS",
        "false",
        how_to_drain_listeners,
        "`true`: once the drain is confirmed also `POST /drain_listeners?inboundonly`, which refuses new connections;"
        " for TCP listeners and TCP health checks, which `/healthcheck/fail` cannot fail. `graceful`: Envoy 1.40 closes"
        " idle connections within its `--drain-time-s`, and accepts new ones; for downstreams that do not health check",
    ),
    Setting("METRICS", None, one_of("emf"), "`emf`: the summary carries CloudWatch embedded metrics"),
    Setting(
        "LOG_LEVEL", "info", one_of("debug", "info", "warning", "error"), "the least important level that is logged"
    ),
    Setting("LOG_FORMAT", "json", one_of("json", "text"), "`json`, one object a line, or `text` for people"),
)


def described() -> str:
    """The settings as plain text for a terminal, a paragraph each."""
    lines = ["settings, as environment variables; times in seconds:"]
    for setting in SETTINGS:
        meaning = wrap(setting.meaning.replace("`", ""), 94)
        default = f" [{setting.default}]" if setting.default else ""
        lines += [f"  {setting.name}{default}", *(f"      {line}" for line in meaning)]
    return "\n".join(lines)


def from_env(environ: Mapping[str, str]) -> Settings:
    """Read the settings from `environ`; raises BadSettings with every problem there is."""
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
        problems.append(f"{METADATA_URI}: {_shown(given[METADATA_URI])} {error}, or leave it to ECS")
    if not problems:
        problems = contradictions(settings := Settings(plan=Plan(**times), **values))
    if problems:
        raise BadSettings(problems)
    return settings


def _shown(text: str | None) -> str:
    """A refused value as a problem may show it: only what looks like a number.

    Any other text may be a secret, or have one at any place: a URL without its scheme, or another variable's value.
    """
    return repr(text) if text and re.fullmatch(r"[-+]?[0-9][0-9.,_]{0,9}[a-z]{0,3}", text, re.ASCII) else "the value"


def contradictions(settings: Settings) -> list[str]:
    """What is wrong with settings that are each good by themselves, a sentence each."""
    problems = settings.plan.problems()
    if settings.app_health_host and not settings.app_health_url:
        problems.append("APP_HEALTH_HOST: no call is made without APP_HEALTH_URL; set both, or remove the variable")
    if settings.metrics == "emf" and settings.log_format == "text":
        problems.append("METRICS: 'emf' needs LOG_FORMAT=json, as CloudWatch reads the metrics from JSON lines")
    return problems


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """A sentence for each variable that starts with DRAIN_ and is no setting: most likely a typing error."""
    names = [setting.name for setting in SETTINGS]
    return [
        # a name may have bytes that are no UTF-8, which the log cannot have
        f"{name if name.isprintable() else ascii(name)[1:-1]} is not a setting"
        + "".join(f"; did you mean {near}?" for near in get_close_matches(name, names, n=1, cutoff=0.75))
        for name in environ
        if name.startswith("DRAIN_") and name not in names
    ]
