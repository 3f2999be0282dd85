"""`taskdef check` as CI uses it: several files, what fails, what is ignored and why, and reports for other programs."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest

from task_helper.cli import main

IMAGE = "registry.example/ecs-task-helper:1.0.0"
# Beside this file is OASIS's own schema, which implementations may carry (oasis-tcs/sarif-spec, issue 583)
SARIF = json.loads((Path(__file__).parent / "sarif-schema-2.1.0.json").read_text(encoding="utf-8"))
ENVOY = {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2", "healthCheck": {"command": ["CMD", "/ready"]}}
APP = {"name": "app", "image": "shop:1", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]}
# two errors of holds-all, an error and two warnings of others, and a note
HELPER = {"name": "task-helper", "image": IMAGE}
TEMPLATE = """\
# task-helper: ignore restart-policy: replaced with the host
Resources:
  Task:
    Type: AWS::ECS::TaskDefinition
    Properties:
      NetworkMode: awsvpc
      ContainerDefinitions:
        - Name: envoy
          Image: envoyproxy/envoy:v1.36.2
        - Name: app
          Image: shop:1
          DependsOn: [{ContainerName: envoy, Condition: START}]
        # task-helper: ignore stop-timeout: set by the instance
        - Name: task-helper
          Image: registry.example/ecs-task-helper:1.0.0
          # task-helper: ignore holds-all health-check: a demonstration
          User: "65532"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, and a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *containers: dict[str, Any], **fields: Any) -> None:
    """A task definition in the file `name`."""
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"networkMode": "awsvpc", **fields, "containerDefinitions": list(containers)}
    file.write_text(json.dumps(document, indent=2), encoding="utf-8")


def labelled(**fields: Any) -> dict[str, Any]:
    """The helper with a label that ignores."""
    return {**HELPER, "dockerLabels": {"task-helper.ignore": fields.pop("ignore")}, **fields}


def check(*arguments: str) -> int:
    return main(["taskdef", "check", *arguments])


def report(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """The exit code and the report as JSON."""
    capsys.readouterr()
    code = check(*arguments, "--format", "json")
    return code, json.loads(capsys.readouterr().out)


def rules(found: Any) -> list[str]:
    return [problem["rule"] for problem in found["problems"]]


def test_files_patterns_and_directories_are_checked_once(capsys: pytest.CaptureFixture[str]) -> None:
    """A file is read once however often it is meant; in a directory what is no task definition is passed over."""
    write("a.json", ENVOY, APP)
    write("deep/er/b.json", ENVOY, APP)
    write("deep/node_modules/c.json", ENVOY, APP)
    write("deep/.hidden/d.json", ENVOY, APP)
    Path("deep/package.json").write_text('{"name": "x", "image": "y"}', encoding="utf-8")
    Path("deep/readme.md").write_text("containerDefinitions", encoding="utf-8")

    code, found = report(capsys, "a.json", "*.json", "deep", "**/b.json")

    assert 1 == code
    assert ["a.json", "deep/er/b.json"] == [definition["file"] for definition in found["definitions"]]
    assert ["helper-missing", "helper-missing"] == rules(found)


def test_several_definitions_are_shown_by_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Of several definitions those with findings are named, the others counted."""
    write("a.json", ENVOY, APP)
    write("b.json", {"name": "batch", "image": "${Image}"})

    assert 1 == check("a.json", "b.json")
    lines = capsys.readouterr().out.splitlines()
    assert "a.json" == lines[0]
    assert "1 error, 0 warnings, 2 task definitions checked; why: task-helper taskdef rules helper-missing" == lines[-1]


def test_other_files_of_a_directory_fail_only_if_they_mention_containers(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A broken file that speaks of containerDefinitions is an error; any other file that cannot be read is not."""
    write("a.json", {"name": "batch"})
    Path("image.json").write_text('{"image": ', encoding="utf-8")
    assert 0 == check(".")

    Path("broken.json").write_text('{"containerDefinitions": [\n,', encoding="utf-8")
    assert 65 == check(".")
    assert "broken.json: line 2, column 1: Expecting value" in capsys.readouterr().err


def test_missing_configuration_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration that was named has to be there."""
    write("a.json", {"name": "batch"})

    assert 66 == check("a.json", "--config", "missing.toml")
    assert "task-helper: missing.toml: No such file or directory\n" == capsys.readouterr().err


@pytest.mark.parametrize("name", ["missing.json", "missing/*.json"])
def test_missing_file_is_reported(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A name and a pattern that mean no file are errors, and the others are checked all the same."""
    write("a.json", {"name": "batch"})

    assert 66 == check("a.json", name)
    assert capsys.readouterr().err.startswith(f"task-helper: {name}: ")


@pytest.mark.parametrize(
    "arguments, code",
    [
        ([], 1),
        (["--ignore", "stop-timeout,holds-all"], 0),
        (["--ignore", "stop-timeout", "--ignore", "holds-all"], 0),
        (["--ignore", "stop-timeout,holds-all", "--fail-on", "warning"], 1),
        (["--ignore", "stop-timeout,holds-all,health-check,restart-policy", "--fail-on", "warning"], 0),
        (["--ignore", "no-such-rule"], 2),
    ],
)
def test_options_ignore_rules_and_choose_the_failing_severity(arguments: list[str], code: int) -> None:
    """A rule that is ignored says nothing; warnings fail if they are to; a name that no rule has is refused."""
    write("a.json", ENVOY, APP, HELPER)

    assert code == check("a.json", *arguments)


def test_label_suppresses_for_its_container_and_needs_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """What a container's label names is not said of it, but counted; without a reason it is said, and so is that."""
    write("a.json", ENVOY, APP, labelled(ignore="holds-all: a test; restart-policy,health-check: a test"))
    code, found = report(capsys, "a.json")
    assert (["stop-timeout", "application-health"], 4) == (rules(found), found["definitions"][0]["ignored"])

    write("a.json", {**ENVOY, "dockerLabels": {"task-helper.ignore": "stop-timeout: elsewhere"}}, APP, HELPER)
    code, found = report(capsys, "a.json")
    assert "stop-timeout" in rules(found)

    write("a.json", ENVOY, APP, labelled(ignore="stop-timeout; nonsense: x"))
    code, found = report(capsys, "a.json")
    assert "stop-timeout" in rules(found)
    assert [
        "stop-timeout is ignored here without a reason, so it is still reported.",
        "nonsense is ignored here, but no rule has this name.",
    ] == [problem["message"] for problem in found["problems"] if problem["rule"] == "ignore"]


def test_label_of_any_container_suppresses_findings_about_the_task(capsys: pytest.CaptureFixture[str]) -> None:
    """A finding about no container is ignored by the label of any."""
    write("a.json", ENVOY, {**APP, "dockerLabels": {"task-helper.ignore": "helper-missing: comes with the pipeline"}})

    assert 0 == check("a.json")
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings, 1 ignored\n")


def test_yaml_comment_suppresses_for_its_container_or_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """Within a container or right above it a comment is for that container, elsewhere for the file."""
    Path("t.yaml").write_text(TEMPLATE, encoding="utf-8")
    code, found = report(capsys, "t.yaml")
    assert (0, ["application-health"], 5) == (code, rules(found), found["definitions"][0]["ignored"])

    moved = TEMPLATE.replace("          User:", "          Essential: true\n          User:")
    text = moved.replace("        # task-helper: ignore stop-timeout: set by the instance\n", "").replace(
        "          Image: shop:1\n", "          Image: shop:1 # task-helper: ignore stop-timeout: elsewhere\n"
    )
    Path("t.yaml").write_text(text, encoding="utf-8")
    code, found = report(capsys, "t.yaml")
    assert (1, ["stop-timeout", "application-health"]) == (code, rules(found))


def test_nearest_configuration_applies(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The nearest .task-helper.toml up to the repository's top is obeyed; the command line has the last word."""
    write("tasks/a.json", ENVOY, APP, {"name": "drain", "image": "tools:1"})
    write("tasks/legacy/b.json", ENVOY, APP, HELPER)
    Path(".task-helper.toml").write_text(
        'ignore = ["holds-all", "stop-timeout"]\nfail-on = "warning"\nhelper = "drain"\nexclude = ["tasks/legacy/*"]\n'
        '[[files]]\nmatch = "tasks/*.json"\nignore = ["restart-policy"]\nreason = "batch"\n',
        encoding="utf-8",
    )
    code, found = report(capsys, "tasks")
    assert (1, ["health-check", "application-health"]) == (code, rules(found))
    assert [["drain"]] == [definition["helper"] for definition in found["definitions"]]
    assert 0 == check("tasks", "--fail-on", "error")
    assert 1 == check("tasks/legacy/b.json", "--helper", "task-helper")

    (folder / "elsewhere.toml").write_text("spot = true\n", encoding="utf-8")
    assert "holds-all" in rules(report(capsys, "tasks", "--config", "elsewhere.toml")[1])
    (folder / "tasks/.git").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "tasks")
        assert "restart-policy" in rules(report(capsys, "legacy/b.json")[1])


def test_configuration_and_suppressions_of_the_page_work(capsys: pytest.CaptureFixture[str]) -> None:
    """The configuration, the label and the comment of docs/use/rules.md are obeyed as they stand there."""
    page = (Path(__file__).parents[2] / "docs" / "use" / "rules.md").read_text(encoding="utf-8")
    (toml,) = re.findall("```toml\n(.*?)```", page, re.S)
    (label,) = re.findall('```json\n("dockerLabels": .*?)\n```', page, re.S)
    (comment,) = re.findall("```yaml\n(# task-helper: .*?)\n```", page, re.S)
    write("a.json", ENVOY, APP, {**HELPER, **json.loads(f"{{{label}}}")})
    Path("t.yaml").write_text(
        TEMPLATE.replace("# task-helper: ignore holds-all health-check: a demonstration", comment)
    )

    assert "holds-all" not in rules(report(capsys, "a.json", "t.yaml")[1])
    Path(".task-helper.toml").write_text(toml, encoding="utf-8")
    write("batch/b.json", ENVOY, APP, HELPER, {"name": "drain", "image": "x:1"}, {"name": "proxy", "image": "x:1"})
    assert "health-check" not in rules(report(capsys, "batch")[1])


@pytest.mark.parametrize(
    "text, reason",
    [
        ("ignore = 3", "Expected array, got int - at $.ignore"),
        ("fail-on = 'never'", "Invalid enum value 'never' - at $.fail-on"),
        ("failon = 'error'", "Object contains unknown field failon"),
        ("ignore = ['no-such']", "no rule is named 'no-such'; the rules are containers-unknown, "),
        ("ignore = [", "Invalid value (at end of document)"),
        ("[[files]]\nmatch = '*'\nignore = []", "Object missing required field reason - at $.files[0]"),
    ],
)
def test_invalid_configuration_is_refused(text: str, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in the configuration is exit code 2, and named with its file."""
    write("a.json", ENVOY, APP)
    Path(".task-helper.toml").write_text(text, encoding="utf-8")

    assert 2 == check("a.json")
    assert reason in capsys.readouterr().err


def test_json_report_contains_unreadable_files(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no task definition is a finding of its own, with its place, so that a program sees it."""
    Path("a.json").write_text('{"containerDefinitions": [\n  {"name": "app", "memory": "much"}]}', encoding="utf-8")
    code, found = report(capsys, "a.json", "missing.json")

    assert (66, 2) == (code, found["errors"])
    first, second = found["problems"]
    assert ("unreadable", "a.json", 2, 19) == (first["rule"], first["file"], first["line"], first["column"])
    assert "a.json cannot be checked: $.containerDefinitions[0].memory: expected a whole number, got 'much'." == (
        first["message"]
    )
    assert ("missing.json", 1, 1) == (second["file"], second["line"], second["column"])


def test_github_report_annotates_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each finding is a workflow command, its severity in GitHub's word, what has a meaning there escaped."""
    write("a,b.json", ENVOY, APP, labelled(ignore="holds-all,stop-timeout: 100% sure"))
    Path("broken.json").write_text("[", encoding="utf-8")

    assert 65 == check("a,b.json", "broken.json", "--format", "github")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(
        "::warning file=a%2Cb.json,line=24,col=5,title=task-helper health-check::The helper has no healthCheck, so ECS"
    )
    assert ["warning", "notice", "warning", "error"] == [line[2:].partition(" ")[0] for line in lines]
    assert 0 == check("a,b.json", "--format", "github", "--ignore", "health-check,restart-policy,application-health")
    assert "" == capsys.readouterr().out


def sarif(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """The only run of a SARIF report that is valid."""
    check(*arguments, "--format", "sarif")
    log = json.loads(capsys.readouterr().out)
    jsonschema.validate(log, SARIF, format_checker=jsonschema.FormatChecker())
    (run,) = log["runs"]
    return run


def test_sarif_report_is_valid_and_has_pages_and_places(capsys: pytest.CaptureFixture[str]) -> None:
    """The report keeps to SARIF's schema; each result has its rule's page, its line, and a fingerprint of its place."""
    write("t asks/a.json", ENVOY, APP, labelled(ignore="nonsense: x"))
    run = sarif(capsys, "t asks/a.json")

    names = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert ["application-health", "health-check", "holds-all", "ignore", "restart-policy", "stop-timeout"] == names
    assert run["tool"]["driver"]["rules"][2]["help"]["markdown"].startswith("### holds-all\n")
    assert all(result["ruleId"] == names[result["ruleIndex"]] for result in run["results"])
    location = run["results"][0]["locations"][0]
    assert "t%20asks/a.json" == location["physicalLocation"]["artifactLocation"]["uri"]
    assert {"startLine": 24, "startColumn": 5} == location["physicalLocation"]["region"]
    assert "$.containerDefinitions[2].dependsOn" == location["logicalLocations"][0]["fullyQualifiedName"]
    assert ["error", "error", "error", "warning", "note", "warning", "warning"] == [
        result["level"] for result in run["results"]
    ]

    before = [result["partialFingerprints"] for result in run["results"]]
    write("t asks/a.json", ENVOY, APP, labelled(ignore="nonsense: x"), family="shop", cpu="256")
    assert before == [result["partialFingerprints"] for result in sarif(capsys, "t asks/a.json")["results"]]


def test_sarif_report_contains_unreadable_files(capsys: pytest.CaptureFixture[str]) -> None:
    """What could not be checked makes the run an unsuccessful one, with the reason."""
    Path("broken.json").write_text("[", encoding="utf-8")
    (invocation,) = sarif(capsys, "broken.json")["invocations"]

    assert not invocation["executionSuccessful"]
    (notification,) = invocation["toolExecutionNotifications"]
    assert notification["message"]["text"].startswith("broken.json cannot be checked: line 1")


def test_findings_about_the_virtual_node_are_placed_in_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A finding about the mesh has the virtual node's file and line."""
    write("a.json", ENVOY, APP, HELPER)
    Path("node.json").write_text('{\n"spec": {"listeners": [\n{}]}}', encoding="utf-8")
    _, found = report(capsys, "a.json", "--virtual-node", "node.json")
    (about,) = [problem for problem in found["problems"] if problem["rule"] == "health-check-cycle"]

    assert ("node.json", 3, 1) == (about["file"], about["line"], about["column"])


def test_standard_input_is_reported_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What comes by a pipe may be in any format, and has a name in the report."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(TEMPLATE.encode())))
    code, found = report(capsys, "-")

    assert (0, "standard input", "Task") == (code, found["definitions"][0]["file"], found["definitions"][0]["name"])


def test_duplicate_key_is_reported_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    """The second of two equal keys is named with its place, in a list of containers and in a template, too."""
    Path("a.json").write_text('[{"name": "app", "image": "x:1",\n "image": "x:2"}]', encoding="utf-8")
    Path("t.yaml").write_text(TEMPLATE.replace("Image: shop:1", "Image: shop:1\n          Image: shop:2"))
    _, found = report(capsys, "a.json", "t.yaml")

    assert [
        ("a.json", 2, "$[0].image"),
        ("t.yaml", 12, "$.Resources.Task.Properties.ContainerDefinitions[1].Image"),
    ] == [(each["file"], each["line"], each["place"]) for each in found["problems"] if each["rule"] == "duplicate-key"]


def test_remedy_is_in_the_spelling_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A remedy for a template has CloudFormation's names, so that it can be copied."""
    Path("t.yaml").write_text(TEMPLATE.replace("task-helper: ignore", "ignore"), encoding="utf-8")
    _, found = report(capsys, "t.yaml")
    remedies = {problem["rule"]: problem["remedy"] for problem in found["problems"]}

    assert 'Write "StopTimeout": 120.' == remedies["stop-timeout"]
    assert 'Add {"ContainerName": "app", "Condition": "START"} to the helper\'s dependsOn.' == remedies["holds-all"]


def test_terraform_plan_with_unknown_containers_was_not_read(capsys: pytest.CaptureFixture[str]) -> None:
    """Where Terraform knows the containers only when it has applied, that is said, and nothing has passed."""
    resource = {"type": "aws_ecs_task_definition", "address": "x", "values": {"family": "shop"}}
    plan = {"format_version": "1.2", "planned_values": {"root_module": {"resources": [resource]}}}
    Path("plan.json").write_text(json.dumps(plan), encoding="utf-8")

    assert (3, ["containers-unknown"]) == (lambda got: (got[0], rules(got[1])))(report(capsys, "plan.json"))
