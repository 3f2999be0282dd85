"""What the helper promises, one case a row: no request lost in a stop, and no task kept for longer than it must be."""

from dataclasses import replace

from lab.parts.load import Stream
from lab.scenarios.scenario import (
    ALL_VALID,
    ANY,
    FAILS,
    FIFTH,
    HELPER_VALID,
    NONE_FAILED,
    ONLY_AUTO_VALID,
    REAL,
    Expectation,
    Hazard,
    Scenario,
)

# What no helper can spare the last task of a plain update: its replacement, which is HEALTHY for ECS when this one is
# stopped, has to be known, then the next health check fails, the downstream merges that within a second, and three have
# to be quiet. What the agent takes to report to ECS is over by then.
SHORTEST = FIFTH.cloud_map + FIFTH.push + FIFTH.checks + 1 + 3

ROWS: tuple[Scenario, ...] = (
    Scenario(
        "plain",
        "plain rolling update, 300 requests a second",
        {**ALL_VALID, "auto": Expectation("valid", retired_within=1.3 * SHORTEST)},
        streams=(Stream("persistent", 200), Stream("new connections", 100, new_connections=True)),
        plain=True,
    ),
    Scenario(
        "long-requests",
        "requests that take longer than DRAIN_TIMEOUT",
        ONLY_AUTO_VALID,
        luck=1,
        times=replace(FIFTH, stop_timeout=44),
        streams=(Stream("persistent", 20), Stream("long", 4, seconds=12)),
    ),
    Scenario(
        "longer-than-stop-timeout",
        "requests that take longer than the stopTimeout: one helper",
        {"auto": FAILS},
        times=replace(FIFTH, stop_timeout=26),
        streams=(Stream("persistent", 20), Stream("long", 2, seconds=25)),
        luck=1,
    ),
    Scenario(
        "chain",
        "… two helpers in a chain",
        ALL_VALID,
        # 21 s and 21 s: a drain that begins after 8 s, when the last request comes within a health check and a push
        times=replace(FIFTH, timeout=30, stop_timeout=26),
        streams=(Stream("persistent", 20), Stream("long", 2, seconds=25)),
        chain=True,
        luck=1,
    ),
    Scenario(
        "chain-first-dies",
        "… and the first is killed in its drain, requests of 15 s",
        HELPER_VALID,
        times=replace(FIFTH, timeout=30, stop_timeout=26),
        streams=(Stream("persistent", 20), Stream("long", 2, seconds=15)),
        # `auto` drains after 16 s at the latest: 4 until ECS stops the other old task, 6 for Cloud Map, 5 for the push
        hazards=(Hazard("helper dies", 17),),
        chain=True,
        luck=1,
    ),
    # what App Mesh advised: two new ones at a time, and each old one that stops must wait for its own replacement only
    Scenario(
        "batches", "rolling update of four tasks in batches, at most 150 percent", ALL_VALID, tasks=4, maximum=150
    ),
    Scenario("slow-start", "new tasks slow to start, gated by `healthcheck`", ALL_VALID, starts_in=12),
    Scenario(
        "late-in-mesh",
        "new tasks late in the mesh: discovery slower than DRAIN_DELAY",
        ONLY_AUTO_VALID,
        times=replace(FIFTH, cloud_map=18, stop_timeout=50),
        luck=1,
    ),
    Scenario(
        "scale-in",
        "scale-in",
        {"none": FAILS, "trap": ANY, "fixed": NONE_FAILED, "auto": Expectation("valid", retired_within=10)},
        change="scale-in",
        plain=True,
    ),
    Scenario(
        "application-crash",
        "application crashes",
        # Envoy answers 503 for it, with the word that it is draining; the downstream needs 1 s to merge that
        {
            "none": FAILS,
            "trap": ANY,
            "fixed": Expectation(failing_within=3),
            "auto": Expectation(failing_within=3),
        },
        change="application crashes",
    ),
    Scenario(
        "never-in-service",
        "stopped before in service",
        {"fixed": Expectation("valid", exit_within=1), "auto": Expectation("valid", exit_within=1)},
        change="stop before in service",
        starts_in=None,
    ),
    Scenario(
        "envoy-crash",
        "Envoy dead at SIGTERM",
        # what fails is up to the downstream's next health checks
        {"trap": ANY, "fixed": Expectation(exit_within=5), "auto": Expectation(exit_within=5)},
        change="envoy crashes",
        luck=FIFTH.checks,
    ),
    # a refusal of 3 s would be an Envoy that has stopped
    Scenario("admin-errors", "admin API answers 500 for a while", HELPER_VALID, admin_fault=("errors", 3)),
    Scenario("admin-hangs", "admin API hangs for a while", HELPER_VALID, admin_fault=("hangs", 3)),
    Scenario("admin-refuses", "admin API refuses for a while", HELPER_VALID, admin_fault=("refuses", 2)),
    Scenario("api-throttles", "ECS API throttles", {"auto": NONE_FAILED}, api_faults={"ecs": "throttled"}),
    Scenario("api-denies", "ECS API denies", {"auto": NONE_FAILED}, api_faults={"ecs": "denied"}),
    Scenario("api-hangs", "ECS API hangs", {"auto": NONE_FAILED}, api_faults={"ecs": "hanging"}),
    Scenario(
        "cloud-map-denies",
        "Cloud Map API denies: DISCOVERY_LAG instead",
        {"auto": NONE_FAILED},
        api_faults={"servicediscovery": "denied"},
    ),
    Scenario(
        "few-requests",
        "few requests: one in 3 s, idle keep-alive connections",
        ALL_VALID,
        streams=(Stream("persistent", 1 / 3), Stream("new connections", 1 / 3, new_connections=True)),
        plain=True,
    ),
    Scenario("http2", "HTTP/2 upstreams", ALL_VALID, protocol="http2", plain=True),
    Scenario("grpc", "gRPC upstreams", ALL_VALID, protocol="grpc", plain=True),
    Scenario(
        "tcp",
        "TCP listener: open connections end in time",
        # the trap cannot drain listeners
        ALL_VALID,
        protocol="tcp",
        streams=(Stream("held connections", 5, seconds=3),),
        settings={"DRAIN_LISTENERS": "true"},
        # two checks must fail to connect, then open connections end: more than three check intervals
        times=replace(FIFTH, timeout=14, stop_timeout=40),
    ),
    # a connection that Envoy closes takes with it what its client has just asked
    Scenario(
        "tcp-drain-close",
        "TCP listener with check_drain_close: connections are closed in the drain",
        {"none": FAILS, "trap": FAILS, "fixed": FAILS, "auto": FAILS},
        protocol="tcp",
        streams=(Stream("held connections", 5, seconds=3),),
        settings={"DRAIN_LISTENERS": "true"},
        envoy={"check_drain_close": True},
        # nothing else shows that the application listens
        gate=False,
        times=replace(FIFTH, timeout=14, stop_timeout=40),
        luck=5,
    ),
    Scenario("sigterm-thrice", "SIGTERM three times", HELPER_VALID, stop_signals=3),
    Scenario(
        "spot",
        "Spot interruption: the replacement comes after",
        ALL_VALID,
        change="spot",
        # all of the task, the application and Envoy after the helper too, must fit the notice
        times=replace(FIFTH, stop_timeout=22),
    ),
    Scenario(
        "real-time",
        "real time, 40/40/120, no scaling",
        {"none": FAILS, "trap": ANY, "fixed": NONE_FAILED, "auto": Expectation("valid", retired_within=80)},
        times=REAL,
        plain=True,
    ),
    Scenario(
        "real-time-listed",
        "real time, Cloud Map lists new tasks as soon as ECS finds them healthy",
        {"auto": Expectation("valid", retired_within=40)},
        times=replace(REAL, cloud_map=0),
    ),
)
