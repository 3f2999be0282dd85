"""The ECS agent's rules: which containers of a task it starts, stops and restarts, and when. Pure functions.

Sources: the agent's dependency graph and task manager (github.com/aws/amazon-ecs-agent); times as measured with the
agent 1.105.1 in 2026-11.
"""

from dataclasses import dataclass

from lab.ecs.state import Condition, ContainerState, TaskState

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
