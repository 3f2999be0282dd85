"""The settings tables of docs/use/meshes, compared with what `add` writes and what `check --mesh` reports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from task_helper_taskdef.add import edits
from task_helper_taskdef.check import apply_rules
from task_helper_taskdef.definition import read
from task_helper_taskdef.formats.editing import changed
from task_helper_taskdef.presets import OPEN
from task_helper_taskdef.roles import Mesh, assign_roles

PAGES = Path(__file__).parents[2] / "docs" / "use" / "meshes"
IMAGE = "registry.example/ecs-task-helper:1.0.0"
DEFAULTS = {"DRAIN_DELAY": "40"}
# the page of each mesh, the column of its values, and an Envoy of its kind
MESHES: dict[Mesh, tuple[str, int, dict[str, Any]]] = {
    "app-mesh": (
        "app-mesh-style",
        1,
        {"name": "envoy", "image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.34.13.0"},
    ),
    "consul": ("consul", 1, {"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:2.0.1"}),
    "kuma": ("kuma", 1, {"name": "kuma-dp", "image": "kumahq/kuma-dp:2.13.1", "stopTimeout": 60}),
    "static-dns": ("static-dns", 1, {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}),
    "alb": ("load-balancer", 1, {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}),
    "nlb": ("load-balancer", 2, {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}),
}
ROWS = [
    pytest.param(mesh, variable, value, id=f"{mesh}-{variable}")
    for mesh, (page, column, _) in MESHES.items()
    for variable, value in (
        (row[0], row[column])
        for row in re.findall(
            r"^\| `([A-Z_]+)`[^|]*\|([^|]*)\|([^|]*)\|", (PAGES / f"{page}.md").read_text("utf-8"), re.M
        )
    )
]


def task(mesh: Mesh, *others: dict[str, Any]) -> dict[str, Any]:
    """A task of that mesh's Envoy and an application."""
    app = {"name": "app", "image": "shop:1", "healthCheck": {"command": ["CMD", "/ready"]}}
    return {"networkMode": "awsvpc", "containerDefinitions": [MESHES[mesh][2], app, *others]}


def variables(document: Any) -> dict[str, str]:
    """The environment variables of all containers."""
    return {
        each["name"]: each["value"]
        for container in document["containerDefinitions"]
        for each in container.get("environment", [])
    }


def asked_for(mesh: Mesh, document: Any) -> str:
    """What `check --mesh` reports of `document`, as one text."""
    return "\n".join(finding.remedy for finding in apply_rules(assign_roles(read(document), mesh=mesh)))


def test_every_mesh_has_a_settings_table() -> None:
    """The tables are read: none of them is empty here."""
    assert set(MESHES) == {row.values[0] for row in ROWS}


@pytest.mark.parametrize("mesh, variable, value", ROWS)
def test_add_writes_the_settings_of_the_page(mesh: Mesh, variable: str, value: str) -> None:
    """A value of the page is written where it is not the default; where only the user knows it, a note asks for it."""
    document = task(mesh)
    added = changed(document, edits(document, IMAGE, mesh=mesh))
    plain = [part.strip("` ") for part in re.split(r",|\bwith\b|\bor\b", value)]

    if variable in variables(added):
        assert variables(added)[variable] in plain
    elif variable in DEFAULTS:
        assert any(part.removeprefix("else ") == DEFAULTS[variable] for part in plain)
    else:
        assert variable == OPEN[mesh].variable
        assert variable in asked_for(mesh, added)


@pytest.mark.parametrize("mesh, variable, value", ROWS)
def test_check_asks_for_the_settings_of_the_page(mesh: Mesh, variable: str, value: str) -> None:
    """Of a helper without any setting, check reports each that the page has and that is not the default."""
    assert variable in asked_for(mesh, task(mesh, {"name": "task-helper", "image": IMAGE})) or variable in DEFAULTS
