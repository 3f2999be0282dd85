"""The rules of ECS's service scheduler as tables."""

import pytest

from lab.ecs.scheduler_rules import Step, counts_as_healthy, next_step
from lab.ecs.state import ContainerState, Health, TaskState


def running(checked: bool, reported_health: Health = "UNKNOWN") -> TaskState:
    """A task that is RUNNING since 10.0, with or without a health check, of which ECS knows this health."""
    container = ContainerState("envoy", checked=checked, status="RUNNING", health="HEALTHY", started_at=10.0)
    container.reported_health = reported_health
    return TaskState("id", "127.1.1.1", "ecs-svc/1", {"envoy": container})


@pytest.mark.parametrize(("now", "counts"), [(49.9, False), (50.0, True)])
def test_a_task_without_checks_counts_after_a_while(now: float, counts: bool) -> None:
    """A task without health checks counts as healthy 40 s after it runs."""
    assert counts_as_healthy(running(checked=False), now, unchecked_wait=40) is counts


@pytest.mark.parametrize(("reported", "counts"), [("UNKNOWN", False), ("HEALTHY", True), ("UNHEALTHY", False)])
def test_a_task_with_checks_counts_once_the_agent_has_reported_it(reported: Health, counts: bool) -> None:
    """A task with health checks counts as healthy when ECS knows that it is HEALTHY, however long it runs."""
    assert counts_as_healthy(running(checked=True, reported_health=reported), now=100, unchecked_wait=40) is counts


def service(old: int, new: int) -> list[TaskState]:
    """That many tasks of the old and of the PRIMARY deployment, named old0, old1 ... new0 ..."""
    return [
        TaskState(f"{age}{number}", "127.1.1.1", age, {})
        for age, count in (("old", old), ("new", new))
        for number in range(count)
    ]


@pytest.mark.parametrize(
    ("old", "new", "desired", "percents", "healthy", "step"),
    [
        # 100 to 200 percent: all new ones first, an old one goes for each that is healthy
        (2, 0, 2, (100, 200), {"old0", "old1"}, Step(start=2)),
        (2, 2, 2, (100, 200), {"old0", "old1"}, Step()),
        (2, 2, 2, (100, 200), {"old0", "old1", "new0"}, Step(stop=("old0",))),
        (2, 2, 2, (100, 200), {"old0", "old1", "new0", "new1"}, Step(stop=("old0", "old1"))),
        # an old one that is not healthy costs nothing
        (2, 2, 2, (100, 200), {"old1"}, Step(stop=("old0",))),
        # 125 percent of 4: one more at a time; of 3: none, rounded down
        (4, 0, 4, (100, 125), {"old0", "old1", "old2", "old3"}, Step(start=1)),
        (3, 0, 3, (100, 125), {"old0", "old1", "old2"}, Step()),
        # 50 to 100 percent: room must be made first
        (2, 0, 2, (50, 100), {"old0", "old1"}, Step(stop=("old0",))),
        (1, 0, 2, (50, 100), {"old0"}, Step(start=1)),
        # scale-out, scale-in, and nothing to do
        (0, 2, 3, (100, 200), {"new0", "new1"}, Step(start=1)),
        (0, 3, 2, (100, 200), {"new0", "new1", "new2"}, Step(stop=("new0",))),
        # the one that is not in service goes first
        (0, 3, 2, (100, 200), {"new0", "new1"}, Step(stop=("new2",))),
        (0, 2, 2, (100, 200), {"new0", "new1"}, Step()),
    ],
)
def test_a_service_moves_towards_its_deployment(
    old: int, new: int, desired: int, percents: tuple[int, int], healthy: set[str], step: Step
) -> None:
    """A service starts and stops what minimum healthy and maximum percent allow, and no more."""
    assert next_step(service(old, new), "new", desired, *percents, healthy=frozenset(healthy)) == step


@pytest.mark.parametrize(
    ("old", "new", "percents", "healthy", "leaving", "step"),
    [
        # an UNHEALTHY task: ECS starts its replacement first, and stops the task when the replacement is healthy
        (0, 2, (100, 200), {"new1"}, {"new0"}, Step(start=1)),
        (0, 3, (100, 200), {"new1"}, {"new0"}, Step()),
        (0, 3, (100, 200), {"new1", "new2"}, {"new0"}, Step(stop=("new0",))),
        # no room for a replacement: ECS stops the task first
        (0, 2, (100, 100), {"new1"}, {"new0"}, Step(stop=("new0",))),
        # a healthy one in a zone that has too many, the same way
        (0, 2, (100, 200), {"new0", "new1"}, {"new0"}, Step(start=1)),
        (0, 3, (50, 200), {"new0", "new1"}, {"new0"}, Step()),
        (0, 3, (100, 200), {"new0", "new1", "new2"}, {"new0"}, Step(stop=("new0",))),
        # in the middle of an update an UNHEALTHY old one stays until the new ones are there, too
        (2, 2, (100, 200), {"old1"}, {"old0"}, Step()),
        (2, 2, (100, 200), {"old1", "new0", "new1"}, {"old0"}, Step(stop=("old0", "old1"))),
    ],
)
def test_the_replacement_starts_first(
    old: int, new: int, percents: tuple[int, int], healthy: set[str], leaving: set[str], step: Step
) -> None:
    """ECS stops a task when its replacement is healthy, where maximum percent has room for both."""
    assert next_step(service(old, new), "new", 2, *percents, healthy=healthy, leaving=leaving) == step


@pytest.mark.parametrize(("keep_old", "stop"), [(True, ()), (False, ("old0", "old1"))])
def test_a_blue_green_deployment_keeps_the_old_ones(keep_old: bool, stop: tuple[str, ...]) -> None:
    """All old tasks run on through the bake time, and all of them stop when it is over."""
    healthy = {"old0", "old1", "new0", "new1"}
    assert next_step(service(2, 2), "new", 2, 100, 200, healthy, keep_old=keep_old) == Step(stop=stop)
