"""A Docker engine for the tests: this machine's own where it can pull the base image, else one that a tool brings up.

CONTAINER_ENGINE names that tool; without it a tool of that name in the folder shared/tools beside the repository is
taken. `TOOL up` gives a running engine and an image python:3.13-slim; `TOOL down` stops an engine that `up` started.
"""

import contextlib
import json
import os
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.parts.processes import wait_for

ROOT = Path(__file__).parents[2]

# finds what an interrupted run has left: docker ps --all --filter label=...
LABEL = "ecs-task-helper-test"

# The tool's base image, less what the official one has not either: the standard library's byte code.
STAND_IN = f"{LABEL}/base"
WITHOUT_BYTE_CODE = "FROM python:3.13-slim\nRUN find /usr -name '*.pyc' -delete\n"

# as ECS runs the helper in a careful task definition
HARDENED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges")


class NoEngine(Exception):
    """Why the image can not be built and run here."""


@dataclass(frozen=True)
class Engine:
    """An engine that answers, and what it takes to build on it.

    base: name of the base image, which the engine has or can pull
    build_flags: of `docker build`
    environ: of every docker command, over this process's own
    """

    base: str
    build_flags: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)

    def docker(self, *arguments: str, given: str = "", seconds: float = 60, check: bool = True) -> str:
        """Run a docker command; its standard output. Raises AssertionError with all it said if it fails."""
        return run("docker", *arguments, environ=self.environ, given=given, seconds=seconds, check=check)

    def build(self, dockerfile: str, tag: str) -> None:
        """Build an image from the repository as it is."""
        arguments = (*self.build_flags, "--build-arg", f"BASE={self.base}", "--file", dockerfile, "--tag", tag, ".")
        self.docker("build", *arguments, seconds=900)

    def remove_image(self, tag: str) -> None:
        """Take the name away; what was built stays in the engine's cache for the next run, as with every build."""
        self.docker("image", "rm", "--force", "--no-prune", tag, check=False)

    def inspect(self, kind: str, name: str) -> Any:
        return json.loads(self.docker(kind, "inspect", name))[0]

    def size(self, image: str) -> int:
        """Bytes, as the engine counts them."""
        size: int = self.inspect("image", image)["Size"]
        return size

    @contextlib.contextmanager
    def container(self, image: str, *command: str, options: tuple[str, ...] = ()) -> Iterator["Container"]:
        """A running container on the host's network. It is removed after the block, whatever happens."""
        name = f"{LABEL}-{secrets.token_hex(6)}"
        try:
            given = ("--name", name, "--label", LABEL, "--network", "host", *options)
            self.docker("run", "--detach", *given, image, *command)
            yield Container(self, name)
        finally:
            self.docker("rm", "--force", "--volumes", name, check=False)

    def output(self, image: str, *command: str, options: tuple[str, ...] = (), seconds: float = 60) -> str:
        """What a command prints that runs to its end in a hardened container of its own."""
        given = ("--rm", "--label", LABEL, "--network", "host", *HARDENED, *options)
        return self.docker("run", *given, image, *command, seconds=seconds)


@dataclass(frozen=True)
class Container:
    engine: Engine
    name: str

    def state(self) -> Any:
        return self.engine.inspect("container", self.name)["State"]

    def log(self) -> str:
        return self.engine.docker("logs", self.name)

    def events(self) -> list[dict[str, Any]]:
        """The helper's log."""
        return [json.loads(line) for line in self.log().splitlines()]

    def wait_for_event(self, event: str) -> None:
        """Until the helper has logged it; raises TimeoutError with the log."""

        def missing() -> str | None:
            events = self.events()
            return None if any(each["event"] == event for each in events) else f"no {event} in {events}"

        wait_for(missing)

    def wait_for_health(self, wanted: str) -> None:
        """Until Docker's view of the HEALTHCHECK is that; raises TimeoutError with the last checks."""

        def other() -> str | None:
            health = self.state()["Health"]
            return None if health["Status"] == wanted else f"{health}"

        wait_for(other)

    def stop(self, seconds: int) -> int:
        """As ECS stops a container: SIGTERM, and SIGKILL after that many seconds; the exit code."""
        self.engine.docker("stop", "--time", str(seconds), self.name, seconds=seconds + 30)
        code: int = self.state()["ExitCode"]
        return code


def environment(variables: dict[str, str]) -> tuple[str, ...]:
    """The options of `docker run` that set these variables."""
    return tuple(word for name, value in variables.items() for word in ("--env", f"{name}={value}"))


def run(
    *command: str, environ: dict[str, str] | None = None, given: str = "", seconds: float = 60, check: bool = True
) -> str:
    """Run a command in the repository, `given` on its standard input; its standard output.

    Raises AssertionError with all it said if it fails.
    """
    # a make that runs the tests is none of the business of a make that a test runs
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=inherited | (environ or {}),
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        timeout=seconds,
    )
    if check and done.returncode:
        raise AssertionError(f"exit code {done.returncode} of {' '.join(command)}\n{done.stdout}\n{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def at_hand() -> Iterator[Engine]:
    """An engine, or NoEngine."""
    if _answers() and (base := pinned_base()) and _has_or_pulls(base):
        yield Engine(base)
        return
    tool = Path(os.environ.get("CONTAINER_ENGINE", ROOT.parent / "shared" / "tools" / "container-engine"))
    if not tool.is_file():
        raise NoEngine("no Docker engine answers that can pull the base image, and CONTAINER_ENGINE names no tool")
    was_up = _answers()
    try:
        run(str(tool), "up", seconds=600)
        # what such an engine needs: it is an older one, without a bridge
        engine = Engine("python:3.13-slim", ("--network", "host"), {"DOCKER_BUILDKIT": "0"})
        engine.docker("build", "--tag", STAND_IN, "-", given=WITHOUT_BYTE_CODE)
        try:
            yield replace(engine, base=STAND_IN)
        finally:
            engine.remove_image(STAND_IN)
    finally:
        if not was_up:
            run(str(tool), "down", check=False)


def pinned_base() -> str:
    """The base image that the Dockerfile names."""
    (base,) = re.findall(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return str(base)


def _answers() -> bool:
    return _succeeds("docker", "info", seconds=10)


def _has_or_pulls(image: str) -> bool:
    return _succeeds("docker", "image", "inspect", image, seconds=10) or _succeeds(
        "docker", "pull", "--quiet", image, seconds=300
    )


def _succeeds(*command: str, seconds: float) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=seconds).returncode == 0
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False
