"""Never worse than the shell trap: what goes wrong in the field beside a stop, one case a row.

In each of them the trap, which checks nothing, loses no request. Where no program can call Envoy it loses those that no
wait can save. A helper that checks can be misled: if it exits early, skips its delay or takes a weak sign for the end
of traffic, it loses what the trap does not.

An old task is needed until its replacement is known, `cloud_map` + `push` after its stop. A helper that was misled
exits before that. There is one task of each age: with more of them the others would serve, and hide it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lab.parts.load import Stream
from lab.scenarios.scenario import ANY, FAILS, NONE_FAILED, Column, Expectation, Hazard, Scenario, Sidecar, Times

# leaving at once, after a skipped delay or after the timeout alone is too early; 11 s, as the trap does, is not
LATE = Times(
    delay=8, timeout=3, stop_timeout=30, cloud_map=6, push=0.5, checks=1, unchecked=2, spot_notice=24, scale=0.2
)
# the timeout has room for a request of 5.5 s that was sent in the last second before downstreams had merged the news
LONG = replace(LATE, timeout=8, stop_timeout=30)
# The replacement is started by the very stop, since an essential container has died. At a fifth of real time ECS hears
# of that within 6 s, Envoy is HEALTHY after 1 s and seen to be so at the agent's look after 2 s, the helper's first
# check is made 2 s later and ECS hears of it within 4 s; 2.5 s for Cloud Map and the push, 1 s for the downstream's
# first check, and half a second for the processes to start: 18 s. Of the stopTimeout `auto` keeps 11 s for its drain,
# most of which are not scaled, and 5 s are the margin: with less it could not wait as long as the trap does.
UNFORESEEN = replace(LATE, delay=19, cloud_map=2, stop_timeout=36)

CALM = (Stream("persistent", 20), Stream("new connections", 5, new_connections=True))
LONG_REQUESTS = (Stream("persistent", 10), Stream("long", 4, seconds=5.5))

TRAP_SAVES_ALL: Mapping[Column, Expectation] = {"trap": NONE_FAILED, "fixed": ANY, "auto": ANY}
# no program can call Envoy: what is sent between its end and the downstreams' notice is lost in every column
TRAP_LOSES_SOME: Mapping[Column, Expectation] = {"trap": FAILS, "fixed": ANY, "auto": ANY}


def _row(name: str, title: str, expected: Mapping[Column, Expectation] = TRAP_SAVES_ALL, **more: Any) -> Scenario:
    given: dict[str, Any] = {"times": LATE, "tasks": 1, "streams": CALM} | more
    return Scenario(name, title, expected, **given)


def _restart(at: float) -> Hazard:
    return Hazard("application restarts", at)


def _sidecar(name: str, title: str, **more: Any) -> Scenario:
    """Without APP_HEALTH_URL any essential container could be the application."""
    return _row(name, f"no APP_HEALTH_URL: {title}", app_health="none", **more)


def _quiet(name: str, title: str, **more: Any) -> Scenario:
    """DRAIN_TIMEOUT=auto must see what is under way; DRAIN_DELAY is the trap's, so that both drain at the same time."""
    settings = {"DRAIN_DELAY": f"{LONG.delay:g}"}
    expected: Mapping[Column, Expectation] = {"trap": NONE_FAILED, "auto": ANY}
    given = {"times": LONG, "streams": LONG_REQUESTS, "settings": settings} | more
    return _row(name, f"DRAIN_TIMEOUT=auto: {title}", expected, **given)


def _connected(name: str, title: str, **envoy: Any) -> Scenario:
    """TCP connections that stay open until 5 s after the drain has begun, as in the middle of a transfer."""
    tcp = Hazard("connections are held", at=0, seconds=LONG.delay + 5)
    return _quiet(name, f"TCP connections, {title}", streams=CALM, hazards=(tcp,), envoy={"tcp": "listener"} | envoy)


ROWS: tuple[Scenario, ...] = (
    # one refused connection is no end of an application
    # (Envoy answers the health checks: else the restart itself, by luck, takes the task out of service in any column)
    _row(
        "restart",
        "application refuses for 0.6 s during the delay",
        hazards=(_restart(2),),
        envoy={"asks_application": False},
    ),
    _row(
        "restart-no-panic",
        "the same, and downstreams whose panic threshold is 0",
        hazards=(_restart(2),),
        panic_threshold=0,
        envoy={"asks_application": False},
    ),
    _row(
        "health-elsewhere",
        "APP_HEALTH_URL is another container's, which stops on SIGTERM",
        sidecar=Sidecar("leaves"),
        app_health="sidecar",
    ),
    # an essential container that stops is not the end of the application
    _sidecar(
        "sidecar-dead",
        "an essential sidecar is killed, which stops the task",
        times=UNFORESEEN,
        change="sidecar crashes",
        sidecar=Sidecar(held=True),
    ),
    _sidecar(
        "sidecar-dies",
        "an essential sidecar is killed during the delay",
        sidecar=Sidecar(held=True),
        hazards=(Hazard("sidecar dies", 1),),
    ),
    _sidecar("sidecar-fails", "an essential sidecar fails with 1 on SIGTERM", sidecar=Sidecar("fails")),
    _sidecar(
        "sidecar-leaves",
        "an essential sidecar leaves with 0 on a SIGTERM that came before the helper's",
        sidecar=Sidecar("leaves", ahead=0.3),
    ),
    _sidecar(
        "sidecar-stubborn",
        "an essential sidecar is killed at its stopTimeout",
        sidecar=Sidecar("ignores", stop_timeout=2),
    ),
    # not even where a sidecar has really stopped for good, and requests really fail for a moment
    _row(
        "sidecar-and-restart",
        "an essential sidecar leaves on SIGTERM, and the application then refuses for 0.6 s",
        sidecar=Sidecar("leaves"),
        hazards=(_restart(0.3),),
        envoy={"asks_application": False},
    ),
    # never in service for the helper, though downstreams have it
    _row("unwell", "APP_HEALTH_URL answers 503 since the start, Envoy serves", app_health="unwell", gate=False),
    _row(
        "admin-in-part",
        "the admin API answers /ready and /healthcheck/fail only",
        envoy={"allow_paths": ("/ready", "/healthcheck/fail")},
        gate=False,
    ),
    _row("admin-elsewhere", "wrong port for the admin API", TRAP_LOSES_SOME, admin="wrong port", gate=False, luck=1.5),
    # unconfirmed: only more calls of Envoy help
    _row(
        "admin-stalls",
        "the admin API hangs for 5 s, DRAIN_TIMEOUT 4",
        times=replace(LATE, delay=4, timeout=4, cloud_map=2),
        admin_fault=("stalls", 5.0),
    ),
    _row(
        "no-timeout",
        "DRAIN_TIMEOUT=0, and an application that serves on while it stops",
        {"trap": NONE_FAILED, "fixed": ANY},
        times=replace(LATE, timeout=0),
        stops_in=4,
    ),
    _row(
        "socket-removed-early",
        "the admin API's Unix socket is removed before the stop",
        TRAP_LOSES_SOME,
        admin="unix",
        hazards=(Hazard("admin socket is removed", -0.5),),
        luck=1.5,
    ),
    _row(
        "socket-removed-late",
        "the admin API's Unix socket is removed during the drain, requests of 5.5 s",
        times=LONG,
        streams=LONG_REQUESTS,
        admin="unix",
        hazards=(Hazard("admin socket is removed", LONG.delay + 0.5),),
        # in every column: an Envoy that is not called before the file is removed cannot be called at all
        settings={"DRAIN_DELAY": f"{LONG.delay:g}"},
    ),
    # no program waits for the log
    _row("log-blocks", "the log pipe is full at SIGTERM", hazards=(Hazard("log is not read", -0.5),)),
    _row(
        "log-of-thousands",
        "3,000 outbound listeners, and the log pipe is full",
        envoy={"egress": "DEFAULT", "egress_listeners": 3000},
        hazards=(Hazard("log is not read", -0.5),),
        gate=False,
    ),
    _row("sigint-twice", "SIGINT twice, as STOPSIGNAL", stop_signal="SIGINT", stop_signals=2),
    # quiet: what is under way stands under names that the helper does not expect
    _quiet(
        "listener-ready-app",
        "requests of 5.5 s, a listener without direction named ready-app",
        envoy={"listener_name": "ready-app", "traffic_direction": False},
    ),
    _quiet(
        "prefix-admin-portal",
        "requests of 5.5 s, stat_prefix admin_portal",
        envoy={"stat_prefix": "admin_portal", "traffic_direction": False},
    ),
    _quiet(
        "prefix-shared",
        "requests of 5.5 s, inbound and outbound share a stat_prefix",
        envoy={"egress": "MODIFY_ONLY", "egress_prefix": "ingress"},
    ),
    _quiet("all-outbound", "requests of 5.5 s, all listeners OUTBOUND", envoy={"inbound_says": "OUTBOUND"}),
    _quiet("stats-rejected", "requests of 5.5 s, stats_matcher rejects http.", envoy={"rejected_stats": "http."}),
    _quiet("prefix-colon", "requests of 5.5 s, stat_prefix ready:8080", envoy={"stat_prefix": "ready:8080"}),
    _connected("tcp-prefix-admin", "stat_prefix admin.x", tcp_prefix="admin.x"),
    _connected("tcp-prefix-thread", "stat_prefix x.worker_1", tcp_prefix="x.worker_1"),
    _connected("tcp-chain", "HTTP and TCP chains in one listener", tcp="chain"),
    _connected(
        "tcp-unknown",
        "/config_dump denied",
        allow_paths=("/ready", "/server_info", "/healthcheck/fail", "/stats"),
    ),
    _connected("tcp-later", "a listener brought by LDS after the start", tcp="later"),
    _connected("tcp-outbound", "OUTBOUND listeners", inbound_says="OUTBOUND"),
)
