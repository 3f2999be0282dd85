"""The gate between the running helper and `healthcheck`."""

import pytest

from task_helper.gate import Gate, status

HERE = {"ENVOY_ADMIN_URL": "http://gate.test:1"}


def test_one_status_at_a_time() -> None:
    """Each status takes the place of the last, and may be shown again."""
    gate = Gate(HERE)

    assert status(HERE) is None
    gate.show("waiting for Envoy")
    assert "waiting for Envoy" == status(HERE)
    gate.show("in service")
    gate.show("in service")
    assert "in service" == status(HERE)
    gate.close()
    assert status(HERE) is None


def test_two_helpers_in_a_container() -> None:
    """Helpers of different Envoys are told apart; a second one of the same cannot show its status."""
    other = {"ENVOY_ADMIN_URL": "http://gate.test:2"}
    gate, rival = Gate(HERE), Gate(HERE)
    gate.show("in service")

    assert status(other) is None
    with pytest.raises(OSError, match="in use"):
        rival.show("in service")
    gate.close()
