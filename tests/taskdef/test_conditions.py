"""CloudFormation's conditions are evaluated both ways, and loops expanded: nothing under them passes unread."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from task_helper.cli import main
from task_helper_taskdef.add import add
from task_helper_taskdef.check import check
from task_helper_taskdef.definition import read_source
from task_helper_taskdef.fix import fix
from task_helper_taskdef.formats import Source, load
from task_helper_taskdef.formats.conditions import Conditions, distinguishing
from task_helper_taskdef.formats.editing import NotEditable
from task_helper_taskdef.formats.tree import NotATaskDefinition

IMAGE = "registry.example/ecs-task-helper:1.0.0"
ENVOY = "Name: envoy, Image: 'envoyproxy/envoy:v1', HealthCheck: {Command: [CMD, /ready]}"
TEMPLATE = """\
Parameters:
  Mesh: {Type: String, Default: ""}
  Agent: {Type: String, AllowedValues: ["yes", "no"]}
Conditions:
  UseMesh: !Not [!Equals [!Ref Mesh, ""]]
  UseAgent: !Equals [!Ref Agent, "yes"]
Resources:
  T:
    Type: AWS::ECS::TaskDefinition
    Properties:
      NetworkMode: awsvpc
      ContainerDefinitions:
        - Name: app
          Image: shop:1
          DependsOn: !If [UseMesh, [{ContainerName: envoy, Condition: HEALTHY}], !Ref AWS::NoValue]
        - !If [UseAgent, {Name: agent, Image: "datadog/agent:7"}, !Ref AWS::NoValue]
        - !If
          - UseMesh
          - {%s}
          - !Ref AWS::NoValue
"""
TEMPLATE %= ENVOY


def only(text: str) -> Source:
    (source,) = load("t.yaml", text)
    return source


def containers(source: Source) -> list[str]:
    return [container["name"] for container in source.document["containerDefinitions"]]


def test_each_way_in_which_the_conditions_are_met_is_read() -> None:
    """A template of two conditions has four variants, the first of which is that of the defaults."""
    source = only(TEMPLATE)

    assert {"UseMesh": False, "UseAgent": False} == source.conditions
    assert ["app"] == containers(source)
    assert [["app"], ["app", "agent"], ["app", "agent", "envoy"], ["app", "envoy"]] == sorted(
        map(containers, source.variants)
    )


def test_finding_names_its_condition() -> None:
    """What is wrong with one variant only is reported with its condition, and at its place in the file."""
    checked = check(only(TEMPLATE))
    (missing,) = [finding for finding in checked.findings if finding.rule == "helper-missing"]

    assert missing.message.endswith(" This applies if UseMesh is true.")
    assert (12, 7) == checked.source.position(missing.place)
    assert ["envoy"] == [envoy.name for envoy in checked.task.envoys]


def test_place_of_a_container_behind_one_that_is_left_out_is_its_own() -> None:
    """The third item of the file is the second container where the second is not there."""
    source = next(variant for variant in only(TEMPLATE).variants if containers(variant) == ["app", "envoy"])

    assert "$.Resources.T.Properties.ContainerDefinitions[2].Fn::If[1].Name" == source.file_place(
        "$.containerDefinitions[1].name"
    )
    assert (19, 14) == source.position("$.containerDefinitions[1].name")


def test_add_writes_a_helper_under_the_condition_of_its_envoy() -> None:
    """The helper is there where Envoy is, and depends on a conditional neighbour where that is there."""
    added = add(only(TEMPLATE), IMAGE)

    assert added.text.startswith(TEMPLATE)
    depends = {}
    for variant in added.variants:
        *others, last = variant.document["containerDefinitions"]
        assert ("task-helper" == last["name"]) == variant.conditions["UseMesh"]
        if variant.conditions["UseMesh"]:
            depends[len(others)] = {entry["containerName"] for entry in last["dependsOn"]}
    assert {3: {"app", "agent", "envoy"}, 2: {"app", "envoy"}} == depends
    assert not [finding for finding in check(added).findings if finding.severity == "error"]
    assert added.text == add(added, IMAGE).text


def test_add_with_a_longer_time_works_under_a_condition_too() -> None:
    """Times are set for the helper that the condition makes."""
    longer = add(only(TEMPLATE), IMAGE, stop_timeout=100)
    variant = next(variant for variant in longer.variants if variant.conditions["UseMesh"])

    assert 100 == variant.document["containerDefinitions"][-1]["stopTimeout"]


def test_add_refuses_what_no_single_helper_is_right_for() -> None:
    """Two branches with two Envoys need two helpers, which a person writes."""
    text = TEMPLATE.replace("- !Ref AWS::NoValue\n", "- {Name: proxy, Image: 'envoyproxy/envoy:v1', User: '1'}\n")
    text = text.replace(
        "HealthCheck: {Command: [CMD, /ready]}",
        "Command: [--config-yaml, '{admin: {address: {socket_address: {port_value: 9999}}}}']",
    )

    with pytest.raises(NotEditable, match="UseMesh"):
        add(only(text), IMAGE)


def test_fix_leaves_conditional_findings_alone() -> None:
    """A repair for one variant only is left to a person; a finding of all variants is repaired."""
    text = TEMPLATE + (
        "        - {Name: task-helper, Image: 'ecs-task-helper:1', User: root,\n"
        "           DependsOn: [{ContainerName: app, Condition: START}]}\n"
    )
    fixed = fix([only(text)])

    assert "root-user" in fixed.rules and "holds-all" not in fixed.rules
    assert "holds-all" in {finding.rule for finding in check(only(fixed.text)).findings}


def test_conditions_that_exclude_each_other_are_never_met_together() -> None:
    """Two comparisons of one parameter, an And and an Or, allowed values."""
    template: dict[str, Any] = {
        "Parameters": {"Env": {"Type": "String", "Default": "dev", "AllowedValues": ["dev", "test", "prod"]}},
        "Conditions": {
            "Prod": {"Fn::Equals": [{"Ref": "Env"}, "prod"]},
            "Test": {"Fn::Equals": ["test", {"Ref": "Env"}]},
            "Either": {"Fn::Or": [{"Condition": "Prod"}, {"Condition": "Test"}]},
            "Both": {"Fn::And": [{"Condition": "Prod"}, {"Condition": "Test"}]},
            "Never": {"Fn::Equals": [{"Ref": "Env"}, "other"]},
        },
    }
    fields = [{"Fn::If": [name, 1, 2]} for name in template["Conditions"]]
    ways, complete = Conditions(template).ways(fields, None, 32)

    assert complete
    assert [set(), {"Test", "Either"}, {"Prod", "Either"}] == [
        {name for name, met in way.items() if met} for way in ways
    ]


def test_condition_of_the_resource_is_met() -> None:
    """A task definition that exists under a condition only is read where it is met."""
    text = TEMPLATE.replace(
        "Type: AWS::ECS::TaskDefinition\n", "Type: AWS::ECS::TaskDefinition\n    Condition: UseMesh\n"
    )

    assert all("envoy" in containers(variant) for variant in only(text).variants)


@pytest.mark.parametrize(
    "where, words",
    [({0}, (("A", True), ("B", True))), ({0, 1}, (("A", True),)), ({0, 3}, None), ({0, 1, 2, 3}, ())],
)
def test_fewest_conditions_that_separate_variants(where: set[int], words: Any) -> None:
    """As few conditions as will do; none where there are no such."""
    ways = [{"A": a, "B": b} for a in (True, False) for b in (True, False)]

    assert words == distinguishing(where, ways)


def test_more_ways_than_are_looked_at_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beyond the bound, what was not checked is a warning; values of variables do not count."""
    names = [f"C{i}" for i in range(7)]
    items = [{"Fn::If": [name, {"Name": f"c{name}", "Image": "x"}, {"Ref": "AWS::NoValue"}]} for name in names]
    variables = [{"Name": name, "Value": {"Fn::If": [name, "1", "2"]}} for name in names]
    app = {"Name": "app", "Image": "app:1"}

    for extra, expected in ({"ContainerDefinitions": [app, *items]}, 1), (
        {"ContainerDefinitions": [{**app, "Environment": variables}]},
        0,
    ):
        template = {
            "Parameters": {name: {"Type": "String"} for name in names},
            "Conditions": {name: {"Fn::Equals": [{"Ref": name}, "on"]} for name in names},
            "Resources": {"T": {"Type": "AWS::ECS::TaskDefinition", "Properties": extra}},
        }
        (tmp_path / "t.json").write_text(json.dumps(template))
        main(["taskdef", "check", str(tmp_path / "t.json"), "--format", "json"])
        problems = json.loads(capsys.readouterr().out)["problems"]
        assert expected == [problem["rule"] for problem in problems].count("containers-unknown")


def test_container_that_cannot_be_resolved_is_reported() -> None:
    """A container that another stack has is a warning, not silence."""
    text = TEMPLATE.replace("- Name: app\n", "- !ImportValue Other\n        - Name: app\n")
    findings = check(only(text)).findings

    assert ["containers-unknown"] == [f.rule for f in findings if f.place.endswith("containerDefinitions[0]")]


LOOP = """\
Transform: AWS::LanguageExtensions
Parameters:
  Names: {Type: CommaDelimitedList, Default: "shop, cart"}
Resources:
  Fn::ForEach::Tasks:
    - Name
    - !Ref Names
    - Task${Name}:
        Type: AWS::ECS::TaskDefinition
        Properties:
          Family: !Sub "x-${Name}"
          ContainerDefinitions:
            - {Name: envoy, Image: "envoyproxy/envoy:v1"}
            - {Name: !Ref Name, Image: "${Name}:1"}
"""


def test_loop_is_expanded() -> None:
    """Each pass of Fn::ForEach makes a task definition, at its place in the file."""
    one, other = load("t.yaml", LOOP)

    assert [("Taskshop", ["envoy", "shop"], "x-shop"), ("Taskcart", ["envoy", "cart"], "x-cart")] == [
        (source.label, containers(source), source.document["family"]) for source in (one, other)
    ]
    assert (13, 29) == other.position("$.containerDefinitions[0].image")
    assert "cart:1" == other.document["containerDefinitions"][1]["image"]


def test_add_writes_into_the_loop() -> None:
    """One helper, in the body of the loop, does for all passes."""
    after = add(load("t.yaml", LOOP)[0], IMAGE)

    assert [["envoy", "shop", "task-helper"], ["envoy", "cart", "task-helper"]] == [
        containers(source) for source in load("t.yaml", after.text)
    ]
    assert "{ContainerName: !Ref 'Name', Condition: START}" in after.text


@pytest.mark.parametrize("names", ["!Split [',', !ImportValue x]", "!Ref Unset", "{a: b}"])
def test_loop_over_what_is_not_known_is_not_passed(
    names: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A loop whose list is known only at the deployment was not read."""
    file = tmp_path / "t.yaml"
    file.write_text(LOOP.replace("- !Ref Names", f"- {names}"))

    assert 3 == main(["taskdef", "check", str(file)])
    assert "containers-unknown" in capsys.readouterr().out


@pytest.mark.parametrize(
    "body, place",
    [
        ("    Properties:\n      Fn::ForEach::Keys: [K, [a], {x: y}]\n", "7:7"),
        ("    Fn::ForEach::Keys: [K, [Properties], {x: y}]\n", "6:5"),
    ],
)
def test_loop_that_makes_the_properties_is_named(body: str, place: str, tmp_path: Path) -> None:
    """A definition whose properties a loop makes is refused with the name of the loop and its place."""
    file = tmp_path / "t.yaml"
    file.write_text(f"# a\n# b\nResources:\n  T:\n    Type: AWS::ECS::TaskDefinition\n{body}")
    source = load(str(file), file.read_text())[0]

    with pytest.raises(NotATaskDefinition, match="T.*Fn::ForEach::Keys: this loop makes the properties") as refused:
        read_source(source)
    line, column = source.tree.lines.at(refused.value.offset or 0)
    assert place == f"{line}:{column}"


def test_loop_in_labels_leaves_the_rest_to_be_checked() -> None:
    """A loop that makes only Docker labels hides nothing: the container is checked as without it."""
    labels = "            DockerLabels: {'Fn::ForEach::L': [K, [a], {'x${K}': y}]}\n"
    container = "          - Name: envoy\n            Image: envoyproxy/envoy:v1.36.0\n"
    head = "Resources:\n  T:\n    Type: AWS::ECS::TaskDefinition\n    Properties:\n        ContainerDefinitions:\n"
    found = [
        [(each.rule, each.message) for each in check(load("t.yaml", f"{head}{container}{more}")[0]).findings]
        for more in ("", labels)
    ]

    assert ["helper-missing"] == [rule for rule, _ in found[0]]
    assert found[0] == found[1]


def test_all_variants_are_what_yaml_has() -> None:
    """The helper that is written under a condition is YAML that others read, too."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("!", lambda loader, suffix, node: f"{suffix} of {type(node).__name__}")
    text = add(only(TEMPLATE), IMAGE).text

    assert 4 == len(yaml.load(text, Loader=Loader)["Resources"]["T"]["Properties"]["ContainerDefinitions"])  # nosec


def test_plan_draws_the_variant_with_an_envoy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The Envoy that the defaults leave out is in the drawing, with the conditions for which it applies."""
    file = tmp_path / "t.yaml"
    file.write_text(TEMPLATE, encoding="utf-8")

    assert 0 == main(["plan", "--taskdef", str(file)])
    drawn = capsys.readouterr().out.splitlines()
    assert any(line.startswith("envoy  ├") for line in drawn)
    assert "This applies if UseAgent is false and UseMesh is true." == drawn[-1]


@pytest.mark.parametrize(
    "text, last",
    [
        (
            '{"containerDefinitions": [{"name": "app"}, ${envoy}, ${agent}]}',
            "2 more containers are unknown until the deployment.",
        ),
        ('{"containerDefinitions": [{"name": "app"}, $ENVOY]}', "1 more container is unknown until the deployment."),
        (
            '{"containerDefinitions": ${containers}}',
            "The containers are unknown until the deployment, so their stop cannot be drawn.",
        ),
    ],
)
def test_plan_names_what_it_cannot_draw(
    text: str, last: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A container that a template leaves open stops, too."""
    file = tmp_path / "t.json.tpl"
    file.write_text(text, encoding="utf-8")

    assert 0 == main(["plan", "--taskdef", str(file)])
    assert last == capsys.readouterr().out.splitlines()[-1]
