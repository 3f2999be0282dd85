"""What a shape of Envoy and its traffic is, and how one is drawn: pure; the same seed and number draw the same shape.

The plan is scaled down: a delay of one second, not 40, and a drain of a few. In each shape the trap's plan is right:
what is counted as lost would have ended a second before the trap's plan does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

Protocol = Literal["http1", "http2", "http3", "tcp", "udp"]
HTTP: Final[tuple[Protocol, ...]] = ("http1", "http2", "http3")

Direction = Literal["INBOUND", "OUTBOUND", "nothing"]

# An address of 127.0.0.0/8 that the task has for itself; 127.0.0.1; every address, of IPv4 and of both; ::1, as it is
# and in another spelling; a Unix socket
Place = Literal["own", "loopback", "any", "any ipv6", "ipv6", "odd ipv6", "pipe"]

# How clients reach the listener: at its address; at an additional one; through a TCP listener, where it is internal;
# through a listener that redirects to the original destination; by TLS with SNI
Way = Literal["direct", "additional", "internal", "original_dst", "tls"]

# The health_check filter: under its usual name, by ECDS under another one, switched off, or none
HealthCheck = Literal["filter", "ecds", "disabled", "none"]

# How the HTTP connection manager is configured: as usual, by ECDS, or as a TypedStruct
Manager = Literal["usual", "ecds", "typed_struct"]

# What a client does:
#   checks      health checks, and nothing else
#   requests    one after another, with health checks; stops when one fails
#   later       the same; only health checks before the stop
#   unchecked   one after another, without health checks
#   long        one request that takes a while
#   stream      one response that comes in pieces
#   websocket   messages over one connection
#   session     messages over one TCP connection, or from one UDP port
#   idle        a TCP connection with a message at its begin and its end
#   short       connections or UDP sessions of one message each
#   slow        one large response, read slowly until its end, and then the rest
#   leaves      requests without health checks; it leaves each before the answer, and closes the connection
#   awaits      a connection that sends its PROXY header and its only message at its end
Kind = Literal[
    "checks",
    "requests",
    "later",
    "unchecked",
    "long",
    "stream",
    "websocket",
    "session",
    "idle",
    "short",
    "slow",
    "leaves",
    "awaits",
]

# What LDS does to a listener while the shape is played: nothing, it replaces its filter chain, or it removes it
Update = Literal["nothing", "replaced", "removed"]

# what APP_HEALTH_URL calls: the application, a path of it that answers 400, a port without a listener, or it is unset
AppHealth = Literal["application", "unwell", "nobody", "unset"]

VERSIONS: Final = ("1.36.4", "1.37.0", "1.38.3", "1.39.3", "1.40.0")
NEWEST: Final = VERSIONS[-1]
ALLOWS_PATHS: Final = ("1.39.3", "1.40.0")

# STOP_TIMEOUT less this is the helper's deadline, in seconds
MARGIN: Final = 5.0

# what counts as kept by the trap has ended so long before its plan does
CLEAR: Final = 1.2

# how long before the stop the clock waits until all is ready for it, in seconds
PAUSED: Final = -0.2

# HEALTH_CHECK_INTERVAL, and the same where a client sends so rarely that half a second shows nothing of it
CHECK_INTERVAL, LONG_INTERVAL = 0.5, 5.0

# outbound listeners that are more than a helper reads at once, and with routes of 13 MB
MANY, LARGE = 60, 260

PREFIXES: Final = ("ingress", "ingress", "ingress_http", "web")
ODD_PREFIXES: Final = (
    *("admin", "admin.x", "x.worker_1", "x.main_thread", "worker_0", "a://b", "a:/b", "web.", "ready:8080"),
    *("0.0.0.0_8080", "a..b", ".web", "_", "egress", "metrics"),
)
NAMES: Final = ("inbound", "web", "lds_ingress_0.0.0.0_15000")
ODD_NAMES: Final = ("", "ready-app", "public_stats_api", "egress", "admin", "a.b.", "x://y", "outbound|80||x", "[::]_1")


class Traffic(NamedTuple):
    """What one client does. Times are seconds since the stop; before it where negative.

    begins, ends: when it begins, and when it is over by itself; every: between two requests or messages
    takes: how long each request takes
    """

    kind: Kind
    begins: float
    ends: float
    every: float = 0.3
    takes: float = 0.02

    @property
    def checks(self) -> bool:
        """Whether it sends health checks, and stops sending when one fails."""
        return self.kind in ("checks", "requests", "later")

    @property
    def in_one(self) -> bool:
        """Whether it is one request, or one connection, from its begin to its end."""
        return self.kind in ("long", "stream", "websocket", "session", "idle", "slow", "awaits")


class Chain(NamedTuple):
    """One filter chain of a listener, and the clients that use it."""

    protocol: Protocol
    stat_prefix: str
    health_check: HealthCheck
    manager: Manager
    traffic: tuple[Traffic, ...]


class ListenerShape(NamedTuple):
    """One listener; `stat_prefix` is its own, empty where it has none. By TLS there may be two chains, else one.

    default_chain: whether its chain is the one for what matches no other
    proxied: whether a listener filter awaits a PROXY header
    update: what LDS does to it at the shape's `update_at`; becomes: the chain that replaces its only one, if any does
    """

    name: str
    place: Place
    way: Way
    direction: Direction
    stat_prefix: str
    default_chain: bool
    chains: tuple[Chain, ...]
    proxied: bool = False
    update: Update = "nothing"
    becomes: Chain | None = None

    @property
    def all_chains(self) -> tuple[Chain, ...]:
        """Those of it before and after the update."""
        return (*self.chains, *([self.becomes] if self.becomes else []))

    @property
    def slow(self) -> bool:
        """Whether a client reads slowly from it."""
        return any(each.kind == "slow" for chain in self.chains for each in chain.traffic)


class Shape(NamedTuple):
    """An Envoy with its traffic, and the helper's settings.

    version: of Envoy, where it is there; threads: its workers
    outbound: how many listeners there are that no client uses, declared OUTBOUND; egress_prefix: of their statistics
    stats: the stats_matcher: prefixes of what Envoy leaves out, or of all that it keeps
    hot_restart, changes, resets: before the stop Envoy restarts, and keeps what it serves; LDS gives listeners other
    statistics; Envoy's counters are reset
    update_at: when LDS replaces or removes listeners, in seconds since the stop; None without such an update
    delay, timeout: of the trap, in seconds, and of the helper where these are not `auto`
    """

    seed: int
    number: int
    version: str
    threads: int
    listeners: tuple[ListenerShape, ...]
    lds: bool
    outbound: int
    egress_prefix: str
    stats_left_out: str
    stats_kept: str
    allow_paths: tuple[str, ...]
    unix_admin: bool
    hot_restart: bool
    changes: bool
    resets: bool
    delay: float
    timeout: float
    stop_timeout: float
    interval: float
    auto_delay: bool
    auto_timeout: bool
    app_health: AppHealth
    metadata: bool
    update_at: float | None = None

    @property
    def trap_ends(self) -> float:
        """How long after the stop the trap exits."""
        return self.delay + self.timeout

    @property
    def budget(self) -> float:
        """How long after the stop the helper exits at the latest."""
        return self.stop_timeout - MARGIN

    @property
    def never_in_service(self) -> bool:
        """Whether APP_HEALTH_URL is of an application that does not answer well."""
        return self.app_health in ("unwell", "nobody")

    @property
    def removed(self) -> set[str]:
        """The names of the listeners that LDS removes."""
        return {each.name for each in self.listeners if each.update == "removed"}

    @property
    def used_before(self) -> bool:
        """Whether there is traffic that counts before the stop, be it health checks."""
        traffic = [
            each for one in self.listeners if self.counts(one) for chain in one.all_chains for each in chain.traffic
        ]
        return any(each.begins < 0 or each.checks for each in traffic)

    def counts(self, listener: ListenerShape) -> bool:
        """Whether its traffic is that of downstreams: only a declaration excludes one, and not all of them."""
        return listener.direction != "OUTBOUND" or all(each.direction == "OUTBOUND" for each in self.listeners)


def basic_shape(seed: int, number: int) -> Shape:
    """Shape `number` of `seed`, without the addition that it may have."""
    dice = random.Random(f"shape-{seed}-{number}")  # nosec B311
    version = dice.choices(VERSIONS, (1, 1, 1, 1, 6))[0]
    hot_restart = dice.random() < 0.06
    auto = dice.random() < 0.8
    app_health: AppHealth = dice.choices(("application", "unset", "unwell", "nobody"), (8, 6, 3, 1))[0]
    rarely = dice.random() < 0.1
    delay = round(dice.uniform(1.0, 1.6), 2)
    timeout = round(_timeout(dice, auto, rarely), 2)
    stop_timeout = round(delay + timeout + dice.uniform(1.5, 3.0) + MARGIN, 2)
    clients = _Clients(dice, delay, delay + timeout, stop_timeout - MARGIN, rarely, auto, app_health)
    listeners = _listeners(dice, clients, hot_restart)
    lds = dice.random() < 0.3
    stats = dice.choices(("", "http.", "listener.", "udp.", "h", "keep"), (30, 2, 1, 1, 1, 1))[0]
    return Shape(
        seed=seed,
        number=number,
        version=version,
        threads=dice.choice((1, 1, 2)),
        listeners=listeners,
        lds=lds,
        outbound=dice.choices((0, 1, 2, MANY, LARGE), (50, 20, 10, 5, 1))[0],
        egress_prefix=dice.choice(("egress", "egress", "ingress", "admin", "outbound.x")),
        stats_left_out="" if stats == "keep" else stats,
        stats_kept=dice.choice(("server.", "cluster.", "http.ingress.")) if stats == "keep" else "",
        allow_paths=_allowed(dice) if version in ALLOWS_PATHS else (),
        unix_admin=dice.random() < 0.2 and not hot_restart,
        hot_restart=hot_restart,
        # Envoy closes the connections of HTTP/3 when LDS changes their listener
        changes=lds and not hot_restart and dice.random() < 0.2 and "http3" not in _protocols(listeners),
        resets=dice.random() < 0.05,
        delay=delay,
        timeout=timeout,
        stop_timeout=stop_timeout,
        interval=LONG_INTERVAL if rarely else CHECK_INTERVAL,
        auto_delay=dice.random() < 0.04,
        auto_timeout=auto,
        app_health=app_health,
        metadata=dice.random() < 0.9,
    )


def _timeout(dice: random.Random, auto: bool, rarely: bool) -> float:
    """With `auto` longer than the least that the helper waits, so that an early exit cuts what the trap keeps."""
    if rarely:
        return dice.uniform(13.0, 15.0)
    if not auto:
        return dice.uniform(2.0, 3.5)
    # a helper that cannot count, and waits for a fixed time, may do so for too short a time
    return dice.uniform(14.0, 16.0) if dice.random() < 0.12 else dice.uniform(6.0, 7.5)


def _allowed(dice: random.Random) -> tuple[str, ...]:
    ways: tuple[tuple[str, ...], ...] = (
        (),
        ("/healthcheck/fail",),
        ("/ready", "/healthcheck/fail"),
        ("/ready", "/server_info", "/healthcheck/fail", "/stats"),
        ("/ready", "/server_info", "/healthcheck/fail", "/stats", "/config_dump"),
    )
    return dice.choices(ways, (17, 1, 1, 1, 1))[0]


class _Clients:
    """Draws what clients do."""

    def __init__(
        self,
        dice: random.Random,
        delay: float,
        trap_ends: float,
        budget: float,
        rarely: bool,
        auto: bool,
        app_health: AppHealth,
    ) -> None:
        self._dice, self._delay, self._rarely, self._auto = dice, delay, rarely, auto
        self._ends = round(trap_ends - CLEAR, 2)
        # for what outlasts the trap a helper that sees it waits, up to its deadline
        self._outlasts = round(budget + 1.0, 2) if auto else self._ends
        # to a task that had no traffic at all before its stop and is not in service none has to come later
        self._before = app_health in ("unwell", "nobody")

    def draw(self, protocol: Protocol, websockets: bool) -> tuple[Traffic, ...]:
        dice = self._dice
        return tuple(self._one(protocol, websockets) for _ in range(dice.choices((0, 1, 2), (2, 7, 1))[0]))

    def _one(self, protocol: Protocol, websockets: bool) -> Traffic:
        dice = self._dice
        if protocol in HTTP:
            kinds: list[Kind] = ["checks", "requests", "later", "unchecked", "long", "long", "stream"]
            kinds += ["websocket"] if websockets else []
        else:
            kinds = ["session", "session", "short"]
            kinds += ["idle"] if protocol == "tcp" else []
        kind: Kind = dice.choice(kinds)
        early = round(dice.uniform(-0.9, -0.3), 2)
        # what comes first in the drain, comes before any helper may find that nothing is served
        late = round(dice.uniform(0.1, self._delay + (1.5 if self._auto else -0.3)), 2)
        if kind == "later":
            return Traffic(
                kind, round(dice.uniform(0.1, self._delay - 0.3), 2), self._ends, every=round(dice.uniform(0.2, 0.4), 2)
            )
        if kind in ("checks", "requests"):
            takes = dice.choice((0.02, 0.02, 1.0, 2.5)) if self._auto and kind == "requests" else 0.02
            return Traffic(
                kind, early, round(self._ends - takes, 2), every=round(dice.uniform(0.2, 0.8), 2), takes=takes
            )
        if kind in ("unchecked", "short"):
            every = dice.uniform(3.5, 4.4) if self._rarely else dice.uniform(0.2, 1.0)
            return Traffic(kind, early, self._ends, every=round(every, 2))
        begins = early if self._before or dice.random() < 0.6 else late
        ends = self._outlasts if dice.random() < 0.25 else self._ends
        every = dice.uniform(3.5, 4.4) if self._rarely and protocol == "udp" else dice.uniform(0.2, 0.5)
        return Traffic(kind, begins, ends, every=round(every, 2))


def _listeners(dice: random.Random, clients: _Clients, hot_restart: bool) -> tuple[ListenerShape, ...]:
    count = dice.choices((1, 2, 3, 4), (5, 4, 2, 1))[0]
    protocols: Sequence[Protocol] = ("http1", "http2", "tcp", "http3", "udp")
    weights = (8, 3, 4, 0, 0) if hot_restart else (8, 3, 4, 2, 3)
    listeners: list[ListenerShape] = []
    for number in range(count):
        protocol = dice.choices(protocols, weights)[0]
        listeners.append(_listener(dice, clients, protocol, number))
    return tuple(listeners)


def _protocols(listeners: Sequence[ListenerShape]) -> set[Protocol]:
    return {chain.protocol for listener in listeners for chain in listener.chains}


def _listener(dice: random.Random, clients: _Clients, protocol: Protocol, number: int) -> ListenerShape:
    over_udp = protocol in ("http3", "udp")
    ways: Sequence[Way] = ("direct", "additional", "internal", "original_dst", "tls")
    way = "direct" if over_udp else dice.choices(ways, (10, 2, 2, 2, 3))[0]
    places: Sequence[Place] = ("own", "loopback", "any", "any ipv6", "ipv6", "odd ipv6", "pipe")
    place = dice.choices(places, (6, 4, 1, 1, 1, 1, 0 if over_udp or way == "additional" else 1))[0]
    if way in ("internal", "original_dst"):
        place = "own"
    directions: Sequence[Direction] = ("INBOUND", "nothing", "OUTBOUND")
    odd = dice.random() < 0.3
    name = dice.choice(ODD_NAMES if dice.random() < 0.15 else NAMES)
    # aiohttp's client speaks no TLS over a Unix socket
    websockets = way in ("direct", "additional") or (way == "tls" and place != "pipe")
    chains = [_chain(dice, clients, protocol, dice.choice(ODD_PREFIXES if odd else PREFIXES), websockets)]
    if way == "tls" and dice.random() < 0.5:
        other: Protocol = dice.choice(("http1", "tcp"))
        chains.append(_chain(dice, clients, other, dice.choice(("other", chains[0].stat_prefix)), websockets))
    return ListenerShape(
        # listeners have names of their own, or none
        name=f"{name}{number or ''}" if name or way == "internal" else "",
        place=place,
        way=way,
        direction=dice.choices(directions, (5, 5, 1))[0],
        stat_prefix=dice.choice((*ODD_PREFIXES, "listening")) if dice.random() < 0.15 else "",
        default_chain=way == "direct" and protocol != "udp" and dice.random() < 0.15,
        chains=tuple(chains),
    )


def _chain(dice: random.Random, clients: _Clients, protocol: Protocol, stat_prefix: str, websockets: bool) -> Chain:
    http = protocol in HTTP
    managers: Sequence[Manager] = ("usual", "ecds", "typed_struct")
    checks: Sequence[HealthCheck] = ("filter", "ecds", "disabled", "none")
    return Chain(
        protocol=protocol,
        stat_prefix=stat_prefix,
        health_check=dice.choices(checks, (7, 1, 1, 2))[0] if http else "none",
        manager=dice.choices(managers, (8, 1, 1))[0] if http and protocol != "http3" else "usual",
        traffic=clients.draw(protocol, websockets and protocol == "http1"),
    )
