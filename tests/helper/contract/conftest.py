"""For all contract tests."""

import pytest


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the helper wait for as long as Envoy or AWS's client needs on a busy machine.

    These tests ask what they answer, not how fast.
    """
    for bound in ("envoy.admin.CALL_TIMEOUT", "envoy.admin.LOOK_TIMEOUT", "ecs.service.STEP_TIMEOUT"):
        monkeypatch.setattr(f"task_helper.{bound}", 60.0)
