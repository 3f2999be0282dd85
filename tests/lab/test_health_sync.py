"""The imitation of `consul-ecs-health-sync`: its reports to Consul, from a task's metadata and on SIGTERM."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from lab.ecs import engine
from lab.meshes.health_sync import envoy_has_stopped, status_of
from lab.parts.processes import free_address
from lab.parts.serving import served

PORT = 8500


def container(name: str, status: str | None, known: str = "RUNNING") -> dict[str, Any]:
    """A container whose health check says `status`: empty while it is unknown, None without a check."""
    health = {} if status is None else {"Health": {"status": status} if status else {}}
    return {"Name": name, "KnownStatus": known, **health}


@pytest.mark.parametrize(
    ("healths", "status"),
    [
        ({"envoy": "HEALTHY", "helper": "HEALTHY", "application": None}, "passing"),
        ({"envoy": "HEALTHY", "helper": ""}, "critical"),
        ({"envoy": "HEALTHY", "helper": "UNHEALTHY"}, "critical"),
        ({"envoy": "HEALTHY", "helper": None}, "critical"),
        ({"envoy": "HEALTHY"}, "critical"),
    ],
)
def test_a_task_passes_once_all_that_it_follows_are_healthy(healths: dict[str, str | None], status: str) -> None:
    """Nothing is known yet of a container whose check has not run, nor of one that the agent has not created."""
    assert status_of(["envoy", "helper"], [container(*each) for each in healths.items()]) == status


def test_envoy_has_stopped_when_the_metadata_says_so() -> None:
    """Another container's stop is not Envoy's."""
    assert not envoy_has_stopped([container("envoy", "HEALTHY"), container("application", None, "STOPPED")])
    assert envoy_has_stopped([container("envoy", "UNHEALTHY", "STOPPED")])


@pytest.mark.parametrize("refused", [False, True])
def test_its_own_sigterm_makes_the_task_critical(refused: bool, tmp_path: Path) -> None:
    """It reports the task as passing, on SIGTERM as critical, and deregisters it when Envoy has stopped.

    As the real one it reports the task as critical once, also where Consul refuses the report.
    """
    containers = [container("envoy", "HEALTHY")]
    reported: list[str] = []
    heard = asyncio.Event()

    async def metadata(request: web.Request) -> web.Response:
        return web.json_response({"Containers": containers})

    async def register(request: web.Request) -> web.Response:
        reported.append((await request.json())["Check"]["Status"])
        heard.set()
        return web.json_response(True, status=500 if refused and reported[-1] == "critical" else 200)

    async def deregister(request: web.Request) -> web.Response:
        reported.append("deregistered")
        return web.json_response(True)

    async def live() -> int:
        address = free_address()
        application = web.Application()
        application.router.add_get("/helper/task", metadata)
        application.router.add_put("/v1/catalog/register", register)
        application.router.add_put("/v1/catalog/deregister", deregister)
        url = f"http://{address}:{PORT}"
        options = ["--consul", url, "--metadata", f"{url}/helper", "--task", "one", "--address", "127.1.1.1"]
        command = [
            sys.executable,
            "-m",
            "lab.meshes.health_sync",
            *options,
            "--port",
            "15000",
            "--containers",
            "envoy",
            "--interval",
            "0.05",
        ]
        async with served(application, address, PORT):
            process = await engine.start(command, os.environ, tmp_path / "log", None, None)
            try:
                async with asyncio.timeout(60):
                    await heard.wait()
                    heard.clear()
                    process.send_signal(signal.SIGTERM)
                    await heard.wait()
                    await asyncio.sleep(0.3)  # in which it would repeat the call
                    assert process.returncode is None
                    containers[:] = [container("envoy", "UNHEALTHY", "STOPPED")]
                    return await process.wait()
            finally:
                process.kill()
                await process.wait()

    assert asyncio.run(live()) == 0
    assert reported == ["passing", "critical", "deregistered"]
