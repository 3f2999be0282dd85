"""Settings: which values are accepted, which are refused, and the messages."""

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
    """Seconds are plain numbers; fractions and a trailing s are accepted."""
    assert seconds == from_env({"DRAIN_DELAY": text}).plan.drain_delay


def test_empty_is_unset() -> None:
    """A variable that is set but empty gets its default."""
    assert from_env({}) == from_env({setting.name: " " for setting in SETTINGS})


ADMIN = "give http://HOST:PORT or unix:///PATH, such as http://127.0.0.1:9901"
HEALTH = "give http://HOST:PORT/PATH, such as http://127.0.0.1:8080/health"


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("DRAIN_DELAY", "1m", "DRAIN_DELAY: '1m' is not a time; give seconds, such as 40, 2.5 or 40s, or auto"),
        ("DRAIN_DELAY", "nan", "DRAIN_DELAY: the value is not a time; give seconds, such as 40, 2.5 or 40s, or auto"),
        ("DRAIN_TIMEOUT", "-5", "DRAIN_TIMEOUT: '-5' is negative; give seconds, such as 40, 2.5 or 40s, or auto"),
        (
            "STOP_TIMEOUT",
            "5",
            "STOP_TIMEOUT: '5' must be greater than 5s; give the container's stopTimeout, such as 120",
        ),
        ("HEALTH_CHECK_INTERVAL", "0", "HEALTH_CHECK_INTERVAL: '0' must be greater than 0; give seconds, such as 30"),
        (
            "ENVOY_ADMIN_URL",
            "127.0.0.1:9901",
            f"ENVOY_ADMIN_URL: the value must start with http://; {ADMIN}",
        ),
        (
            "ENVOY_ADMIN_URL",
            "http://h:x",
            f"ENVOY_ADMIN_URL: the value has an invalid host or port; {ADMIN}",
        ),
        (
            "ENVOY_ADMIN_URL",
            "http://h:1/admin",
            f"ENVOY_ADMIN_URL: the value must not have a path; {ADMIN}",
        ),
        (
            "ENVOY_ADMIN_URL",
            "unix://tmp/a",
            f"ENVOY_ADMIN_URL: the value must have an absolute path to a socket; {ADMIN}",
        ),
        (
            "APP_HEALTH_URL",
            "https://h/",
            f"APP_HEALTH_URL: the value must start with http://; {HEALTH}",
        ),
        (
            "CLOUD_MAP_SERVICE",
            "orders",
            "CLOUD_MAP_SERVICE: the value must be NAMESPACE/SERVICE, such as example.local/orders",
        ),
        (
            "HANDS_OVER_TO",
            "task-helper-2",
            "HANDS_OVER_TO: the value must be CONTAINER:STOP_TIMEOUT of the other helper, such as task-helper-2:120",
        ),
        (
            "TAKES_OVER_FROM",
            "task-helper:2m",
            "TAKES_OVER_FROM: the value has a stopTimeout that is not a time; give seconds, such as 40, 2.5 or 40s",
        ),
        (
            "TAKES_OVER_FROM",
            "task-helper:5",
            "TAKES_OVER_FROM: the value has a stopTimeout that must be greater than 5s;"
            " give the container's stopTimeout, such as 120",
        ),
        ("DRAIN_LISTENERS", "1", "DRAIN_LISTENERS: '1' must be true, false or graceful"),
        (
            "DRAIN_DELAY",
            "1_0",
            "DRAIN_DELAY: '1_0' is not a time; give seconds, such as 40, 2.5 or 40s, or auto",
        ),
        ("DRAIN_DELAY", "４０", "DRAIN_DELAY: the value is not a time; give seconds, such as 40, 2.5 or 40s, or auto"),
        (
            "ENVOY_ADMIN_URL",
            "http://h:0",
            f"ENVOY_ADMIN_URL: the value has port 0; ports are 1 to 65535; {ADMIN}",
        ),
        (
            "APP_HEALTH_URL",
            "http://h/a b",
            f"APP_HEALTH_URL: the value has a space or another character that must be written as %XX; {HEALTH}",
        ),
        (
            "APP_HEALTH_URL",
            "http://h/ä",
            f"APP_HEALTH_URL: the value has a space or another character that must be written as %XX; {HEALTH}",
        ),
        (
            "ECS_CONTAINER_METADATA_URI_V4",
            "169.254.170.2/v4",
            "ECS_CONTAINER_METADATA_URI_V4: the value must start with http://;"
            f" {HEALTH}, or remove the variable: ECS sets it",
        ),
        ("METRICS", "statsd", "METRICS: the value must be emf"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: the value must be debug or info or warning or error"),
        ("LOG_FORMAT", "xml", "LOG_FORMAT: the value must be json or text"),
    ],
)
def test_refused(name: str, text: str, problem: str) -> None:
    """The message for a bad value has its variable, what is wrong, what is allowed and an example."""
    assert (problem,) == problems(**{name: text})


def test_all_problems_at_once() -> None:
    """One message has every problem of a bad configuration, in the order of the settings."""
    names = [problem.partition(":")[0] for problem in problems(LOG_FORMAT="x", DRAIN_DELAY="x", METRICS="x")]

    assert ["DRAIN_DELAY", "METRICS", "LOG_FORMAT"] == names


def test_plan_that_does_not_fit() -> None:
    """The helper refuses a plan that ECS would kill during the drain, and shows the arithmetic."""
    (problem,) = problems(DRAIN_TIMEOUT="80")

    assert problem.startswith(
        "STOP_TIMEOUT: 120s is too short for DRAIN_DELAY 40s + DRAIN_TIMEOUT 80s + 5s in reserve = 125s"
    )


def test_plan_that_just_fits() -> None:
    """A plan fits if it leaves five seconds of STOP_TIMEOUT."""
    assert 115 == from_env({"DRAIN_DELAY": "40", "DRAIN_TIMEOUT": "75"}).plan.budget


def test_auto_that_does_not_fit() -> None:
    """The helper refuses `auto` if DISCOVERY_LAG and one health check of each downstream do not fit."""
    (problem,) = problems(DRAIN_DELAY="auto", DRAIN_TIMEOUT="auto", STOP_TIMEOUT="40")

    assert problem.startswith(
        "STOP_TIMEOUT: 40s is too short for DRAIN_DELAY 40s (at least, because DISCOVERY_LAG is 40s)"
        " + DRAIN_TIMEOUT 31s (at least, because HEALTH_CHECK_INTERVAL is 30s) + 5s in reserve = 76s"
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
    """The helper refuses a plan that does not fit into both helpers' time, and shows the arithmetic of both."""
    (problem,) = problems(DRAIN_TIMEOUT="171", **chain)

    assert problem == (
        f"STOP_TIMEOUT: 120s and the 100s of {name} are too short for DRAIN_DELAY 40s + DRAIN_TIMEOUT 171s"
        " + 10s in reserve = 221s, so ECS would kill the helper during the drain; make them shorter,"
        " or raise the stopTimeouts of both containers to 221 in all (Fargate allows 120 each)"
    )


def test_chain_of_three() -> None:
    """The helper refuses to be both the first and the second of a chain."""
    (problem,) = problems(**FIRST, **SECOND)

    assert problem.startswith(
        "HANDS_OVER_TO: a chain has only two helpers, and TAKES_OVER_FROM makes this one the second; "
    )


def test_metrics_need_json() -> None:
    """CloudWatch cannot read metrics from text."""
    assert ("METRICS: 'emf' needs LOG_FORMAT=json, because CloudWatch reads metrics from JSON lines",) == problems(
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
    """The admin API is found over TCP, a Unix socket or App Mesh's port. localhost becomes 127.0.0.1 and is not
    resolved.
    """
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
    """The application's health check is found by its URL, or by the variables of older task definitions."""
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
    """A problem names the variable and what is wrong, and contains no part of the URL's text."""
    try:
        settings = from_env({name: url.format(SECRET)})
    except BadSettings as error:
        assert SECRET not in f"{error}" and all(problem.startswith(f"{name}: the value ") for problem in error.problems)
    else:  # blank space around a value is accepted, and the query is never shown
        assert SECRET not in f"{settings.shown()}"


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_no_refused_value_is_shown(name: str) -> None:
    """The helper refuses a secret in the wrong variable, and does not show it."""
    assert all(SECRET not in problem for problem in problems(**{name: f"{SECRET}//@"}))


def test_query_is_sent_and_not_shown() -> None:
    """The application's health check sends the query, but the log does not show it."""
    url = from_env({"APP_HEALTH_URL": "http://h/ready?deep=1"}).app_health_url

    assert url and ("/ready?deep=1", "http://h:80/ready?…") == (url.path, str(url))


@pytest.mark.parametrize("text", ["shop.example.com", "shop:8080", "[::1]:80"])
def test_host_header(text: str) -> None:
    """APP_HEALTH_HOST is a host, with or without a port."""
    assert text == from_env({"APP_HEALTH_URL": "http://h", "APP_HEALTH_HOST": text}).app_health_host


@pytest.mark.parametrize("text", ["a b", "a/b", "http://a", "a\r\nx: y", "ä", "a@b"])
def test_host_header_that_is_none(text: str) -> None:
    """The helper refuses a URL, and a value that would end or add a header."""
    assert ("APP_HEALTH_HOST: the value must be HOST or HOST:PORT, such as shop.example.com",) == problems(
        APP_HEALTH_URL="http://h", APP_HEALTH_HOST=text
    )


def test_host_header_without_url() -> None:
    """The helper refuses APP_HEALTH_HOST without APP_HEALTH_URL, because it would have no effect."""
    (problem,) = problems(APP_HEALTH_HOST="shop.example.com")

    assert problem.startswith("APP_HEALTH_HOST: it has no effect without APP_HEALTH_URL; ")


def test_port_alone_is_no_health_check() -> None:
    """PORT without HEALTHCHECK_PATH configures no health check: it is set for many reasons."""
    assert from_env({"PORT": "8080"}).app_health_url is None


@pytest.mark.parametrize(
    "host",
    ["envoy", "envoy.local.", "a" * 63, "[::1]", "127.0.0.1", "envoy..local", ".envoy", "envoy..", ".", "a" * 64],
)
def test_invalid_host_names(host: str) -> None:
    """The helper refuses a URL whose host is a name that Python cannot resolve, and does not show it."""
    environ = {name: f"http://{host}:9901" for name in ("ENVOY_ADMIN_URL", "APP_HEALTH_URL")}
    environ["ECS_CONTAINER_METADATA_URI_V4"] = f"http://{host}/v4/x"
    try:
        host.encode("idna")
    except UnicodeError:
        found = problems(**environ)
        assert 3 == len(found) and all("the value has an invalid host" in each for each in found)
    else:
        from_env(environ)


def test_misspelt() -> None:
    """The warning about an unknown variable that starts with DRAIN_ suggests a setting with a similar name."""
    assert [
        "DRAIN_TIMOUT is not a setting; did you mean DRAIN_TIMEOUT?",
        "DRAIN_XYZ is not a setting",
    ] == misspelt({"DRAIN_TIMOUT": "1", "DRAIN_DELAY": "1", "DRAIN_XYZ": "", "PATH": ""})


@pytest.mark.parametrize(
    ("name", "shown"), [("DRAIN_\udcff", "DRAIN_\\udcff"), ("DRAIN_\n", "DRAIN_\\n"), ("DRAIN_é",) * 2]
)
def test_misspelt_with_unprintable_characters(name: str, shown: str) -> None:
    """Control characters, and bytes that are not UTF-8, are shown as escapes."""
    assert [f"{shown} is not a setting"] == misspelt({name: "1"})


def test_described() -> None:
    """The help text names every setting with its default."""
    text = described()

    assert all(f"  {setting.name}" in text for setting in SETTINGS)
    assert "  DRAIN_DELAY [40]" in text


@pytest.mark.parametrize(("text", "meant"), [("true", True), ("False", False), ("Graceful", "graceful")])
def test_drain_listeners(text: str, meant: bool | str) -> None:
    """DRAIN_LISTENERS accepts three values, in upper or lower case."""
    assert meant == from_env({"DRAIN_LISTENERS": text}).drain_listeners
