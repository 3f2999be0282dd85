"""What the task metadata tells of containers that have stopped."""

from datetime import datetime, timezone

import pytest

from task_helper.metadata import Container, Task, crashed


def at(second: float) -> datetime:
    return datetime.fromtimestamp(1_700_000_000 + second, timezone.utc)


def app(finished: float | None, exit_code: int | None = 1, status: str = "STOPPED", type: str = "NORMAL") -> Container:
    return Container(
        name="app",
        type=type,
        known_status=status,
        exit_code=exit_code,
        finished_at=None if finished is None else at(finished),
    )


# the container | since when an essential container is stopped | has it crashed, SIGTERM being at 100
CONTAINERS = {
    "crashed before SIGTERM": (app(98), 98.5, True),
    "ended well before SIGTERM, which took the task down as well": (app(98, 0), 98.5, True),
    "crashed in the delay": (app(120), 120.5, True),
    "no time of its end is known": (app(None), 98.5, True),
    "still runs": (app(None, None, "RUNNING"), 98.5, False),
    "ended long ago, as an init container does": (app(-5000, 0), 98.5, False),
    "ended long ago, and nothing essential has": (app(-5000, 0), None, False),
    "left on SIGTERM, not held by the helper": (app(101, 0), 101.5, False),
    "was ended by SIGTERM, not held by the helper": (app(101, 143), 101.5, False),
    "is the task's network": (app(98, 0, "STOPPED", "CNI_PAUSE"), 98.5, False),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_crashed(name: str) -> None:
    """A container has crashed if it took the task down, or left without being asked to."""
    container, essential_stopped, expected = CONTAINERS[name]
    task = Task([container], None if essential_stopped is None else at(essential_stopped))

    assert expected == bool(crashed(task, at(100)))


@pytest.mark.parametrize(
    ("name", "image", "expected"),
    [
        ("envoy", "x", True),
        ("proxy", "public.ecr.aws/appmesh/aws-appmesh-envoy:v1", True),
        ("consul-dataplane", "hashicorp/consul-dataplane:1", True),
        ("kuma-dp", "kong/kuma-dp:2", True),
        ("app", "example/orders:3", False),
    ],
)
def test_is_envoy(name: str, image: str, expected: bool) -> None:
    """Envoy's container is known by its name or its image."""
    assert expected == Container(name=name, image=image).is_envoy
