"""How the tasks that ECS describes look to the judgement."""

from datetime import datetime, timedelta, timezone

import pytest

from task_helper.asks.ecs import (
    Attachment,
    Container,
    DeploymentConfiguration,
    Detail,
    Seen,
    Service,
    Task,
    others_of,
    wanted,
)
from task_helper.judges.replacement import Other

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


def task(
    arn: str, *, health: str = "UNKNOWN", last: str = "RUNNING", desired: str = "RUNNING", **containers: str
) -> Task:
    return Task(
        task_arn=f"arn:task/{arn}",
        last_status=last,
        desired_status=desired,
        health_status=health,
        started_at=NOW - timedelta(seconds=30) if last == "RUNNING" else None,
        containers=[Container(name, status) for name, status in containers.items()],
        attachments=[Attachment([Detail("privateIPv4Address", f"10.0.0.{arn}")])],
    )


OWN = task("1", desired="STOPPED", helper="HEALTHY", app="UNKNOWN")


@pytest.mark.parametrize(
    ("other", "healthy"),
    [
        (task("2", helper="HEALTHY", app="UNKNOWN"), True),
        (task("2", helper="UNKNOWN", app="UNKNOWN"), False),
        (task("2", helper="UNHEALTHY", app="UNKNOWN"), False),
        (task("2", helper="HEALTHY", app="UNHEALTHY", health="HEALTHY"), True),
        (task("2", helper="HEALTHY", health="UNHEALTHY"), False),
        (task("2", renamed_helper="UNKNOWN", renamed_app="UNKNOWN"), False),
        (task("2", renamed_helper="HEALTHY", renamed_app="UNKNOWN"), True),
    ],
)
def test_health(other: Task, healthy: bool) -> None:
    """A task is healthy if every container is that is healthy anywhere in the service, unless ECS says otherwise."""
    assert [healthy] == [each.healthy for each in others_of(OWN.task_arn, [OWN, other], None, NOW)]


def test_no_container_reports_health() -> None:
    """Where no container reports health, the health of tasks is not known."""
    own, other = task("1", app="UNKNOWN"), task("2", app="UNKNOWN")

    assert [Other("arn:task/2", 30, None, None)] == others_of(own.task_arn, [own, other], None, NOW)


def test_who_counts() -> None:
    """This task and those that ECS is stopping do not count; those that do not run yet have no age."""
    stopping, pending = task("2", desired="STOPPED"), task("3", last="PENDING")

    assert [("arn:task/3", None)] == [
        (each.arn, each.age) for each in others_of(OWN.task_arn, [OWN, stopping, pending], None, NOW)
    ]


@pytest.mark.parametrize(
    ("listed", "expected"), [(set(), False), ({"10.0.0.2"}, True), ({"2"}, True), ({"10.0.0.1"}, False)]
)
def test_listed(listed: set[str], expected: bool) -> None:
    """Cloud Map knows a task by its address, or by the end of its ARN."""
    assert [expected] == [each.listed for each in others_of(OWN.task_arn, [task("2")], listed, NOW)]


@pytest.mark.parametrize(
    ("last", "started", "age"),
    [("RUNNING", 30, 30), ("RUNNING", 0.5, 0.5), ("RUNNING", -2, 0), ("RUNNING", None, None), ("PENDING", 30, None)],
)
def test_age(last: str, started: float | None, age: float | None) -> None:
    """A task is as old as it has been running, by clocks that may differ; one that does not run has no age."""
    started_at = None if started is None else NOW - timedelta(seconds=started)

    assert age == Task(task_arn="t", last_status=last, started_at=started_at).age(NOW)


# the service | whether its page of tasks is full | how many others were seen | how many of them have to be in service
WANTED: dict[str, tuple[Service, bool, int, int]] = {
    "as many as are desired": (Service(4, 5), False, 4, 4),
    "fewer are seen than are desired": (Service(4, 5), False, 3, 4),
    "a scale-in": (Service(3, 4), False, 3, 3),
    "a sample: each of it, whatever runningCount says": (Service(1000, 1100), True, 98, 98),
    "a sample that is larger than what is desired": (Service(50, 150), True, 98, 50),
    "a daemon: its host has no other": (Service(4, 4, scheduling_strategy="DAEMON"), False, 3, 3),
    "no room for more than are desired": (
        Service(4, 4, deployment_configuration=DeploymentConfiguration(100)),
        False,
        2,
        2,
    ),
    "no room for a second": (Service(1, 1, deployment_configuration=DeploymentConfiguration(100)), False, 0, 0),
    "room for one more": (Service(1, 1, deployment_configuration=DeploymentConfiguration(200)), False, 0, 1),
}


@pytest.mark.parametrize("name", WANTED)
def test_wanted(name: str) -> None:
    """As many others as are desired have to be in service; where those cannot be, or not be seen, all that are."""
    service, page_is_full, others, expected = WANTED[name]

    assert expected == wanted(Seen(service, [], page_is_full), others)
