"""The same changes in every mesh: who learns of a stop, and when, decides what the helper has to do.

In a row the column `auto` has the settings that the docs advise for the mesh; `fixed` has 40 + 40 s everywhere.
"""

from collections.abc import Mapping
from dataclasses import replace

from lab.parts.load import Stream
from lab.scenarios.scenario import (
    ALL_VALID,
    ANY,
    FAILS,
    FIFTH,
    NONE_FAILED,
    ONLY_AUTO_VALID,
    REAL,
    Column,
    Expectation,
    MeshName,
    Scenario,
    Times,
)

# deployments behind a load balancer: what is left to lose is what its deregistration delay does not cover
MAYBE: Mapping[Column, Expectation] = {"none": ANY, "trap": ANY, "fixed": NONE_FAILED, "auto": NONE_FAILED}


def _long(seconds: float) -> tuple[Stream, ...]:
    # so many that some are always under way in the second that counts
    return (Stream("persistent", 20), Stream("long", 10, seconds=seconds))


def _three(mesh: MeshName, title: str, times: Times, long: float) -> tuple[Scenario, ...]:
    """An update, a scale-in, and requests that take longer than fixed times keep a task."""
    return (
        Scenario(f"{mesh}-update", f"{title}: rolling update", ALL_VALID, times=times, mesh=mesh, plain=True),
        Scenario(
            f"{mesh}-scale-in",
            f"{title}: scale-in",
            ALL_VALID,
            change="scale-in",
            times=times,
            mesh=mesh,
            plain=True,
        ),
        Scenario(
            f"{mesh}-long-requests",
            f"{title}: requests that take longer than fixed times last",
            ONLY_AUTO_VALID,
            times=replace(times, stop_timeout=44),
            streams=_long(long),
            mesh=mesh,
            luck=1,
        ),
    )


CONSUL = replace(FIFTH, push=0.2)
KUMA = replace(FIFTH, push=0.2)

ROWS: tuple[Scenario, ...] = (
    *_three("cloud-map-dns", "STRICT_DNS of Cloud Map", FIFTH, long=12),
    Scenario(
        "cloud-map-dns-late",
        "STRICT_DNS of Cloud Map: a TTL of 50 s",
        {"auto": NONE_FAILED},
        times=replace(FIFTH, dns_ttl=10, stop_timeout=44),
        mesh="cloud-map-dns",
    ),
    *_three("consul", "Consul", CONSUL, long=18),
    # the wiring that `taskdef add` wrote and `check` demanded until 0.1.0
    Scenario(
        "consul-held-update",
        "Consul: rolling update, the helper depends on health-sync",
        {"fixed": FAILS, "auto": FAILS},
        times=CONSUL,
        mesh="consul-held",
        luck=1,
    ),
    # downstreams send nothing new over open connections, and Envoy closes these (1.40 and later), in real time
    Scenario(
        "consul-idle-connections",
        "Consul: HTTP/2, one request in 3 s, DRAIN_LISTENERS=graceful",
        {"none": ANY, "auto": NONE_FAILED},
        times=replace(CONSUL, stop_timeout=44),
        protocol="http2",
        streams=(Stream("persistent", 1 / 3),),
        settings={"DRAIN_LISTENERS": "graceful"},
        envoy={"drain_time": 30},
        mesh="consul",
    ),
    Scenario(
        "consul-servers-update",
        "Consul with ACLs, TLS and three servers: rolling update",
        ALL_VALID,
        times=CONSUL,
        mesh="consul-servers",
        plain=True,
    ),
    *_three("kuma", "Kuma", KUMA, long=12),
    Scenario("alb-update", "ALB: rolling update", MAYBE, mesh="alb", plain=True),
    Scenario(
        "alb-scale-in", "ALB: scale-in", {"none": ANY, "auto": NONE_FAILED}, change="scale-in", mesh="alb", plain=True
    ),
    Scenario(
        "alb-long-requests",
        "ALB: requests that take longer than the deregistration delay and fixed times",
        ONLY_AUTO_VALID,
        times=replace(FIFTH, stop_timeout=44),
        streams=_long(24),
        mesh="alb",
        luck=1,
    ),
    Scenario("alb-stop-task", "ALB: StopTask", ALL_VALID, change="stop task", mesh="alb", plain=True),
    Scenario(
        "alb-spot",
        "ALB: Spot interruption",
        {"none": FAILS, "auto": NONE_FAILED},
        change="spot",
        times=replace(FIFTH, stop_timeout=22),
        mesh="alb",
        plain=True,
    ),
    # in real time, as three quiet seconds are never scaled
    Scenario(
        "alb-few-requests",
        "ALB: StopTask, one request in 4 s, real time",
        {"none": ANY, "auto": NONE_FAILED},
        change="stop task",
        times=REAL,
        streams=(Stream("persistent", 1 / 4),),
        mesh="alb",
    ),
    Scenario(
        "nlb-update",
        "NLB: rolling update, deregistration delay 30 s",
        {"none": FAILS, "fixed": ANY, "auto": NONE_FAILED},
        mesh="nlb",
    ),
    Scenario(
        "nlb-stop-task",
        "NLB: StopTask",
        {"none": FAILS, "fixed": ANY, "auto": NONE_FAILED},
        change="stop task",
        mesh="nlb",
    ),
    Scenario(
        "nlb-few-requests",
        "NLB: StopTask, one request in 3 s",
        {"none": ANY, "auto": NONE_FAILED},
        change="stop task",
        streams=(Stream("new connections", 1 / 3, new_connections=True),),
        mesh="nlb",
    ),
    Scenario(
        "nlb-spot",
        "NLB: Spot interruption",
        # two minutes are all that the task has, and the balancer takes them
        {"none": FAILS, "auto": ANY},
        change="spot",
        times=replace(FIFTH, stop_timeout=22),
        # what is left of them
        settings={"HEALTH_CHECK_INTERVAL": "16"},
        mesh="nlb",
    ),
)
