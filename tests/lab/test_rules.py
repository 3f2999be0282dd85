"""ECS's rules as tables."""

from typing import Any

import pytest

from lab.rules import Container, Step, Task, counts_as_healthy, must_stop, next_step, startable, stoppable


def mesh_task(**states: str) -> Task:
    """A task of Envoy, an application after it, and a helper after both; each container in the given state.

    A state is PENDING, RUNNING, HEALTHY (so RUNNING) or STOPPED.
    """
    depends_on: dict[str, dict[str, Any]] = {
        "envoy": {},
        "application": {"envoy": "HEALTHY"},
        "helper": {"envoy": "HEALTHY", "application": "START"},
    }
    containers = {}
    for name, dependencies in depends_on.items():
        container = containers[name] = Container(name, dependencies, checked=name != "application")
        container.state = "RUNNING" if states[name] == "HEALTHY" else states[name]  # type: ignore[assignment]
        container.health = "HEALTHY" if states[name] == "HEALTHY" else "UNKNOWN"
        container.started_at = None if states[name] == "PENDING" else 10.0
    return Task("id", "127.1.1.1", "ecs-svc/1", containers)


def named(containers: list[Container]) -> list[str]:
    return [container.name for container in containers]


@pytest.mark.parametrize(
    ("envoy", "application", "helper", "start"),
    [
        ("PENDING", "PENDING", "PENDING", ["envoy"]),
        ("RUNNING", "PENDING", "PENDING", []),
        ("HEALTHY", "PENDING", "PENDING", ["application"]),
        ("HEALTHY", "RUNNING", "PENDING", ["helper"]),
        # START is met too by a container that has stopped
        ("HEALTHY", "STOPPED", "PENDING", ["helper"]),
        ("HEALTHY", "RUNNING", "RUNNING", []),
    ],
)
def test_start_order(envoy: str, application: str, helper: str, start: list[str]) -> None:
    """A container starts when the conditions of its own `dependsOn` are met, and not before."""
    assert named(startable(mesh_task(envoy=envoy, application=application, helper=helper))) == start


@pytest.mark.parametrize(
    ("envoy", "application", "helper", "stop"),
    [
        ("HEALTHY", "RUNNING", "HEALTHY", ["helper"]),
        ("HEALTHY", "RUNNING", "STOPPED", ["application"]),
        ("HEALTHY", "STOPPED", "STOPPED", ["envoy"]),
        ("HEALTHY", "STOPPED", "HEALTHY", ["helper"]),
        ("HEALTHY", "PENDING", "PENDING", ["helper"]),
    ],
)
def test_stop_order(envoy: str, application: str, helper: str, stop: list[str]) -> None:
    """A container stops when every container that names it in `dependsOn` has stopped."""
    task = mesh_task(envoy=envoy, application=application, helper=helper)
    assert stoppable(task) == []
    task.desired = "STOPPED"
    assert startable(task) == []
    assert named(stoppable(task)) == stop


def test_stop_order_is_direct_not_transitive() -> None:
    """With helper after application after Envoy only, a crashed application no longer holds Envoy up for the helper."""
    task = mesh_task(envoy="HEALTHY", application="STOPPED", helper="HEALTHY")
    task.containers["helper"].depends_on = {"application": "START"}
    task.desired = "STOPPED"
    assert named(stoppable(task)) == ["envoy", "helper"]


@pytest.mark.parametrize(("essential", "stops"), [(True, True), (False, False)])
def test_an_essential_container_takes_the_task_with_it(essential: bool, stops: bool) -> None:
    """A task must stop when an essential container has stopped by itself, and only then."""
    task = mesh_task(envoy="HEALTHY", application="STOPPED", helper="HEALTHY")
    task.containers["application"].essential = essential
    assert must_stop(task) is stops


def test_a_task_runs_until_its_last_container_has_stopped() -> None:
    """A task is RUNNING from its last essential container's start until its last container has stopped."""
    assert mesh_task(envoy="HEALTHY", application="RUNNING", helper="PENDING").state == "PENDING"
    assert mesh_task(envoy="HEALTHY", application="RUNNING", helper="RUNNING").state == "RUNNING"
    assert mesh_task(envoy="HEALTHY", application="STOPPED", helper="STOPPED").state == "RUNNING"
    assert mesh_task(envoy="STOPPED", application="STOPPED", helper="STOPPED").state == "STOPPED"


@pytest.mark.parametrize(
    ("healths", "health"),
    [
        ({"envoy": "HEALTHY", "helper": "HEALTHY"}, "HEALTHY"),
        ({"envoy": "HEALTHY", "helper": "UNKNOWN"}, "UNKNOWN"),
        ({"envoy": "UNHEALTHY", "helper": "UNKNOWN"}, "UNHEALTHY"),
    ],
)
def test_task_health(healths: dict[str, Any], health: str) -> None:
    """Of a task's essential containers with a check one UNHEALTHY is enough, and all must be HEALTHY."""
    task = mesh_task(envoy="RUNNING", application="RUNNING", helper="RUNNING")
    for name, each in healths.items():
        task.containers[name].health = each
    assert task.health == health


@pytest.mark.parametrize(("now", "counts"), [(49.9, False), (50.0, True)])
def test_a_task_without_checks_counts_after_a_while(now: float, counts: bool) -> None:
    """A task without health checks counts as healthy 40 s after it runs; one with checks only when it is HEALTHY."""
    task = mesh_task(envoy="RUNNING", application="RUNNING", helper="RUNNING")
    assert not counts_as_healthy(task, now, unchecked_wait=40)
    for container in task.containers.values():
        container.checked = False
    assert counts_as_healthy(task, now, unchecked_wait=40) is counts


def service(old: int, new: int) -> list[Task]:
    """That many tasks of the old and of the PRIMARY deployment, named old0, old1 ... new0 ..."""
    return [
        Task(f"{age}{number}", "127.1.1.1", age, {})
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
