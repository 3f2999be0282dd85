"""The agent's rules as tables."""

from typing import Any

import pytest

from lab.ecs.agent_rules import AgentTimes, must_stop, restarts, startable, stoppable, waits_for_health
from lab.ecs.state import ContainerState, Status, TaskState


def mesh_task(**states: str) -> TaskState:
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
        container = containers[name] = ContainerState(name, dependencies, checked=name != "application")
        container.status = "RUNNING" if states[name] == "HEALTHY" else states[name]  # type: ignore[assignment]
        container.health = container.reported_health = "HEALTHY" if states[name] == "HEALTHY" else "UNKNOWN"
        container.started_at = None if states[name] == "PENDING" else 10.0
    return TaskState("id", "127.1.1.1", "ecs-svc/1", containers)


def named(containers: list[ContainerState]) -> list[str]:
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
    ("state", "exit_code", "start"),
    [("RUNNING", None, []), ("STOPPED", 1, []), ("STOPPED", 0, ["envoy"])],
)
def test_success_is_an_end_with_0(state: Status, exit_code: int | None, start: list[str]) -> None:
    """A container that depends on another's SUCCESS starts when that has stopped with exit code 0, and not before; with
    another the task is stopped.
    """
    init = ContainerState("init", essential=False, status=state, exit_code=exit_code)
    task = TaskState(
        "id", "127.1.1.1", "ecs-svc/1", {"init": init, "envoy": ContainerState("envoy", {"init": "SUCCESS"})}
    )
    assert named(startable(task)) == start
    assert must_stop(task, now=10) is (exit_code == 1)


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
    """If the helper depends on the application only, a crashed application lets ECS stop Envoy beside the helper."""
    task = mesh_task(envoy="HEALTHY", application="STOPPED", helper="HEALTHY")
    task.containers["helper"].depends_on = {"application": "START"}
    task.desired = "STOPPED"
    assert named(stoppable(task)) == ["envoy", "helper"]


@pytest.mark.parametrize(("essential", "stops"), [(True, True), (False, False)])
def test_an_essential_container_takes_the_task_with_it(essential: bool, stops: bool) -> None:
    """A task must stop when an essential container has stopped by itself, and only then."""
    task = mesh_task(envoy="HEALTHY", application="STOPPED", helper="HEALTHY")
    task.containers["application"].essential = essential
    assert must_stop(task, now=10) is stops


@pytest.mark.parametrize(
    ("envoy", "application", "helper", "waits"),
    [
        ("PENDING", "PENDING", "PENDING", False),
        ("RUNNING", "PENDING", "PENDING", True),
        ("HEALTHY", "PENDING", "PENDING", False),
        # START needs no look: the start itself is an event
        ("HEALTHY", "RUNNING", "PENDING", False),
        ("HEALTHY", "RUNNING", "RUNNING", False),
    ],
)
def test_the_agent_sleeps_only_while_containers_wait_for_health(
    envoy: str, application: str, helper: str, waits: bool
) -> None:
    """Where nothing can be started before a health check has passed the agent waits for its next look."""
    task = mesh_task(envoy=envoy, application=application, helper=helper)
    assert waits_for_health(task) is waits
    task.desired = "STOPPED"
    assert not waits_for_health(task)


@pytest.mark.parametrize(
    ("period", "up_for", "stops", "again"),
    [
        (60, 60, False, True),
        (60, 59, False, False),
        (60, 60, True, False),
        (None, 60, False, False),
    ],
)
def test_a_restart_policy(period: float | None, up_for: float, stops: bool, again: bool) -> None:
    """A container is restarted where it has a policy, has been up for its period, and its task is not to stop."""
    task = mesh_task(envoy="HEALTHY", application="RUNNING", helper="RUNNING")
    helper = task.containers["helper"]
    helper.restart_period, task.ends_itself = period, stops
    assert restarts(task, helper, now=10 + up_for) is again
    # from its last restart on, if there was one
    helper.restarted_at = 30.0
    assert not restarts(task, helper, now=10 + up_for)


@pytest.mark.parametrize(
    ("now", "envoy", "stops"), [(21.9, "RUNNING", False), (22, "RUNNING", True), (22, "HEALTHY", False)]
)
def test_a_container_awaited_in_vain_ends_the_task(now: float, envoy: str, stops: bool) -> None:
    """A startTimeout is that of the container that others wait for; once it is HEALTHY it is over."""
    task = mesh_task(envoy=envoy, application="PENDING", helper="PENDING")
    task.containers["envoy"].start_timeout = 12
    assert must_stop(task, now) is stops


def test_the_agent_stops_a_task_before_ecs_knows() -> None:
    """A task that ends itself is stopped in order and starts nothing more, while ECS wants it RUNNING."""
    task = mesh_task(envoy="HEALTHY", application="STOPPED", helper="HEALTHY")
    task.ends_itself = True
    assert (named(startable(task)), named(stoppable(task)), task.desired) == ([], ["helper"], "RUNNING")


def test_the_agent_acts_on_a_health_check_at_once() -> None:
    """The agent acts on a health check at once. ECS's task health changes when the agent reports it."""
    task = mesh_task(envoy="HEALTHY", application="PENDING", helper="PENDING")
    task.containers["envoy"].reported_health = "UNKNOWN"
    assert (task.health, named(startable(task))) == ("UNKNOWN", ["application"])


def test_the_agents_times_are_scaled_together() -> None:
    """One fifth of real time is a fifth of each of the agent's times."""
    fifth = AgentTimes().scaled(1 / 5)
    assert [fifth.look, fifth.health, *fifth.lone_change, fifth.restart] == pytest.approx([1, 4, 2, 6, 1.4])


def test_a_task_runs_until_its_last_container_has_stopped() -> None:
    """A task is RUNNING from its last essential container's start until its last container has stopped."""
    assert mesh_task(envoy="HEALTHY", application="RUNNING", helper="PENDING").status == "PENDING"
    assert mesh_task(envoy="HEALTHY", application="RUNNING", helper="RUNNING").status == "RUNNING"
    assert mesh_task(envoy="HEALTHY", application="STOPPED", helper="STOPPED").status == "RUNNING"
    assert mesh_task(envoy="STOPPED", application="STOPPED", helper="STOPPED").status == "STOPPED"


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
        task.containers[name].reported_health = each
    assert task.health == health
