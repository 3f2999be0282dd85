"""What a schedule is, and how one is drawn: pure, and the same for the same seed and number.

The plan is scaled down: a delay of two seconds, not 40. In each schedule the trap's plan is right, so that only what
happens to the task can make a difference: the replacement is known to the downstream a second before the delay ends,
and the timeout has a second more than the longest request.
"""

from __future__ import annotations

import random
from typing import Final, Literal, NamedTuple

# what happens to the task, `seconds` long where it ends; "removed", "dies" and "is not read" do not
Kind = Literal[
    "application restarts",
    "application dies",
    "envoy restarts",
    "envoy dies",
    "admin hangs",
    "admin stalls",
    "admin errors",
    "admin refuses",
    "admin socket is removed",
    "metadata hangs",
    "metadata errors",
    "metadata breaks off",
    "metadata is garbage",
    "metadata says the application has stopped",
    "metadata says Envoy has stopped",
    "sidecar dies",
    "sidecar fails",
    "sidecar leaves",
    "log is not read",
    "log is closed",
    "helper restarts",
    "SIGTERM",
    "SIGINT",
    "SIGQUIT",
    "listener is added",
    "listener is changed",
]
ADMIN_FAULTS: Final[tuple[Kind, ...]] = ("admin hangs", "admin stalls", "admin errors", "admin refuses")

# of a happening's `at`: before the holder has started; of its `seconds`: to the end
FROM_START, FOR_EVER = -1000.0, 10000.0

# The downstream's health checks, and the time in which it merges what it has learnt, in seconds. The merge is a second
# by default.
CHECK_INTERVAL, MERGE = 0.5, 0.2

# STOP_TIMEOUT less this is the helper's deadline; where it cannot read who comes, `auto` waits for REST seconds more
MARGIN, REST = 5.0, 10.0

# The trap calls Envoy once. A fault that begins or ends in the same moment would make that a matter of luck.
CLEAR_OF_THE_CALL = 0.6

# what APP_HEALTH_URL calls: the application, a path of it that answers 503, a port where nobody listens, or it is unset
AppHealth = Literal["application", "unwell", "nobody", "unset"]
Metadata = Literal["there", "absent"]
# what the listener that serves downstreams says of its direction
Says = Literal["INBOUND", "OUTBOUND", "nothing"]


class Happening(NamedTuple):
    """Something that happens to the task, `at` seconds after its stop, before it where negative."""

    kind: Kind
    at: float
    seconds: float = FOR_EVER


class EnvoyKind(NamedTuple):
    """What the task's Envoy is like, in the words of `lab.parts.envoy_process.EnvoyOptions`."""

    says: Says = "INBOUND"
    listener_name: str = "inbound"
    stat_prefix: str = "ingress"
    egress_prefix: str | None = None
    rejected_stats: str = ""
    allow_paths: tuple[str, ...] = ()
    lds: bool = False
    asks_application: bool = True
    unix_admin: bool = False
    tcp: Literal["none", "listener", "chain"] = "none"


class Schedule(NamedTuple):
    """One trial of a task, to be played with the trap and with the helper.

    replaced: when the downstream knows the new task; long: seconds that a long request takes
    deregistered: whether the old task is taken from discovery at its stop, so that a failed check is its end
    panic: whether a downstream without healthy tasks sends to all of them
    known: whether the downstream ever had the task
    skew: seconds by which the metadata's clock is ahead
    """

    seed: int
    number: int
    delay: float
    timeout: float
    stop_timeout: float
    replaced: float
    long: float
    auto_delay: bool
    auto_timeout: bool
    deregistered: bool
    panic: bool
    known: bool
    app_health: AppHealth
    metadata: Metadata
    skew: float
    restart_takes: float
    envoy: EnvoyKind
    settings: tuple[tuple[str, str], ...]
    happenings: tuple[Happening, ...]

    @property
    def budget(self) -> float:
        """How long after the stop the helper exits at the latest."""
        return self.stop_timeout - MARGIN

    def has(self, *kinds: Kind) -> bool:
        return any(happening.kind in kinds for happening in self.happenings)


def random_schedule(seed: int, number: int) -> Schedule:
    """Schedule `number` of `seed`."""
    dice = random.Random(f"{seed}-{number}")  # nosec B311
    auto = dice.random() < 0.4
    delay = round(dice.uniform(1.6, 3.0), 2)
    # with `auto` a long request outlasts the least that it waits, and would be cut by one that does not see it
    timeout = round(dice.uniform(6.0, 7.0) if auto else dice.uniform(2.0, 3.5), 2)
    envoy = _envoy(dice)
    happenings = sorted(_happenings(dice, delay, timeout, envoy), key=lambda each: each.at)
    kinds = {each.kind for each in happenings}
    breaks = kinds & {"application restarts", "application dies", "envoy restarts", "envoy dies"}
    panic, deregistered = dice.random() < 0.5, dice.random() < 0.5
    if kinds & {"envoy restarts", "envoy dies"}:
        # its failed checks would, by luck, be the end of the old task for a downstream that holds on to nothing
        panic, deregistered = True, False
    elif breaks:
        envoy = envoy._replace(asks_application=False)
    faults_end = [each.at + each.seconds for each in happenings if each.kind in ADMIN_FAULTS]
    last = max([delay, *(end for end in faults_end if end < FOR_EVER / 2)])
    room = dice.uniform(3.0, 5.0)
    return Schedule(
        seed=seed,
        number=number,
        delay=delay,
        timeout=timeout,
        stop_timeout=round(max(last + timeout, delay + CHECK_INTERVAL + 1 + REST if auto else 0) + room + MARGIN, 2),
        replaced=round(delay - 1.0, 2),
        long=round(timeout - 1.2, 2),
        auto_delay=dice.random() < 0.08,
        auto_timeout=auto,
        deregistered=deregistered,
        panic=panic,
        known=dice.random() < 0.95,
        app_health=dice.choices(("application", "unset", "unwell", "nobody"), (10, 6, 2, 2))[0],
        metadata=dice.choices(("there", "absent"), (8, 2))[0],
        skew=dice.choice((0.0, 0.0, 0.0, -30.0, 30.0)),
        restart_takes=round(dice.uniform(0.3, 1.5), 2),
        envoy=envoy,
        settings=_settings(dice),
        happenings=tuple(happenings),
    )


def _envoy(dice: random.Random) -> EnvoyKind:
    says: tuple[Says, ...] = ("INBOUND", "nothing", "OUTBOUND")
    return EnvoyKind(
        says=dice.choices(says, (6, 3, 1))[0],
        listener_name=dice.choice(("inbound", "inbound", "lds_ingress_0.0.0.0_15000", "ready-app", "public_stats_api")),
        stat_prefix=dice.choice(
            ("ingress", "ingress", "ingress_http", "admin_portal", "ready:8080", "0.0.0.0_8080", "a.b")
        ),
        egress_prefix=dice.choice((None, None, "egress", "ingress", "admin_portal")),
        rejected_stats=dice.choices(("", "http.", "listener.", "h"), (16, 2, 1, 1))[0],
        allow_paths=dice.choices(
            (
                (),
                ("/healthcheck/fail",),
                ("/ready", "/healthcheck/fail"),
                ("/ready", "/server_info", "/healthcheck/fail", "/stats"),
            ),
            (17, 1, 1, 1),
        )[0],
        lds=dice.random() < 0.3,
        asks_application=dice.random() < 0.8,
        unix_admin=dice.random() < 0.3,
        tcp=dice.choices(("none", "listener", "chain"), (6, 1, 1))[0],
    )


def _happenings(dice: random.Random, delay: float, timeout: float, envoy: EnvoyKind) -> list[Happening]:
    """None to four of them, of kinds that do not say the same lie about the same thing at once."""
    end = delay + timeout

    def moment() -> float:
        """While the task shuts down, and most often about its stop: that is when a helper looks."""
        return round(dice.choice((dice.uniform(-0.5, 0.5), dice.uniform(-0.5, end), dice.uniform(0.0, delay))), 2)

    def clear(at: float, seconds: float) -> tuple[float, float]:
        """Out of the way of the trap's one call."""
        if abs(at - delay) < CLEAR_OF_THE_CALL:
            at = delay - CLEAR_OF_THE_CALL
        if abs(at + seconds - delay) < CLEAR_OF_THE_CALL:
            seconds += 2 * CLEAR_OF_THE_CALL
        return round(at, 2), round(seconds, 2)

    def admin() -> list[Happening]:
        kind = dice.choice(ADMIN_FAULTS)
        at, seconds = dice.choice(
            (
                (FROM_START, FOR_EVER),
                clear(FROM_START, moment() - FROM_START),
                clear(moment(), FOR_EVER),
                *[clear(moment(), dice.uniform(0.3, 5.0))] * 7,
            )
        )
        return [Happening("admin hangs" if kind == "admin stalls" and seconds == FOR_EVER else kind, at, seconds)]

    def socket() -> list[Happening]:
        return [Happening("admin socket is removed", clear(moment(), FOR_EVER)[0])] if envoy.unix_admin else admin()

    def application() -> list[Happening]:
        first = moment()
        restarts = [Happening("application restarts", round(first + 2.5 * n, 2)) for n in range(dice.choice((1, 1, 2)))]
        return restarts if dice.random() < 0.8 else [Happening("application dies", first)]

    def proxy() -> list[Happening]:
        at = clear(moment(), 0)[0]
        return [
            Happening(dice.choices(("envoy restarts", "envoy dies"), (4, 1))[0], at, round(dice.uniform(0.0, 0.5), 2))
        ]

    def metadata() -> list[Happening]:
        kinds: tuple[Kind, ...] = (
            "metadata hangs",
            "metadata errors",
            "metadata breaks off",
            "metadata is garbage",
            "metadata says the application has stopped",
            "metadata says Envoy has stopped",
        )
        at, seconds = dice.choice(((FROM_START, FOR_EVER), (moment(), dice.uniform(0.5, 5)), (moment(), FOR_EVER)))
        return [Happening(dice.choice(kinds), at, round(seconds, 2))]

    def sidecar() -> list[Happening]:
        kinds: tuple[Kind, ...] = ("sidecar dies", "sidecar fails", "sidecar leaves")
        return [Happening(dice.choice(kinds), dice.choice((moment(), 0.0, -0.03)))]

    def incident() -> list[Happening]:
        """What takes a sidecar down takes the application with it, for a moment: about the stop, or by it."""
        at = dice.choice((0.0, moment()))
        kinds: tuple[Kind, ...] = ("sidecar dies", "sidecar leaves")
        later = round(at + dice.uniform(0.05, 0.5), 2)
        return [Happening(dice.choice(kinds), at), Happening("application restarts", later)]

    def log() -> list[Happening]:
        at = dice.choice((FROM_START, -0.1, moment()))
        return [Happening(dice.choices(("log is not read", "log is closed"), (3, 1))[0], at)]

    def holder() -> list[Happening]:
        """By its restart policy, which ends with the task's."""
        return [Happening("helper restarts", round(dice.uniform(-1.0, -0.1), 2))]

    def signals() -> list[Happening]:
        kinds: tuple[Kind, ...] = ("SIGTERM", "SIGTERM", "SIGINT", "SIGQUIT")
        kind = dice.choice(kinds)
        return [Happening(kind, round(abs(moment()), 2)) for _ in range(dice.choice((1, 2, 2)))]

    def listener() -> list[Happening]:
        if not envoy.lds:
            return signals()
        return [Happening(dice.choices(("listener is added", "listener is changed"), (1, 2))[0], moment())]

    groups = [admin, socket, application, proxy, metadata, sidecar, incident, log, holder, signals, listener]
    drawn = dice.sample(groups, dice.choices((0, 1, 2, 3, 4), (1, 4, 5, 3, 2))[0])
    happenings = [happening for group in drawn for happening in group()]
    # Whatever two witnesses say alike is believed, and rightly: no schedule has both of them lie.
    if {application, incident, proxy} & set(drawn):
        happenings = [each for each in happenings if not each.kind.startswith("metadata says")]
    if admin in drawn or socket in drawn:
        happenings = [each for each in happenings if each.kind != "metadata says Envoy has stopped"]
    return happenings


def _settings(dice: random.Random) -> tuple[tuple[str, str], ...]:
    settings = {}
    if dice.random() < 0.2:
        settings["LOG_FORMAT"] = "text"
    elif dice.random() < 0.2:
        settings["METRICS"] = "emf"
    if dice.random() < 0.2:
        settings["LOG_LEVEL"] = dice.choice(("debug", "warning", "error"))
    return tuple(settings.items())
