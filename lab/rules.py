"""ECS's rules, as functions of what is the case: start and stop order, task health, rolling updates.

Sources: the ECS agent's dependency graph (github.com/aws/amazon-ecs-agent), the API reference of ECS.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Condition = Literal["START", "HEALTHY"]
State = Literal["PENDING", "RUNNING", "STOPPED"]
Health = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"]


@dataclass
class Container:
    """A container of a task and where it is in its life; `checked` tells whether it has a health check.

    restart_count: how often its restart policy has restarted it; None without one
    """

    name: str
    depends_on: Mapping[str, Condition] = field(default_factory=dict)
    essential: bool = True
    checked: bool = False
    stop_timeout: float = 30.0
    state: State = "PENDING"
    health: Health = "UNKNOWN"
    exit_code: int | None = None
    restart_count: int | None = None
    started_at: float | None = None
    finished_at: float | None = None


@dataclass
class Task:
    """A task of a service: its containers, and what ECS wants of it. Times are seconds of one clock.

    deactivating: it is to stop, but its containers are not asked yet: the load balancer still lets go of it
    """

    id: str
    address: str
    deployment: str
    containers: dict[str, Container]
    created_at: float = 0.0
    desired: Literal["RUNNING", "STOPPED"] = "RUNNING"
    deactivating: bool = False
    stop_code: str = ""
    stopping_at: float | None = None

    @property
    def state(self) -> State:
        """RUNNING once its essential containers are, until its last container has stopped."""
        containers = self.containers.values()
        if all(each.state == "STOPPED" for each in containers):
            return "STOPPED"
        begun = all(each.state != "PENDING" for each in containers if each.essential)
        return "RUNNING" if begun else "PENDING"

    @property
    def running_since(self) -> float | None:
        """When it came to be RUNNING."""
        starts = [each.started_at for each in self.containers.values() if each.essential]
        known = [start for start in starts if start is not None]
        return max(known) if len(known) == len(starts) else None

    @property
    def health(self) -> Health:
        """From the essential containers that have a check: one UNHEALTHY is enough, and all must be HEALTHY."""
        healths = {each.health for each in self.containers.values() if each.essential and each.checked}
        if "UNHEALTHY" in healths:
            return "UNHEALTHY"
        return "HEALTHY" if healths == {"HEALTHY"} else "UNKNOWN"


def startable(task: Task) -> list[Container]:
    """The containers to start now. START is met too by a container that has stopped already."""
    if task.desired == "STOPPED":
        return []

    def met(name: str, condition: Condition) -> bool:
        other = task.containers[name]
        return other.state != "PENDING" if condition == "START" else other.health == "HEALTHY"

    pending = [each for each in task.containers.values() if each.state == "PENDING"]
    return [each for each in pending if all(met(*dependency) for dependency in each.depends_on.items())]


def stoppable(task: Task) -> list[Container]:
    """The containers to stop now: those that no container which has not stopped names in `dependsOn`.

    The look is direct, not transitive. A container that was never started stops without a signal.
    """
    if task.desired == "RUNNING" or task.deactivating:
        return []
    holding = {name for each in task.containers.values() if each.state != "STOPPED" for name in each.depends_on}
    return [each for each in task.containers.values() if each.state != "STOPPED" and each.name not in holding]


def must_stop(task: Task) -> bool:
    """An essential container that stops by itself stops the task."""
    return task.desired == "RUNNING" and any(
        each.essential and each.state == "STOPPED" for each in task.containers.values()
    )


def counts_as_healthy(task: Task, now: float, unchecked_wait: float) -> bool:
    """Whether it counts towards the minimum healthy percent: HEALTHY, or without checks long enough RUNNING.

    unchecked_wait: 40 s in ECS
    """
    if task.state != "RUNNING" or task.desired == "STOPPED":
        return False
    if any(each.essential and each.checked for each in task.containers.values()):
        return task.health == "HEALTHY"
    return task.running_since is not None and now - task.running_since >= unchecked_wait


@dataclass(frozen=True)
class Step:
    """What a service's scheduler does next: tasks to start, of the PRIMARY deployment, and tasks to stop, by id."""

    start: int = 0
    stop: tuple[str, ...] = ()


def next_step(
    tasks: Sequence[Task],
    primary: str,
    desired: int,
    minimum_healthy: float,
    maximum: float,
    healthy: frozenset[str],
) -> Step:
    """The next step of a service towards `desired` tasks of its deployment `primary`.

    minimum_healthy, maximum: percent of `desired`, rounded up and down; healthy: ids of the tasks that count as healthy
    """
    wanted = [task for task in tasks if task.desired == "RUNNING"]
    new = [task for task in wanted if task.deployment == primary]
    old = [task for task in wanted if task.deployment != primary]
    start = max(0, min(desired - len(new), math.floor(desired * maximum / 100) - len(wanted)))
    spare = sum(task.id in healthy for task in wanted) - math.ceil(desired * minimum_healthy / 100)
    # those that do not count as healthy go first: they cost nothing
    surplus = sorted(old or new, key=lambda task: task.id in healthy)
    stop = []
    for task in surplus if old else surplus[: max(0, len(new) - desired)]:
        if task.id in healthy:
            if spare <= 0:
                break
            spare -= 1
        stop.append(task.id)
    return Step(start, tuple(stop))
