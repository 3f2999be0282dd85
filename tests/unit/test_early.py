"""When may the plan end early: two proofs each, one of them that nothing is being served, and what is unknown keeps it.

Each table begins with the facts that are enough; each further row takes one of them away.
"""

from typing import Any

import pytest

from task_helper import early
from task_helper.early import Keep, Leave
from task_helper.traffic import Traffic

BEFORE = Traffic(in_flight=0, completed=100, failed=5, connections=0)
FAILING = Traffic(in_flight=0, completed=105, failed=10, connections=0)

APPLICATION_GONE: dict[str, dict[str, Any]] = {
    "all proofs": {},
    "no URL tells the port": {"refuses": None},
    "nothing has stopped": {"stopped": ()},
    "the port answers": {"refuses": False},
    "Envoy was not read": {"before": None},
    "Envoy is not read any more": {"after": None},
    "a request succeeded": {"after": FAILING._replace(completed=106)},
    "Envoy was restarted": {"after": Traffic(0, 105, 105, 0)},
    "a request is in flight": {"after": FAILING._replace(in_flight=1)},
    "a connection is open": {"after": FAILING._replace(connections=1)},
    "too few have failed": {"after": FAILING._replace(completed=104, failed=9)},
    "none has come": {"after": BEFORE},
}


@pytest.mark.parametrize("name", APPLICATION_GONE)
def test_application_gone(name: str) -> None:
    """A container that has stopped for good, and requests of which each one fails; without a URL, these two alone."""
    facts: dict[str, Any] = {"stopped": ("app",), "refuses": True, "before": BEFORE, "after": FAILING}
    facts |= APPLICATION_GONE[name]

    expected = Leave if name in ("all proofs", "no URL tells the port") else Keep
    assert expected is type(early.application_gone(**facts))


ENVOY_GONE: dict[str, dict[str, Any]] = {
    "all proofs": {},
    "ECS does not say so": {"stopped": ()},
    "the admin API answers": {"answers": True},
    "a listener accepts": {"accepts": True},
}


@pytest.mark.parametrize("name", ENVOY_GONE)
def test_envoy_gone(name: str) -> None:
    """A container that has stopped for good, and nobody who answers or accepts."""
    facts: dict[str, Any] = {"stopped": ("envoy",), "answers": False, "accepts": False}

    expected = Leave if name == "all proofs" else Keep
    assert expected is type(early.envoy_gone(**facts | ENVOY_GONE[name]))


@pytest.mark.parametrize(
    ("may_have_been", "served", "expected"),
    [
        (None, False, Leave("Envoy has served no request since it started")),
        (None, True, Keep("Envoy has served requests")),
        (None, None, Keep("what Envoy has served is not known")),
        ("the helper was restarted", False, Keep("the helper was restarted")),
    ],
)
def test_never_in_service(may_have_been: str | None, served: bool | None, expected: early.Verdict) -> None:
    """A helper that was there from the beginning, and an Envoy that has served nobody."""
    assert expected == early.never_in_service(may_have_been=may_have_been, served=served)


@pytest.mark.parametrize(
    ("told_for", "quiet_for", "leave"), [(31, 3, True), (30.9, 3, False), (31, 2.9, False), (100, 0, False)]
)
def test_quiet(told_for: float, quiet_for: float, leave: bool) -> None:
    """Health checks that fail for as long as each downstream takes to see it, and three seconds without a request."""
    assert leave == isinstance(early.quiet(told_for=told_for, least=31, quiet_for=quiet_for), Leave)
