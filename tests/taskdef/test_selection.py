"""Files with several task definitions: which of them `check`, `--fix`, `add` and `plan` are about."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from task_helper.cli import main
from task_helper_taskdef.formats import load

IMAGE = "registry.example/ecs-task-helper:1.0.0"
TEMPLATE = """\
Resources:
  Orders:
    Type: AWS::ECS::TaskDefinition
    Properties:
      Family: orders-family
      NetworkMode: awsvpc
      ContainerDefinitions:
        - Name: envoy
          Image: envoyproxy/envoy:v1.36.2
        - Name: app
          Image: shop:1
  Cart:
    Type: AWS::ECS::TaskDefinition
    Properties:
      NetworkMode: awsvpc
      ContainerDefinitions:
        - Name: envoy
          Image: envoyproxy/envoy:v1.36.2
  Batch:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
        - Name: app
          Image: shop:1
  Legacy:
    Type: AWS::ECS::TaskDefinition
    Properties:
      RuntimePlatform: {OperatingSystemFamily: WINDOWS_SERVER_2022_CORE}
      ContainerDefinitions:
        - Name: envoy
          Image: envoyproxy/envoy:v1.36.2
"""


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template with two tasks that have an Envoy, one that has none, and one for Windows."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "stack.yaml"
    file.write_text(TEMPLATE, encoding="utf-8")
    return file


def helped(text: str) -> list[str]:
    """The definitions of a template that have a helper."""
    return [
        source.label
        for source in load("x.yaml", text)
        if any(container["name"] == "task-helper" for container in source.document["containerDefinitions"])
    ]


def test_add_changes_every_definition_with_an_envoy(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --definition, tasks without an Envoy and those on Windows stay as they are."""
    assert main(["taskdef", "add", "stack.yaml", "--image", IMAGE]) == 0
    written = capsys.readouterr()

    assert ["Orders", "Cart"] == helped(written.out)
    assert "stack.yaml Legacy: unchanged: it runs on Windows" in written.err


@pytest.mark.parametrize("name", ["Cart", "2"])
def test_add_changes_the_definition_that_is_named(
    name: str, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A logical ID or a number chooses one; the others stay byte for byte."""
    assert main(["taskdef", "add", "stack.yaml", "--image", IMAGE, "--definition", name, "--in-place"]) == 0
    text = template.read_text(encoding="utf-8")

    assert ["Cart"] == helped(text)
    assert text.startswith(TEMPLATE[: TEMPLATE.index("  Cart:")]) and text.endswith(
        TEMPLATE[TEMPLATE.index("  Batch:") :]
    )


@pytest.mark.parametrize("name, reason", [("Batch", "no container is an Envoy"), ("Legacy", "runs on Windows")])
def test_add_refuses_a_named_definition_that_it_cannot_serve(
    name: str, reason: str, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is named and gets no helper is an error, and nothing is written."""
    assert main(["taskdef", "add", "stack.yaml", "--image", IMAGE, "--definition", name, "--in-place"]) == 65
    assert reason in capsys.readouterr().err
    assert TEMPLATE == template.read_text(encoding="utf-8")


def test_add_refuses_several_without_an_envoy(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of which no task has an Envoy on Linux is left alone."""
    template.write_text(TEMPLATE.replace("envoy", "proxy"), encoding="utf-8")

    assert main(["taskdef", "add", "stack.yaml", "--image", IMAGE]) == 65
    assert "none of its 4 task definitions has an Envoy on Linux" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["taskdef", "check"], ["taskdef", "add", "--image", IMAGE], ["plan", "--taskdef"]])
def test_name_that_no_definition_has_is_refused(
    command: list[str], template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The message lists the names that there are."""
    assert main([*command, "stack.yaml", "--definition", "Shop"]) == 2
    assert capsys.readouterr().err == (
        "task-helper: no task definition is named 'Shop'; the definitions are: Orders or orders-family or 1; Cart or 2;"
        " Batch or 3; Legacy or 4\n"
    )


@pytest.mark.parametrize("name", ["Orders", "orders-family", "1"])
def test_check_reports_only_the_definition_that_is_named(
    name: str, template: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Logical ID, family and number mean the same definition."""
    assert main(["taskdef", "check", "stack.yaml", "--definition", name, "--format", "json"]) == 1
    assert ["Orders"] == [each["name"] for each in json.loads(capsys.readouterr().out)["definitions"]]


def test_fix_repairs_only_the_definition_that_is_named(template: Path) -> None:
    """Findings of the others stay."""
    main(["taskdef", "add", "stack.yaml", "--image", IMAGE, "--in-place"])
    broken = (
        template.read_text(encoding="utf-8").replace('User: "65532"', 'User: "0"').replace("User: '65532'", 'User: "0"')
    )
    template.write_text(broken, encoding="utf-8")

    main(["taskdef", "check", "--fix", "stack.yaml", "--definition", "Cart"])
    users = {
        source.label: [each["user"] for each in source.document["containerDefinitions"] if "user" in each]
        for source in load("x.yaml", template.read_text(encoding="utf-8"))
    }
    assert users["Orders"] == ["0"] and users["Cart"] != ["0"]


def test_plan_draws_each_definition_with_an_envoy(template: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several drawings have a heading each; one that is named has none."""
    assert main(["plan", "--taskdef", "stack.yaml"]) == 0
    drawn = capsys.readouterr().out
    assert drawn.startswith("Orders or orders-family or 1\n") and "\n\nCart or 2\n" in drawn and "Batch" not in drawn

    assert main(["plan", "--taskdef", "stack.yaml", "--definition", "Batch"]) == 0
    assert capsys.readouterr().out.startswith("app")


def test_add_and_plan_read_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The names and the mesh of .task-helper.toml beside the file count for add and plan, too."""
    (tmp_path / ".task-helper.toml").write_text('envoy = "proxy"\nmesh = "alb"\n', encoding="utf-8")
    document: dict[str, Any] = {"containerDefinitions": [{"name": "proxy", "image": "shop/proxy:1"}]}
    file = tmp_path / "task.json"
    file.write_text(json.dumps(document), encoding="utf-8")

    assert main(["taskdef", "add", str(file), "--image", IMAGE]) == 0
    helper = json.loads(capsys.readouterr().out)["containerDefinitions"][1]
    assert {"name": "DRAIN_DELAY", "value": "0"} in helper["environment"]
    assert main(["plan", "--taskdef", str(file)]) == 0
