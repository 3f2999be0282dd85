"""Reading: which format a file is in, what is in it and where, and what is said of a file in none of them."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from task_helper_taskdef.formats import load, parse, sources
from task_helper_taskdef.formats.tree import NotATaskDefinition, Unknown

TEMPLATE = """\
Parameters:
  Image: {Type: String}
  Tag: {Type: String, Default: v1.36.2}
  Empty: {Type: String, Default: ""}
  Groups: {Type: CommaDelimitedList, Default: "a, b"}
Mappings:
  Ports: {app: {http: 8080}}
Resources:
  Queue: {Type: AWS::SQS::Queue}
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ProxyConfiguration:
        ContainerName: envoy
        ProxyConfigurationProperties:
          - {Name: IgnoredUID, Value: 1337}
      ContainerDefinitions:
        - Name: envoy
          Image: VALUE
          DockerLabels: {Com.Example: "1"}
"""


def multiplied(letters: str) -> str:
    """Anchors each of which has the one before eight times."""
    lines = [f"{b}: &{b} [{', '.join(f'*{a}' for _ in range(8))}]" for a, b in zip(letters, letters[1:], strict=False)]
    return "\n".join(lines)


def only(name: str, text: str) -> Any:
    """The document of the only task definition in `text`."""
    (source,) = sources(name, parse(name, text.encode()))
    return source.document


@pytest.mark.parametrize(
    "text, reason",
    [
        (b"", "the file is empty"),
        (b" \n", "the file is empty"),
        (b'{\n  "family" "shop"\n}', "line 2, column 12: Expecting ':' delimiter"),
        (b"\xff\xfe\xff", "byte 2: not UTF-8 text"),
        (b'{"family": "\xe9"}', "byte 12: not UTF-8 text"),
        (b'{"cpu": NaN}', "NaN is not a JSON number"),
        (b"family: shop\ncontainers: [", "line 1, column 1: Expecting value"),
        (b'{"cpu": 1e999}', "1e999 is a number that is too large"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 300 + b"]" * 300, "nested too deeply"),
        (b"[${x}, " + b"[" * 100_000, "nested too deeply"),
        (b'{"cpu": ' + b"9" * 5000 + b"}", "99999999999999999999... is a number that is too large"),
        (b'{"a": %{ if x }1%{ endif }}', "a template whose %{ if x } is not filled in; give the rendered file"),
        (b'{"a": 1, ${more}, "b": 2}', "a template whose ${more} is not filled in; give the rendered file"),
        (b'{"a": 1,\n ${more}\n "b": 2}', "a template whose ${more} is not filled in; give the rendered file"),
        (
            b'{{ with .X }}\n{"a": 1}\n{{ end }}',
            "a template whose {{ with .X }} is not filled in; give the rendered file",
        ),
        (b'{"a": 1,\n}', "line 2, column 1: nothing stands behind the last comma; remove the comma"),
        (b'{"a": [1, ]}', "line 1, column 11: nothing stands behind the last comma; remove the comma"),
        (b'{"a": ${cpu} "b": 2}', "line 1, column 14: Expecting ',' delimiter"),
    ],
)
def test_invalid_json_is_refused_with_the_place(text: bytes, reason: str) -> None:
    """A syntax error is reported with line and column, a file that is not text with the byte."""
    with pytest.raises(NotATaskDefinition) as refused:
        parse("x.json", text)

    assert reason == str(refused.value)


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "the file is empty"),
        ("a: [", "line 2, column 1: did not find expected node content"),
        ("a: &a [*a]", "$.a[0]: an anchor that contains itself"),
        (
            "a:\n  {{- if .Values.x }}\n  b: [",
            "a template whose {{- if .Values.x }} is not filled in; give the rendered",
        ),
        ("[" * 100_000, "nested too deeply"),
        ("a: &a [x, x, x, x, x, x, x, x]\n" + multiplied("abcdefg"), "too many values: its anchors multiply"),
        ("a: \x00", "control characters are not allowed"),
    ],
)
def test_invalid_yaml_is_refused_with_the_place(text: str, reason: str) -> None:
    """A syntax error of YAML is reported with line and column, and a template by its kind."""
    with pytest.raises(NotATaskDefinition) as refused:
        parse("x.yaml", text.encode())

    assert reason in str(refused.value)


@pytest.mark.parametrize(
    "name, text, what",
    [
        ("main.tf", "", "this is Terraform code: run `terraform plan -out PLAN`, and give the output"),
        ("-", 'resource "aws_ecs_task_definition" "shop" {\n  family = "shop"\n}', "this is Terraform code"),
        ("main.tf.json", '{"resource": {"aws_ecs_task_definition": {}}}', "this is Terraform code"),
        ("plan", "PK\x03\x04", "this is an archive, as `terraform plan -out` writes it"),
        ("state.json", '{"version": 4, "terraform_version": "1.9", "lineage": "x"}', "this is Terraform's state"),
        ("plan.json", '{"format_version": "1.2", "planned_values": {}}', "a Terraform plan without an aws_ecs_task"),
        ("app.ts", "", "this is program code: give the template that `cdk synth` writes"),
        ("task.jsonnet", "", "this is Jsonnet"),
        ("manifest.json", '{"version": "38", "artifacts": {}}', "this is the CDK's manifest"),
        (
            "t.json",
            '{"Resources": {"Q": {"Type": "AWS::SQS::Queue"}}}',
            "a CloudFormation template without an AWS::ECS",
        ),
        ("pod.yaml", "apiVersion: v1\nkind: Pod", "this is a Kubernetes manifest"),
        ("compose.yaml", "services:\n  app: {image: shop}", "this is a Compose file"),
        ("manifest.yml", "name: shop\ntype: Load Balanced Web Service", "this is a Copilot manifest"),
        ("appspec.json", '{"Resources": [{"TargetService": {}}]}', "this is a CodeDeploy AppSpec"),
        ("service.json", '{"serviceName": "shop", "desiredCount": 2}', "this is a service"),
        ("services.json", '{"services": [], "failures": []}', "this is ECS's description of services or tasks"),
        ("node.json", '{"virtualNode": {}}', "this is a virtual node: give it with --virtual-node"),
        ("container.json", '{"name": "app", "image": "shop"}', "this is one container"),
        ("number.json", "3", "a single value"),
        ("list.json", "[3]", "no containerDefinitions are in it"),
        ("list.json", '[{"containerDefinitions": []}, {"family": "x"}]', "item 2 of the list is not a task definition"),
        ("tests.yaml", "- name: a case\n  input: {}\n", "no containerDefinitions are in it"),
        (
            "other.json",
            '{"family": "shop"}',
            "no containerDefinitions are in it; give the output of `aws ecs describe-task-def",
        ),
    ],
)
def test_file_of_another_kind_is_recognised(name: str, text: str, what: str) -> None:
    """The error for a wrong file names its kind and the file to give instead."""
    with pytest.raises(NotATaskDefinition) as refused:
        sources(name, parse(name, text.encode("latin-1")))

    assert str(refused.value).startswith(what)


def test_list_of_definitions_has_them_all() -> None:
    """What scripts make of several definitions, as the API takes or prints them, is read like one file for each."""
    text = (
        '[{"family": "shop", "containerDefinitions": [{"name": "envoy"}]},'
        ' {"taskDefinition": {"containerDefinitions": [{"name": "app"}]}, "tags": []}]'
    )
    first, second = load("x.json", text)

    assert ("shop", "item 2") == (first.label, second.label)
    assert "$[0].containerDefinitions[0].name" == first.file_place("$.containerDefinitions[0].name")
    assert "$[1].taskDefinition.containerDefinitions" == second.file_place("$.containerDefinitions")


@pytest.mark.parametrize(
    "name, text, label, spelling",
    [
        ("x.json", '{"containerDefinitions": [{"name": "envoy"}]}', "", "api"),
        ("x.json", '{"taskDefinition": {"containerDefinitions": [{"name": "envoy"}]}, "tags": []}', "", "api"),
        ("x.json", '[{"name": "envoy"}]', "", "containers"),
        ("x.yaml", "containerDefinitions:\n  - name: envoy\n", "", "api"),
        ("-", "family: shop\ncontainerDefinitions:\n  - name: envoy\n", "", "api"),
        ("x.json", '{"ContainerDefinitions": [{"Name": "envoy"}]}', "", "cloudformation"),
        ("x.template", TEMPLATE, "Task", "cloudformation"),
        (
            "x.json",
            '{"Resources": {"T": {"Type": "AWS::ECS::TaskDefinition",'
            ' "Properties": {"ContainerDefinitions": [{"Name": "envoy"}]}}}}',
            "T",
            "cloudformation",
        ),
    ],
)
def test_all_formats_give_the_same_definition(name: str, text: str, label: str, spelling: str) -> None:
    """Whatever the format, the document is in the API's spelling, and the file's own name for it is kept."""
    (source,) = sources(name, parse(name, text.encode()))

    assert (label, spelling) == (source.label, source.spelling)
    assert "envoy" == source.document["containerDefinitions"][0]["name"]


def test_template_with_several_definitions() -> None:
    """Each task definition of a template is one source."""
    task = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"ContainerDefinitions": []}}
    text = json.dumps({"Resources": {"A": task, "B": task, "C": {"Type": "AWS::ECS::TaskDefinition"}}})

    assert ["A", "B", "C"] == [source.label for source in sources("x.json", parse("x.json", text.encode()))]


@pytest.mark.parametrize(
    "value, image",
    [
        ("!Ref Tag", "v1.36.2"),
        ("!Ref Image", Unknown("${Image}")),
        ("!Ref Empty", Unknown("${Empty}")),
        ("{Ref: Tag}", "v1.36.2"),
        ("!Sub 'envoy:${Tag}'", "envoy:v1.36.2"),
        ("!Sub 'x/${AWS::Region}/envoy:${Tag}${!Literal}'", Unknown("x/${AWS::Region}/envoy:v1.36.2${Literal}")),
        ("!Sub ['a/${X}', {X: !Ref Tag}]", "a/v1.36.2"),
        ("!Join [':', [envoy, !Ref Tag]]", "envoy:v1.36.2"),
        ("!Join ['', [!Ref Image, /x]]", Unknown("${Image}/x")),
        ("!Join ['', !Ref Image]", Unknown("${Join}")),
        ("!FindInMap [Ports, app, http]", "8080"),
        ("!FindInMap [Ports, !Ref Image, http]", Unknown("${Ports.Image.http}")),
        ("!Select [1, !Ref Groups]", "b"),
        ("!Select [0, !Split ['.', !Ref Tag]]", "v1"),
        ("!Select [0, !Split ['.', !Ref Image]]", Unknown("${Select}")),
        ("!GetAtt Queue.Arn", Unknown("${Queue.Arn}")),
        ("!ImportValue x", Unknown("${ImportValue}")),
        ("!If [X, a, b]", "a"),
        ("'{{resolve:ssm:image}}'", Unknown("{{resolve:ssm:image}}")),
        ("2024-01-01", "2024-01-01"),
    ],
)
def test_functions_of_a_template_are_resolved_as_far_as_possible(value: str, image: str) -> None:
    """Defaults and mappings are filled in; what only the deployment knows stays open, and what is made of it, too."""
    container = only("x.yaml", TEMPLATE.replace("VALUE", value))["containerDefinitions"][0]

    assert image == container["image"]
    assert isinstance(image, Unknown) == isinstance(container["image"], Unknown)


def test_cloudformation_spelling_becomes_the_apis() -> None:
    """A number where a text belongs is the text; the proxy's properties get the API's name, a label keeps its own."""
    document = only("x.yaml", TEMPLATE.replace("VALUE", "!Ref AWS::NoValue"))

    assert [{"name": "IgnoredUID", "value": "1337"}] == document["proxyConfiguration"]["properties"]
    assert {"name": "envoy", "dockerLabels": {"Com.Example": "1"}} == document["containerDefinitions"][0]


@pytest.mark.parametrize(
    "place, line, column, shown",
    [
        ("$.containerDefinitions[0].image", 19, 11, "$.Resources.Task.Properties.ContainerDefinitions[0].Image"),
        (
            "$.containerDefinitions[0].stopTimeout",
            18,
            11,
            "$.Resources.Task.Properties.ContainerDefinitions[0].StopTimeout",
        ),
        (
            "$.proxyConfiguration.properties[0].value",
            16,
            32,
            "$.Resources.Task.Properties.ProxyConfiguration.ProxyConfigurationProperties[0].Value",
        ),
        ("$.memory", 12, 5, "$.Resources.Task.Properties.Memory"),
    ],
)
def test_place_and_position_are_those_of_the_file(place: str, line: int, column: int, shown: str) -> None:
    """A place has its line and column, or those of what it would belong to, and the file's spelling both ways."""
    (source,) = sources("x.yaml", parse("x.yaml", TEMPLATE.encode()))

    assert (line, column, shown, place) == (*source.position(place), source.file_place(place), source.api_place(shown))


def test_places_of_json_are_those_of_the_keys() -> None:
    """A value is where its key stands, an item of a list where it begins; letters outside the first plane are one."""
    text = '{"a": "😀", "containerDefinitions": [\n  {"name": "x", "environment": [{"name": "A"}]}]}'
    (source,) = sources("x.json", parse("x.json", text.encode()))

    assert (2, 4) == source.position("$.containerDefinitions[0].name")
    assert (2, 33) == source.position("$.containerDefinitions[0].environment[0]")
    assert (1, 12) == source.position("$.containerDefinitions")


PLAN = {
    "format_version": "1.2",
    "planned_values": {
        "root_module": {
            "resources": [
                {
                    "address": "aws_ecs_task_definition.shop",
                    "mode": "managed",
                    "type": "aws_ecs_task_definition",
                    "values": {
                        "family": "shop",
                        "network_mode": "awsvpc",
                        "requires_compatibilities": ["FARGATE"],
                        "cpu": "256",
                        "memory": "512",
                        "container_definitions": '[{"name":"envoy","image":"envoyproxy/envoy:v1"}]',
                        "proxy_configuration": [{"container_name": "envoy", "properties": {"IgnoredUID": "1337"}}],
                        "runtime_platform": [{"operating_system_family": "LINUX", "cpu_architecture": None}],
                    },
                }
            ],
            "child_modules": [
                {
                    "resources": [
                        {
                            "address": "module.x.aws_ecs_task_definition.this[0]",
                            "mode": "managed",
                            "type": "aws_ecs_task_definition",
                            "values": {"family": "x"},
                        },
                        {"address": "data.aws_region.this", "mode": "data", "type": "aws_region", "values": {}},
                    ]
                }
            ],
        }
    },
    "resource_changes": [
        {
            "address": "module.x.aws_ecs_task_definition.this[0]",
            "change": {"after_unknown": {"container_definitions": True, "task_role_arn": True}},
        }
    ],
}


@pytest.mark.parametrize("key", ["planned_values", "values"])
def test_terraform_plan_and_state_are_read(key: str) -> None:
    """The definitions of all modules are read; what is known only after the deployment stays open."""
    text = json.dumps({key if name == "planned_values" else name: value for name, value in PLAN.items()})
    first, second = sources("plan.json", parse("plan.json", text.encode()))

    assert {
        "family": "shop",
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": [{"name": "envoy", "image": "envoyproxy/envoy:v1"}],
        "proxyConfiguration": {"containerName": "envoy", "properties": [{"name": "IgnoredUID", "value": "1337"}]},
        "runtimePlatform": {"operatingSystemFamily": "LINUX"},
    } == first.document
    assert isinstance(second.document["containerDefinitions"], Unknown)
    assert isinstance(second.document["taskRoleArn"], Unknown)
    place = f"$.{key}.root_module.resources[0].values"
    assert f"{place}.container_definitions[0].image" == first.file_place("$.containerDefinitions[0].image")
    assert f"{place}.network_mode" == first.file_place("$.networkMode")
    assert f"{place}.proxy_configuration[0].properties" == first.file_place("$.proxyConfiguration.properties")


def test_invalid_containers_of_a_terraform_plan_are_refused_with_the_place() -> None:
    """What stands in a plan for the containers is JSON, or the plan is refused."""
    resource = {"type": "aws_ecs_task_definition", "address": "x", "values": {"container_definitions": "[{]"}}
    text = json.dumps({"format_version": "1", "planned_values": {"root_module": {"resources": [resource]}}})

    with pytest.raises(NotATaskDefinition, match=r"resources\[0\].values.container_definitions: line 1, column 3"):
        sources("plan.json", parse("plan.json", text.encode()))


@pytest.mark.parametrize(
    "placeholder",
    ["${memory}", "{{ memory }}", "<%= memory %>", "#{memory}", "<MEMORY>", "$MEMORY", "@@MEMORY@@", '{{ f `"x` }}'],
)
def test_unrendered_placeholder_is_unknown(placeholder: str) -> None:
    """A template's placeholder, within a text or where a value belongs, leaves that value open and nothing else."""
    text = f'[{{"name": "app", "memory": {placeholder}, "image": "shop:{placeholder}", "stopTimeout": 7}}]'
    text = text.replace('shop:{{ f `"x` }}', "shop:{{ f }}")
    container = only("app.json.tpl", text)["containerDefinitions"][0]

    assert isinstance(container["memory"], Unknown) and isinstance(container["image"], Unknown)
    assert ("app", 7) == (container["name"], container["stopTimeout"])


def test_placeholder_of_a_shell_is_known() -> None:
    """What stands in a command for a shell to fill in is known: it is what ECS gets."""
    container = only("x.json", '[{"name": "app", "command": ["sh", "-c", "echo ${HOME} <in"]}]')[
        "containerDefinitions"
    ][0]

    assert not any(isinstance(word, Unknown) for word in container["command"])


def test_duplicate_key_is_noted() -> None:
    """JSON and YAML report which key of which object is there twice, and the place of the second."""
    for name, text in ("x.json", '{"a": {"b": 1,\n "b": 2}}'), ("x.yaml", "a:\n  b: 1\n  b: 2\n"):
        tree = parse(name, text.encode())
        assert ["$.a.b"] == [place for place, _ in tree.duplicates]
        assert {"a": {"b": 2}} == tree.value


def test_yaml_merges_and_anchors_are_read() -> None:
    """An anchor's keys appear wherever it is named. An own key takes precedence over a merged one."""
    text = "x: &x {image: a, user: '1'}\nlist:\n  - <<: *x\n    image: b\n  - <<: [*x, {cpu: 1}]\n  - *x\n"

    assert [
        {"user": "1", "image": "b"},
        {"image": "a", "user": "1", "cpu": 1},
        {"image": "a", "user": "1"},
    ] == parse(
        "x.yaml", text.encode()
    ).value["list"]


def test_byte_order_mark_is_skipped() -> None:
    """A file that Windows tools wrote is read."""
    assert {"cpu": 0.5} == parse("x.json", b'\xef\xbb\xbf{"cpu": 0.5}').value
    assert {} == parse("x.json", b"\xef\xbb\xbf{}").value == parse("x.json", "{}".encode("utf-16")).value


def test_without_pyyaml_yaml_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without the extra says which package is missing."""
    monkeypatch.setitem(sys.modules, "yaml", None)

    with pytest.raises(NotATaskDefinition, match=r"pip install 'ecs-task-helper\[taskdef\]'"):
        parse("x.yaml", b"a: 1")
