"""Bad days of a mesh: a control plane dies, freezes or comes back around a stop; ECS restarts a helper in Consul.

Where CONSUL and KUMA_CP name the programs they are played on the real ones, else on imitations.
"""

from collections.abc import Mapping
from dataclasses import replace

from lab.scenarios.in_meshes import CONSUL, KUMA
from lab.scenarios.scenario import ALL_VALID, ANY, FAILS, NONE_FAILED, Column, Expectation, Hazard, MeshName, Scenario

# The trap and fixed times keep the task running for longer than the 30 s after which ECS kills health-sync.
CONSUL_BAD_DAY = replace(CONSUL, delay=20, timeout=20, stop_timeout=60)
ECS_STOP_TIMEOUT = 30.0

# The task is never marked critical: requests fail until health-sync deregisters it, as without a helper. Where it does
# not, they fail until the run ends, more than 5 s later.
_AS_WITHOUT = Expectation("invalid", failing_within=4.5)
NEVER_MARKED: Mapping[Column, Expectation] = {"none": FAILS, "trap": ANY, "fixed": _AS_WITHOUT, "auto": _AS_WITHOUT}
# whether a frozen leader answers when it runs again, or its client gives up, is luck
MAYBE_MARKED: Mapping[Column, Expectation] = {
    "none": ANY,
    "trap": ANY,
    "fixed": Expectation(failing_within=4.5),
    "auto": Expectation(failing_within=4.5),
}
MARKED: Mapping[Column, Expectation] = {"none": ANY, "trap": ANY, "fixed": NONE_FAILED, "auto": NONE_FAILED}
# no downstream learns of the stop, with or without a helper
NOTHING_HELPS: Mapping[Column, Expectation] = {"none": ANY, "trap": ANY, "fixed": ANY, "auto": ANY}


def _leader(
    name: str, title: str, hazard: Hazard, expected: Mapping[Column, Expectation], health_sync: float = ECS_STOP_TIMEOUT
) -> Scenario:
    """A scale-in of tasks that are connected to the leader of three servers."""
    return Scenario(
        f"consul-servers-{name}",
        f"Consul, scale-in: the leader {title}",
        expected,
        change="scale-in",
        times=CONSUL_BAD_DAY,
        hazards=(hazard,),
        settings={} if health_sync == ECS_STOP_TIMEOUT else {"HEALTH_SYNC_STOP_TIMEOUT": f"{health_sync:g}"},
        health_sync_stop_timeout=health_sync,
        mesh="consul-servers",
        # when exactly health-sync looks, which it does each second
        luck=0 if expected is MARKED else 3,
    )


def _helper_restarts(mesh: MeshName, title: str, expected: Expectation) -> Scenario:
    return Scenario(
        f"{mesh.removesuffix('-helper')}-helper-restarts",
        f"Consul: scale-in, 12 s after the helper was killed and restarted in place{title}",
        {"fixed": expected, "auto": expected},
        change="scale-in",
        times=CONSUL,
        hazards=(Hazard("helper restarts", -12),),
        mesh=mesh,
    )


def _one_of_two(name: str, title: str, hazard: Hazard) -> Scenario:
    return Scenario(
        f"kuma-two-{name}",
        f"Kuma, scale-in: one of two control planes {title}",
        MARKED,
        change="scale-in",
        times=replace(KUMA, stop_timeout=44),
        hazards=(hazard,),
        mesh="kuma-two",
    )


ROWS: tuple[Scenario, ...] = (
    Scenario(
        "kuma-two-update",
        "Kuma with tokens, PostgreSQL and two control planes: rolling update",
        ALL_VALID,
        times=KUMA,
        mesh="kuma-two",
        plain=True,
    ),
    _leader("leader-dies", "is killed 0.3 s before the stop", Hazard("control plane dies", -0.3), NEVER_MARKED),
    _leader(
        "leader-dies-60",
        "is killed 0.3 s before the stop, health-sync has 60 s",
        Hazard("control plane dies", -0.3),
        NEVER_MARKED,
        health_sync=60,
    ),
    _leader(
        "leader-restarts",
        "is killed 0.3 s before the stop, and is back 3 s later",
        Hazard("control plane dies", -0.3, 3),
        NEVER_MARKED,
    ),
    _leader(
        "leader-freezes",
        "stands still from 1 s before the stop to 3 s after it",
        Hazard("control plane freezes", -1, 4),
        MAYBE_MARKED,
    ),
    _leader("leader-dies-later", "is killed 0.5 s after the stop", Hazard("control plane dies", 0.5), MARKED),
    _leader(
        "leader-restarts-later",
        "is killed 10 s after the stop, and is back 5 s later",
        Hazard("control plane dies", 10, 5),
        MARKED,
    ),
    _helper_restarts("consul", "", NONE_FAILED),
    # the wiring of the module's example until 0.1.0
    _helper_restarts("consul-follows-helper", ", and healthSyncContainers has it", FAILS),
    _one_of_two("dies", "is killed 0.3 s before the stop, for good", Hazard("control plane dies", -0.3)),
    _one_of_two(
        "freezes",
        "stands still from 1 s before the stop to 3 s after it",
        Hazard("control plane freezes", -1, 4),
    ),
    _one_of_two(
        "restarts", "is killed 0.3 s before the stop, and is back 3 s later", Hazard("control plane dies", -0.3, 3)
    ),
    _one_of_two(
        "returns-late",
        "is killed 0.5 s after the stop, and is back 10 s after it",
        Hazard("control plane dies", 0.5, 9.5),
    ),
    Scenario(
        "kuma-stays-down",
        "Kuma, scale-in: the only control plane is killed 0.3 s before the stop, for good",
        NOTHING_HELPS,
        change="scale-in",
        times=replace(KUMA, stop_timeout=44),
        hazards=(Hazard("control plane dies", -0.3),),
        mesh="kuma",
    ),
)
