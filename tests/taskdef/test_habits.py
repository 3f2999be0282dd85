"""What users of other linters expect of `taskdef check` and `taskdef add`, by what they print, write and return."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # nosec B405

import pytest
import yaml

from task_helper.cli import main
from task_helper_taskdef.rule_pages import names
from task_helper_taskdef.rules import RULES

IMAGE = "registry.example/ecs-task-helper:1.0.0"
ENVOY = {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2", "healthCheck": {"command": ["CMD", "/ready"]}}
APP = {"name": "app", "image": "shop:1", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]}
# errors of holds-all and stop-timeout, warnings of health-check and restart-policy, a note of application-health
HELPER = {"name": "task-helper", "image": IMAGE}
ALL = ["holds-all", "holds-all", "stop-timeout", "health-check", "application-health", "restart-policy"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in, the top of a repository."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, *containers: dict[str, Any], **fields: Any) -> str:
    """A task definition in the file `name`."""
    file = Path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    document = {"networkMode": "awsvpc", **fields, "containerDefinitions": list(containers)}
    file.write_text(json.dumps(document, indent=2), encoding="utf-8")
    return name


def check(*arguments: str) -> int:
    return main(["taskdef", "check", *arguments])


def found(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The rules of all findings."""
    capsys.readouterr()
    check(*arguments, "--format", "json")
    return [problem["rule"] for problem in json.loads(capsys.readouterr().out)["problems"]]


def test_no_file_means_the_directory_here(capsys: pytest.CaptureFixture[str]) -> None:
    """`taskdef check` alone looks at the working directory."""
    write("deep/a.json", ENVOY, APP, HELPER)

    assert sorted(ALL) == sorted(found(capsys))


@pytest.mark.parametrize(
    "arguments, rules",
    [
        (["--select", "stop-timeout"], ["stop-timeout"]),
        (["--select", "stop-timeout,h*"], ["holds-all", "holds-all", "stop-timeout", "health-check"]),
        (["--ignore", "h*-*"], ["stop-timeout", "application-health", "restart-policy"]),
        (["--select", "h*", "--ignore", "holds-all"], ["health-check"]),
    ],
)
def test_rules_are_chosen_by_names_and_patterns(
    arguments: list[str], rules: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """--select leaves out all other rules, --ignore those that it names."""
    assert sorted(rules) == sorted(found(capsys, write("a.json", ENVOY, APP, HELPER), *arguments))


@pytest.mark.parametrize("option", ["--select", "--ignore"])
def test_pattern_that_means_no_rule_is_refused(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt name must not switch a check off."""
    assert 2 == check(write("a.json", ENVOY), option, "helpr-*")
    assert "no rule is named 'helpr-*'; the rules are " in capsys.readouterr().err


def test_configuration_chooses_rules_and_severities(capsys: pytest.CaptureFixture[str]) -> None:
    """select, ignore with patterns, and [severity] of .task-helper.toml count as the options do."""
    write("a.json", ENVOY, APP, HELPER)
    Path(".task-helper.toml").write_text(
        'select = ["h*", "restart-policy"]\nignore = ["holds-*"]\n[severity]\nrestart-policy = "error"\n', "utf-8"
    )

    assert 1 == check("a.json", "--format", "line")
    assert [("warning", "health-check"), ("error", "restart-policy")] == [
        tuple(line.split(" ")[1:3])[0:1] + (line.split(" ")[2].rstrip(":"),)
        for line in capsys.readouterr().out.splitlines()
    ]


def test_configuration_is_found_from_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The configuration beside a file counts wherever the command is started; patterns are from its folder."""
    file = folder / write("service/tasks/a.json", ENVOY, APP, HELPER)
    (folder / "service/.task-helper.toml").write_text(
        'exclude = ["old/*"]\n[[files]]\nmatch = "tasks/*"\nignore = ["h*"]\nreason = "x"\n', encoding="utf-8"
    )
    write("service/old/b.json", ENVOY)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")

    assert ["application-health", "restart-policy", "stop-timeout"] == sorted(found(capsys, str(file)))
    assert ["application-health", "restart-policy", "stop-timeout"] == sorted(found(capsys, "../service"))


def test_exclude_leaves_out_what_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is named itself is checked all the same."""
    write("a.json", ENVOY)
    write("legacy/b.json", ENVOY)

    assert ["helper-missing"] == found(capsys, ".", "--exclude", "legacy/*")
    assert ["helper-missing"] == found(capsys, "legacy/b.json", "--exclude", "legacy/*")


def test_baseline_leaves_out_the_findings_of_its_day(capsys: pytest.CaptureFixture[str]) -> None:
    """Known findings are not reported, also after a container was added above them; new ones are."""
    write("a.json", ENVOY, APP, HELPER)
    assert 0 == check("a.json", "--write-baseline", "base.json")
    assert 0 == check("a.json", "--baseline", "base.json", "--fail-on", "warning")

    cache = {"name": "cache", "image": "cache:1"}
    write("a.json", cache, ENVOY, {**APP, "dependsOn": [*APP["dependsOn"]]}, HELPER)
    assert ["holds-all"] == found(capsys, "a.json", "--baseline", "base.json")


@pytest.mark.parametrize("text", ["[]", "{", '{"findings": {"a": "b"}}'])
def test_file_that_is_no_baseline_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """It is named, and nothing passes for its sake."""
    Path("base.json").write_text(text, encoding="utf-8")

    assert 2 == check(write("a.json", ENVOY), "--baseline", "base.json")
    assert capsys.readouterr().err.startswith("task-helper: base.json: ")


def test_line_format_has_one_line_for_each_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """FILE:LINE:COLUMN: LEVEL RULE: MESSAGE, as editors and grep read it, with no other line."""
    write("a.json", ENVOY, APP, HELPER)
    Path("broken.json").write_text('{"containerDefinitions": [', encoding="utf-8")
    check("a.json", "broken.json", "--format", "line")
    lines = capsys.readouterr().out.splitlines()

    assert len(ALL) + 1 == len(lines)
    assert all(re.match(r"(a|broken)\.json:\d+:\d+: (error|warning|note) [a-z-]+: \S", line) for line in lines)
    assert lines[-1].startswith("broken.json:1:27: error unreadable: ")


def test_junit_report_has_a_case_for_each_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """Errors and warnings are failures, a note is output, and a file without findings passes."""
    write("a.json", ENVOY, APP, HELPER)
    write("b.json", {"name": "app", "image": "shop:1", "dockerLabels": {"task-helper.ignore": "envoy-missing: none"}})
    check("a.json", "b.json", "--format", "junit")
    root = ElementTree.fromstring(capsys.readouterr().out)  # nosec B314

    assert {"a.json": "5", "b.json": "0"} == {suite.attrib["name"]: suite.attrib["failures"] for suite in root}
    assert ("7", "5") == (root.attrib["tests"], root.attrib["failures"])
    assert 1 == len(root.findall(".//system-out"))


def test_several_formats_are_written_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """FORMAT=FILE writes a report to a file, beside the one on standard output; -o is the file of the one without."""
    write("a.json", ENVOY)
    assert 1 == check("a.json", "--format", "sarif=out.sarif", "--format", "junit=out.xml", "--format", "line")
    assert capsys.readouterr().out.startswith("a.json:3:3: error helper-missing: ")
    assert "2.1.0" == json.loads(Path("out.sarif").read_text("utf-8"))["version"]
    assert Path("out.xml").read_text("utf-8").startswith("<?xml")

    assert 1 == check("a.json", "-o", "out.txt")
    assert "" == capsys.readouterr().out and "(helper-missing)" in Path("out.txt").read_text("utf-8")


@pytest.mark.parametrize(
    "arguments",
    [["--format", "json", "--format", "line"], ["--format", "json=a", "-o", "b"], ["--format", "json", "--diff"]],
)
def test_two_reports_for_one_place_are_refused(arguments: list[str]) -> None:
    """Two reports on standard output could not be read; a file without a report is a mistake."""
    assert 2 == check(write("a.json", ENVOY), *arguments)


def test_report_that_cannot_be_written_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that is not there is named."""
    assert 73 == check(write("a.json", ENVOY), "-o", "missing/out.txt")
    assert "task-helper: missing/out.txt: cannot be written: No such file or directory\n" == capsys.readouterr().err


def test_quiet_prints_findings_only(capsys: pytest.CaptureFixture[str]) -> None:
    """Where nothing is found, nothing is printed."""
    ignored = {"dockerLabels": {"task-helper.ignore": "helper-missing: comes later"}}
    assert 0 == check(write("a.json", {**ENVOY, **ignored}), "--quiet")
    assert ("", "") == capsys.readouterr()

    assert 1 == check(write("a.json", ENVOY), "--quiet")
    assert "error, " not in capsys.readouterr().out


def test_no_color_prints_no_colours(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """--no-color is for a terminal."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    check(write("a.json", ENVOY), "--no-color")

    assert "\033" not in capsys.readouterr().out


def test_standard_input_has_the_name_that_it_is_given(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--stdin-filename is the file of the findings, as editors that check what is not saved yet need it."""
    text = yaml.safe_dump({"containerDefinitions": [ENVOY]})
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    assert 1 == check("-", "--stdin-filename", "tasks/a.yaml", "--format", "line")
    assert capsys.readouterr().out.startswith("tasks/a.yaml:1:1: error helper-missing: ")


def test_diff_of_fix_applies_and_changes_no_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--diff prints what `patch` takes; applied, it makes of the file what --fix does."""
    before = Path(write("a.json", ENVOY, APP, HELPER)).read_bytes()
    check("a.json", "--diff")
    diff = capsys.readouterr().out
    assert before == Path("a.json").read_bytes()

    subprocess.run(["git", "apply", "--unsafe-paths", "-"], input=diff, text=True, check=True, timeout=60)
    applied = Path("a.json").read_bytes()
    Path("a.json").write_bytes(before)
    check("a.json", "--fix")
    assert applied == Path("a.json").read_bytes() != before


@pytest.mark.parametrize("command", [["check", "--fix"], ["add", "--image", IMAGE, "--in-place"]])
def test_dry_run_changes_no_file(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """It names the file that would be changed."""
    before = Path(write("a.json", ENVOY, APP, HELPER)).read_bytes()
    main(["taskdef", *command, "a.json", "--dry-run"])

    assert before == Path("a.json").read_bytes()
    assert re.search(r"task-helper: a\.json: would be (repaired|changed)", capsys.readouterr().err)


def test_diff_of_add_shows_what_would_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    """Only the new lines are in it."""
    main(["taskdef", "add", write("a.json", ENVOY, APP), "--image", IMAGE, "--diff"])
    diff = capsys.readouterr().out

    assert diff.startswith("--- a/a.json\n+++ b/a.json\n@@") and f'+      "image": "{IMAGE}"' in diff


def test_rules_are_listed_with_their_severities(capsys: pytest.CaptureFixture[str]) -> None:
    """For people a line each, and for programs JSON; also by the option that other linters have."""
    assert 0 == main(["taskdef", "rules", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert names() == [line.split()[0] for line in lines]
    assert 0 == check("--list-rules", "--format", "json")
    listed = json.loads(capsys.readouterr().out)
    assert list(RULES) == [each["rule"] for each in listed]
    assert ["warning", "error"] == next(each["severities"] for each in listed if each["rule"] == "image")[::-1]
    assert all(each["severities"] and each["title"] for each in listed)


def test_capital_and_small_letters_of_keys_are_those_of_the_format(capsys: pytest.CaptureFixture[str]) -> None:
    """CloudFormation refuses keys with a small letter, and the API those with a capital one."""
    Path("t.yaml").write_text(
        "Resources:\n  T:\n    Type: AWS::ECS::TaskDefinition\n    Properties:\n      ContainerDefinitions:\n"
        "        - Name: envoy\n          image: envoyproxy/envoy:v1.36.2\n"
        "          DockerLabels: {team: shop}\n          LogConfiguration:\n"
        "            LogDriver: awslogs\n            Options: {awslogs-group: !Sub ['${a}', {a: b}]}\n",
        encoding="utf-8",
    )
    check("t.yaml", "--select", "misspelt-key", "--format", "line")
    assert capsys.readouterr().out.splitlines() == [
        "t.yaml:7:11: warning misspelt-key: CloudFormation's keys begin with a capital letter,"
        " so its validation fails for image. Write Image."
    ]

    Path("small.yaml").write_text(
        "Resources:\n  T:\n    Type: AWS::ECS::TaskDefinition\n    Properties:\n      ContainerDefinitions:\n"
        "        - Name: envoy\n          Image: envoyproxy/envoy:v1.36.2\n"
        "          dockerLabels: {team: shop}\n          LogConfiguration: {LogDriver: awslogs, options: {mode: x}}\n",
        encoding="utf-8",
    )
    check("small.yaml", "--select", "misspelt-key", "--format", "json")
    places = [problem["place"] for problem in json.loads(capsys.readouterr().out)["problems"]]
    inside = "$.Resources.T.Properties.ContainerDefinitions[0]"
    assert [f"{inside}.dockerLabels", f"{inside}.LogConfiguration.options"] == places, "keys below are the user's own"

    Path("a.json").write_text('{"containerDefinitions": [{"Name": "envoy"}]}', encoding="utf-8")
    assert 65 == check("a.json")
    assert "name is missing; write name, not Name" in capsys.readouterr().err


def test_double_comma_is_not_blamed_on_a_placeholder(capsys: pytest.CaptureFixture[str]) -> None:
    """The message of a syntax error is about the error, and not about a placeholder that may stand where it stands."""
    Path("t.json.tpl").write_text('{"cpu": ${cpu},,\n "containerDefinitions": []}', encoding="utf-8")

    assert 65 == check("t.json.tpl")
    assert capsys.readouterr().err == (
        "task-helper: t.json.tpl: line 1, column 16: Expecting property name enclosed in double quotes\n"
    )


def test_sarif_regions_end_behind_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    """A finding about something that is there marks all of it, and its rule has the address of its page."""
    check(write("a.json", ENVOY, {**HELPER, "image": "ecs-task-helper:main"}), "--select", "image", "--format", "sarif")
    run = json.loads(capsys.readouterr().out)["runs"][0]

    region = run["results"][0]["locations"][0]["physicalLocation"]["region"]
    line = Path("a.json").read_text("utf-8").splitlines()[region["startLine"] - 1]
    assert '"image": "ecs-task-helper:main"' == line[region["startColumn"] - 1 : region["endColumn"] - 1]
    assert run["tool"]["driver"]["rules"][0]["helpUri"].startswith("https://")
    assert run["tool"]["driver"]["rules"][0]["helpUri"].endswith("/docs/use/rules.md#image")


PRE_COMMIT = yaml.safe_load((Path(__file__).parents[2] / ".pre-commit-hooks.yaml").read_text("utf-8"))


@pytest.mark.parametrize("hook", PRE_COMMIT, ids=lambda hook: str(hook["id"]))
@pytest.mark.parametrize(
    "name, matched",
    [
        ("task-definition.json", True),
        ("deploy/taskdef.yaml", True),
        (".aws/task-definition.json", True),
        ("ecs/orders.task-definition.json", True),
        ("taskDefinition.prod.json", True),
        ("task_definitions/orders.json", True),
        ("terraform/container_definitions.json.tpl", True),
        ("containerDefinitions.json.tmpl", True),
        ("task-definition.tftpl", True),
        ("task_definition.json.jinja2", True),
        ("ecs-task.json", True),
        ("deploy/ecs_task_prod.yml", True),
        ("td.json", True),
        ("tasks.json", False),
        (".vscode/tasks.json", False),
        ("package.json", False),
        ("src/multitask.default.json", False),
    ],
)
def test_pre_commit_hook_matches_the_names_that_people_use(hook: dict[str, str], name: str, matched: bool) -> None:
    """The hook is given task definitions, and no other files, which it would refuse."""
    assert matched == bool(re.search(hook["files"], name))


def test_many_unknown_keys_take_little_time() -> None:
    """The nearest known key is searched for a bounded number of times: the time is linear in the keys."""
    document = {"containerDefinitions": [ENVOY], **{f"unknown{i}": i for i in range(40_000)}}
    Path("a.json").write_text(json.dumps(document), encoding="utf-8")
    before = os.times()
    check("a.json", "--format", "json", "-o", "out.json")
    after = os.times()

    assert after.user - before.user < 20


def test_full_device_is_reported() -> None:
    """Output that cannot be written is an error of its own, in one line."""
    write("a.json", ENVOY)
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "task_helper", "taskdef", "check", "a.json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )

    assert 73 == done.returncode
    assert "task-helper: standard output cannot be written: No space left on device\n" == done.stderr


@pytest.mark.parametrize("setting", ["DRAIN_DELAY", "DRAIN_DELAY=", "DRAIN_DELY=5"])
def test_setting_without_name_or_value_is_refused(setting: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--set takes NAME=VALUE of the helper's settings."""
    assert 2 == main(["taskdef", "add", write("a.json", ENVOY), "--image", IMAGE, "--set", setting])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("command", [["taskdef", "add", "--image", IMAGE], ["plan", "--taskdef"]])
def test_container_that_is_not_there_is_refused(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The names that there are are listed."""
    assert 2 == main([*command, write("a.json", ENVOY), "--envoy", "proxy"])
    assert capsys.readouterr().err == "task-helper: no container is named 'proxy'; the containers are envoy\n"


@pytest.mark.parametrize("text", ['folder = "x"', "colour = 1", '[severity]\nimage = "fatal"', 'select = ["x"]'])
def test_configuration_with_what_it_has_not_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing of a configuration is dropped without a word."""
    Path(".task-helper.toml").write_text(text, encoding="utf-8")

    assert 2 == check(write("a.json", ENVOY))
    assert ".task-helper.toml: " in capsys.readouterr().err
