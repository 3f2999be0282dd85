"""The stop of a whole task, as a schedule and as a picture."""

from __future__ import annotations

import json
from typing import Any

import pytest

from task_helper_taskdef.definition import read
from task_helper_taskdef.formats import Source, json_text
from task_helper_taskdef.plan import plan
from task_helper_taskdef.roles import BadName, assign_roles
from task_helper_taskdef.timeline import stop_schedule


def container(name: str, *dependencies: str, **fields: Any) -> dict[str, Any]:
    depends_on = [{"containerName": dependency, "condition": "START"} for dependency in dependencies]
    return {"name": name, "dependsOn": depends_on, **fields}


def task(*containers: dict[str, Any]) -> Source:
    """A definition of these containers."""
    document = {"family": "shop", "containerDefinitions": list(containers)}
    return Source("shop.json", json_text.parse(json.dumps(document)), document)


ENVOY = container("envoy")
APP = container("app", "envoy", stopTimeout=10)


@pytest.mark.parametrize(
    "containers, schedule",
    [
        # in turn: helper, application, Envoy
        (
            [ENVOY, APP, container("task-helper", "app", "envoy", stopTimeout=120)],
            [("task-helper", 0, 80), ("app", 80, 90), ("envoy", 90, 120)],
        ),
        # containers without dependants stop side by side
        (
            [ENVOY, container("app"), container("task-helper", "app", "envoy", stopTimeout=120)],
            [("task-helper", 0, 80), ("envoy", 80, 110), ("app", 80, 110)],
        ),
        # what stops side by side is in the definition's order
        (
            [ENVOY, *(container(name, "envoy") for name in "dbca")],
            [("d", 0, 30), ("b", 0, 30), ("c", 0, 30), ("a", 0, 30), ("envoy", 30, 60)],
        ),
        # without a helper the application gets SIGTERM at once
        ([ENVOY, APP], [("app", 0, 10), ("envoy", 10, 40)]),
        # a stopTimeout that is too short cuts the plan
        ([ENVOY, container("task-helper", "envoy")], [("task-helper", 0, 30), ("envoy", 30, 60)]),
        # a container that ends at the start takes no time, and ECS does not wait for it
        (
            [
                container("init", essential=False),
                {"name": "app", "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}]},
            ],
            [("app", 0, 30)],
        ),
        # with auto the helper may take all but the last 5 s
        (
            [container("task-helper", stopTimeout=120, environment=[{"name": "DRAIN_TIMEOUT", "value": "auto"}])],
            [("task-helper", 0, 115)],
        ),
        # settings that cannot be used have no plan
        (
            [container("task-helper", stopTimeout=90, environment=[{"name": "DRAIN_DELAY", "value": "x"}])],
            [("task-helper", 0, 90)],
        ),
    ],
)
def test_stop_times_add_up_along_dependencies(
    containers: list[dict[str, Any]], schedule: list[tuple[str, float, float]]
) -> None:
    """A container gets SIGTERM when all containers that depend on it have exited, and exits its stopTimeout later."""
    phases = stop_schedule(assign_roles(read(task(*containers).document)))

    assert schedule == [(phase.container.name, phase.begins, phase.ends) for phase in phases]


def test_plan_draws_every_phase_to_scale() -> None:
    """The picture of a whole task has a bar for each container, the moments, and what Spot would cut off."""
    picture = plan(task(ENVOY, APP, container("task-helper", "app", "envoy", stopTimeout=120)), 80, spot=True)

    assert picture.splitlines() == [
        "task-helper  ├──── delaying 40s ───┼─── draining 40s ───┤",
        "app          ├────────────── serving 80s ───────────────┼ 10s ┤",
        "envoy        ├───────────────── serving 90s ──────────────────┼─ stopping 30s ┤",
        "",
        "    0s  task-helper  SIGTERM; its plan takes 80s of its stopTimeout of 120s",
        "   80s  app          SIGTERM, and SIGKILL after its stopTimeout of 10s",
        "   90s  envoy        SIGTERM, and SIGKILL after its stopTimeout of 30s",
        "  120s  the whole task has stopped at the latest, 0s before Spot ends it",
    ]


@pytest.mark.parametrize(
    "containers, line",
    [
        (
            [ENVOY, container("task-helper", "envoy", stopTimeout=60)],
            "    0s  task-helper  SIGTERM, and SIGKILL after 60s: KILLED 20s before its plan of 80s ends",
        ),
        (
            [ENVOY, container("task-helper", stopTimeout=120)],
            "    0s  envoy        SIGTERM, and SIGKILL after its stopTimeout of 30s; NO HELPER DEPENDS ON IT",
        ),
        (
            [ENVOY, container("task-helper", environment=[{"name": "STOP_TIMEOUT", "value": "soon"}])],
            "    0s  task-helper  SIGTERM; the helper refuses its settings, see `task-helper taskdef check`",
        ),
        (
            [container("task-helper", stopTimeout=120, environment=[{"name": "DRAIN_DELAY", "value": "auto"}])],
            "    0s  task-helper  SIGTERM; its plan takes at most 115s of its stopTimeout of 120s",
        ),
        (
            [container("task-helper", stopTimeout=120, environment=[{"name": "DRAIN_DELAY", "value": "auto"}])],
            "task-helper  ├┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄ delaying and draining up to 115s ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┤",
        ),
        (
            [container("task-helper", stopTimeout=120, environment=[{"name": "DRAIN_TIMEOUT", "value": "auto"}])],
            "task-helper  ├──── delaying 40s ────┼┄┄┄┄┄┄┄┄┄┄┄ draining up to 75s ┄┄┄┄┄┄┄┄┄┄┤",
        ),
        (
            [container("envoy", stopTimeout=60), container("task-helper", "envoy", stopTimeout=120)],
            "   80s  envoy        SIGTERM, and SIGKILL after its stopTimeout of 60s; KILLED at 120s on Spot",
        ),
        (
            [container("app", "envoy"), container("envoy", "app")],
            "The containers wait for each other (app -> envoy -> app), so ECS refuses this task definition.",
        ),
    ],
)
def test_plan_shows_problems(containers: list[dict[str, Any]], line: str) -> None:
    """A container's line shows if ECS kills it, if no helper depends on it, and if it has no order."""
    assert line in plan(task(*containers), 80, spot=True).splitlines()


def test_unknown_container_name_is_refused() -> None:
    """A helper or an Envoy that is named but not there is refused with the names that are."""
    with pytest.raises(BadName, match="no container is named 'proxy'; the containers are envoy, app"):
        plan(task(ENVOY, APP), 80, envoy="proxy")
