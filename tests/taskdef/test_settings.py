"""What `taskdef check` says of settings that the helper refuses."""

from task_helper_taskdef.definition import read
from task_helper_taskdef.roles import assign_roles
from task_helper_taskdef.rules import settings

AUTO = [{"name": "DRAIN_DELAY", "value": "auto"}, {"name": "DRAIN_TIMEOUT", "value": "auto"}]


def test_auto_that_does_not_fit() -> None:
    """A stopTimeout that is too short for the shortest times of `auto` is an error, as it is for the helper."""
    helper = {"name": "task-helper", "environment": [*AUTO, {"name": "STOP_TIMEOUT", "value": "40"}]}
    (finding,) = settings.check(assign_roles(read({"containerDefinitions": [helper]})))

    assert "error" == finding.severity
    expected = "STOP_TIMEOUT: 40s is too short for DRAIN_DELAY 40s (at least, because DISCOVERY_LAG is 40s)"
    assert expected in finding.message
