"""No output of the helper has a secret, with any settings, any answers and any failures."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.helper.process.program import PROGRAM, command, metadata_of, started, wait_until_armed

SECRET = "hunter2Zq"
ARN = "arn:aws:ecs:eu-west-1:123456789012:task/c/1"
SHORT = {"DRAIN_TIMEOUT": "0.5", "HEALTH_CHECK_INTERVAL": "0.5", "STOP_TIMEOUT": "12", "LOG_LEVEL": "debug"}


@contextmanager
def answering(status: int, body: str, headers: Mapping[str, str] | None = None) -> Iterator[int]:
    """A server that answers each request so; its port."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", "0")))
            self.send_response(status, SECRET)
            for name, value in {"content-length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def babbling() -> Iterator[int]:
    """A server whose answers are no HTTP; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(f"HTTP/1.1 {SECRET} {SECRET}\r\n\r\n".encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def output(settings: Mapping[str, str], *program: str, until: str = "summary") -> str:
    """All that a life of the helper prints, in which SIGTERM comes at once, up to the line with the word `until`."""
    command = program or (str(PROGRAM), "run")
    with started(command, settings, stderr=subprocess.STDOUT) as process:
        wait_until_armed(process.pid)
        assert process.stdout
        text = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        for line in process.stdout:
            text += line
            if until in line and until != "summary":
                break
        return text


def life(settings: Mapping[str, str], *program: str, until: str = "summary") -> list[dict[str, Any]]:
    """The lines of such a life to its end, or to the event `until`, all of them JSON and without the secret."""
    text = output({**SHORT, **settings}, *program, until=until)
    assert SECRET not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert until == lines[-1]["event"]
    return lines


def causes(lines: list[dict[str, Any]], event: str) -> str:
    """The causes in the lines with this event."""
    return " ".join(line["cause"] for line in lines if line["event"] == event)


def test_refused_settings() -> None:
    """Settings that are refused are not shown, whichever variable has the secret."""
    settings = {
        "APP_HEALTH_URL": f"app:8080/health?token={SECRET}",
        "ENVOY_ADMIN_URL": f"http://admin:{SECRET}@127.0.0.1:9901",
        "ECS_CONTAINER_METADATA_URI_V4": f"169.254.170.2/v4/{SECRET}",
        "DRAIN_DELAY": SECRET,
        "STOP_TIMEOUT": SECRET,
        "CLOUD_MAP_SERVICE": SECRET,
        "HANDS_OVER_TO": SECRET,
        "LOG_LEVEL": SECRET,
        "DRAIN_TIMOUT": SECRET,
    }
    for name in ("run", "plan"):
        done = command(name, **settings)
        assert 78 == done.returncode and SECRET not in done.stdout + done.stderr
        assert all(name in done.stdout + done.stderr for name in settings.keys() - {"DRAIN_TIMOUT"})


@pytest.mark.parametrize("format", ["json", "text"])
def test_answers_with_secrets(format: str) -> None:
    """The log has no answers of Envoy, the application or the metadata endpoint, and no query of a URL."""
    with answering(500, SECRET) as application, babbling() as envoy, answering(200, SECRET) as metadata:
        text = output(
            {
                **SHORT,
                "LOG_FORMAT": format,
                "DRAIN_DELAY": "auto",
                "DISCOVERY_LAG": "1",
                "APP_HEALTH_URL": f"http://127.0.0.1:{application}/health?token={SECRET}",
                "ENVOY_ADMIN_URL": f"http://127.0.0.1:{envoy}",
                "ECS_CONTAINER_METADATA_URI_V4": f"http://127.0.0.1:{metadata}/v4/0123456789abcdef0123456789abcdef-1",
            }
        )

    assert SECRET not in text and "0123456789abcdef" not in text
    assert "not an HTTP answer" in text and "summary" in text


# how the helper's calls to AWS fail | the cause in the log
CREDENTIALS = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
AWS_FAILURES: dict[str, tuple[int, str, dict[str, str], str]] = {
    "credentials are refused": (
        500,
        SECRET,
        {CREDENTIALS: f"http://127.0.0.1:{{port}}/{SECRET}"},
        "AWS's client: the credentials of the task's role cannot be read (CredentialRetrievalError)",
    ),
    "credentials lack a key": (
        200,
        json.dumps({"AccessKeyId": SECRET}),
        {CREDENTIALS: f"http://127.0.0.1:{{port}}/{SECRET}"},
        "AWS's client: ",
    ),
    "the API answers an error": (
        400,
        json.dumps({"__type": f"{SECRET}#{SECRET} x", "message": SECRET}),
        {"AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET},
        "DescribeTasks: an error without a code",
    ),
    "the API's URL has a password": (
        200,
        SECRET,
        {
            "AWS_ACCESS_KEY_ID": SECRET,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL_ECS": f"http://anna:{SECRET}@127.0.0.1:1/{SECRET}",
        },
        "DescribeTasks: could not connect (EndpointConnectionError)",
    ),
    "the API's URL is none": (
        200,
        SECRET,
        {"AWS_ACCESS_KEY_ID": SECRET, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL_ECS": f"{SECRET}:443"},
        "AWS's client: the call failed (ValueError)",
    ),
    "variables of the application": (
        200,
        SECRET,
        {
            "AWS_ACCESS_KEY_ID": SECRET,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_PROFILE": SECRET,
            "AWS_CONFIG_FILE": f"/{SECRET}",
            "AWS_ENDPOINT_URL": SECRET,
            "AWS_RETRY_MODE": SECRET,
        },
        "DescribeTasks: ",
    ),
}


@pytest.mark.parametrize("name", AWS_FAILURES)
def test_failures_of_aws(name: str) -> None:
    """The log reports a failed call to AWS in the helper's own words, and not as a fault."""
    lines, because = with_aws(name, "replacement_unknown", DISCOVERY_LAG="60", STOP_TIMEOUT="90")

    assert because in causes(lines, "replacement_unknown")
    assert not [line for line in lines if line["event"] == "fault"]


def test_failure_of_aws_costs_its_own_time() -> None:
    """A helper whose calls to AWS fail continues its plan, as far as that can be confirmed."""
    lines, _ = with_aws("credentials are refused", "summary", DISCOVERY_LAG="2")

    assert not [line for line in lines if line["event"] == "fault"] and 75 == lines[-1]["exit_code"]


def with_aws(name: str, until: str, **settings: str) -> tuple[list[dict[str, Any]], str]:
    """The lines of a life with `auto` up to that event, where AWS fails in this way; and the expected cause."""
    status, body, variables, because = AWS_FAILURES[name]
    with answering(status, body) as port, metadata_of([], {"TaskARN": ARN, "Cluster": "c"}) as uri:
        endpoints = {f"AWS_ENDPOINT_URL_{api}": f"http://127.0.0.1:{port}" for api in ("ECS", "SERVICEDISCOVERY")} | {
            "AWS_EC2_METADATA_DISABLED": "true"
        }
        given = {name: value.replace("{port}", str(port)) for name, value in (endpoints | variables).items()}
        plan = {"DRAIN_DELAY": "auto", "ECS_CONTAINER_METADATA_URI_V4": uri, **settings}
        return life({**given, **plan}, until=until), because


# errors with secrets, where the helper expects none
BROKEN = """
import sys, threading, warnings
import task_helper.life.delay as delay, task_helper.__main__ as program
from task_helper.ecs import metadata
SECRET = "{secret}"
class Broken:
    def __del__(self): raise ValueError(SECRET)
async def until_replaced(*_):
    warnings.warn(SECRET)
    Broken()
    thread = threading.Thread(target=lambda: int(SECRET))
    thread.start()
    thread.join()
    import logging
    logging.getLogger(SECRET[:0] + "library").error("could not get %s", SECRET, exc_info=ValueError(SECRET))
    try:
        open(f"/nowhere/{{SECRET}}")
    except OSError as error:
        raise RuntimeError(f"no {{SECRET}}") from error
delay.until_replaced = until_replaced
sys.argv[1:] = ["run"]
program.main()
"""


def test_faults() -> None:
    """The helper's own errors, those of threads, warnings and libraries' messages are logged without their texts."""
    program = (sys.executable, "-c", BROKEN.format(secret=SECRET))
    lines = life({"DRAIN_DELAY": "1", "PYTHONWARNINGS": "always"}, *program)

    (fault,) = [line for line in lines if line["event"] == "fault"]
    assert "builtins.FileNotFoundError" in fault["traceback"] and fault["traceback"].endswith("builtins.RuntimeError")
    assert len([line for line in lines if line["event"] == "log"]) >= 4
    assert 70 == lines[-1]["exit_code"] and os.path.basename(__file__) not in fault["traceback"]
