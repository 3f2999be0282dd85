"""What a schedule is, and how one is drawn: pure, and the same for the same seed and number.

The plan is scaled down: a delay of two seconds, not 40. In each schedule the trap's plan is right, so that only what
happens to the task can make a difference: the replacement is known to the downstream a second before the delay ends,
and the timeout has a second more than the longest request.

Two streams of random numbers draw a schedule. One draws the task and its faults. The other draws what the host does:
the helper is frozen or starved, the clock steps, two helpers form a chain. So a change to one stream leaves the other's
draws as they are.
"""

from __future__ import annotations

import random
from itertools import accumulate
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
    "helper is frozen",
    "helper is starved",
    "clock steps",
    "first helper dies",
    "second helper dies",
    "second helper restarts",
]
ADMIN_FAULTS: Final[tuple[Kind, ...]] = ("admin hangs", "admin stalls", "admin errors", "admin refuses")
# after these Envoy cannot be called, or has forgotten that it was
UNCALLABLE: Final[tuple[Kind, ...]] = (*ADMIN_FAULTS, "admin socket is removed", "envoy restarts", "envoy dies")
DEATHS: Final[tuple[Kind, ...]] = ("first helper dies", "second helper dies")
RESTARTS: Final[tuple[Kind, ...]] = ("helper restarts", "second helper restarts")
# what cannot happen to the trap: it is one process, and does not read the clock
OF_HELPER: Final[tuple[Kind, ...]] = (*DEATHS, "second helper restarts", "clock steps")

# of a happening's `at`: before the holder has started; of its `seconds`: to the end
FROM_START, FOR_EVER = -1000.0, 10000.0

# The downstream's health checks, and the time in which it merges what it has learnt, in seconds. The merge is a second
# by default.
CHECK_INTERVAL, MERGE = 0.5, 0.2

# STOP_TIMEOUT less this is the helper's deadline; where it cannot read who comes, `auto` waits for REST seconds more
MARGIN, REST = 5.0, 10.0

# The trap calls Envoy once. A fault that begins or ends in the same moment would make that a matter of luck.
CLEAR_OF_THE_CALL = 0.6

# By so much a starved helper, or the second of a chain, may call Envoy later than the trap: two calls that hang, of 2 s
# each. A fault that begins in this time would be a matter of luck.
LATER_THAN_TRAP: Final = 4.0

# A freeze ends so many seconds after the deadline at the latest: the helper's last call, 2 s, comes before SIGKILL.
THAWED_AFTER_DEADLINE: Final = 2.5

# What a helper leaves for the drain where its time is short: HEALTH_CHECK_INTERVAL and a second. And how long after the
# downstream has been given the new task it sends there, with some slack.
SHORTEST_DRAIN, KNOWN_AFTER = CHECK_INTERVAL + 1.0, 0.8

# how often each is drawn: a freeze, starvation, a step of the clock, a chain
FREEZES, STARVES, STEPS, CHAINS = 0.15, 0.12, 0.12, 0.2

# what APP_HEALTH_URL calls: the application, a path of it that answers 503, a port without a listener, or it is unset
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
    stop_timeout: of a chain's two helpers in all, as of the trap beside them; first_stop_timeout: None without a chain
    cpu: the share of a core that a starved helper gets; step: seconds by which the machine's wall clock steps ahead
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
    first_stop_timeout: float | None = None
    cpu: float = 1.0
    step: float = 0.0

    @property
    def stop_timeouts(self) -> tuple[float, ...]:
        """The stopTimeout of each helper, in the order in which ECS stops them."""
        if self.first_stop_timeout is None:
            return (self.stop_timeout,)
        return self.first_stop_timeout, round(self.stop_timeout - self.first_stop_timeout, 2)

    @property
    def budget(self) -> float:
        """How long after the stop the helper exits at the latest; in a chain, the second of two."""
        return self.deadlines[-1]

    @property
    def deadlines(self) -> list[float]:
        """When each helper exits at the latest, in seconds after the stop."""
        return list(accumulate(each - MARGIN for each in self.stop_timeouts))

    @property
    def frozen(self) -> list[tuple[float, float]]:
        """From when to when the helper is frozen."""
        return [(each.at, each.at + each.seconds) for each in self.happenings if each.kind == "helper is frozen"]

    def handled(self, at: float) -> float:
        """When a process that is frozen meanwhile does what it is to do at that moment."""
        return next((end for begin, end in self.frozen if begin <= at < end), at)

    @property
    def call_due(self) -> float:
        """When the trap calls Envoy: the delay counts from when it handles the signal."""
        return self.handled(self.handled(0.0) + self.delay)

    def has(self, *kinds: Kind) -> bool:
        return any(happening.kind in kinds for happening in self.happenings)


def random_schedule(seed: int, number: int) -> Schedule:
    """Schedule `number` of `seed`."""
    return on_host(random.Random(f"{seed}-{number}-host"), _random_task(seed, number))  # nosec B311


def on_host(dice: random.Random, task: Schedule) -> Schedule:
    """The schedule with what its host does to the helper; what would be a matter of luck is left out."""
    for share, draw in ((CHAINS, _chain), (FREEZES, _freeze), (STARVES, _starve), (STEPS, _step)):
        if dice.random() < share:
            drawn = draw(dice, task)
            task = drawn if _is_fair(drawn) else task
    return task


def _with(task: Schedule, kind: Kind, at: float, seconds: float = FOR_EVER) -> Schedule:
    happening = Happening(kind, round(at, 2), round(seconds, 2))
    return task._replace(happenings=tuple(sorted((*task.happenings, happening), key=lambda each: each.at)))


def _chain(dice: random.Random, task: Schedule) -> Schedule:
    """Two helpers instead of one, of which one may die."""
    what = dice.choices((None, *DEATHS, "second helper restarts"), (5, 2, 2, 1))[0]
    if what in DEATHS:
        return _chain_with_death(dice, task, what)
    first = round(dice.uniform(0.5, task.budget - 1) + MARGIN, 2)
    chain = task._replace(first_stop_timeout=first, stop_timeout=task.stop_timeout + MARGIN)
    return _with(chain, what, dice.uniform(-1.0, -0.1)) if what else chain


def _chain_with_death(dice: random.Random, task: Schedule, what: Kind) -> Schedule:
    """The other helper may have less time than the plan takes, but enough to wait for the replacement and to drain."""
    end, first_dies = task.delay + task.timeout, what == "first helper dies"
    budgets = [task.budget, dice.uniform(task.replaced + KNOWN_AFTER + SHORTEST_DRAIN, end)]
    if not first_dies and task.delay > KNOWN_AFTER + SHORTEST_DRAIN:
        # The first helper's time ends before the delay: only if it sees that the second has died does it drain.
        budgets.append(dice.uniform(KNOWN_AFTER + SHORTEST_DRAIN, task.delay))
    left = dice.choice(budgets)
    stop_timeout = round(left + MARGIN, 2)
    chain = task._replace(
        first_stop_timeout=task.stop_timeout if first_dies else stop_timeout,
        stop_timeout=round(task.stop_timeout + stop_timeout, 2),
        replaced=round(min(task.replaced, max(0.0, left - SHORTEST_DRAIN - KNOWN_AFTER)), 2),
    )
    return _with(chain, what, dice.uniform(0.05, end) if first_dies else dice.uniform(-0.5, end))


def _about_stop(dice: random.Random, task: Schedule) -> float:
    """About the signal, in the delay, or in the drain."""
    spans = ((-0.3, 0.3), (0.0, task.delay), (task.delay, task.delay + task.timeout))
    return round(dice.uniform(*dice.choice(spans)), 2)


def _freeze(dice: random.Random, task: Schedule) -> Schedule:
    """For a moment, until any later time, or until after the deadline of the helper whose turn it is."""
    at = _about_stop(dice, task)
    deadline = next(each for each in task.deadlines if at + 0.3 <= each + THAWED_AFTER_DEADLINE)
    latest = deadline + THAWED_AFTER_DEADLINE
    after = (at + dice.uniform(0.3, 3.0), dice.uniform(at + 0.3, latest), dice.uniform(deadline, latest))
    return _with(task, "helper is frozen", at, max(0.3, min(dice.choice(after), latest) - at))


def _starve(dice: random.Random, task: Schedule) -> Schedule:
    """To the end, or for some seconds."""
    seconds = dice.choice((dice.uniform(1.0, 4.0), FOR_EVER))
    starved = _with(task, "helper is starved", _about_stop(dice, task), seconds)
    return starved._replace(cpu=round(dice.uniform(0.05, 0.1), 3))


def _step(dice: random.Random, task: Schedule) -> Schedule:
    step = round(dice.choice((-1, 1)) * dice.uniform(60.0, 240.0), 1)
    return _with(task, "clock steps", _about_stop(dice, task))._replace(step=step)


def _is_fair(task: Schedule) -> bool:
    """Whether only the helper, and not luck, can make it worse than the trap."""
    chain = task.first_stop_timeout is not None
    if chain and task.metadata == "absent":
        return False  # ECS has no task without it, and the second helper of a chain lives by it
    edges = [edge for each in task.happenings if each.kind in UNCALLABLE for edge in (each.at, each.at + each.seconds)]
    misled = any(each.kind.startswith("metadata") for each in task.happenings)
    # without its exit code, how long the first has waited is unknown: the second may call Envoy later by a delay
    if edges and chain and (misled or task.has(*DEATHS)):
        return False
    # a helper that has only just been started has to be heard of: its start is not what is drawn here
    slowed = [each for each in task.happenings if each.kind in ("helper is frozen", "helper is starved")]
    if task.has(*RESTARTS) and any(each.at < 0.1 for each in slowed):
        return False
    later = LATER_THAN_TRAP if chain or task.has("helper is starved") else CLEAR_OF_THE_CALL
    due = task.call_due
    return not any(due - CLEAR_OF_THE_CALL < edge < due + later for edge in edges)


def _random_task(seed: int, number: int) -> Schedule:
    """Its task and what happens to that."""
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
        # its failed checks would, by luck, be the end of the old task for a downstream that keeps no failed task
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
