"""When is the replacement in service: the judgement on literal looks, and the waiting in virtual time."""

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from task_helper.ecs.replacement import SETTLED, Look, Other, Replacement, first_pause, listing_pause, pause
from task_helper.life.delay import wait_until_in_service
from tests.helper import virtual

HOUR = 3600.0
LAG = 40.0


def new(age: float | None = 10, *, healthy: bool | None = None, listed: bool | None = None, arn: str = "new") -> Other:
    return Other(arn, age, healthy, listed)


def old(arn: str = "old") -> Other:
    return Other(arn, HOUR, True, None)


# one look, at moment 1000, of a service that desires so many | from when on they are known; None: not enough are there
LOOKS: dict[str, tuple[int, list[Other], float | None]] = {
    "runs, health unknown: the lag counts from its start": (1, [new(10)], 1030),
    "runs for long, health unknown": (1, [new(HOUR)], 1000 - HOUR + LAG),
    "healthy: the lag counts from now, whenever it started": (1, [new(100, healthy=True)], 1040),
    "healthy for long": (1, [new(SETTLED, healthy=True)], 1000 - SETTLED + LAG),
    "listed: the push is all that is missing": (1, [new(10, healthy=True, listed=True)], 1005),
    "listed for long: a scale-in": (1, [new(HOUR, healthy=True, listed=True)], 1000 - HOUR),
    "listed, and it runs just for long": (1, [new(SETTLED, healthy=True, listed=True)], 1000 - SETTLED),
    "not listed yet": (1, [new(10, healthy=True, listed=False)], None),
    "not listed, however long it runs": (1, [new(HOUR, healthy=True, listed=False)], None),
    "not healthy yet": (1, [new(10, healthy=False)], None),
    "not running yet": (1, [new(None)], None),
    "no other task": (1, [], None),
    "fewer than desired": (2, [new(10)], None),
    "more than desired: the first ones do": (1, [new(10), old()], 1000 - HOUR + LAG),
    "a wave of a rolling update: those that stay count": (3, [old("a"), old("b"), new(10, healthy=True)], 1040),
    "nothing is desired any more": (0, [], 1000),
    "a task of no service": (0, [], 1000),
}


@pytest.mark.parametrize("name", LOOKS)
def test_look(name: str) -> None:
    """Each look shows from when on downstreams know as many other tasks as desired."""
    desired, others, expected = LOOKS[name]

    assert expected == Replacement(LAG).in_service_from(1000, Look(desired, desired, others))


def test_time_counts_from_when_it_was_first_seen() -> None:
    """A later look does not begin the wait anew."""
    replacement = Replacement(LAG)
    replacement.in_service_from(1000, Look(1, 1, [new(100, healthy=True)]))

    assert 1040 == replacement.in_service_from(1020, Look(1, 1, [new(120, healthy=True)]))


def test_time_counts_anew_after_a_relapse() -> None:
    """A task that disappears and comes back has to run for the whole time again."""
    replacement = Replacement(LAG)
    for moment, healthy in ((1000, True), (1010, False)):
        replacement.in_service_from(moment, Look(1, 1, [new(100, healthy=healthy)]))

    assert 1060 == replacement.in_service_from(1020, Look(1, 1, [new(120, healthy=True)]))


OTHER = st.builds(
    Other,
    arn=st.sampled_from("abcdef"),
    age=st.none() | st.floats(0, 2 * HOUR),
    healthy=st.sampled_from([None, True, False]),
    listed=st.sampled_from([None, True, False]),
)
OTHERS = st.lists(OTHER, max_size=6, unique_by=lambda other: other.arn)


@given(desired=st.integers(1, 6), others=OTHERS, lag=st.floats(0, 300), more=st.floats(0, 300))
def test_properties(desired: int, others: list[Other], lag: float, more: float) -> None:
    """Never with fewer than desired others there and healthy, and never earlier for a longer lag."""
    look = Look(desired, desired, others)
    sooner, later = (Replacement(each).in_service_from(1000, look) for each in (lag, lag + more))
    there = [each for each in others if each.age is not None and each.healthy is not False and each.listed is not False]

    assert (len(there) >= desired) == (sooner is not None) == (later is not None)
    assert sooner is None or later is None or sooner <= later


@given(tasks=st.integers(0, 10_000), failures=st.integers(0, 10), fraction=st.floats(0, 1))
def test_pause(tasks: int, failures: int, fraction: float) -> None:
    """Pauses grow with the service and with each failure, and a whole service looks at most ten times a second."""
    assert 0 <= first_pause(fraction) <= 2
    assert pause(tasks, failures, fraction) >= 2.5
    assert pause(tasks, failures, 0.5) >= tasks / 10 - 1e-9
    assert pause(tasks, failures + 1, fraction) == pytest.approx(2 * pause(tasks, failures, fraction))


@pytest.mark.parametrize(
    ("tasks", "failures", "fraction", "seconds"),
    [(0, 0, 0.5, 5), (50, 0, 0.5, 5), (200, 0, 0.5, 20), (200, 0, 0, 10), (200, 0, 1, 30), (10, 3, 0.5, 40)],
)
def test_pause_in_numbers(tasks: int, failures: int, fraction: float, seconds: float) -> None:
    """Five seconds, or a tenth of a second a task, by 0.5 to 1.5 at random, and twice that for each failure."""
    assert seconds == pytest.approx(pause(tasks, failures, fraction))


@pytest.mark.parametrize(("tasks", "fraction", "seconds"), [(0, 0.5, 1), (1000, 0.5, 2), (1000, 0, 1), (1000, 1, 3)])
def test_listing_pause_in_numbers(tasks: int, fraction: float, seconds: float) -> None:
    """One second, or one in five hundred of a task, by 0.5 to 1.5 at random."""
    assert seconds == pytest.approx(listing_pause(tasks, fraction))


# looks by the moment from which each is valid, None failing | seen in service, at the earliest and at the latest
WAITS: dict[str, tuple[list[tuple[float, Look | None]], tuple[bool, float, float]]] = {
    "in service at once: within the first look": ([(0, Look(1, 1, [old()]))], (True, 0, 2)),
    "listed later: found within a second or so, and pushed": (
        [(0, Look(1, 1, [new(10, listed=False)])), (20, Look(1, 1, [new(30, listed=True)]))],
        (True, 25, 20 + 1.5 + 5),
    ),
    "never seen: the fixed time": ([(0, None)], (False, 40, 40)),
    "seen by the second look: waited for beyond the fixed time": (
        [(0, None), (3, Look(1, 1, [new(5, healthy=True)]))],
        (True, 5 + LAG, 17 + LAG),
    ),
    "seen once, then never again: its result stays valid": (
        [(0, Look(1, 1, [new(10, healthy=True)])), (3, None)],
        (True, LAG, 2 + LAG),
    ),
    "seen not to be there, and never again: waited for beyond the fixed time": (
        [(0, Look(1, 1, [])), (3, None), (90, Look(1, 1, [old()]))],
        (True, 90, 90 + 7.5 * 2**6),
    ),
    "not there for a long time: waited for beyond the fixed time": (
        [(0, Look(1, 1, [])), (90, Look(1, 1, [old()]))],
        (True, 90, 97.5),
    ),
}


@pytest.mark.parametrize("name", WAITS)
def test_wait(name: str) -> None:
    """Each wait ends for its reason, within its time."""
    looks, (seen, earliest, latest) = WAITS[name]

    async def look(listing_only: bool) -> Look:
        now = asyncio.get_running_loop().time()
        found = [each for since, each in looks if since <= now][-1]
        if found is None:
            raise OSError("ThrottlingException")
        return found

    async def wait() -> tuple[bool, float]:
        result = await wait_until_in_service(look, LAG, blind_until=40)
        return result, asyncio.get_running_loop().time()

    result, at = virtual.run(wait())

    assert seen == result
    assert earliest <= at <= latest + 1e-6


def test_look_that_hangs() -> None:
    """A look that never returns does not outlast the fixed time."""

    async def wait() -> float:
        look: Any = lambda listing_only: asyncio.Event().wait()  # noqa: E731
        assert not await wait_until_in_service(look, LAG, blind_until=40)
        return asyncio.get_running_loop().time()

    assert 40 == virtual.run(wait())


def test_first_look_after_the_fixed_time() -> None:
    """If the fixed time has passed, as in the second helper of a chain, the helper waits for the first look."""

    async def wait() -> bool:
        async def look(listing_only: bool) -> Look:
            await asyncio.sleep(3)
            return Look(1, 1, [old()])

        return await wait_until_in_service(look, LAG, blind_until=-75)

    assert virtual.run(wait())


def test_what_is_asked_while_only_the_listing_is_awaited() -> None:
    """The helper calls Cloud Map each second, ECS in its own time; after a failure both wait for that time."""
    asked: list[tuple[float, bool]] = []

    async def look(listing_only: bool) -> Look:
        now = asyncio.get_running_loop().time()
        asked.append((now, listing_only))
        if 20 <= now < 40:
            raise OSError("RequestLimitExceeded")
        return Look(1, 1, [new(10, listed=now > 60)])

    assert virtual.run(wait_until_in_service(look, LAG, blind_until=40))

    whole = [moment for moment, listing_only in asked if not listing_only]
    assert all(later - earlier >= 2.5 for earlier, later in zip(whole, whole[1:]))
    assert len([moment for moment, listing_only in asked if listing_only and moment < 20]) > 8
    assert len([moment for moment, listing_only in asked if listing_only and 22 < moment < 40]) == 0


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([new(10, listed=False)], True),
        ([new(10, healthy=True, listed=False)], True),
        ([new(10, healthy=False, listed=False)], False),
        ([new(None, listed=False)], False),
        ([new(10, listed=True)], False),
        ([new(10)], False),
        ([], False),
    ],
)
def test_awaits_listing(others: list[Other], expected: bool) -> None:
    """Only the listing is awaited where enough others are there, healthy as far as known, and not all are listed."""
    assert expected == Look(1, 1, others).awaits_listing


@given(tasks=st.integers(0, 10_000), fraction=st.floats(0, 1))
def test_listing_pause(tasks: int, fraction: float) -> None:
    """A whole service calls Cloud Map at most five hundred times a second."""
    assert listing_pause(tasks, fraction) >= 0.5
    assert listing_pause(tasks, 0.5) >= tasks / 500 - 1e-9


def test_failures_in_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure in a row doubles the pause; a successful look ends the row; each cause is logged once."""
    monkeypatch.setattr("random.random", lambda: 0.5)
    asked: list[float] = []
    logged: list[dict[str, object]] = []
    monkeypatch.setattr("task_helper.life.delay.log", lambda event, **fields: logged.append(fields))

    async def look(listing_only: bool) -> Look:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) in (1, 2, 3, 5):
            raise OSError("ThrottlingException" if len(asked) < 5 else "AccessDeniedException")
        return Look(1, 1, [old()] if len(asked) > 6 else [])

    virtual.run(wait_until_in_service(look, LAG, blind_until=1000))

    assert [1, 11, 31, 71, 76, 86, 91] == asked
    assert [
        {"cause": "ThrottlingException", "waits_until": "DISCOVERY_LAG is over"},
        {
            "cause": "AccessDeniedException",
            "waits_until": "they are seen in service, or the drain needs the time",
        },
    ] == logged


def test_first_look_asks_ecs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look covers ECS and Cloud Map, even in the first moment of a machine's clock."""
    monkeypatch.setattr("random.random", lambda: 0.0)
    asked: list[tuple[float, bool]] = []

    async def look(listing_only: bool) -> Look:
        asked.append((asyncio.get_running_loop().time(), listing_only))
        return Look(1, 1, [old()])

    virtual.run(wait_until_in_service(look, LAG, blind_until=40))

    assert [(0, False)] == asked


Scene = list[tuple[float, Look]]

FAILED = {"listing_failed": True}
HEALTHY, UNWELL = new(10, healthy=True), new(10, healthy=False)

# looks at a service that wants one task, by the moment from which each is valid | the earliest and the latest end of
# the wait; None if it does not end in 200 s
FAILING_LISTINGS: dict[str, tuple[Scene, tuple[float, float] | None]] = {
    "Cloud Map fails, and ECS says that the task is not healthy": ([(0, Look(1, 1, [UNWELL], **FAILED))], None),
    "… until it is: DISCOVERY_LAG from then": (
        [(0, Look(1, 1, [UNWELL], **FAILED)), (60, Look(1, 1, [HEALTHY], **FAILED))],
        (100, 110),
    ),
    "Cloud Map fails at first, and then does not list the task": (
        [(0, Look(1, 1, [HEALTHY], **FAILED)), (20, Look(1, 1, [HEALTHY._replace(listed=False)]))],
        None,
    ),
    "Cloud Map fails at first, and then lists the task": (
        [(0, Look(1, 1, [HEALTHY], **FAILED)), (10, Look(1, 1, [HEALTHY._replace(listed=True)]))],
        # it was first seen within 2 s, which is when the push is counted from
        (10, 18),
    ),
    "Cloud Map fails after it has not listed the task": (
        [
            (0, Look(1, 1, [HEALTHY._replace(listed=False)])),
            (20, Look(1, 1, [HEALTHY._replace(listed=False)], **FAILED)),
        ],
        None,
    ),
}


@pytest.mark.parametrize("name", FAILING_LISTINGS)
def test_failing_listings(name: str) -> None:
    """If only Cloud Map fails, ECS's answers count; looks continue until Cloud Map answers or the time is over."""
    scene, expected = FAILING_LISTINGS[name]

    async def look(listing_only: bool) -> Look:
        return [each for since, each in scene if since <= asyncio.get_running_loop().time()][-1]

    async def wait() -> float | None:
        with suppress(TimeoutError):
            async with asyncio.timeout(200):
                assert await wait_until_in_service(look, LAG, blind_until=40)
                return asyncio.get_running_loop().time()
        return None

    ended = virtual.run(wait())

    assert (expected is None) == (ended is None)
    assert ended is None or expected is None or expected[0] <= ended <= expected[1]


def test_listing_is_asked_while_ecs_refuses() -> None:
    """If ECS refuses and only the listing is missing, Cloud Map's answer still ends the wait."""
    asked: list[float] = []

    async def look(listing_only: bool) -> Look:
        moment = asyncio.get_running_loop().time()
        if not listing_only and moment > 2:
            asked.append(moment)
            raise OSError("ThrottlingException")
        return Look(1, 1, [HEALTHY._replace(listed=moment >= 100)])

    async def wait() -> float:
        assert await wait_until_in_service(look, LAG, blind_until=40)
        return asyncio.get_running_loop().time()

    assert 105 <= virtual.run(wait()) <= 107
    assert len(asked) <= 5, "each refusal doubles the pause, though listings are answered meanwhile"


def test_last_good_look_counts_while_ecs_refuses() -> None:
    """If Cloud Map fails, ECS's answer starts DISCOVERY_LAG, and later refusals do not stop it."""

    async def look(listing_only: bool) -> Look:
        if asyncio.get_running_loop().time() > 2:
            raise OSError("ThrottlingException")
        return Look(1, 1, [HEALTHY], **FAILED)

    async def wait() -> float:
        assert await wait_until_in_service(look, LAG, blind_until=30)
        return asyncio.get_running_loop().time()

    assert LAG <= virtual.run(wait()) <= LAG + 2
