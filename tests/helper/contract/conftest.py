"""For all contract tests."""

import pytest


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the helper wait for as long as Envoy needs on a busy machine.

    These tests ask what Envoy answers, not how fast.
    """
    for bound in ("CALL_TIMEOUT", "LOOK_TIMEOUT"):
        monkeypatch.setattr(f"task_helper.envoy.admin.{bound}", 60.0)
