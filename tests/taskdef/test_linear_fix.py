"""A repair reads a file as often as it has rounds, not as often as it has findings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from task_helper_taskdef.fix import fix
from task_helper_taskdef.formats import json_text, load
from task_helper_taskdef.formats.tree import Tree

HELPER = {"name": "task-helper", "image": "ecs-task-helper:1.0.0"}
ENVOY = {"name": "envoy", "image": "envoyproxy/envoy:v1.36.0"}


def test_more_findings_do_not_read_the_file_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file with five times as many findings is read as it is written equally often."""
    read: list[int] = []
    once = json_text.written

    def counted(tree: Tree) -> Any:
        read.append(1)
        return once(tree)

    monkeypatch.setattr(json_text, "written", counted)

    def reads(containers: int) -> int:
        read.clear()
        others = [{"name": f"c{i}", "image": "app:1.0", "memory": "64"} for i in range(containers)]
        depends_on = [{"containerName": each["name"], "condition": "START"} for each in [ENVOY, *others]]
        helper = {**HELPER, "dependsOn": depends_on}
        document = {"family": "f", "networkMode": "awsvpc", "containerDefinitions": [ENVOY, helper, *others]}
        fix(load("task.json", json.dumps(document)))
        return len(read)

    assert reads(10) == reads(50)


def test_several_findings_at_one_place() -> None:
    """Every container that a helper has to depend on is added in one run."""
    others = [{"name": f"c{i}", "image": "app:1.0", "memory": "64"} for i in range(5)]
    document = {"family": "f", "networkMode": "awsvpc", "containerDefinitions": [ENVOY, HELPER, *others]}

    fixed = json.loads(fix(load("task.json", json.dumps(document))).text)

    (helper,) = [each for each in fixed["containerDefinitions"] if each["name"] == "task-helper"]
    assert {"envoy", *(f"c{i}" for i in range(5))} == {each["containerName"] for each in helper["dependsOn"]}


def test_missing_dependencies_are_one_change_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many containers a helper has to depend on, the repaired file is parsed equally often."""
    parsed: list[str] = []
    once = json_text.parse

    def counted(text: str) -> Tree:
        parsed.append(text)
        return once(text)

    monkeypatch.setattr(json_text, "parse", counted)

    def parses(containers: int) -> int:
        others = [{"name": f"c{i}", "image": "app:1.0", "memory": 64} for i in range(containers)]
        document = {"family": "f", "networkMode": "awsvpc", "containerDefinitions": [ENVOY, HELPER, *others]}
        sources = load("task.json", json.dumps(document))
        parsed.clear()
        assert containers + 1 == fix(sources).rules.count("holds-all")
        return len(parsed)

    assert parses(10) == parses(100)


def test_all_dependencies_on_the_helper_are_removed_and_no_other() -> None:
    """A container that depends on the helper twice keeps its dependency on another container."""
    entries = [{"containerName": name, "condition": "START"} for name in ("task-helper", "task-helper", "envoy")]
    app = {"name": "app", "image": "app:1.0", "dependsOn": entries}
    document = {"family": "f", "networkMode": "awsvpc", "containerDefinitions": [ENVOY, HELPER, app]}

    fixed = json.loads(fix(load("task.json", json.dumps(document))).text)

    (app,) = [each for each in fixed["containerDefinitions"] if each["name"] == "app"]
    assert [{"containerName": "envoy", "condition": "START"}] == app["dependsOn"]
