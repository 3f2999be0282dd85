"""ECS's rules, as functions of what is the case: start and stop order, restarts, task health, rolling updates.

Two look at a task: the agent beside it, at once, and ECS, late: it knows what the agent has reported (`reported_...`).
Sources: the ECS agent's dependency graph and task manager (github.com/aws/amazon-ecs-agent), the API reference of ECS;
times as measured with the agent 1.105.1 in 2026-11.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Condition = Literal["START", "HEALTHY", "SUCCESS"]
Status = Literal["PENDING", "RUNNING", "STOPPED"]
Health = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"]

# From a container's end until the agent has noticed and stops the next one, in seconds whatever the scale; the median
# of measured stops, which took 0.04 to 0.13 s.
NOTICED_AFTER = 0.05


@dataclass(frozen=True)
class AgentTimes:
    """When the ECS agent does what it does, in seconds; by default of real time.

    look: while containers wait for another's HEALTHY it looks at the task every so often, and does nothing between, not
        even stop it
    health: how often it reports to ECS what the health checks found
    lone_change: how long until ECS hears of a container's start or stop with which the task's own state stays the
        same, from and to; it hears of all of them as soon as the task's state changes
    restart: how long after its end it has come back, and repeats the stops that were under way
    """

    look: float = 5.0
    health: float = 20.0
    lone_change: tuple[float, float] = (10.0, 30.0)
    restart: float = 7.0

    def scaled(self, factor: float) -> "AgentTimes":
        """The same where a second takes `factor` seconds."""
        first, last = self.lone_change
        lone_change = (first * factor, last * factor)
        return AgentTimes(self.look * factor, self.health * factor, lone_change, self.restart * factor)


@dataclass
class ContainerState:
    """A container of a task and where it is in its life; `checked`: whether it has a health check. Seconds.

    health: by its check, as the agent knows it; UNHEALTHY too once it has stopped; health_since: when it came to be so
    reported_status, reported_health: as ECS knows it
    start_timeout: how long others wait for its HEALTHY before the task is given up; None: for ever
    restart_period: how long it must have been up for its restart policy to restart it; None without a policy
    restart_count, restarted_at: how often that has restarted it, None without a policy, and when it did so last
    noticed_at: when the agent knew of its end
    """

    name: str
    depends_on: Mapping[str, Condition] = field(default_factory=dict)
    essential: bool = True
    checked: bool = False
    stop_timeout: float = 30.0
    status: Status = "PENDING"
    health: Health = "UNKNOWN"
    health_since: float | None = None
    reported_status: Status = "PENDING"
    reported_health: Health = "UNKNOWN"
    exit_code: int | None = None
    start_timeout: float | None = None
    restart_period: float | None = None
    restart_count: int | None = None
    restarted_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    noticed_at: float | None = None


@dataclass
class TaskState:
    """A task of a service: its containers, and what ECS wants of it. Times are seconds of one clock.

    deactivating: it is to stop, but its agent is not asked yet: the load balancer still lets go of it
    ends_itself: the agent stops it, since one of its containers has ended or did not come up; ECS hears of that later
    """

    id: str
    address: str
    deployment: str
    containers: dict[str, ContainerState]
    created_at: float = 0.0
    desired: Literal["RUNNING", "STOPPED"] = "RUNNING"
    deactivating: bool = False
    stop_code: str = ""
    stopping_at: float | None = None
    reported_status: Status = "PENDING"
    ends_itself: bool = False

    @property
    def stops(self) -> bool:
        """Whether the agent is to stop it, for ECS or of its own accord."""
        return self.ends_itself or (self.desired == "STOPPED" and not self.deactivating)

    @property
    def status(self) -> Status:
        """RUNNING once its essential containers are, until its last container has stopped."""
        containers = self.containers.values()
        if all(each.status == "STOPPED" for each in containers):
            return "STOPPED"
        begun = all(each.status != "PENDING" for each in containers if each.essential)
        return "RUNNING" if begun else "PENDING"

    @property
    def running_since(self) -> float | None:
        """When it came to be RUNNING."""
        starts = [each.started_at for each in self.containers.values() if each.essential]
        known = [start for start in starts if start is not None]
        return max(known) if len(known) == len(starts) else None

    @property
    def health(self) -> Health:
        """As ECS knows it from the essential containers with a check: one UNHEALTHY is enough, all must be HEALTHY."""
        healths = {each.reported_health for each in self.containers.values() if each.essential and each.checked}
        if "UNHEALTHY" in healths:
            return "UNHEALTHY"
        return "HEALTHY" if healths == {"HEALTHY"} else "UNKNOWN"


def startable(task: TaskState) -> list[ContainerState]:
    """The containers to start now. START is met too by a container that has stopped already."""
    if task.stops:
        return []

    def met(name: str, condition: Condition) -> bool:
        other = task.containers[name]
        match condition:
            case "START":
                return other.status != "PENDING"
            case "HEALTHY":
                return other.health == "HEALTHY"
            case "SUCCESS":
                return other.status == "STOPPED" and other.exit_code == 0

    pending = [each for each in task.containers.values() if each.status == "PENDING"]
    return [each for each in pending if all(met(*dependency) for dependency in each.depends_on.items())]


def waits_for_health(task: TaskState) -> bool:
    """Whether nothing can be started until a health check says so: then the agent sleeps until its next look.

    So it is taken to be, too, where another has to have ended with SUCCESS, which was not measured.
    """
    waiting = any(each.status == "PENDING" for each in task.containers.values())
    return not task.stops and waiting and not startable(task)


def stoppable(task: TaskState) -> list[ContainerState]:
    """The containers to stop now: those that no container which has not stopped names in `dependsOn`.

    The look is direct, not transitive. A container that was never started stops without a signal.
    """
    if not task.stops:
        return []
    needed = {name for each in task.containers.values() if each.status != "STOPPED" for name in each.depends_on}
    return [each for each in task.containers.values() if each.status != "STOPPED" and each.name not in needed]


def restarts(task: TaskState, container: ContainerState, now: float) -> bool:
    """Whether its policy restarts a container that has ended: not in a task that stops, nor before its period."""
    up_since = container.started_at if container.restarted_at is None else container.restarted_at
    if task.stops or container.restart_period is None or up_since is None:
        return False
    return now - up_since >= container.restart_period


def _cannot_start(task: TaskState, container: ContainerState) -> bool:
    others = [task.containers[name] for name, condition in container.depends_on.items() if condition == "SUCCESS"]
    return any(each.status == "STOPPED" and each.exit_code != 0 for each in others)


def must_stop(task: TaskState, now: float) -> bool:
    """An essential container that stops by itself stops the task; so does one for whose HEALTHY others wait in vain,
    and one whose SUCCESS they wait for, if it ends with anything but 0.
    """
    containers = task.containers.values()
    if task.stops or any(each.essential and each.status == "STOPPED" for each in containers):
        return not task.stops
    pending = [each for each in containers if each.status == "PENDING"]
    if any(_cannot_start(task, each) for each in pending):
        return True
    awaited = {name for each in pending for name, condition in each.depends_on.items() if condition == "HEALTHY"}
    return any(
        each.start_timeout is not None and each.started_at is not None and now - each.started_at >= each.start_timeout
        for each in containers
        if each.name in awaited and each.health != "HEALTHY"
    )


def counts_as_healthy(task: TaskState, now: float, unchecked_wait: float) -> bool:
    """Whether it counts towards the minimum healthy percent: HEALTHY, or without checks long enough RUNNING.

    unchecked_wait: 40 s in ECS
    """
    if task.status != "RUNNING" or task.desired == "STOPPED":
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
    tasks: Sequence[TaskState],
    primary: str,
    desired: int,
    minimum_healthy: float,
    maximum: float,
    healthy: Collection[str],
    leaving: Collection[str] = (),
    keep_old: bool = False,
) -> Step:
    """The next step of a service towards `desired` tasks of its deployment `primary`.

    minimum_healthy, maximum: percent of `desired`, rounded up and down; healthy: ids of the tasks that count as healthy
    leaving: ids of tasks that are to be replaced whatever their deployment, UNHEALTHY ones and those of a zone that has
        too many: others come first, where `maximum` has room for them
    keep_old: a blue/green deployment's tasks stay until its bake time is over
    """
    wanted = [task for task in tasks if task.desired == "RUNNING"]
    new = [task for task in wanted if task.deployment == primary and task.id not in leaving]
    old = [task for task in wanted if (task.deployment != primary and not keep_old) or task.id in leaving]
    room = math.floor(desired * maximum / 100) - len(wanted)
    start = max(0, min(desired - len(new), room))
    if (len(new) >= desired or room > 0) and sum(task.id in healthy for task in new) < desired:
        old = [task for task in old if task.id not in leaving]
    surplus = old or sorted(new, key=lambda task: task.id in healthy)[: max(0, len(new) - desired)]
    spare = sum(task.id in healthy for task in wanted) - math.ceil(desired * minimum_healthy / 100)
    stop = []
    # those that do not count as healthy go first: they cost nothing
    for task in sorted(surplus, key=lambda task: task.id in healthy):
        if task.id in healthy:
            if spare <= 0:
                break
            spare -= 1
        stop.append(task.id)
    return Step(start, tuple(stop))
