"""What a look at the service asks, and what it makes of a step that fails.

Contract tests make the same calls in threads.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from task_helper.ecs.api import DescribedService, DescribedTask, Seen
from task_helper.ecs.metadata import Metadata, TaskMetadata
from task_helper.ecs.replacement import Look, Other
from task_helper.ecs.service import looking
from tests.helper import virtual
from tests.helper.fakes import SINCE

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)
OTHER = DescribedTask("arn/2", last_status="RUNNING", desired_status="RUNNING", started_at=NOW - timedelta(seconds=30))


class Service:
    """The service of task 1, with task 2, which has run for 30 s. Cloud Map lists both.

    `steps` has what was asked. A step in `takes` takes so many seconds, and one in `fails` fails with this cause.
    """

    task_arn = "arn/1"

    def __init__(self, *tasks: DescribedTask) -> None:
        self.seen = Seen(DescribedService(1, 1), tasks, at=NOW)
        self.steps: list[str] = []
        self.takes: dict[str, float] = {}
        self.fails: dict[str, str] = {}

    def connect(self, task: TaskMetadata, cloud_map_service: str | None) -> "Service":
        return self

    def see(self) -> Seen:
        return self.seen

    def listed(self, service: DescribedService) -> set[str]:
        assert service is self.seen.service
        return {"1", "2"}

    async def in_thread(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Instead of `asyncio.to_thread`, in virtual time."""
        step = call.__name__
        self.steps.append(step)
        await asyncio.sleep(self.takes.get(step, 0.0))
        if step in self.fails:
            raise OSError(self.fails[step])
        return call(*arguments)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    async def task(self: Metadata) -> TaskMetadata:
        return TaskMetadata()

    service = Service(DescribedTask("arn/1"), OTHER)
    monkeypatch.setattr(Metadata, "ask_for_task", task)
    monkeypatch.setattr("task_helper.ecs.service._connect", service.connect)
    monkeypatch.setattr(asyncio, "to_thread", service.in_thread)
    return service


def looks(*listing_only: bool, every: float = 0.0, meanwhile: Callable[[], None] = lambda: None) -> list[Look | str]:
    """Looks with a pause of `every` seconds, and with `meanwhile` after each; of a look that fails, the cause."""

    async def look_repeatedly() -> list[Look | str]:
        look, found = looking(Metadata(None, SINCE), None), list[Look | str]()
        for each in listing_only:
            try:
                found.append(await look(each))
            except OSError as error:
                found.append(str(error))
            meanwhile()
            await asyncio.sleep(every)
        return found

    return virtual.run(look_repeatedly())


@pytest.mark.parametrize(
    ("listing_only", "steps"),
    [
        ([False, False], ["connect", "see", "listed", "see", "listed"]),
        ([False, True, True], ["connect", "see", "listed", "listed", "listed"]),
        ([True, True], ["connect", "see", "listed", "listed"]),
    ],
)
def test_steps(service: Service, listing_only: list[bool], steps: list[str]) -> None:
    """AWS's client is made once; ECS is asked at first, and for each look that is not at the listing alone."""
    looks(*listing_only)

    assert steps == service.steps


def test_age_between_two_answers_of_ecs(service: Service) -> None:
    """A look at the listing alone knows how old a task has become since ECS's answer."""
    assert [30, 37, 30] == [look.others[0].age for look in looks(False, True, False, every=7) if isinstance(look, Look)]


def test_service_without_tasks(service: Service) -> None:
    """If ECS shows no tasks, Cloud Map is not asked."""
    service.seen = Seen(DescribedService(3, 2))

    assert [Look(3, 3, [])] == looks(False)
    assert "listed" not in service.steps


@pytest.mark.parametrize(("step", "name"), [("connect", "AWS's client"), ("see", "ECS")])
def test_step_that_hangs(service: Service, step: str, name: str) -> None:
    """A look fails when AWS's client or ECS gives no answer within ten seconds; the cause names which."""
    service.takes[step] = 11

    assert [f"{name} gave no answer within 10 s"] == looks(False)
    service.takes[step] = 9
    assert isinstance(looks(False)[0], Look)


@pytest.mark.parametrize(
    ("takes", "fails", "cause"),
    [
        (11, {}, "Cloud Map gave no answer within 10 s"),
        (0, {"listed": "DiscoverInstances: Throttled"}, "DiscoverInstances: Throttled"),
    ],
)
def test_cloud_map_that_gives_no_answer(
    service: Service, takes: float, fails: dict[str, str], cause: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A look without Cloud Map's answer shows ECS's; each cause is logged once, and the next answer counts."""
    service.takes["listed"], service.fails = takes, fails

    def recovers() -> None:
        if service.steps.count("listed") == 2:
            service.takes, service.fails = {}, {}

    failed, again, works = looks(False, False, False, meanwhile=recovers)

    assert failed == again == Look(1, 1, [Other("arn/2", 30 + min(takes, 10), None, None)], listing_failed=True)
    assert works == Look(1, 1, [Other("arn/2", 30, None, True)], listing_failed=False)
    assert [{"cause": cause}] == [getattr(record, "fields") for record in caplog.records]


def test_last_listing(service: Service) -> None:
    """While Cloud Map fails, its last answer counts."""

    def fails() -> None:
        service.fails["listed"] = "DiscoverInstances: Throttled"

    _, failed = looks(False, True, meanwhile=fails)

    assert failed == Look(1, 1, [Other("arn/2", 30, None, True)], listing_failed=True)
