"""What is true in every life, with any failures at any time."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.helper.fakes import CONTAINERS
from tests.helper.unit.timelines import Timeline, World

MOODS = ["fine", "500", "hangs", "refuses", "resets", "babbles", "breaks"]
WHAT = st.sampled_from(
    [f"{who} {mood}" for who in ("envoy", "app", "metadata") for mood in MOODS]
    + ["envoy restarts", "envoy takes 0.3", "envoy takes 1.5", "envoy dies", "SIGTERM", "SIGINT"]
    + ["envoy answers requests", "envoy fails requests", "envoy denies /ready", "envoy denies /stats"]
    + [f"container {name} stops" for name in (*CONTAINERS, "sidecar")]
    + ["container sidecar runs", "helper freezes until 160", "helper freezes until 216"]
)
MOMENT = st.floats(100, 230).map(lambda moment: round(moment, 1))
SCHEDULE = st.lists(st.tuples(MOMENT, WHAT), max_size=8).map(
    lambda schedule: sorted(schedule, key=lambda each: each[0])
)
SECONDS = st.integers(0, 57)

# enough for a call that hangs, one that is slow, and the longest pause after it
TIME_TO_CALL = 8.0


def last_change(schedule: Timeline, who: str, before: float) -> tuple[float, str]:
    return max(
        ((moment, what) for moment, what in schedule if what.startswith(who) and moment <= before), default=(0, who)
    )


@given(schedule=SCHEDULE, delay=SECONDS, timeout=SECONDS, app=st.booleans(), metadata=st.booleans())
@example(schedule=[(140.0, "envoy hangs")], delay=57, timeout=57, app=True, metadata=True)
@example(schedule=[(101.0, "helper freezes until 216")], delay=40, timeout=40, app=True, metadata=True)
@example(schedule=[(101.0, "envoy breaks"), (120.0, "envoy fine")], delay=0, timeout=57, app=True, metadata=False)
def test_every_life(schedule: Timeline, delay: int, timeout: int, app: bool, metadata: bool) -> None:
    """It ends by the deadline, the helper calls an Envoy that answers, and a confirmed drain lasts as planned.

    And it ends earlier than planned only with both proofs. A helper that is frozen until after the deadline ends within
    the margin. None ends without a call of Envoy, unless Envoy has stopped.
    """
    # a helper that is frozen as SIGTERM comes sees it later, and counts from then
    assume(all(moment > 100 for moment, what in schedule if what.startswith("helper freezes")))
    world = World()

    life = world.live(
        [(100, "SIGTERM"), *schedule],
        app=app,
        metadata=metadata,
        DRAIN_DELAY=str(delay),
        DRAIN_TIMEOUT=str(timeout),
    )

    frozen = any(what == "helper freezes until 216" and moment <= life.at for moment, what in schedule)
    assert life.at <= (218.001 if frozen else 215.001)
    assert life.journal or life.ending == "envoy stopped"
    since, mood = last_change(schedule, "envoy", life.at)
    if life.ending in ("drained", "deadline") and mood != "envoy restarts" and world.envoy.mood == "fine":
        if life.at - since > TIME_TO_CALL and life.at - 100 > TIME_TO_CALL:
            assert life.journal
            assert "DRAINING" == world.envoy.state or 70 == life.exit or frozen
    if life.ending == "drained":
        confirmed = [moment for moment, event, _ in life.log if event == "drain_confirmed"]
        assert life.at >= (confirmed or [life.journal[-1][0]])[-1] + timeout - 0.001
    happened = {what for moment, what in schedule if moment <= life.at}
    skipped_delay = "application_stopped" in life.events
    if life.ending != "envoy stopped" and not skipped_delay:
        assert life.at >= min(100 + delay + timeout, 215) - 0.001
    if life.ending == "envoy stopped":
        assert "container envoy stops" in happened
        assert happened & {"envoy dies", "envoy refuses"}
    if skipped_delay:
        assert "container app stops" in happened and "envoy fails requests" in happened
    if not any("breaks" in what for _, what in schedule):
        assert 70 != life.exit
