"""The stage of a run: what has to be there before what."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from lab import aws, serving, stage
from lab.probes import accepts
from lab.scenario import SCENARIOS
from lab.scheduler import Scheduler
from lab.stage import Stage


def test_the_metadata_endpoint_is_there_before_any_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in ECS; a container that asks it at once and is refused would give up, as consul-ecs mesh-init does."""
    served: list[bool] = []

    async def serve_late(application: web.Application, address: str, port: int) -> None:
        await asyncio.sleep(0.3)
        await serving.serve(application, address, port)

    async def look(scheduler: Scheduler) -> None:
        served.append(await accepts(played.aws_address, aws.PORT))
        raise InterruptedError("seen")

    monkeypatch.setattr(stage, "serve", serve_late)
    monkeypatch.setattr(Scheduler, "keep_count", look)
    played = Stage(SCENARIOS[0], "none", tmp_path, print)
    with pytest.RaisesGroup(InterruptedError):
        asyncio.run(played.play())
    assert served == [True]
