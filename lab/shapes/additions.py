"""What half of all shapes have besides: one more listener, with traffic that is easily overlooked. Pure.

The dice are others than those of the rest, so that a seed and number without an addition still draws the same shape. In
half of the shapes with an addition, and in all that need other settings for it, the other listeners have no clients.
Nothing else keeps the helper there.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from lab.shapes.shape import (
    CLEAR,
    LONG_INTERVAL,
    PAUSED,
    Chain,
    HealthCheck,
    Kind,
    ListenerShape,
    Place,
    Protocol,
    Shape,
    Traffic,
    Update,
    Way,
    basic_shape,
)

# What the listener is for:
#   slow       a client reads a large response slowly
#   streams    streams end a moment before another client sends, which does so every four seconds
#   leaves     a client leaves each of its requests before the answer; another one may check
#   awaits     a listener filter awaits the PROXY header of a connection
#   update     LDS replaces or removes the listener during the stop
#   removal    LDS removes the listener before the stop; the task is never in service, and has another one
Addition = Literal["slow", "streams", "leaves", "awaits", "update", "removal"]

WEIGHTS: Final[Mapping[Addition, int]] = {
    "slow": 4,
    "streams": 2,
    "leaves": 3,
    "awaits": 3,
    "update": 4,
    "removal": 2,
}

# share of the shapes that have an addition, and of these the least share without clients of other listeners
SHARE: Final = 0.5
ALONE: Final = 0.5

# the names of the listeners, which no other one has
NAME: Final = "addition"

# after an update Envoy needs a moment, in seconds, before its new filter chains serve
UPDATE_TAKES: Final = 0.6


def random_shape(seed: int, number: int) -> Shape:
    """Shape `number` of `seed`."""
    return with_addition(random.Random(f"shape-{seed}-{number} more"), basic_shape(seed, number))  # nosec B311


def with_addition(dice: random.Random, shape: Shape) -> Shape:
    """The shape with an addition or, in half of the cases, as it is."""
    kind = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
    if dice.random() >= SHARE:
        return shape
    suitable = _suitable(kind, dice, shape)
    if suitable != shape or dice.random() < ALONE:
        shape = suitable._replace(listeners=tuple(_unused(each) for each in shape.listeners))
    return _ADD[kind](dice, shape)


def _suitable(kind: Addition, dice: random.Random, shape: Shape) -> Shape:
    """The shape with what the addition needs."""
    if kind == "streams" and shape.interval != LONG_INTERVAL:
        timeout = round(dice.uniform(13.0, 15.0), 2)
        longer = timeout - shape.timeout
        shape = shape._replace(interval=LONG_INTERVAL, timeout=timeout, stop_timeout=shape.stop_timeout + longer)
    if kind in ("update", "removal"):
        shape = shape._replace(lds=True, hot_restart=False, changes=False)
    if kind == "removal":
        never = shape.app_health if shape.never_in_service else "unwell"
        shape = shape._replace(app_health=never, allow_paths=())
    return shape


def _unused(listener: ListenerShape) -> ListenerShape:
    return listener._replace(chains=tuple(each._replace(traffic=()) for each in listener.chains))


def _slow(dice: random.Random, shape: Shape) -> Shape:
    way: Way = dice.choices(("direct", "tls", "internal", "original_dst"), (6, 2, 1, 1))[0]
    # a response that begins in the drain is the last one of its connection, which Envoy closes within a second
    later = round(dice.uniform(0.1, shape.delay - 0.5), 2) if dice.random() < 0.3 else None
    begins = later if later and shape.auto_timeout and not shape.never_in_service else _early(dice)
    # Envoy closes the connections of HTTP/3 when LDS changes their listener
    by_http3 = dice.random() < 0.3 and way == "direct" and not shape.hot_restart and not shape.changes
    protocol = "http3" if by_http3 else _http(dice)
    reader = Traffic("slow", begins, _ends(dice, shape))
    return _with(shape, _listener(dice, (_chain(dice, protocol, reader),), way))


def _streams(dice: random.Random, shape: Shape) -> Shape:
    """All streams begin in the delay, and one ends before each request but the last ones."""
    rare = Traffic("unchecked", _early(dice), round(shape.trap_ends - CLEAR, 2), every=round(dice.uniform(3.4, 4.4), 2))
    requests = [rare.begins + number * rare.every for number in (1, 2, 3)]
    before = [round(each - dice.uniform(0.05, 0.4), 2) for each in requests if each < shape.trap_ends - 5.0]
    streams = [Traffic("stream", round(dice.uniform(0.05, 0.3), 2), ends) for ends in before]
    return _with(shape, _listener(dice, (_chain(dice, _http(dice), rare, *streams),)))


def _leaves(dice: random.Random, shape: Shape) -> Shape:
    takes, every = round(dice.uniform(0.05, 0.15), 2), round(dice.uniform(0.3, 1.0), 2)
    ends = round(shape.trap_ends - CLEAR, 2)
    leaver = Traffic("leaves", _early(dice), ends, every, takes)
    checking = [Traffic("checks", _early(dice), ends)] if dice.random() < 0.5 else []
    return _with(shape, _listener(dice, (_chain(dice, _http(dice), leaver, *checking),)))


def _awaits(dice: random.Random, shape: Shape) -> Shape:
    """Over HTTP it sends its request during the delay: a connection alone keeps no helper there."""
    protocol: Protocol = dice.choice(("tcp", "tcp", "http1"))
    ends = _ends(dice, shape) if protocol == "tcp" else round(dice.uniform(0.4, shape.delay - 0.3), 2)
    chain = _chain(dice, protocol, Traffic("awaits", _early(dice), ends))
    return _with(shape, _listener(dice, (chain,), place="own")._replace(proxied=True))


def _update(dice: random.Random, shape: Shape) -> Shape:
    """Clients of the filter chain before the update, of the one after it, or of both."""
    pairs: Sequence[tuple[Protocol, Protocol]] = (
        ("http1", "tcp"),
        ("tcp", "http1"),
        ("http1", "http1"),
        ("tcp", "tcp"),
    )
    before, after = dice.choices(pairs, (3, 3, 1, 1))[0]
    update: Update = dice.choices(("replaced", "removed"), (5, 1))[0]
    last = shape.delay + (0.9 if shape.auto_timeout else -0.8)
    at = round(dice.uniform(0.1, last), 2)
    who = dice.choice(("before", "after", "both")) if update == "replaced" else "before"
    kinds: dict[Protocol, Sequence[Kind]] = {"http1": ("long", "stream"), "tcp": ("session", "idle")}
    old = [Traffic(dice.choice(kinds[before]), _early(dice), _ends(dice, shape))] if who != "after" else []
    new = [Traffic(dice.choice(kinds[after]), at + UPDATE_TAKES, _ends(dice, shape))] if who != "before" else []
    listener = _listener(dice, (_chain(dice, before, *old),))._replace(update=update)
    if update == "replaced":
        listener = listener._replace(becomes=_chain(dice, after, *new)._replace(stat_prefix="replacement"))
    return _with(shape, listener)._replace(update_at=at)


def _removal(dice: random.Random, shape: Shape) -> Shape:
    """What shows that the task was used is removed with the listener; then comes traffic of the other one."""
    protocols: Sequence[Protocol] = ("http1", "tcp")
    before, after = dice.choice(protocols), dice.choice(protocols)
    kinds: dict[Protocol, tuple[Kind, Kind]] = {"http1": ("unchecked", "long"), "tcp": ("short", "session")}
    old = Traffic(kinds[before][0], -0.9, -0.5, every=0.2)
    # the helper looks twice, a second apart
    new = Traffic(kinds[after][1], round(dice.uniform(1.2, shape.delay + 0.8), 2), _ends(dice, shape))
    removed = _listener(dice, (_chain(dice, before, old),))._replace(update="removed")
    other = _listener(dice, (_chain(dice, after, new),))._replace(name=f"{NAME}-other")
    return _with(_with(shape, removed), other)._replace(update_at=PAUSED)


_ADD: Final[Mapping[Addition, Callable[[random.Random, Shape], Shape]]] = {
    "slow": _slow,
    "streams": _streams,
    "leaves": _leaves,
    "awaits": _awaits,
    "update": _update,
    "removal": _removal,
}


def _with(shape: Shape, listener: ListenerShape) -> Shape:
    return shape._replace(listeners=(*shape.listeners, listener))


def _early(dice: random.Random) -> float:
    return round(dice.uniform(-0.9, -0.3), 2)


def _ends(dice: random.Random, shape: Shape) -> float:
    """Before the trap does or, rarely, after the helper's deadline."""
    outlasts = shape.auto_timeout and dice.random() < 0.25
    return round(shape.budget + 1.0 if outlasts else shape.trap_ends - CLEAR, 2)


def _http(dice: random.Random) -> Protocol:
    return dice.choice(("http1", "http2"))


def _chain(dice: random.Random, protocol: Protocol, *traffic: Traffic) -> Chain:
    check: HealthCheck = dice.choice(("filter", "none")) if protocol != "tcp" else "none"
    return Chain(protocol, dice.choice(("addition", "ingress")), check, "usual", traffic)


def _listener(
    dice: random.Random, chains: tuple[Chain, ...], way: Way = "direct", place: Place | None = None
) -> ListenerShape:
    places: Sequence[Place] = ("own", "own", "loopback", "any")
    drawn = dice.choice(places)
    return ListenerShape(
        name=NAME,
        place="own" if way in ("internal", "original_dst") else place or drawn,
        way=way,
        direction=dice.choice(("INBOUND", "nothing")),
        stat_prefix="",
        default_chain=False,
        chains=chains,
    )
