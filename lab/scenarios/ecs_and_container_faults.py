"""What ECS does on any day, and faults of the ECS agent, Envoy and the helper itself.

As everywhere no helper may lose one request more than the trap, nor keep a task for ever.
"""

from lab.parts.load import Stream
from lab.scenarios.scenario import (
    ALL_VALID,
    ANY,
    FAILS,
    FIFTH,
    HELPER_VALID,
    NONE_FAILED,
    Expectation,
    Hazard,
    Scenario,
)

# STOP_TIMEOUT less the 5 s that the helper leaves of it, and a second to exit: whatever happens, it has exited by then
IN_TIME = Expectation("valid", exit_within=FIFTH.stop_timeout - 5 + 1)

# For requests that the helper's end cuts off, and those that come until downstreams notice by themselves: their next
# check fails, and they merge that within a second. The two tasks are stopped up to a report of health apart.
REQUEST = 3.0
CUT_OFF = Expectation("invalid", failing_within=REQUEST + FIFTH.checks + 1 + FIFTH.agent.health)

ROWS: tuple[Scenario, ...] = (
    Scenario(
        "unhealthy-task",
        "ECS replaces a task whose application fails its container's health check, and serves",
        ALL_VALID,
        change="application unwell",
        plain=True,
    ),
    Scenario(
        "blue-green",
        "blue/green: all old tasks stop at once after a bake",
        ALL_VALID,
        change="blue/green",
        plain=True,
    ),
    Scenario("az-rebalancing", "AZ rebalancing: a stop on any day", ALL_VALID, change="rebalancing", plain=True),
    # in the delay, in which `auto` needs the metadata, and in the drain
    Scenario(
        "agent-restarts",
        "the agent dies in the delay and in the drain, and comes back",
        {"none": FAILS, "trap": ANY, "fixed": Expectation("valid", exit_within=17), "auto": IN_TIME},
        hazards=(Hazard("agent restarts", 1), Hazard("agent restarts", 10)),
    ),
    # for less time than makes the task UNHEALTHY; what is asked meanwhile waits, and is answered
    Scenario(
        "envoy-frozen",
        "Envoy is frozen 0.5 s before the stop, for 6 s",
        {"none": FAILS, "trap": ANY, "fixed": IN_TIME, "auto": IN_TIME},
        change="scale-in",
        hazards=(Hazard("envoy freezes", -0.5, seconds=6),),
    ),
    Scenario(
        "envoy-frozen-when-told",
        "… 6 s after the stop, for 5 s: when the helper is to call it",
        {"trap": ANY, "fixed": IN_TIME, "auto": IN_TIME},
        hazards=(Hazard("envoy freezes", 6, seconds=5),),
    ),
    # After all downstreams stopped sending: DRAIN_DELAY is the trap's in every column, so all have called Envoy, and
    # HEALTH_CHECK_INTERVAL twice the downstreams' own, as `auto` would else have left, too.
    Scenario(
        "envoy-frozen-for-good",
        "… in the drain, for good",
        {"trap": NONE_FAILED, "fixed": Expectation("valid", exit_within=17), "auto": IN_TIME},
        settings={"DRAIN_DELAY": f"{FIFTH.delay:g}", "HEALTH_CHECK_INTERVAL": f"{2 * FIFTH.checks:g}"},
        hazards=(Hazard("envoy freezes", FIFTH.delay + FIFTH.checks + 1.5),),
    ),
    Scenario(
        "helper-restarts",
        "the helper is killed in service and restarted in place, 1 s before the stop",
        HELPER_VALID,
        change="scale-in",
        hazards=(Hazard("helper restarts", -1),),
    ),
    # DRAIN_DELAY is the trap's in every column, so that it is the drain; only another helper can continue it
    Scenario(
        "helper-dies",
        "the helper is killed in its drain, requests of 3 s",
        {"trap": CUT_OFF, "fixed": CUT_OFF, "auto": CUT_OFF},
        streams=(Stream("persistent", 20), Stream("long", 10, seconds=REQUEST)),
        settings={"DRAIN_DELAY": f"{FIFTH.delay:g}"},
        hazards=(Hazard("helper dies", FIFTH.delay + 1),),
        luck=FIFTH.checks + 1,
    ),
    # the machine does not slow down with the times: at one fifth of them 5 % of a core do what 1 % would in real time
    Scenario(
        "cpu-quota",
        "the helper's container has 5 % of a core",
        HELPER_VALID,
        cpu=0.05,
    ),
    # Half a core for the helpers and one busy container: a helper alone gets a ninth, 6 % of a core. With 2 shares,
    # which ECS gives a container without `cpu`, it handles SIGTERM 5 s late.
    Scenario(
        "cpu-shares",
        "… 32 CPU shares beside a busy one's 256, in half a core",
        {"trap": NONE_FAILED, "fixed": Expectation("valid", exit_within=19), "auto": IN_TIME},
        cpu=0.5,
        shares=(32, 256),
    ),
)
