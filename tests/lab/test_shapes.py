"""Random shapes of Envoy: how they are drawn and judged, which is pure, and some of them for real."""

import asyncio
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
from aiohttp import web

from lab.parts.processes import free_address
from lab.shapes.__main__ import words_of
from lab.shapes.additions import NAME, Addition, random_shape
from lab.shapes.application import serving
from lab.shapes.clients import SLOW_UNTIL, Client, Clock, Route
from lab.shapes.configuration import (
    Certificate,
    Endpoint,
    Entrance,
    EnvoySurroundings,
    Upstream,
    configuration,
    update_listeners,
)
from lab.shapes.judgement import LATE, Judgement, exited_early, idle_to_deadline, judge, lost
from lab.shapes.outcome import OK, Outcome, Use, starved
from lab.shapes.shape import (
    ALLOWS_PATHS,
    CLEAR,
    LARGE,
    MANY,
    MARGIN,
    ODD_NAMES,
    ODD_PREFIXES,
    PAUSED,
    VERSIONS,
    AppHealth,
    Chain,
    Direction,
    HealthCheck,
    Kind,
    ListenerShape,
    Manager,
    Place,
    Protocol,
    Shape,
    Traffic,
    Update,
    Way,
    basic_shape,
)

SHAPES = [random_shape(1, number) for number in range(3000)]
LISTENERS = [listener for shape in SHAPES for listener in shape.listeners]
CHAINS = [chain for listener in LISTENERS for chain in listener.all_chains]
TRAFFIC = [traffic for chain in CHAINS for traffic in chain.traffic]


def test_seed_and_number_are_the_shape() -> None:
    """The same seed and number draw the same shape, others another one."""
    assert random_shape(7, 12) == random_shape(7, 12)
    assert len({random_shape(seed, number) for seed in range(3) for number in range(100)}) == 300


def test_everything_is_drawn() -> None:
    """Each protocol, place, way, direction, filter, kind of traffic and name occurs, and one to four listeners."""
    assert {len(basic_shape(1, number).listeners) for number in range(100)} == {1, 2, 3, 4}
    assert {chain.protocol for chain in CHAINS} == set(get_args(Protocol))
    assert {listener.place for listener in LISTENERS} == set(get_args(Place))
    assert {listener.way for listener in LISTENERS} == set(get_args(Way))
    assert {listener.update for listener in LISTENERS} == set(get_args(Update))
    assert {listener.proxied for listener in LISTENERS} == {True, False}
    assert {listener.direction for listener in LISTENERS} == set(get_args(Direction))
    assert {chain.health_check for chain in CHAINS} == set(get_args(HealthCheck))
    assert {traffic.kind for traffic in TRAFFIC} == set(get_args(Kind))
    assert {chain.stat_prefix for chain in CHAINS} >= set(ODD_PREFIXES)
    assert all(any(listener.name.startswith(name) for listener in LISTENERS) for name in ODD_NAMES)
    assert {chain.manager for chain in CHAINS} == set(get_args(Manager))
    assert {listener.default_chain for listener in LISTENERS} == {True, False}
    assert any(len(listener.chains) == 2 for listener in LISTENERS)
    assert any(not chain.traffic for chain in CHAINS)


def test_every_kind_of_envoy_is_drawn() -> None:
    """Each version, application and restriction of the admin API and of the statistics occurs."""
    assert {shape.version for shape in SHAPES} == set(VERSIONS)
    assert {shape.threads for shape in SHAPES} == {1, 2}
    assert {shape.app_health for shape in SHAPES} == set(get_args(AppHealth))
    assert {shape.outbound for shape in SHAPES} >= {0, 1, 2, MANY, LARGE}
    for name in ("hot_restart", "changes", "resets", "lds", "unix_admin", "auto_timeout", "auto_delay", "metadata"):
        assert {getattr(shape, name) for shape in SHAPES} == {True, False}, name
    for name in ("allow_paths", "stats_left_out", "stats_kept"):
        assert any(getattr(shape, name) for shape in SHAPES), name


def test_one_request_every_four_seconds_is_drawn() -> None:
    """Some clients send so rarely, and then the interval of the health checks is longer."""
    rarely = [shape for shape in SHAPES for traffic in _traffic(shape) if traffic.every > 3]
    assert rarely
    assert all(shape.interval > 4 for shape in rarely)


def test_what_an_envoy_can_not_is_not_drawn() -> None:
    """No older Envoy gets allow_paths, none that restarts a listener of UDP, none changes one of HTTP/3."""
    assert all(shape.version in ALLOWS_PATHS for shape in SHAPES if shape.allow_paths)
    restarted = {chain.protocol for shape in SHAPES if shape.hot_restart for chain in _chains(shape)}
    assert restarted and not restarted & {"udp", "http3"}
    assert "http3" not in {chain.protocol for shape in SHAPES if shape.changes for chain in _chains(shape)}


def test_the_plan_is_right_for_the_trap() -> None:
    """The trap ends before the helper's deadline, and a client before the trap or after the deadline."""
    for shape in SHAPES:
        assert shape.trap_ends < shape.budget == shape.stop_timeout - MARGIN
        for traffic in _traffic(shape):
            assert traffic.ends <= shape.trap_ends - CLEAR + 0.01 or traffic.ends > shape.budget
            assert traffic.begins < traffic.ends


def test_a_task_that_never_had_traffic_gets_none() -> None:
    """A task that never comes into service had traffic before its stop, if it has any at all."""
    for shape in SHAPES:
        if shape.never_in_service and not _addition(shape):
            assert all(each.begins < 0 or each.kind == "later" for each in _traffic(shape))


def test_shapes_without_an_addition_stay() -> None:
    """A shape without an addition is the one that its seed and number have always drawn."""
    plain = [shape for shape in SHAPES if not _addition(shape)]
    assert len(SHAPES) * 0.4 < len(plain) < len(SHAPES) * 0.6
    assert plain == [basic_shape(1, shape.number) for shape in plain]


@pytest.mark.parametrize("addition", get_args(Addition))
def test_share_of_each_addition(addition: Addition) -> None:
    """Each addition is in 4 to 15 % of the shapes, also in some without other clients and with `auto`."""
    shapes = [shape for shape in SHAPES if _addition(shape) == addition]
    assert 0.04 * len(SHAPES) < len(shapes) < 0.15 * len(SHAPES)
    alone = [shape for shape in shapes if not any(_clients(each) for each in shape.listeners if NAME not in each.name)]
    assert any(shape.auto_timeout for shape in alone)


def test_streams_end_before_a_rare_request() -> None:
    """A stream of this addition ends less than half a second before the other client sends, and not in the delay."""
    for shape in (each for each in SHAPES if _addition(each) == "streams"):
        rare, *streams = _clients(shape.listeners[-1])
        requests = [rare.begins + number * rare.every for number in range(4)]
        assert streams and rare.every < shape.interval
        assert all(any(0 < at - each.ends < 0.5 for at in requests) for each in streams)


def test_updates_need_lds() -> None:
    """Only a shape with LDS, and without other changes of it, has an update."""
    updated = [shape for shape in SHAPES if shape.update_at is not None]
    assert updated == [shape for shape in SHAPES if _addition(shape) in ("update", "removal")]
    assert all(shape.lds and not shape.changes and not shape.hot_restart for shape in updated)


def test_clients_of_new_filter_chains_come_after_the_update() -> None:
    """A client of the old filter chain begins before the update, one of the new chain after it."""
    pairs = [(shape.update_at, each) for shape in SHAPES for each in shape.listeners if each.update == "replaced"]
    assert {(each.chains[0].protocol, each.becomes.protocol) for _, each in pairs if each.becomes} == {
        (before, after) for before in ("http1", "tcp") for after in ("http1", "tcp")
    }
    for at, listener in pairs:
        assert at is not None and listener.becomes
        assert all(each.begins < 0 for each in listener.chains[0].traffic)
        assert all(each.begins > at for each in listener.becomes.traffic)


def test_removal_hides_that_the_task_was_used() -> None:
    """Clients of the removed listener end before its removal, and the task never comes into service."""
    for shape in (each for each in SHAPES if _addition(each) == "removal"):
        removed, other = shape.listeners[-2:]
        assert removed.update == "removed" and shape.update_at == PAUSED
        assert all(each.ends < PAUSED for each in _clients(removed))
        assert all(each.begins > 0 for each in _clients(other))
        assert shape.never_in_service and shape.used_before


def test_update_of_listeners(tmp_path: Path) -> None:
    """LDS replaces the filter chain in place, or removes the listener, and leaves the others as they are."""
    for shape in [each for each in SHAPES if each.update_at is not None][:100]:
        around = _around(shape, tmp_path)
        configuration(shape, around)
        before = _published(around)
        update_listeners(shape, around)
        after = _published(around)
        changed = {each.name for each in shape.listeners if each.update != "nothing"}
        assert changed == {name for name in before if before[name] != after.get(name)}
        for listener in shape.listeners:
            if listener.update == "removed":
                assert listener.name not in after
            elif listener.update == "replaced":
                old, new = dict(before[listener.name]), dict(after[listener.name])
                assert old.pop("filter_chains") != new.pop("filter_chains")
                assert old == new


def _published(around: EnvoySurroundings) -> dict[str, dict[str, object]]:
    resources = json.loads(around.file("listeners.json").read_text())["resources"]
    return {each.get("name", json.dumps(each)): each for each in resources}


def test_configuration_has_each_listener(tmp_path: Path) -> None:
    """The configuration of each shape has its listeners, and one more for each that has one before it."""
    for shape in SHAPES[:300]:
        around = _around(shape, tmp_path)
        config = configuration(shape, around)
        if shape.lds:
            listeners = json.loads(around.file("listeners.json").read_text())["resources"]
        else:
            listeners = config["static_resources"]["listeners"]
        before = sum(listener.way in ("internal", "original_dst") for listener in shape.listeners)
        assert len(listeners) == len(shape.listeners) + before + shape.outbound
        json.dumps(config)


def test_a_shape_in_words() -> None:
    """The words name the version, each listener and what each client does."""
    words = words_of(SHAPE)
    assert "Envoy 1.40.0, 1 threads, delay 1 s, drain auto (0.5 s), trap until 7.0 s, deadline 9.0 s" in words
    assert "- 'web' nothing, own, direct: http1, 'ingress', health_check filter, long -0.5 to 5.8 s" in words


def _chains(shape: Shape) -> list[Chain]:
    return [chain for listener in shape.listeners for chain in listener.all_chains]


def _traffic(shape: Shape) -> list[Traffic]:
    return [traffic for chain in _chains(shape) for traffic in chain.traffic]


def _clients(listener: ListenerShape) -> list[Traffic]:
    return [traffic for chain in listener.all_chains for traffic in chain.traffic]


def _addition(shape: Shape) -> str:
    """The addition that the shape has, empty if it has none."""
    found = next((each for each in shape.listeners if each.name == NAME), None)
    if found is None:
        return ""
    if found.update != "nothing":
        return "removal" if shape.update_at == PAUSED else "update"
    kinds = {each.kind for each in _clients(found)}
    return "streams" if "stream" in kinds else (kinds - {"checks"}).pop()


def _around(shape: Shape, folder: Path) -> EnvoySurroundings:
    entrances = tuple(Entrance(Endpoint("127.1.2.3", 1), Endpoint("127.1.2.4", 1)) for _ in shape.listeners)
    upstream = Upstream(*[Endpoint("127.1.2.5", 1)] * 3)
    return EnvoySurroundings("127.1.2.3", folder, "0", entrances, upstream, Certificate("chain", "key"))


# how it is judged

LONG = Traffic("long", -0.5, 5.8)
SHAPE = Shape(
    seed=1,
    number=2,
    version="1.40.0",
    threads=1,
    listeners=(
        ListenerShape(
            "web", "own", "direct", "nothing", "", False, (Chain("http1", "ingress", "filter", "usual", (LONG,)),)
        ),
        ListenerShape(
            "out", "own", "direct", "OUTBOUND", "", False, (Chain("http1", "egress", "none", "usual", (LONG,)),)
        ),
    ),
    lds=False,
    outbound=0,
    egress_prefix="egress",
    stats_left_out="",
    stats_kept="",
    allow_paths=(),
    unix_admin=False,
    hot_restart=False,
    changes=False,
    resets=False,
    delay=1.0,
    timeout=6.0,
    stop_timeout=14.0,
    interval=0.5,
    auto_delay=False,
    auto_timeout=True,
    app_health="application",
    metadata=True,
)
FIXED = SHAPE._replace(auto_timeout=False)


def use(begins: float = -0.5, needs: float = 5.8, ended: float = 5.8, outcome: str = OK, listener: int = 0) -> Use:
    return Use((listener, 0, 0), begins, needs, ended, outcome)


def helper(
    *uses: Use, exit: float | None = 7.0, late: float = 0.0, code: int | None = 0, in_service: bool = True
) -> Outcome:
    return Outcome("helper", uses, exit, code, in_service, late)


def trap(*uses: Use, exit: float = 7.0) -> Outcome:
    return Outcome("trap", uses, exit, 0)


CUT = use(ended=4.0, outcome="reset")


def test_nothing_lost_is_kept() -> None:
    """A helper that lost nothing is judged without the trap."""
    assert judge(SHAPE, helper(use()), None) == Judgement("kept")


def test_what_the_helper_cut_and_the_trap_kept() -> None:
    """A request that ended with the helper, and well with the trap, breaks the property twice."""
    judgement = judge(SHAPE, helper(CUT, exit=4.0), trap(use()))
    assert judgement.kind == "broken"
    assert judgement.why == (
        "lost 1 of http1 long from -0.5 s on (reset), which the trap kept",
        "exited at 4.0 s in the middle of 1 of http1 long from -0.5 s on (reset)",
    )


def test_what_comes_after_the_exit_is_lost() -> None:
    """A request that was sent after the helper had exited is lost, if the trap kept it."""
    later = use(begins=5.0, needs=5.0, ended=5.0, outcome="refused")
    assert judge(SHAPE, helper(later, exit=4.0), trap(use())).why == (
        "lost 1 of http1 long from 5.0 s on (refused), which the trap kept",
    )


def test_what_the_trap_lost_as_well() -> None:
    """What the trap did not keep either is not the helper's fault."""
    later = use(begins=6.2, needs=6.2, ended=6.2, outcome="refused")
    assert judge(SHAPE, helper(later, exit=5.0), trap(later, exit=5.9)).kind == "kept"


def test_what_ends_after_the_trap_is_not_lost() -> None:
    """A request that outlasts the trap's plan is no loss."""
    outlasting = use(needs=10.0, ended=9.0, outcome="reset")
    assert lost(SHAPE, helper(outlasting, exit=9.0)) == []
    assert judge(SHAPE, helper(outlasting, exit=9.0), None).kind == "kept"


def test_what_is_in_progress_is_waited_for_until_the_deadline() -> None:
    """With `auto` a helper that exits in the middle of a request before its deadline breaks the property."""
    outlasting = use(needs=10.0, ended=7.5, outcome="reset")
    assert judge(SHAPE, helper(outlasting, exit=7.5), None).kind == "broken"


def test_fixed_times_end_whatever_is_in_progress() -> None:
    """With fixed times the helper may exit when its plan is over."""
    outlasting = use(needs=10.0, ended=7.0, outcome="reset")
    assert judge(FIXED, helper(outlasting, exit=7.0), None).kind == "kept"
    assert judge(FIXED, helper(outlasting, exit=5.0), None).kind == "broken"


def test_what_has_only_begun_is_not_seen() -> None:
    """A request that began a moment before the exit could not be seen."""
    begun = use(begins=6.6, needs=10.0, ended=7.0, outcome="reset")
    assert judge(SHAPE, helper(begun, exit=7.0), None).kind == "kept"


def test_outbound_traffic_does_not_count() -> None:
    """A loss on an OUTBOUND listener breaks nothing, unless all listeners are OUTBOUND."""
    out = CUT._replace(client=(1, 0, 0))
    assert judge(SHAPE, helper(out, exit=4.0), trap(use())).kind == "kept"
    all_out = SHAPE._replace(listeners=tuple(each._replace(direction="OUTBOUND") for each in SHAPE.listeners))
    assert judge(all_out, helper(out, exit=4.0), trap(use())).kind == "broken"


def test_what_comes_first_after_the_stop() -> None:
    """It counts only if the task was in service, or had traffic before."""
    late = LONG._replace(begins=0.5)
    first_use = use(begins=0.5, ended=0.5, outcome="refused")
    web = SHAPE.listeners[0]
    unused = SHAPE._replace(listeners=(web._replace(chains=(web.chains[0]._replace(traffic=(late,)),)),))
    assert judge(unused, helper(first_use, exit=0.0), trap(use(begins=0.5))).kind == "broken"
    assert judge(unused, helper(first_use, exit=0.0, in_service=False), None).kind == "kept"
    assert judge(SHAPE, helper(first_use, exit=0.0, in_service=False), trap(use())).kind == "broken"


@pytest.mark.parametrize("late", [LATE + 0.1, 0.0])
def test_a_busy_machine_breaks_nothing(late: float) -> None:
    """What would be broken is unknown where the machine stood still, or where an answer took far too long."""
    slow = use(begins=-0.5, needs=0.5, ended=3.0)
    uses = (CUT,) if late else (CUT, slow)
    assert judge(SHAPE, helper(*uses, exit=4.0, late=late), trap(use())).kind == "unknown"


def test_a_shape_that_does_not_serve_shows_nothing() -> None:
    """What failed while the holder was there is not known to be the helper's, of both trials."""
    failed = use(begins=0.0, needs=0.0, ended=0.1, outcome="status 503")
    assert judge(SHAPE, helper(failed), None).kind == "unknown"
    assert judge(SHAPE, helper(CUT, exit=4.0), trap(failed)).kind == "unknown"


def test_a_helper_that_stays_or_is_at_fault() -> None:
    """It is broken where STOP_TIMEOUT ran out, or where it had a fault."""
    assert judge(SHAPE, helper(exit=None, code=None), None).kind == "broken"
    assert judge(SHAPE, helper(code=70), None).kind == "broken"


def test_helper_that_exits_early() -> None:
    """Only a helper with `auto` that exits before its deadline does."""
    assert exited_early(SHAPE, helper(exit=8.0))
    assert not exited_early(SHAPE, helper(exit=9.0))
    assert not exited_early(FIXED, helper(exit=8.0))


def test_helper_that_stays_for_nothing() -> None:
    """A helper at its deadline was idle if nothing that counts was in progress for long."""
    assert idle_to_deadline(SHAPE, helper(use(ended=1.0), exit=9.0))
    assert not idle_to_deadline(SHAPE, helper(use(ended=8.0), exit=9.0))
    assert not idle_to_deadline(SHAPE, helper(use(ended=1.0), exit=7.0))
    assert not idle_to_deadline(FIXED, helper(use(ended=1.0), exit=9.0))


# for real


async def _used(traffic: Traffic, place: Endpoint | None = None, enough: float = math.inf) -> list[Use]:
    """The uses of a client that begins now, of the application or of what is at `place`: all, or so many."""
    clock, uses = Clock(0.0), list[Use]()

    def record(use: Use) -> None:
        uses.append(use)
        if len(uses) >= enough:
            running.cancel()

    async with serving(free_address(), web.RouteTableDef()) as upstream, asyncio.TaskGroup() as group:
        clock.begin()
        client = Client((0, 0, 0), traffic, Route(place or upstream.http), "http1", 0.5, clock, record)
        running = group.create_task(client.run())
    return uses


def test_slow_reader() -> None:
    """It has the whole response when it ends, and not before."""
    (use,) = asyncio.run(_used(Traffic("slow", 0.0, SLOW_UNTIL + 0.5)))
    assert use.outcome == OK
    assert use.ended >= 0.5


def test_client_that_leaves() -> None:
    """Each request that it could send is well, one to a port without a listener is not."""
    leaver = Traffic("leaves", 0.0, 0.5, every=0.2, takes=0.1)
    # a busy machine may have time for one use in half a second
    uses = asyncio.run(_used(leaver._replace(ends=60.0), enough=2))
    assert [use.outcome for use in uses] == [OK] * len(uses) and len(uses) >= 2
    refused, *_ = asyncio.run(_used(leaver, Endpoint(free_address(), 1)))
    assert "Refused" in refused.outcome


def first(kind: Kind, protocol: Protocol) -> int:
    """The number of the first shape with a single client, which does this by this protocol."""

    def is_it(shape: Shape) -> bool:
        return (
            [(chain.protocol, each.kind) for chain in _chains(shape) for each in chain.traffic] == [(protocol, kind)]
            and not shape.auto_timeout
            and shape.version == VERSIONS[-1]
            and shape.app_health == "application"
        )

    return next(number for number in range(100_000) if is_it(random_shape(1, number)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "protocol"),
    [
        ("long", "http1"),
        ("requests", "http2"),
        ("stream", "http3"),
        ("session", "tcp"),
        ("short", "udp"),
        ("slow", "http1"),
        ("slow", "http2"),
        ("leaves", "http1"),
        ("awaits", "tcp"),
    ],
)
def test_a_shape_is_played_and_judged(kind: Kind, protocol: Protocol) -> None:
    """Both trials are played, the judgement is printed with the shape, and the exit code is 0 for `kept`."""
    number = str(first(kind, protocol))
    command = [sys.executable, "-m", "lab.shapes", "--seed", "1", "--only", number]
    played = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert played.returncode == 0, played.stdout + played.stderr
    assert f"kept: shape {number}; python -m lab.shapes --seed 1 --only {number}" in played.stdout
    assert "helper: exit at" in played.stdout and "trap: exit at" in played.stdout
    assert "1 kept, 0 broken, 0 could not be judged" in played.stdout
    assert played.stderr == ""


@pytest.mark.parametrize(
    ("log", "seconds"),
    [
        ([], 0),
        (['{"time":"1970-01-01T00:01:42.500Z","event":"starting"}'], 0),
        (['{"time":"1970-01-01T00:01:40.500Z","event":"sigterm"}'], 0.5),
        (
            [
                '{"time":"1970-01-01T00:01:40.500Z","event":"sigterm"}',
                '{"time":"1970-01-01T00:01:47.000Z","event":"summary"}',
            ],
            3,
        ),
    ],
)
def test_starved(log: list[str], seconds: float) -> None:
    """The helper got no CPU between a signal and its line in the log, or between its last line and its end."""
    assert seconds == starved(log, sent=100.0, ended=110.0)
