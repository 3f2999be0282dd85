"""The stage of a run: what has to be there before what."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from lab.ecs import aws
from lab.ecs.runtime import Runtime
from lab.ecs.state import ContainerState, TaskState
from lab.parts import serving
from lab.parts.probes import accepts
from lab.run import stage
from lab.run.stage import Stage
from lab.scenarios.all_scenarios import BY_NAME


def test_the_metadata_endpoint_is_there_before_any_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ECS; a container that asks it at once and is refused would give up, as consul-ecs mesh-init does."""
    answering: list[bool] = []

    @asynccontextmanager
    async def served_late(application: web.Application, address: str, port: int) -> AsyncIterator[None]:
        await asyncio.sleep(0.3)
        async with serving.served(application, address, port):
            yield

    async def look(runtime: Runtime) -> None:
        answering.append(await accepts(played.aws_address, aws.PORT))
        raise InterruptedError("seen")

    monkeypatch.setattr(stage, "served", served_late)
    monkeypatch.setattr(Runtime, "keep_count", look)
    played = Stage(BY_NAME["plain"], "none", tmp_path, print)
    with pytest.RaisesGroup(InterruptedError):
        asyncio.run(played.play())
    assert answering == [True]


def test_nothing_changes_before_ecs_knows_that_tasks_are_healthy(tmp_path: Path) -> None:
    """Else an update would stop them at once, as ECS does with what costs it nothing."""
    envoy = ContainerState("envoy", checked=True, status="RUNNING", health="HEALTHY")
    played = cast(Any, Stage(replace(BY_NAME["plain"], tasks=1), "none", tmp_path, print))
    played.runtime = SimpleNamespace(tasks={"one": TaskState("one", "127.1.1.1", "ecs-svc/1", {"envoy": envoy})})
    played.view = SimpleNamespace(hosts={"127.1.1.1": "serving"})
    played.definition.up.add("one")

    async def wait() -> bool:
        waiting = asyncio.ensure_future(played._until_served())
        done, _ = await asyncio.wait([waiting], timeout=0.2)
        envoy.reported_health = "HEALTHY"
        await waiting
        return bool(done)

    assert asyncio.run(wait()) is False
    played.record.close()
    played.definition.close()
