"""What a scenario is, the times that it can have, and what its columns must come to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lab.ecs import aws
from lab.ecs.agent_rules import AgentTimes
from lab.parts import admin_proxy
from lab.parts.envoy_process import Protocol
from lab.parts.load import Stream

# what stands between SIGTERM and the end of a task: nothing, the shell trap that people write, or the helper
Column = Literal["none", "trap", "fixed", "auto", "contour", "gateway"]
COLUMNS: tuple[Column, ...] = ("none", "trap", "fixed", "auto", "contour", "gateway")
COLUMN_TITLES: dict[Column, str] = {
    "none": "no helper",
    "trap": "shell trap",
    "fixed": "helper, fixed",
    "auto": "helper, auto",
    "contour": "Contour's manager",
    "gateway": "Envoy Gateway's manager",
}

# what happens to the service
Change = Literal[
    "update",
    "scale-in",
    "application crashes",
    "sidecar crashes",
    "envoy crashes",
    "stop before in service",
    "spot",
    "stop task",
    "blue/green",
    "rebalancing",
    "application unwell",
]

# What goes wrong in a task beside its stop. The application's restart is a supervisor's, inside its container; the
# helper's is that of its restart policy, and in the column of the trap the trap's.
HazardKind = Literal[
    "application restarts",
    "sidecar dies",
    "helper dies",
    "helper restarts",
    "agent restarts",
    "envoy freezes",
    "admin socket is removed",
    "log is not read",
    "connections are held",
    "control plane dies",
    "control plane freezes",
]

# what happens to a mesh's control plane; where it has several servers, to the one that counts
ServerFault = Literal["dies", "freezes"]

# how downstreams find the tasks, and what informs them of a stop: lab/meshes
MeshName = Literal[
    "app-mesh",
    "cloud-map-dns",
    "consul",
    "consul-held",
    "consul-servers",
    "consul-follows-helper",
    "kuma",
    "kuma-two",
    "alb",
    "nlb",
]

# where APP_HEALTH_URL points to: the application, nowhere, the sidecar, or a path of the application that answers 503
AppHealth = Literal["application", "none", "sidecar", "unwell"]

# how the helper's container reaches Envoy's admin API; over the wrong port it does not
Admin = Literal["tcp", "unix", "wrong port"]


@dataclass(frozen=True)
class Expectation:
    """What a run must come to; None: no matter.

    verdict: `valid` no request fails, `invalid` some must, or the scenario proves nothing
    retired_within, exit_within: seconds, of `verdict.Figures`, the former since the last stop
    failing_within: seconds from the first to the last request that fails
    """

    verdict: Literal["valid", "invalid"] | None = None
    retired_within: float | None = None
    exit_within: float | None = None
    failing_within: float | None = None


@dataclass(frozen=True)
class Hazard:
    """Something that happens to each old task, `at` seconds after its stop; negative: before the change.

    seconds: how long connections are kept open, Envoy is frozen, or the control plane is down or frozen; 0: for good
    """

    kind: HazardKind
    at: float
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.kind == "helper restarts" and self.at >= 0:
            raise ValueError("ECS restarts no container of a task that is to stop: the kind is `helper dies`")


@dataclass(frozen=True)
class Sidecar:
    """One more essential container of each task, as a tracing daemon is: on SIGTERM it leaves with 0, fails with 1, or
    ignores that until its stop_timeout is over.

    held: whether the helper depends on it, so that it stops later
    ahead: seconds by which its SIGTERM comes before the helper's, where both are asked to stop at once
    """

    on_stop: Literal["leaves", "fails", "ignores"] = "leaves"
    stop_timeout: float = 30.0
    held: bool = False
    ahead: float = 0.0


@dataclass(frozen=True)
class Times:
    """The times of a run, in seconds.

    delay, timeout: DRAIN_DELAY and DRAIN_TIMEOUT where they are not `auto`
    cloud_map: from HEALTHY in ECS to healthy in Cloud Map, 30 s there
    push: from a change in Cloud Map to the downstreams
    checks: the interval of the downstreams' health checks
    unchecked: how long after RUNNING a task without health checks counts as healthy, 40 s in ECS
    bake: of a blue/green deployment, how long all new tasks are HEALTHY before the old ones stop
    dns_ttl: of answers where downstreams find tasks by DNS, whole seconds
    scale: of real time, for the times of the ECS agent, of the containers' health checks, and of one mesh only
    """

    delay: float
    timeout: float
    stop_timeout: float
    cloud_map: float
    push: float
    checks: float
    unchecked: float
    spot_notice: float
    bake: float = 50.0
    dns_ttl: int = 10
    scale: float = 1.0

    @property
    def agent(self) -> AgentTimes:
        """The ECS agent's times."""
        return AgentTimes().scaled(self.scale)


REAL = Times(40, 40, 120, cloud_map=30, push=5, checks=30, unchecked=40, spot_notice=120)
# One fifth of real time. The helper's own steps keep their seconds, such as the 5 s that `auto` gives the push, and the
# 5 s of margin: hence a stopTimeout that is not scaled down so far.
FIFTH = Times(8, 8, 34, cloud_map=6, push=1, checks=3, unchecked=8, spot_notice=24, bake=10, dns_ttl=2, scale=0.2)

FAILS, NONE_FAILED, ANY = Expectation("invalid"), Expectation("valid"), Expectation()
STEADY = (Stream("persistent", 40), Stream("new connections", 10, new_connections=True))


@dataclass(frozen=True)
class Scenario:
    """One row of the table.

    expected: by column; a column that is not there is not run
    maximum: the service's maximum percent
    starts_in: seconds before the application of a new task listens; None: it never does
    admin_fault: what Envoy's admin API does to the helper from its first /healthcheck/fail on, for so many seconds
    api_faults: what the APIs of AWS do
    settings: more variables of the helper's container
    stop_signals: how often the stop signal comes, which is STOPSIGNAL of the helper's image
    stops_in: seconds for which the application serves on after its own SIGTERM
    envoy: what is different about each task's Envoy, by the names of `envoy_process.EnvoyOptions`
    mesh: how downstreams find the tasks, and what informs them of a stop
    panic_threshold: of the downstream, in percent; None: Envoy's own
    cpu: what the helper's container, or the trap's, may use of a core, as a share; None: no quota
    shares: CPU shares of that container, and of a busy one with which it shares `cpu`; None: it has `cpu` for itself
    health_sync_stop_timeout: in Consul, of the container that takes the task out of discovery, in seconds; None: ECS's
        30 s at the run's scale
    peers_delay: whether other programs than the helper wait for `times.delay` before they make Envoy drain
    chain: whether two helpers keep the task running, one after the other, each with its stop_timeout
    gate: whether the helper has its health check; without one the application has, as where there is no helper
    plain: nothing goes wrong, so that no task needs to be kept for longer than by the trap
    luck: seconds of load by which two runs may differ, where the trap itself loses requests: when downstreams notice
        a stop without a report is their next health check's luck
    """

    name: str
    title: str
    expected: Mapping[Column, Expectation]
    change: Change = "update"
    times: Times = FIFTH
    tasks: int = 2
    maximum: float = 200
    protocol: Protocol = "http1"
    streams: tuple[Stream, ...] = STEADY
    starts_in: float | None = 0.0
    admin_fault: tuple[admin_proxy.AdminFault, float] | None = None
    api_faults: Mapping[aws.Api, aws.ApiFault] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    stop_signals: int = 1
    stop_signal: Literal["SIGTERM", "SIGINT"] = "SIGTERM"
    stops_in: float = 0.0
    sidecar: Sidecar | None = None
    hazards: tuple[Hazard, ...] = ()
    app_health: AppHealth = "application"
    admin: Admin = "tcp"
    envoy: Mapping[str, Any] = field(default_factory=dict)
    mesh: MeshName = "app-mesh"
    panic_threshold: float | None = None
    cpu: float | None = None
    shares: tuple[int, int] | None = None
    health_sync_stop_timeout: float | None = None
    peers_delay: bool = False
    chain: bool = False
    gate: bool = True
    plain: bool = False
    luck: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second of all streams."""
        return sum(stream.rate for stream in self.streams)


ALL_VALID: Mapping[Column, Expectation] = {"none": FAILS, "trap": ANY, "fixed": NONE_FAILED, "auto": NONE_FAILED}
HELPER_VALID: Mapping[Column, Expectation] = {"trap": ANY, "fixed": NONE_FAILED, "auto": NONE_FAILED}
ONLY_AUTO_VALID: Mapping[Column, Expectation] = {"none": FAILS, "trap": ANY, "fixed": FAILS, "auto": NONE_FAILED}
