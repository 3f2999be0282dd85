"""What `taskdef add` and `check --fix` do to a file: what is to change, and not a letter more."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from task_helper.cli import main
from task_helper_taskdef.findings import Edit
from task_helper_taskdef.formats import parse, sources
from task_helper_taskdef.formats.editing import NotEditable, apply, changed

IMAGE = "registry.example/ecs-task-helper:1.0.0"

JSON = """\
{
    "family": "shop", "networkMode": "awsvpc",
    "containerDefinitions": [
        { "name": "envoy", "image": "envoyproxy/envoy:v1",
          "healthCheck": {"command": ["CMD", "/ready"]} },
        {
            "name": "app",
            "environment": [],
            "image": "shop:1"
        }
    ]
}
"""
YAML = """\
# the shop
Resources:
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      NetworkMode: awsvpc   # of its own
      ContainerDefinitions:
      - Name: envoy
        Image: !Ref EnvoyImage
        HealthCheck: {Command: [CMD, /ready]}
      - Name: app
        Image: shop:1
        Command:
          - |
            run
              it

        # the last line
  Queue: {Type: AWS::SQS::Queue}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def edited(name: str, text: str, *edits: Edit) -> str:
    for edit in edits:
        text = apply(sources(name, parse(name, text.encode()))[0], edit)
    return text


def difference(before: str, after: str) -> list[str]:
    """The lines that came and went."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line.startswith(("+", "-"))]


@pytest.mark.parametrize(
    "edit, lines",
    [
        (
            Edit("$.containerDefinitions[1].stopTimeout", 30),
            ['-             "image": "shop:1"', '+             "image": "shop:1",', '+             "stopTimeout": 30'],
        ),
        (
            Edit("$.containerDefinitions[1].image", "shop:2"),
            ['-             "image": "shop:1"', '+             "image": "shop:2"'],
        ),
        (
            Edit("$.containerDefinitions[1].environment", {"name": "A", "value": "é"}, append=True),
            [
                '-             "environment": [],',
                '+             "environment": [',
                "+                 {",
                '+                     "name": "A",',
                '+                     "value": "é"',
                "+                 }",
                "+             ],",
            ],
        ),
        (Edit("$.containerDefinitions[1].environment", remove=True), ['-             "environment": [],']),
        (
            Edit("$.containerDefinitions[1].image", remove=True),
            ['-             "environment": [],', '+             "environment": []', '-             "image": "shop:1"'],
        ),
        (
            Edit("$.containerDefinitions[1].image", rename="picture"),
            ['-             "image": "shop:1"', '+             "picture": "shop:1"'],
        ),
        (
            Edit("$.containerDefinitions[0].healthCheck.interval", 5),
            [
                '-           "healthCheck": {"command": ["CMD", "/ready"]} },',
                '+           "healthCheck": {"command": ["CMD", "/ready"], "interval": 5} },',
            ],
        ),
        (
            Edit("$.containerDefinitions[0].dependsOn", {"containerName": "app"}, append=True),
            [
                '-           "healthCheck": {"command": ["CMD", "/ready"]} },',
                '+           "healthCheck": {"command": ["CMD", "/ready"]},',
                '+           "dependsOn": [',
                "+               {",
                '+                   "containerName": "app"',
                "+               }",
                "+           ] },",
            ],
        ),
        (
            Edit("$.volumes", {"name": "x"}, append=True),
            ["+     ],", '+     "volumes": [', "+         {", '+             "name": "x"', "+         }"],
        ),
    ],
)
def test_edit_of_json_keeps_its_layout(edit: Edit, lines: list[str]) -> None:
    """A change of JSON touches the lines that it is about, and is laid out as the lines around it."""
    after = edited("x.json", JSON, edit)

    assert sorted(lines) == sorted(difference(JSON, after))
    assert changed(json.loads(JSON), [edit]) == json.loads(after)


@pytest.mark.parametrize(
    "edit, lines",
    [
        (Edit("$.containerDefinitions[1].stopTimeout", 30), ["+         StopTimeout: 30"]),
        (
            Edit("$.containerDefinitions[1].image", "shop:2"),
            ["-         Image: shop:1", '+         Image: "shop:2"'],
        ),
        (
            Edit("$.containerDefinitions[0].healthCheck.startPeriod", 5),
            [
                "-         HealthCheck: {Command: [CMD, /ready]}",
                '+         HealthCheck: {Command: [CMD, /ready], "StartPeriod": 5}',
            ],
        ),
        (
            Edit("$.containerDefinitions[0].environment", {"name": "A", "value": "1"}, append=True),
            ["+         Environment:", "+         - {Name: A, Value: '1'}"],
        ),
        (
            Edit("$.containerDefinitions", {"name": "x", "memory": 64}, append=True),
            ["+       - {Name: x, Memory: 64}"],
        ),
        (
            Edit("$.containerDefinitions[0].healthCheck", remove=True),
            ["-         HealthCheck: {Command: [CMD, /ready]}"],
        ),
        (Edit("$.containerDefinitions[0].image", rename="picture"), []),
        (Edit("$.containerDefinitions[0].name", remove=True), []),
        (Edit("$.cpu", "256"), ["+       Cpu: '256'"]),
    ],
)
def test_edit_of_yaml_keeps_other_lines(edit: Edit, lines: list[str]) -> None:
    """A change of a template keeps comments, order and functions, and gives the values that it is to give."""
    after = edited("x.yaml", YAML, edit)
    (source,) = sources("x.yaml", parse("x.yaml", after.encode()))
    (before,) = sources("x.yaml", parse("x.yaml", YAML.encode()))

    assert changed(before.document, [edit]) == source.document
    if lines:
        assert sorted(lines) == sorted(difference(YAML, after))


def test_edit_of_a_list_of_containers() -> None:
    """A bare list stays one; `$.volumes`, which it has no place for, is refused."""
    text = '[{"name": "app"}]'

    assert '[{"name": "app", "stopTimeout": 30}]' == edited(
        "x.json", text, Edit("$.containerDefinitions[0].stopTimeout", 30)
    )
    with pytest.raises(NotEditable):
        edited("x.json", text, Edit("$.volumes", {"name": "x"}, append=True))


@pytest.mark.parametrize(
    "text, edit, after",
    [
        ('[{"name": "a", "links": []}]', Edit("$.containerDefinitions[0].links", "b", append=True), None),
        ('[{"name": "a", "links": ["b", "c"]}]', Edit("$.containerDefinitions[0].links[0]", remove=True), None),
        ('[{"name": "a", "links": ["b", "c"]}]', Edit("$.containerDefinitions[0].links[1]", remove=True), None),
        ('[{"name": "a", "links": ["b"]}]', Edit("$.containerDefinitions[0].links[0]", remove=True), None),
        ("- name: a\n  image: x\n  links:\n  - b\n", Edit("$.containerDefinitions[0].links[0]", remove=True), None),
        (
            "- name: a\n  image: x\n  links:\n  - b\n  - c\n",
            Edit("$.containerDefinitions[0].links[1]", remove=True),
            None,
        ),
        ("- name: a\n  image: x\n  cpu:\n", Edit("$.containerDefinitions[0].cpu", 1), None),
        ("- name: a\n  image: x", Edit("$.containerDefinitions[0].healthCheck.interval", 1), None),
        (
            "- name: a\n  image: x\n  links: [b]\n  'user': root\n",
            Edit("$.containerDefinitions[0].user", "1"),
            "- name: a\n  image: x\n  links: [b]\n  'user': \"1\"\n",
        ),
        ('[{"name": "a",\r\n "cpu": 1}]\r\n', Edit("$.containerDefinitions[0].user", "1"), None),
        (
            "- name: a\r\n  image: x\r\n",
            Edit("$.containerDefinitions[0].user", "1"),
            "- name: a\r\n  image: x\r\n  user: '1'\r\n",
        ),
    ],
)
def test_edit_changes_text_and_values_alike(text: str, edit: Edit, after: str | None) -> None:
    """Whatever is changed in whatever way of writing, the text then has the values that it is to have."""
    name = "x.json" if text.startswith("[") else "x.yaml"
    (before,) = sources(name, parse(name, text.encode()))
    written = apply(before, edit)

    assert changed(before.document, [edit]) == sources(name, parse(name, written.encode()))[0].document
    assert after in (None, written)
    assert written.count("\r\n") == (written.count("\n") if "\r\n" in text else 0)


@pytest.mark.parametrize(
    "edit",
    [
        Edit("$.containerDefinitions[7]", {"name": "x"}),
        Edit("$.containerDefinitions[0].dependsOn[0]", {"containerName": "x"}),
        Edit("$.containerDefinitions[0].dependsOn[0].condition", remove=True),
    ],
)
def test_edit_that_would_damage_the_file_is_refused(edit: Edit) -> None:
    """An item that is not there, and what is written in lines of several things, are left for a person."""
    text = "- name: a\n  image: x\n  dependsOn:\n  - containerName: b\n    ? condition\n    : START\n"

    with pytest.raises(NotEditable):
        edited("x.yaml", text, edit)


def test_value_of_a_function_is_not_edited() -> None:
    """A list that the template computes cannot have an item more."""
    text = YAML.replace("Command:\n          - |\n            run\n              it\n", "DependsOn: !Ref Others\n")

    with pytest.raises(NotEditable, match="made by a function of the template"):
        edited("x.yaml", text, Edit("$.containerDefinitions[1].dependsOn", {"containerName": "envoy"}, append=True))


def test_add_puts_the_helper_into_a_template(capsys: pytest.CaptureFixture[str]) -> None:
    """A CloudFormation template gets the helper in its own spelling, and all that was there stays."""
    Path("t.yaml").write_text(YAML, encoding="utf-8")

    assert main(["taskdef", "add", "t.yaml", "--image", IMAGE, "--in-place"]) == 0
    after = Path("t.yaml").read_text(encoding="utf-8")
    assert not [line for line in difference(YAML, after) if line.startswith("-")]
    (source,) = sources("t.yaml", parse("t.yaml", after.encode()))
    helper = source.document["containerDefinitions"][2]
    assert ("task-helper", IMAGE, 120) == (helper["name"], helper["image"], helper["stopTimeout"])
    assert {"CMD", "task-helper", "healthcheck"} == set(helper["healthCheck"]["command"])

    assert main(["taskdef", "add", "t.yaml", "--image", IMAGE, "--in-place"]) == 0
    assert after == Path("t.yaml").read_text(encoding="utf-8")


def test_add_copies_functions_of_a_template_as_they_are_written() -> None:
    """A name or a log group that a function makes is that function in the helper's container, not what it comes to."""
    text = """\
Parameters: {Proxy: {Type: String, Default: envoy}}
Resources:
  T:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
        - Name: !Ref Proxy
          Image: envoyproxy/envoy:v1
          LogConfiguration:
            LogDriver: awslogs
            Options:
              awslogs-group: !Sub "/ecs/${AWS::StackName}"
              awslogs-region: !GetAtt Logs.Region
              awslogs-stream-prefix: !Join ["-", [a, !Ref Proxy]]
"""
    Path("t.yaml").write_text(text, encoding="utf-8")
    main(["taskdef", "add", "t.yaml", "--image", IMAGE, "--in-place"])
    added = [line[2:].strip() for line in difference(text, Path("t.yaml").read_text(encoding="utf-8"))]

    assert "- {ContainerName: !Ref 'Proxy', Condition: START}" in added
    assert "awslogs-group: !Sub '/ecs/${AWS::StackName}'" in added
    assert "awslogs-region: !GetAtt 'Logs.Region'" in added
    tree = parse("t.yaml", Path("t.yaml").read_bytes()).value
    envoy, helper = tree["Resources"]["T"]["Properties"]["ContainerDefinitions"]
    assert envoy["LogConfiguration"] == helper["LogConfiguration"]
    assert [{"ContainerName": {"Ref": "Proxy"}, "Condition": "START"}] == helper["DependsOn"]


def test_add_keeps_a_symbolic_link(folder: Path) -> None:
    """The file that a symbolic link names is written; the link stays, and so do the file's permissions."""
    (folder / "real").mkdir()
    Path("real/shop.json").write_text(JSON, encoding="utf-8")
    Path("real/shop.json").chmod(0o640)
    Path("link.json").symlink_to("real/shop.json")

    assert main(["taskdef", "add", "link.json", "--image", IMAGE, "--in-place"]) == 0
    assert Path("link.json").is_symlink()
    assert 3 == len(json.loads(Path("real/shop.json").read_text(encoding="utf-8"))["containerDefinitions"])
    assert 0o640 == Path("real/shop.json").stat().st_mode & 0o777


def test_add_refuses_a_duplicate_key(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of which one of two values would be lost is left alone, with the place named."""
    text = JSON.replace('"environment": []', '"image": "shop:0"')
    Path("shop.json").write_text(text, encoding="utf-8")

    assert main(["taskdef", "add", "shop.json", "--image", IMAGE, "--in-place"]) == 65
    assert "$.containerDefinitions[1].image: the object has this key twice" in capsys.readouterr().err
    main(["taskdef", "check", "shop.json", "--fix"])
    assert "(duplicate-key)" in capsys.readouterr().out
    assert text == Path("shop.json").read_text(encoding="utf-8")


def test_add_keeps_a_byte_order_mark() -> None:
    """A file that Windows tools wrote stays one."""
    Path("shop.json").write_bytes(b"\xef\xbb\xbf" + JSON.encode())

    assert main(["taskdef", "add", "shop.json", "--image", IMAGE, "--in-place"]) == 0
    assert Path("shop.json").read_bytes().startswith(b"\xef\xbb\xbf{")


def test_add_refuses_a_terraform_plan(capsys: pytest.CaptureFixture[str]) -> None:
    """Containers of Terraform's are written down in its code."""
    resource = {"type": "aws_ecs_task_definition", "address": "x", "values": {"container_definitions": "[]"}}
    plan = {"format_version": "1.2", "planned_values": {"root_module": {"resources": [resource]}}}
    Path("plan.json").write_text(json.dumps(plan), encoding="utf-8")

    assert main(["taskdef", "add", "plan.json", "--image", IMAGE]) == 65
    assert "a Terraform plan cannot be changed" in capsys.readouterr().err


def test_add_takes_the_definitions_with_an_envoy(capsys: pytest.CaptureFixture[str]) -> None:
    """Of several definitions in a template those that have an Envoy get the helper."""
    properties = yaml.safe_load(json.dumps({"ContainerDefinitions": [{"Name": "batch", "Image": "b:1"}]}))
    batch = {"Type": "AWS::ECS::TaskDefinition", "Properties": properties}
    envoy = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"ContainerDefinitions": [{"Name": "envoy"}]}}
    Path("t.json").write_text(json.dumps({"Resources": {"A": batch, "B": envoy}}), encoding="utf-8")
    main(["taskdef", "add", "t.json", "--image", IMAGE])
    resources = json.loads(capsys.readouterr().out)["Resources"]
    assert [1, 2] == [len(each["Properties"]["ContainerDefinitions"]) for each in resources.values()]

    Path("t.json").write_text(json.dumps({"Resources": {"A": envoy, "B": envoy}}), encoding="utf-8")
    main(["taskdef", "add", "t.json", "--image", IMAGE])
    resources = json.loads(capsys.readouterr().out)["Resources"]
    assert [2, 2] == [len(each["Properties"]["ContainerDefinitions"]) for each in resources.values()]


DESCRIBED = {
    "taskDefinition": {
        "taskDefinitionArn": "arn:aws:ecs:eu-west-1:123456789012:task-definition/shop:7",
        "family": "shop",
        "revision": 7,
        "status": "ACTIVE",
        "networkMode": "awsvpc",
        "cpu": None,
        "compatibilities": ["EC2", "FARGATE"],
        "registeredAt": "2026-11-20T10:00:00Z",
        "containerDefinitions": [{"name": "envoy", "image": "envoyproxy/envoy:v1", "user": None}],
    },
    "tags": [{"key": "team", "value": "shop"}],
}


def test_registrable_contains_only_keys_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    """--registrable leaves out what only describe-task-definition prints, and takes the tags along; no null is left."""
    Path("shop.json").write_text(json.dumps(DESCRIBED, indent=4), encoding="utf-8")

    assert main(["taskdef", "add", "shop.json", "--image", IMAGE, "--registrable"]) == 0
    written: Any = json.loads(capsys.readouterr().out)
    assert ["family", "networkMode", "containerDefinitions", "tags"] == list(written)
    assert {"name": "envoy", "image": "envoyproxy/envoy:v1"} == written["containerDefinitions"][0]
    assert DESCRIBED["tags"] == written["tags"]


def test_registrable_refuses_a_template(capsys: pytest.CaptureFixture[str]) -> None:
    """CloudFormation registers by itself."""
    Path("t.yaml").write_text(YAML, encoding="utf-8")

    assert main(["taskdef", "add", "t.yaml", "--image", IMAGE, "--registrable"]) == 65
    assert "--registrable is not for CloudFormation" in capsys.readouterr().err


def test_add_for_spot_leaves_time_for_all_containers(capsys: pytest.CaptureFixture[str]) -> None:
    """With --spot the helper gets times that let helper, application and Envoy stop in two minutes."""
    Path("shop.json").write_text(
        JSON.replace("[],", '[], "dependsOn": [{"containerName": "envoy", "condition": "START"}],')
    )

    assert main(["taskdef", "add", "shop.json", "--image", IMAGE, "--spot", "--in-place"]) == 0
    helper = json.loads(Path("shop.json").read_text())["containerDefinitions"][2]
    assert 60 == helper["stopTimeout"]
    assert [
        {"name": "DRAIN_DELAY", "value": "5"},
        {"name": "DRAIN_TIMEOUT", "value": "40"},
        {"name": "STOP_TIMEOUT", "value": "60"},
    ] == helper["environment"]
    assert main(["taskdef", "check", "shop.json", "--spot", "--fail-on", "warning"]) == 0


HELPER = {
    "name": "drain",
    "image": "ecs-task-helper:1",
    "essential": False,
    "entryPoint": ["sh", "-c"],
    "command": ["task-helper run"],
    "user": "root",
    "memory": 8,
    "dependsOn": [{"containerName": "app", "condition": "HEALTHY"}],
    "environment": [
        {"name": "DRAIN_DEALY", "value": "20"},
        {"name": "STOP_TIMEOUT", "value": "110"},
        # no machine knows what is meant here
        {"name": "DRAIN_TIMEOUT", "value": "auto"},
        {"name": "HEALTH_CHECK_INTERVAL", "value": "5"},
    ],
    "restartPolicy": {"enabled": True, "restartAttemptPeriod": 5},
    "healthCheck": {"command": ["CMD-SHELL", "true"], "interval": 1},
}
BAD: dict[str, Any] = {
    "networkMode": "awsvpc",
    "requiresCompatibilities": ["FARGATE"],
    "proxyConfiguration": {"containerName": "envoy", "properties": [{"name": "EgressIgnoredIPs", "value": "10.0.0.1"}]},
    "containerDefinitions": [
        {
            "name": "envoy",
            "image": "hashicorp/consul-dataplane:2.0.1",
            "stopTimeout": 600,
            "environment": [{"name": "LISTENER_DRAIN_WAIT_TIME_S", "value": "110"}],
        },
        {
            "name": "app",
            "image": "shop:1",
            "portMappings": [{"containerPort": 80, "Protcol": "tcp"}],
            "healthCheck": {"command": ["CMD", "/ready"]},
            "logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-group": "shop"}},
        },
        HELPER,
    ],
}


@pytest.mark.parametrize("form", ["json", "yaml", "cloudformation"])
def test_fix_repairs_every_finding_with_an_edit(form: str, capsys: pytest.CaptureFixture[str]) -> None:
    """After --fix nothing is left that a machine can mend, in whatever format; a second run changes nothing."""
    name = "bad.json" if form == "json" else "bad.yaml"
    document: Any = BAD
    if form == "cloudformation":
        document = {"Resources": {"T": {"Type": "AWS::ECS::TaskDefinition", "Properties": template(BAD)}}}
    dump = json.dumps(document, indent=2) if form == "json" else yaml.safe_dump(document, sort_keys=False)
    Path(name).write_text(dump, encoding="utf-8")

    code = main(["taskdef", "check", name, "--fix", "--format", "json"])
    printed = capsys.readouterr()
    report = json.loads(printed.out)
    assert printed.err.startswith(f"task-helper: {name}: repaired misspelt-key, ")

    assert 0 == code
    assert [] == [problem["rule"] for problem in report["problems"]]
    after = Path(name).read_bytes()
    assert main(["taskdef", "check", name, "--fix"]) == 0
    assert after == Path(name).read_bytes()


def template(value: Any, key: str = "") -> Any:
    """A value of the API as CloudFormation spells it."""
    if isinstance(value, dict) and key != "options":
        spelt = {name[0].upper() + name[1:]: template(item, name) for name, item in value.items()}
        if "Properties" in spelt and key == "proxyConfiguration":
            spelt["ProxyConfigurationProperties"] = spelt.pop("Properties")
        return spelt
    return [template(item, key) for item in value] if isinstance(value, list) else value


def test_fix_leaves_suppressed_findings_and_other_text_alone() -> None:
    """--fix changes no ignored finding, no plan and no file without findings."""
    helper = {**HELPER, "dockerLabels": {"task-helper.ignore": "root-user: a test"}}
    Path("a.json").write_text(json.dumps({**BAD, "containerDefinitions": [*BAD["containerDefinitions"][:2], helper]}))
    Path("b.json").write_text(JSON)

    main(["taskdef", "check", "a.json", "b.json", "--fix"])
    assert "root" == json.loads(Path("a.json").read_text())["containerDefinitions"][2]["user"]
    assert JSON.count("\n") == Path("b.json").read_text().count("\n") - 6


def test_fix_leaves_a_parameter_alone_and_repairs_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    """A parameter's value is not overwritten: the finding stays, and all others are repaired."""
    text = """\
Parameters: {Stop: {Type: Number, Default: 300}}
Resources:
  T:
    Type: AWS::ECS::TaskDefinition
    Properties:
      RequiresCompatibilities: [FARGATE]
      ContainerDefinitions:
        - {Name: envoy, Image: "envoyproxy/envoy:v1", StopTimeout: !Ref Stop}
        - {Name: task-helper, Image: "ecs-task-helper:1", User: root}
"""
    Path("t.yaml").write_text(text, encoding="utf-8")
    main(["taskdef", "check", "t.yaml", "--fix", "--format", "json"])
    report = json.loads(capsys.readouterr().out)

    assert ["stop-timeout"] == [problem["rule"] for problem in report["problems"]]
    after = Path("t.yaml").read_text(encoding="utf-8")
    assert "StopTimeout: !Ref Stop}" in after and 'User: "65532"' in after


def test_fix_refuses_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard input has no file to mend."""
    import io

    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(BAD).encode())))

    assert main(["taskdef", "check", "-", "--fix"]) == 2
    assert "--fix cannot write to standard input" in capsys.readouterr().err
