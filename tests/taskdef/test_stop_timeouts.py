"""What `add --stop-timeout` makes of a task, and that `check` and the timeline know what it is."""

import json
from typing import Any

import pytest

from task_helper.settings import from_env
from task_helper_taskdef.add import edits
from task_helper_taskdef.add.stop_timeouts import BadStopTimeout
from task_helper_taskdef.check import apply_rules
from task_helper_taskdef.definition import read
from task_helper_taskdef.formats import load
from task_helper_taskdef.formats.editing import changed
from task_helper_taskdef.plan import plan
from task_helper_taskdef.roles import assign_roles, chain_of
from task_helper_taskdef.timeline import stop_schedule

IMAGE = "registry.example/ecs-task-helper:1.0.0"


def task(*compatibilities: str, **helper: Any) -> dict[str, Any]:
    """A task of an Envoy and an application, and a helper where something is said of it."""
    envoy = {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2", "stopTimeout": 10}
    app = {
        "name": "app",
        "image": "shop:1",
        "dependsOn": [{"containerName": "envoy", "condition": "START"}],
        "healthCheck": {"command": ["CMD", "/ready"]},
    }
    containers = [envoy, app, *([{"name": "task-helper", "image": IMAGE, **helper}] if helper else [])]
    return {
        "networkMode": "awsvpc",
        "requiresCompatibilities": list(compatibilities),
        "containerDefinitions": containers,
    }


def with_helper(document: Any, image: str = IMAGE, **options: Any) -> Any:
    """`document` with the edits that `add` makes."""
    return changed(document, edits(document, image, **options))


def helpers(document: Any) -> list[tuple[str, int, dict[str, str]]]:
    """Each helper's name, stopTimeout and variables."""
    return [
        (each["name"], each["stopTimeout"], {pair["name"]: pair["value"] for pair in each.get("environment", [])})
        for each in document["containerDefinitions"][2:]
    ]


def bad(document: Any) -> list[str]:
    return [problem.rule for problem in apply_rules(assign_roles(read(document))) if problem.severity != "note"]


AUTO = {"DRAIN_TIMEOUT": "auto"}
SHARES: dict[str, tuple[list[str], int, list[tuple[str, int, dict[str, str]]]]] = {
    "all that Fargate gives": (
        ["FARGATE"],
        240,
        [
            ("task-helper", 120, AUTO | {"HANDS_OVER_TO": "task-helper-2:120"}),
            ("task-helper-2", 120, AUTO | {"TAKES_OVER_FROM": "task-helper:120"}),
        ],
    ),
    "what two share": (
        ["FARGATE"],
        201,
        [
            ("task-helper", 101, AUTO | {"STOP_TIMEOUT": "101", "HANDS_OVER_TO": "task-helper-2:100"}),
            ("task-helper-2", 100, AUTO | {"STOP_TIMEOUT": "100", "TAKES_OVER_FROM": "task-helper:101"}),
        ],
    ),
    "one is enough": (["FARGATE"], 100, [("task-helper", 100, {"STOP_TIMEOUT": "100"})]),
    "one is enough on EC2": (["EC2"], 600, [("task-helper", 600, AUTO | {"STOP_TIMEOUT": "600"})]),
    "what is usual": ([], 120, [("task-helper", 120, {})]),
}


@pytest.mark.parametrize("name", SHARES)
def test_stop_timeout_is_split_among_helpers(name: str) -> None:
    """One helper keeps the task running if it may have the time, otherwise two do; the result passes `check`."""
    compatibilities, total, expected = SHARES[name]

    document = with_helper(task(*compatibilities), stop_timeout=total)

    assert expected == helpers(document)
    assert [] == bad(document)
    assert document == with_helper(document, stop_timeout=total)
    for _, _, environ in expected:
        assert from_env(environ)


@pytest.mark.parametrize(
    ("document", "total", "reason"),
    [
        (
            task("FARGATE"),
            241,
            "a stopTimeout of 241 is too long: Fargate allows 120 s for a container, so 240 s for two helpers",
        ),
        (task("EC2"), 80, "STOP_TIMEOUT: 80s is too short for DRAIN_DELAY 40s"),
        (task("EC2"), 3, "STOP_TIMEOUT: '3' must be greater than 5s"),
    ],
)
def test_impossible_stop_timeout_is_refused(document: Any, total: int, reason: str) -> None:
    """A time that ECS does not allow, or that is too short for the plan, is refused with the reason."""
    with pytest.raises(BadStopTimeout, match=reason):
        with_helper(document, stop_timeout=total)


def test_name_of_the_second_helper_that_is_taken_is_refused() -> None:
    """Where another container has the second helper's name, nothing is guessed."""
    document = task("FARGATE")
    document["containerDefinitions"].append({"name": "task-helper-2", "image": "batch:1"})

    with pytest.raises(BadStopTimeout, match="a container named task-helper-2 already exists"):
        with_helper(document, stop_timeout=240)


def test_existing_helper_is_copied() -> None:
    """The second is a copy of a helper that is there, with all that was written by hand; the first gets its time."""
    environment = [{"name": "DRAIN_DELAY", "value": "20"}, {"name": "DRAIN_TIMEOUT", "value": "150"}]
    document = task("FARGATE", stopTimeout=60, environment=environment, user="7")

    longer = with_helper(document, stop_timeout=240)

    by_hand = {"DRAIN_DELAY": "20", "DRAIN_TIMEOUT": "150"}
    assert helpers(longer) == [
        ("task-helper", 120, by_hand | {"HANDS_OVER_TO": "task-helper-2:120"}),
        ("task-helper-2", 120, by_hand | {"TAKES_OVER_FROM": "task-helper:120"}),
    ]
    assert ["7", "7"] == [each["user"] for each in longer["containerDefinitions"][2:]]
    assert [] == bad(longer)


def test_new_image_is_for_both_helpers() -> None:
    """Two in a chain are one program: a new image is for both."""
    document = with_helper(with_helper(task("FARGATE"), stop_timeout=240), image="registry.example/ecs-task-helper:2")

    assert {"registry.example/ecs-task-helper:2"} == {c["image"] for c in document["containerDefinitions"][2:]}


def test_first_helper_depends_on_the_others_itself() -> None:
    """If the first helper depends on the others only through the second, a crash of the second frees the others."""
    document = with_helper(task("FARGATE"), stop_timeout=240)
    document["containerDefinitions"][2]["dependsOn"] = [{"containerName": "task-helper-2", "condition": "START"}]

    assert ["holds-all", "holds-all"] == bad(document)


def test_reversed_chain_is_reported() -> None:
    """Both helpers get a finding if they name the opposite of the order in which ECS stops them."""
    document = with_helper(task("FARGATE"), stop_timeout=240)
    first, second = document["containerDefinitions"][2:]
    first["dependsOn"].pop()
    second["dependsOn"].append({"containerName": "task-helper", "condition": "START"})

    assert ["helper-chain", "helper-chain"] == bad(document)


def test_timeline() -> None:
    """The second begins where the first ends, and takes what that one leaves of a fixed plan."""
    document = with_helper(
        task("FARGATE", stopTimeout=120, environment=[{"name": "DRAIN_TIMEOUT", "value": "150"}]),
        stop_timeout=240,
    )
    definition = read(document)

    phases = {phase.container.name: (phase.begins, phase.ends) for phase in stop_schedule(assign_roles(definition))}

    assert {"task-helper": (0, 115), "task-helper-2": (115, 190), "app": (190, 220), "envoy": (220, 230)} == phases
    assert "continues the plan of task-helper; its plan takes 75s" in plan(load("task.json", json.dumps(document))[0])
    assert ["task-helper", "task-helper-2"] == [each.name for each in chain_of(assign_roles(definition)) or ()]
