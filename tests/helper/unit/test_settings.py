"""Settings: what is accepted, what is refused, and with which words."""

import pytest

from task_helper.plan import Plan
from task_helper.settings import SETTINGS, BadSettings, Settings, Url, described, from_env, misspelt


def problems(**environ: str) -> tuple[str, ...]:
    with pytest.raises(BadSettings) as raised:
        from_env(environ)
    return raised.value.problems


def test_defaults() -> None:
    """Without any variable the plan is 40 + 40 of 120 seconds, with Envoy's admin API on loopback."""
    assert Settings(
        plan=Plan(drain_delay=40, drain_timeout=40, stop_timeout=120, health_check_interval=30, discovery_lag=40),
        envoy_admin_url=Url("http", "127.0.0.1", 9901),
        app_health_url=None,
        app_health_host=None,
        cloud_map_service=None,
        drain_listeners=False,
        metrics=None,
        log_level="info",
        log_format="json",
    ) == from_env({})


@pytest.mark.parametrize(
    ("text", "seconds"), [("40", 40), ("2.5", 2.5), ("40s", 40), (" 7 ", 7), ("0", 0), ("1e1", 10)]
)
def test_seconds(text: str, seconds: float) -> None:
    """Seconds are plain numbers, fractions allowed, a trailing s accepted."""
    assert seconds == from_env({"DRAIN_DELAY": text}).plan.drain_delay


def test_empty_is_unset() -> None:
    """A variable that is set but empty has its default."""
    assert from_env({}) == from_env({setting.name: " " for setting in SETTINGS})


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("DRAIN_DELAY", "1m", "DRAIN_DELAY: '1m' is not a time; give seconds, such as 40, 2.5 or 40s, or auto"),
        ("DRAIN_DELAY", "nan", "DRAIN_DELAY: the value is not a time; give seconds, such as 40, 2.5 or 40s, or auto"),
        ("DRAIN_TIMEOUT", "-5", "DRAIN_TIMEOUT: '-5' is negative; give seconds, such as 40, 2.5 or 40s, or auto"),
        (
            "STOP_TIMEOUT",
            "5",
            "STOP_TIMEOUT: '5' leaves nothing before the last 5s; give the container's stopTimeout, such as 120",
        ),
        ("HEALTH_CHECK_INTERVAL", "0", "HEALTH_CHECK_INTERVAL: '0' is no time at all; give seconds, such as 30"),
        (
            "ENVOY_ADMIN_URL",
            "127.0.0.1:9901",
            "ENVOY_ADMIN_URL: the value does not begin with http://; give http://HOST:PORT or unix:///PATH",
        ),
        (
            "ENVOY_ADMIN_URL",
            "http://h:x",
            "ENVOY_ADMIN_URL: the value has a host or a port that cannot be read;"
            " give http://HOST:PORT or unix:///PATH",
        ),
        (
            "ENVOY_ADMIN_URL",
            "http://h:1/admin",
            "ENVOY_ADMIN_URL: the value has a path, which the admin API has not;"
            " give http://HOST:PORT or unix:///PATH",
        ),
        (
            "ENVOY_ADMIN_URL",
            "unix://tmp/a",
            "ENVOY_ADMIN_URL: the value names no socket by its whole path; give http://HOST:PORT or unix:///PATH",
        ),
        (
            "APP_HEALTH_URL",
            "https://h/",
            "APP_HEALTH_URL: the value does not begin with http://; give http://HOST:PORT/PATH",
        ),
        (
            "CLOUD_MAP_SERVICE",
            "orders",
            "CLOUD_MAP_SERVICE: the value is not NAMESPACE/SERVICE, such as example.local/orders",
        ),
        (
            "HANDS_OVER_TO",
            "task-helper-2",
            "HANDS_OVER_TO: the value is not CONTAINER:STOP_TIMEOUT;"
            " give the other helper's, such as task-helper-2:120",
        ),
        (
            "TAKES_OVER_FROM",
            "task-helper:2m",
            "TAKES_OVER_FROM: the value has a stopTimeout that is not a time;" " give seconds, such as 40, 2.5 or 40s",
        ),
        (
            "TAKES_OVER_FROM",
            "task-helper:5",
            "TAKES_OVER_FROM: the value has a stopTimeout that leaves nothing before the last 5s;"
            " give the container's stopTimeout, such as 120",
        ),
        ("DRAIN_LISTENERS", "1", "DRAIN_LISTENERS: '1' is none of true, false and graceful"),
        (
            "DRAIN_DELAY",
            "1_0",
            "DRAIN_DELAY: '1_0' is not a time; give seconds, such as 40, 2.5 or 40s, or auto",
        ),
        ("DRAIN_DELAY", "４０", "DRAIN_DELAY: the value is not a time; give seconds, such as 40, 2.5 or 40s, or auto"),
        (
            "ENVOY_ADMIN_URL",
            "http://h:0",
            "ENVOY_ADMIN_URL: the value has port 0, at which no program listens;"
            " give http://HOST:PORT or unix:///PATH",
        ),
        (
            "APP_HEALTH_URL",
            "http://h/a b",
            "APP_HEALTH_URL: the value has a space or another character that a URL has only as %XX;"
            " give http://HOST:PORT/PATH",
        ),
        (
            "APP_HEALTH_URL",
            "http://h/ä",
            "APP_HEALTH_URL: the value has a space or another character that a URL has only as %XX;"
            " give http://HOST:PORT/PATH",
        ),
        (
            "ECS_CONTAINER_METADATA_URI_V4",
            "169.254.170.2/v4",
            "ECS_CONTAINER_METADATA_URI_V4: the value does not begin with http://;"
            " give http://HOST:PORT/PATH, or leave it to ECS",
        ),
        ("METRICS", "statsd", "METRICS: the value is not one of emf"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: the value is not one of debug, info, warning, error"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT: the value is not one of json, text"),
    ],
)
def test_refused(name: str, text: str, problem: str) -> None:
    """A bad value is refused with its variable, the value and the remedy."""
    assert (problem,) == problems(**{name: text})


def test_all_problems_at_once() -> None:
    """Every problem of a bad configuration is in one message, in the order of the settings."""
    names = [problem.partition(":")[0] for problem in problems(LOG_FORMAT="x", DRAIN_DELAY="x", METRICS="x")]

    assert ["DRAIN_DELAY", "METRICS", "LOG_FORMAT"] == names


def test_plan_that_does_not_fit() -> None:
    """A plan that ECS would kill half way is refused with the arithmetic."""
    (problem,) = problems(DRAIN_TIMEOUT="80")

    assert problem.startswith(
        "STOP_TIMEOUT: 120s is too short for DRAIN_DELAY 40s + DRAIN_TIMEOUT 80s + 5s that stay free = 125s"
    )


def test_plan_that_just_fits() -> None:
    """Five seconds of STOP_TIMEOUT are enough to leave."""
    assert 115 == from_env({"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "75"}).plan.budget


def test_auto_that_does_not_fit() -> None:
    """`auto` is refused where DISCOVERY_LAG and one health check of each downstream do not fit."""
    (problem,) = problems(DRAIN_DELAY="auto", DRAIN_TIMEOUT="auto", STOP_TIMEOUT="40")

    assert problem.startswith(
        "STOP_TIMEOUT: 40s is too short for DRAIN_DELAY 40s (at least, as DISCOVERY_LAG is 40s)"
        " + DRAIN_TIMEOUT 31s (at least, as HEALTH_CHECK_INTERVAL is 30s) + 5s that stay free = 76s"
    )


@pytest.mark.parametrize(
    ("given", "least"),
    [
        ({"DRAIN_TIMEOUT": "auto"}, 76),
        ({"DRAIN_TIMEOUT": "20"}, 65),
        ({"DRAIN_TIMEOUT": "auto", "DISCOVERY_LAG": "8", "HEALTH_CHECK_INTERVAL": "5"}, 19),
    ],
)
def test_least_stop_timeout_of_auto(given: dict[str, str], least: int) -> None:
    """The shortest STOP_TIMEOUT of DRAIN_DELAY=auto is DISCOVERY_LAG, the shortest drain and the margin."""
    assert from_env({"DRAIN_DELAY": "auto", "STOP_TIMEOUT": f"{least}", **given}).plan.longest_delay
    assert problems(DRAIN_DELAY="auto", STOP_TIMEOUT=f"{least - 1}", **given)


FIRST, SECOND = {"HANDS_OVER_TO": "task-helper-2:100"}, {"TAKES_OVER_FROM": "task-helper:100"}


@pytest.mark.parametrize(("chain", "name"), [(FIRST, "task-helper-2"), (SECOND, "task-helper")])
def test_chain_that_does_not_fit(chain: dict[str, str], name: str) -> None:
    """A plan that two helpers cannot carry out is refused with the arithmetic of both."""
    (problem,) = problems(DRAIN_TIMEOUT="171", **chain)

    assert problem == (
        f"STOP_TIMEOUT: 120s and the 100s of {name} are too short for DRAIN_DELAY 40s + DRAIN_TIMEOUT 171s"
        " + 10s that stay free = 221s, so ECS would kill the drain half way; make them shorter,"
        " or raise the stopTimeouts of both containers to 221 in all (Fargate allows 120 each)"
    )


def test_chain_of_three() -> None:
    """A helper that both takes over and hands over is refused."""
    (problem,) = problems(**FIRST, **SECOND)

    assert problem.startswith("HANDS_OVER_TO: a chain has two helpers, and TAKES_OVER_FROM makes this one the second; ")


def test_metrics_need_json() -> None:
    """CloudWatch cannot read metrics from text."""
    assert ("METRICS: 'emf' needs LOG_FORMAT=json, as CloudWatch reads the metrics from JSON lines",) == problems(
        METRICS="emf", LOG_FORMAT="text"
    )


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"ENVOY_ADMIN_URL": "http://localhost:19000"}, "http://127.0.0.1:19000"),
        ({"ENVOY_ADMIN_URL": "http://[::1]:9901/"}, "http://[::1]:9901"),
        ({"ENVOY_ADMIN_URL": "unix:///var/run/envoy.sock"}, "unix:///var/run/envoy.sock"),
        ({"ENVOY_ADMIN_ACCESS_PORT": "9902"}, "http://127.0.0.1:9902"),
        ({"ENVOY_ADMIN_ACCESS_PORT": "9902", "ENVOY_ADMIN_URL": "http://10.0.0.1:1"}, "http://10.0.0.1:1"),
    ],
)
def test_admin_url(environ: dict[str, str], url: str) -> None:
    """The admin API is found over TCP, a Unix socket or App Mesh's port; localhost is 127.0.0.1, never resolved."""
    assert url == str(from_env(environ).envoy_admin_url)


@pytest.mark.parametrize(
    ("environ", "url"),
    [
        ({"APP_HEALTH_URL": "http://localhost:8080/ready?deep=1"}, "http://127.0.0.1:8080/ready?…"),
        ({"APP_HEALTH_URL": "http://app"}, "http://app:80"),
        ({"PORT": "8080", "HEALTHCHECK_PATH": "/ping"}, "http://127.0.0.1:8080/ping"),
        ({"PORT": "8080", "HEALTHCHECK_PATH": "ping"}, "http://127.0.0.1:8080/ping"),
    ],
)
def test_health_url(environ: dict[str, str], url: str) -> None:
    """The application is found by its URL, or by the variables that older task definitions set."""
    assert url == str(from_env(environ).app_health_url)


SECRET = "hunter2Zq"


@pytest.mark.parametrize(
    "url",
    [
        "app:8080/health?token={}",
        "localhost:8080/health?token={}",
        "127.0.0.1:8080/health?token={}",
        "//app:8080/health?token={}",
        "http:/app:8080/health?token={}",
        "http:app:8080/health?token={}",
        "https://app:8080/health?token={}",
        "http://app:port/health?token={}",
        "http://app:99999/health?token={}",
        "http://[::1/health?token={}",
        "http://app:8080/health?token={} ",
        "http://app:8080/health?to ken={}",
        "http://app:8080/health#{}",
        "http://app:8080/health?a=1#token={}",
        "http://anna:{}@app:8080/health",
        "http://{}@app:8080/health",
        "anna:{}@app:8080/health",
        "http:/anna:{}@app/health",
        "http://anna:{}@[::1/health",
        "http://app:{}/health",
        "http://?token={}",
        "{}://app:8080/health",
        "{}:8080/health",
        "unix:{}",
        "/{}",
        "{}",
    ],
)
@pytest.mark.parametrize("name", ["APP_HEALTH_URL", "ENVOY_ADMIN_URL", "ECS_CONTAINER_METADATA_URI_V4"])
def test_no_part_of_a_malformed_url_is_shown(name: str, url: str) -> None:
    """A problem names the variable and what is wrong, and has no part of the URL's text."""
    try:
        settings = from_env({name: url.format(SECRET)})
    except BadSettings as error:
        assert SECRET not in f"{error}" and all(problem.startswith(f"{name}: the value ") for problem in error.problems)
    else:  # blank space around a value is no mistake, and what follows a question mark is never shown
        assert SECRET not in f"{settings.shown()}"


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_no_refused_value_is_shown(name: str) -> None:
    """A secret in the wrong variable is refused, and is not shown."""
    assert all(SECRET not in problem for problem in problems(**{name: f"{SECRET}//@"}))


def test_query_is_asked_and_not_shown() -> None:
    """The application is asked with its query, which the log does not have."""
    url = from_env({"APP_HEALTH_URL": "http://h/ready?deep=1"}).app_health_url

    assert url and ("/ready?deep=1", "http://h:80/ready?…") == (url.path, str(url))


@pytest.mark.parametrize("text", ["shop.example.com", "shop:8080", "[::1]:80"])
def test_host_header(text: str) -> None:
    """APP_HEALTH_HOST is a host, with or without a port."""
    assert text == from_env({"APP_HEALTH_URL": "http://h", "APP_HEALTH_HOST": text}).app_health_host


@pytest.mark.parametrize("text", ["a b", "a/b", "http://a", "a\r\nx: y", "ä", "a@b"])
def test_host_header_that_is_none(text: str) -> None:
    """What would end or add a header, or is a URL, is refused."""
    assert ("APP_HEALTH_HOST: the value is not HOST or HOST:PORT, such as shop.example.com",) == problems(
        APP_HEALTH_URL="http://h", APP_HEALTH_HOST=text
    )


def test_host_header_without_url() -> None:
    """APP_HEALTH_HOST alone does nothing, and is refused."""
    (problem,) = problems(APP_HEALTH_HOST="shop.example.com")

    assert problem.startswith("APP_HEALTH_HOST: no call is made without APP_HEALTH_URL; ")


def test_port_alone_says_nothing() -> None:
    """PORT is set for many reasons; without HEALTHCHECK_PATH it names no health check."""
    assert from_env({"PORT": "8080"}).app_health_url is None


@pytest.mark.parametrize(
    "host",
    ["envoy", "envoy.local.", "a" * 63, "[::1]", "127.0.0.1", "envoy..local", ".envoy", "envoy..", ".", "a" * 64],
)
def test_names_that_no_host_can_have(host: str) -> None:
    """A URL is refused where its host is a name that Python cannot resolve, and the refusal does not show it."""
    environ = {name: f"http://{host}:9901" for name in ("ENVOY_ADMIN_URL", "APP_HEALTH_URL")}
    environ["ECS_CONTAINER_METADATA_URI_V4"] = f"http://{host}/v4/x"
    try:
        host.encode("idna")
    except UnicodeError:
        found = problems(**environ)
        assert 3 == len(found) and all("the value has a host that no name server knows" in each for each in found)
    else:
        from_env(environ)


def test_misspelt() -> None:
    """An unknown variable that starts with DRAIN_ is named, with what it may have been meant to be."""
    assert [
        "DRAIN_TIMOUT is not a setting; did you mean DRAIN_TIMEOUT?",
        "DRAIN_XYZ is not a setting",
    ] == misspelt({"DRAIN_TIMOUT": "1", "DRAIN_DELAY": "1", "DRAIN_XYZ": "", "PATH": ""})


@pytest.mark.parametrize(
    ("name", "shown"), [("DRAIN_\udcff", "DRAIN_\\udcff"), ("DRAIN_\n", "DRAIN_\\n"), ("DRAIN_é",) * 2]
)
def test_misspelt_with_what_cannot_be_shown(name: str, shown: str) -> None:
    """Bytes that are no UTF-8, and control characters, are shown by their numbers."""
    assert [f"{shown} is not a setting"] == misspelt({name: "1"})


def test_described() -> None:
    """The help text names every setting with its default."""
    text = described()

    assert all(f"  {setting.name}" in text for setting in SETTINGS)
    assert "  DRAIN_DELAY [40]" in text


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("False", False), ("Graceful", "graceful")])
def test_drain_listeners(text: str, meant: bool | str) -> None:
    """DRAIN_LISTENERS is one of three, in any case."""
    assert meant == from_env({"DRAIN_LISTENERS": text}).drain_listeners
