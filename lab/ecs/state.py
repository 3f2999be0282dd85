"""The state of a task and its containers. The agent knows it at once; ECS knows only what the agent has reported.

The fields `reported_...` are what ECS knows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Condition = Literal["START", "HEALTHY", "SUCCESS"]
Status = Literal["PENDING", "RUNNING", "STOPPED"]
Health = Literal["UNKNOWN", "HEALTHY", "UNHEALTHY"]


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
