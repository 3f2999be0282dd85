"""When the plan may end early: two proofs each, one of them that nothing is being served. What is unknown keeps it.

Each table begins with the facts that are enough; each further row takes one of them away.
"""

from typing import Any

import pytest

from task_helper.envoy.traffic import Traffic
from task_helper.life import verdicts
from task_helper.life.verdicts import Keep, Leave, Quiet

BEFORE = Traffic(in_flight=0, completed=100, failed=5, connections=0)
FAILING = Traffic(in_flight=0, completed=105, failed=10, connections=0)

STOPPED = Leave("all containers beside Envoy have stopped (app, web), and every request fails")
APPLICATION_STOPPED: dict[str, tuple[dict[str, Any], verdicts.Verdict]] = {
    "all proofs": ({}, STOPPED),
    "no URL shows the port": ({"refuses": None}, STOPPED),
    "nothing has stopped": ({"stopped": ()}, Keep("ECS does not report that all containers beside Envoy have stopped")),
    "the port answers": ({"refuses": False}, Keep("the application's port does not refuse connections")),
    "Envoy was not read": ({"before": None}, Keep("it is unknown what Envoy serves")),
    "Envoy is not read any more": ({"after": None}, Keep("it is unknown what Envoy serves")),
    "a request succeeded": ({"after": FAILING._replace(completed=106)}, Keep("Envoy serves requests")),
    "Envoy was restarted": ({"after": Traffic(0, 105, 105, 0)}, Keep("Envoy serves requests")),
    "a request is in flight": ({"after": FAILING._replace(in_flight=1)}, Keep("Envoy serves requests")),
    "a connection is open": ({"after": FAILING._replace(connections=1)}, Keep("Envoy serves requests")),
    "a connection came and went": ({"after": FAILING._replace(accepted=1)}, Keep("Envoy serves requests")),
    "a listener is uncounted": ({"uncounted": ["dns", "udp"]}, Keep("no statistic covers dns, udp")),
    "too few have failed": (
        {"after": FAILING._replace(completed=104, failed=9)},
        Keep("too few requests have come to prove that the application has stopped"),
    ),
    "none has come": ({"after": BEFORE}, Keep("too few requests have come to prove that the application has stopped")),
}


@pytest.mark.parametrize("name", APPLICATION_STOPPED)
def test_application_stopped(name: str) -> None:
    """A container that has stopped for good, and requests of which each one fails; without a URL, these two alone."""
    facts: dict[str, Any] = {"stopped": ("app", "web"), "refuses": True, "before": BEFORE, "after": FAILING}
    facts |= {"uncounted": []}
    missing, expected = APPLICATION_STOPPED[name]

    verdict = verdicts.application_stopped(**facts | missing)

    assert (type(expected), expected) == (type(verdict), verdict)


ENVOY_STOPPED: dict[str, tuple[dict[str, Any], verdicts.Verdict]] = {
    "all proofs": ({}, Leave("Envoy's container has stopped (envoy, envoy-2), and Envoy does not answer")),
    "ECS does not say so": ({"stopped": ()}, Keep("ECS does not report that Envoy's container has stopped")),
    "whether the admin API answers is unknown": ({"answers": None}, Keep("it is unknown whether Envoy still runs")),
    "whether a listener accepts is unknown": ({"accepts": None}, Keep("it is unknown whether Envoy still runs")),
    "the admin API answers": ({"answers": True}, Keep("Envoy still answers, although ECS reports that it has stopped")),
    "a listener accepts": ({"accepts": True}, Keep("Envoy still answers, although ECS reports that it has stopped")),
}


@pytest.mark.parametrize("name", ENVOY_STOPPED)
def test_envoy_stopped(name: str) -> None:
    """A container that has stopped for good, an admin API that refuses, and listeners that all refuse."""
    facts: dict[str, Any] = {"stopped": ("envoy", "envoy-2"), "answers": False, "accepts": False}
    missing, expected = ENVOY_STOPPED[name]

    verdict = verdicts.envoy_stopped(**facts | missing)

    assert (type(expected), expected) == (type(verdict), verdict)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, Leave("Envoy has had no connection since it started")),
        ({"used": True}, Keep("Envoy has had connections, requests or health checks")),
        ({"used": None}, Keep("it is unknown what Envoy has served")),
        ({"uncounted": ["dns", "udp"]}, Keep("no statistic covers dns, udp")),
        ({"may_have_been": "the helper was restarted"}, Keep("the helper was restarted")),
    ],
)
def test_never_in_service(facts: dict[str, Any], expected: verdicts.Verdict) -> None:
    """A helper that was there from the beginning, and an Envoy that nothing has ever come to, all of it counted."""
    verdict = verdicts.never_in_service(**{"may_have_been": None, "used": False, "uncounted": [], **facts})

    assert (type(expected), expected) == (type(verdict), verdict)


@pytest.mark.parametrize(
    ("uptime", "helper", "expected"),
    [
        (5, 5.0, None),
        (6, 5.0, None),
        (5, 5.1, "Envoy may have started after the helper"),
        (5, 5.999, "Envoy may have started after the helper"),
        (5, 6.0, "Envoy was restarted after the helper had started"),
        (0, 60.0, "Envoy was restarted after the helper had started"),
    ],
)
def test_younger_than_helper(uptime: float, helper: float, expected: str | None) -> None:
    """Envoy rounds its uptime down, so it is surely younger than the helper only where a second more would be, too."""
    cause = verdicts.younger_than_helper(uptime=uptime, helper=helper)

    assert cause is None if expected is None else cause and cause.startswith(f"{expected}, and counts requests")


OVER = Leave("for some seconds nothing was in flight, and no request came")
BUSY = Keep("requests are in progress, or were a moment ago")
RARE = Keep("requests come so rarely that this silence proves nothing")
# what is known | whether the drain may end before its fixed time is over, and after
QUIETS: dict[str, tuple[dict[str, Any], Quiet, verdicts.Verdict, verdicts.Verdict]] = {
    "all proofs": ({}, Quiet(3, 3), OVER, OVER),
    "some may not have checked": (
        {"drained_for": 30.9},
        Quiet(3, 3),
        Keep("some downstreams may not have checked yet"),
        Keep("some downstreams may not have checked yet"),
    ),
    "a request came a moment ago": ({}, Quiet(2.9, 3), BUSY, BUSY),
    "the traffic is unknown": ({"drained_for": 100}, Quiet(0, 0), BUSY, BUSY),
    "a listener is uncounted": ({"uncounted": ["dns", "udp"]}, Quiet(9, 9), Keep("no statistic covers dns, udp"), OVER),
    "some keep sending, whatever they check": (
        {},
        Quiet(9, 9, unmoved=True),
        Keep("some senders do not stop because of health checks"),
        OVER,
    ),
    "what may be other traffic": (
        {},
        Quiet(9, 2.9),
        Keep("traffic that may come from downstreams is in progress, or was a moment ago"),
        OVER,
    ),
    "requests come rarely": ({}, Quiet(7.9, 9, gap=4), RARE, OVER),
    "silence twice as long as between requests": ({}, Quiet(8, 9, gap=4), OVER, OVER),
}


@pytest.mark.parametrize("name", QUIETS)
def test_quiet(name: str) -> None:
    """The proofs are failed checks for as long as each downstream needs, and a silence that proves something."""
    facts, traffic, before, after = QUIETS[name]
    facts = {"drained_for": 31, "least": 31, "uncounted": [], "traffic": traffic, **facts}

    judged = [verdicts.quiet(**facts, fixed_over=over) for over in (False, True)]

    assert [(type(each), each) for each in (before, after)] == [(type(each), each) for each in judged]


# how the first ended, whether Envoy drains, requests in progress | nothing is left, or where the plan stands
TAKEN_OVER: dict[str, tuple[dict[str, Any], Leave | verdicts.GoOn]] = {
    "all proofs": ({}, Leave("the helper before this one has drained, and no request is in progress")),
    "requests are under way": ({"under_way": True}, verdicts.GoOn(0, 0, True)),
    "whether any are, is not known": ({"under_way": None}, verdicts.GoOn(0, 0, True)),
    "Envoy does not drain": ({"draining": False}, verdicts.GoOn(0, 0, False)),
    "Envoy does not say": ({"draining": None}, verdicts.GoOn(0, 0, False)),
    "how it ended is not known": ({"ended": None}, verdicts.GoOn(0, 0, True)),
    "both are unknown": ({"ended": None, "draining": None}, verdicts.GoOn(0, 0, False)),
    "handed over in the drain": ({"ended": "handed over"}, verdicts.GoOn(115, 74, True)),
    "handed over in the delay": ({"ended": "handed over", "draining": False}, verdicts.GoOn(115, 0, False)),
    "handed over, and Envoy does not say": ({"ended": "handed over", "draining": None}, verdicts.GoOn(115, 0, False)),
    "handed over late": ({"ended": "handed over late"}, verdicts.GoOn(115, 0, True)),
    "downstreams still send": (
        {"ended": "still sending"},
        Leave("the helper before this one exited because downstreams still send, and health-sync still runs"),
    ),
    "they did, and health-sync has stopped": (
        {"ended": "still sending", "waits_for_envoy": False},
        verdicts.GoOn(0, 0, True),
    ),
    "they did, and ECS does not say": ({"ended": "still sending", "waits_for_envoy": None}, verdicts.GoOn(0, 0, True)),
    "handed over late, and Envoy does not drain": (
        {"ended": "handed over late", "draining": False},
        verdicts.GoOn(115, 0, False),
    ),
}


@pytest.mark.parametrize("name", TAKEN_OVER)
def test_taken_over(name: str) -> None:
    """The helper before and Envoy each prove what they can know; without proof nothing counts as done."""
    facts: dict[str, Any] = {
        "ended": "drained",
        "draining": True,
        "under_way": False,
        "elapsed": 115.0,
        "drained": 74.0,
    }
    facts["waits_for_envoy"] = True
    missing, expected = TAKEN_OVER[name]

    verdict = verdicts.taken_over(**facts | missing)

    assert (type(expected), expected) == (type(verdict), verdict)


STILL_SENDING: dict[str, tuple[dict[str, Any], verdicts.Verdict]] = {
    "all proofs": ({}, Leave("5 requests arrived although consul-ecs-health-sync was stopped")),
    "health-sync has stopped": (
        {"waits_for_envoy": False},
        Keep("ECS does not report that consul-ecs-health-sync still runs in a task that is to stop"),
    ),
    "ECS does not say": (
        {"waits_for_envoy": None},
        Keep("ECS does not report that consul-ecs-health-sync still runs in a task that is to stop"),
    ),
    "too few": ({"arrived": 4}, Keep("too few requests arrive to prove that downstreams still send")),
    "none lately": ({"lately": False}, Keep("too few requests arrive to prove that downstreams still send")),
}


@pytest.mark.parametrize("name", STILL_SENDING)
def test_still_sending(name: str) -> None:
    """In Consul: a health-sync that waits for Envoy's stop, and requests that arrive long after its own."""
    facts: dict[str, Any] = {"waits_for_envoy": True, "arrived": 5, "lately": True}
    missing, expected = STILL_SENDING[name]

    verdict = verdicts.still_sending(**facts | missing)

    assert (type(expected), expected) == (type(verdict), verdict)
