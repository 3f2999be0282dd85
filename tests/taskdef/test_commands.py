"""The commands `taskdef check`, `taskdef add`, `taskdef rules` and `plan --taskdef`, by what they print and return."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from task_helper.cli import main
from task_helper_taskdef.reports import PAGE
from tests.helper.process.program import started

SHOP: dict[str, Any] = {
    "family": "shop",
    "networkMode": "awsvpc",
    "containerDefinitions": [
        {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2", "healthCheck": {"command": ["CMD", "/ready"]}},
        {"name": "app", "image": "shop:1", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]},
    ],
}
IMAGE = "registry.example/ecs-task-helper:1.0.0"


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a definition that lacks a helper, and a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    file = tmp_path / "shop.json"
    file.write_text(json.dumps(SHOP, indent=4), encoding="utf-8")
    return file


def test_check_prints_findings_for_people(
    shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who is who, then by container severity, place, rule, what is wrong and what to do, and a line that counts."""
    helper = {"name": "task-helper", "image": IMAGE}
    document = {**SHOP, "containerDefinitions": [*SHOP["containerDefinitions"], helper]}
    shop.write_text(json.dumps(document, indent=2), encoding="utf-8")
    monkeypatch.chdir(shop.parent)

    code = main(["taskdef", "check", "shop.json"])
    lines = capsys.readouterr().out.splitlines()

    assert code == 1
    assert lines[0] == (
        "helper: task-helper; Envoy: envoy (its configuration is elsewhere and not checked); to keep running: app"
    )
    assert lines[2:8] == [
        "container task-helper",
        "  error  shop.json:25:5  $.containerDefinitions[2].dependsOn  (holds-all)",
        "    The helper does not depend on envoy, so ECS stops envoy at once, while the",
        "    task still gets requests.",
        '    > Add {"containerName": "envoy", "condition": "HEALTHY"} to the helper\'s',
        "      dependsOn.",
    ]
    assert lines[-1] == "3 errors, 2 warnings, 1 note; why: task-helper taskdef rules holds-all"
    assert "\033" not in "".join(lines)


def test_check_colours_on_a_terminal(
    shop: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal gets errors in red, unless its user wants no colours."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.chdir(shop.parent)
    main(["taskdef", "check", "shop.json"])
    assert "  \033[31merror\033[0m  shop.json:4:5  $.containerDefinitions  (helper-missing)" in capsys.readouterr().out

    monkeypatch.setenv("NO_COLOR", "1")
    main(["taskdef", "check", "shop.json"])
    assert "  error  shop.json:4:5  $.containerDefinitions  (helper-missing)" in capsys.readouterr().out


def test_check_prints_json_for_programs(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With --format json there is one object, with the containers' parts, the findings and their number."""
    code = main(["taskdef", "check", str(shop), "--format", "json"])
    report = json.loads(capsys.readouterr().out)

    assert code == 1
    assert [{"file": str(shop), "name": "", "helper": [], "envoy": ["envoy"], "ignored": 0}] == report["definitions"]
    assert (1, 0, 0) == (report["errors"], report["warnings"], report["notes"])
    (problem,) = report["problems"]
    assert (str(shop), 4, 5) == (problem["file"], problem["line"], problem["column"])
    assert ("helper-missing", f"{PAGE}#helper-missing") == (problem["rule"], problem["page"])
    assert {"severity", "place", "message", "remedy"} < set(problem)


def test_options_name_the_roles(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--helper and --envoy say which containers these are where names and images do not."""
    main(["taskdef", "check", str(shop), "--helper", "app", "--envoy", "envoy", "--format", "json"])
    (definition,) = json.loads(capsys.readouterr().out)["definitions"]

    assert (["app"], ["envoy"]) == (definition["helper"], definition["envoy"])
    assert main(["taskdef", "check", str(shop), "--helper", "sidecar"]) == 2
    assert capsys.readouterr().err == "task-helper: no container is named 'sidecar'; the containers are envoy, app\n"


@pytest.mark.parametrize("command", [["taskdef", "check"], ["taskdef", "add", "--image", IMAGE], ["plan", "--taskdef"]])
def test_other_input_is_refused_with_65(command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every command names file and place in one line on standard error, and prints nothing."""
    file = tmp_path / "x.json"
    file.write_text('{"containerDefinitions": [{"name": "app", "stopTimeout": "soon"}]}', encoding="utf-8")
    reason = "$.containerDefinitions[0].stopTimeout: expected a whole number, got 'soon'"

    assert main([*command, str(file)]) == 65
    assert capsys.readouterr() == ("", f"task-helper: {file}: {reason}\n")


def test_other_input_as_virtual_node_is_refused_with_65(
    shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A virtual node's file is named, with what is wrong in it."""
    file = tmp_path / "node.json"
    file.write_text('{"spec": {"listeners": {}}}', encoding="utf-8")

    assert main(["taskdef", "check", str(shop), "--virtual-node", str(file)]) == 65
    reason = "$.spec.listeners: expected a list, got an object"
    assert capsys.readouterr().err == f"task-helper: {file}: {reason}\n"


@pytest.mark.parametrize("command", [["taskdef", "check"], ["taskdef", "add", "--image", IMAGE], ["plan", "--taskdef"]])
def test_file_that_cannot_be_read_is_refused_with_66(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not there is named, with the system's reason."""
    assert main([*command, str(tmp_path / "missing.json")]) == 66
    assert capsys.readouterr().err == f"task-helper: {tmp_path / 'missing.json'}: No such file or directory\n"


def test_standard_input_is_read(capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """The file - is standard input, so that the commands go behind `aws ecs describe-task-definition`."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps({"taskDefinition": SHOP}).encode())))

    assert main(["taskdef", "add", "-", "--image", IMAGE]) == 0
    added = json.loads(capsysbinary.readouterr().out)["taskDefinition"]
    assert added["containerDefinitions"][:2] == SHOP["containerDefinitions"]


def test_add_writes_the_whole_helper(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The container that add writes, value by value."""
    assert main(["taskdef", "add", str(shop), "--image", IMAGE, "--name", "drain"]) == 0
    written = capsys.readouterr()

    assert (
        "the mesh is unknown, so times that you do not set suit the slowest mesh; name the mesh with --mesh NAME: app"
        in written.err
    )
    assert "(application-health)" in written.err and "set missing settings with --set NAME=VALUE" in written.err
    assert json.loads(written.out)["containerDefinitions"][2] == {
        "name": "drain",
        "image": IMAGE,
        "essential": True,
        "restartPolicy": {"enabled": True, "restartAttemptPeriod": 60},
        "dependsOn": [
            {"containerName": "envoy", "condition": "HEALTHY"},
            {"containerName": "app", "condition": "START"},
        ],
        "stopTimeout": 120,
        "healthCheck": {
            "command": ["CMD", "task-helper", "healthcheck"],
            "interval": 10,
            "timeout": 5,
            "retries": 10,
            "startPeriod": 300,
        },
        "cpu": 32,
        "memory": 64,
        "user": "65532",
        "readonlyRootFilesystem": True,
        "linuxParameters": {"capabilities": {"drop": ["ALL"]}},
    }


def test_add_in_place_keeps_indent_and_permissions_and_is_idempotent(shop: Path) -> None:
    """The file is written as it was indented, and a second run leaves it byte for byte as it is."""
    shop.chmod(0o640)
    assert main(["taskdef", "add", str(shop), "--image", IMAGE, "--in-place"]) == 0
    once = shop.read_bytes()
    assert main(["taskdef", "add", str(shop), "--image", IMAGE, "--in-place"]) == 0

    assert once == shop.read_bytes()
    assert once.startswith(b'{\n    "family": "shop"')
    assert shop.stat().st_mode & 0o777 == 0o640
    assert [shop] == list(shop.parent.iterdir())


def test_add_completes_an_existing_helper(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A helper written by hand keeps its values, gets the image and what it lacks; what is wrong with it is said."""
    helper = {
        "name": "drain",
        "image": "ecs-task-helper:0.9",
        "essential": False,
        "memoryReservation": 64,
        "user": None,
        "environment": [{"name": "STOP_TIMEOUT", "value": "100"}],
        "dependsOn": [{"containerName": "app", "condition": "START"}],
    }
    definition = {**SHOP, "containerDefinitions": [*SHOP["containerDefinitions"], helper]}
    shop.write_text(json.dumps(definition), encoding="utf-8")

    assert main(["taskdef", "add", str(shop), "--image", IMAGE]) == 0
    written = capsys.readouterr()
    completed = json.loads(written.out)["containerDefinitions"][2]

    assert (IMAGE, False, 100) == (completed["image"], completed["essential"], completed["stopTimeout"])
    assert "memory" not in completed and completed["user"] == "65532"
    assert [d["containerName"] for d in completed["dependsOn"]] == ["app", "envoy"]
    assert "(essential)" in written.err and "0 errors, 1 warning, 1 note;" in written.err


def test_add_reports_what_it_cannot_repair(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the rest of the definition has an error, add says so on standard error and returns 1."""
    lonely = {**SHOP["containerDefinitions"][1], "dependsOn": [{"containerName": "cache", "condition": "START"}]}
    shop.write_text(json.dumps({"containerDefinitions": [SHOP["containerDefinitions"][0], lonely]}), encoding="utf-8")

    assert main(["taskdef", "add", str(shop), "--image", IMAGE]) == 1
    written = capsys.readouterr()
    assert "(depends-on-possible)" in written.err
    assert len(json.loads(written.out)["containerDefinitions"]) == 3


@pytest.mark.parametrize("in_place", [[], ["--in-place"]])
def test_add_refuses_a_task_without_an_envoy(
    in_place: list[str], shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is nothing to drain, so nothing is written."""
    text = json.dumps({"containerDefinitions": [{"name": "app", "image": "shop:1"}]})
    shop.write_text(text, encoding="utf-8")

    assert main(["taskdef", "add", str(shop), "--image", IMAGE, *in_place]) == 65
    assert capsys.readouterr() == (
        "",
        f"task-helper: {shop}: no container is an Envoy, so the helper has nothing to drain; if a container is"
        " an Envoy, name it with --envoy NAME\n",
    )
    assert text == shop.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name, reason",
    [
        ("app", "app is the name of another container; give the helper another name with --name"),
        ("a b", "'a b' is not a container name; ECS takes letters, digits, - and _, such as task-helper"),
    ],
)
def test_add_refuses_a_name_that_is_taken_or_invalid(
    name: str, reason: str, shop: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another container's name and what is no name are refused before anything is written."""
    assert main(["taskdef", "add", str(shop), "--image", IMAGE, "--name", name]) == 2
    assert capsys.readouterr() == ("", f"task-helper: {reason}\n")


def test_add_keeps_letters_and_escapes(shop: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """A letter stays a letter and an escape an escape, also one that UTF-8 has no letter for."""
    text = json.dumps({**SHOP, "tags": ["ñ", "LETTER", "\ud800"]}).replace("LETTER", "ñ")
    shop.write_text(text, encoding="utf-8")

    assert main(["taskdef", "add", str(shop), "--image", IMAGE]) == 0
    assert rb'"tags": ["\u00f1", "' + "ñ".encode() + rb'", "\ud800"]' in capsysbinary.readouterr().out


def test_registrable_writes_surrogates_as_escapes(shop: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    """Written anew for --registrable, half a surrogate pair becomes its escape again."""
    shop.write_text(json.dumps({**SHOP, "tags": [{"key": "\ud800"}]}), encoding="utf-8")

    assert main(["taskdef", "add", str(shop), "--image", IMAGE, "--registrable"]) == 0
    assert [{"key": "\ud800"}] == json.loads(capsysbinary.readouterr().out)["tags"]


def test_plan_draws_a_whole_task(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """plan --taskdef draws the stop of the definition's containers."""
    assert main(["plan", "--taskdef", str(shop), "--spot"]) == 0
    assert "NO HELPER DEPENDS ON IT" in capsys.readouterr().out


def test_rules_prints_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    """taskdef rules prints what is in docs/use/rules.md."""
    assert main(["taskdef", "rules"]) == 0
    page = Path(__file__).parents[2] / "docs" / "use" / "rules.md"
    assert capsys.readouterr().out == page.read_text(encoding="utf-8")


def test_rules_prints_one_rule(capsys: pytest.CaptureFixture[str]) -> None:
    """taskdef rules RULE prints what the page has of it, and refuses a name that no rule has."""
    assert main(["taskdef", "rules", "root-user"]) == 0
    assert capsys.readouterr().out.startswith("### root-user\n\n**The helper does not run as root.**\n")

    assert main(["taskdef", "rules", "root"]) == 2
    assert capsys.readouterr().err.startswith("task-helper: no rule is named 'root'; the rules are containers-")


@pytest.mark.parametrize("command", ["run", "healthcheck"])
def test_run_and_healthcheck_do_not_import_the_linter(command: str) -> None:
    """run and healthcheck import nothing of the task definitions' code."""
    program = (
        "import sys; from task_helper.cli import main\n"
        f"try: main([{command!r}, '--help'])\n"
        "except SystemExit: print([name for name in sys.modules if 'taskdef' in name], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert done.stderr == "[]\n"


def run(*arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """The program, run as a process of its own."""
    command = [sys.executable, "-m", "task_helper", "taskdef", *arguments]
    return subprocess.run(command, text=True, timeout=60, **streams)


@pytest.mark.parametrize("arguments, code", [(["rules"], 0), (["check", "."], 1)])
def test_closed_pipe_changes_no_exit_code(arguments: list[str], code: int, shop: Path) -> None:
    """If the reader closes the pipe, as `| head` does, the command prints no error and keeps its exit code."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = run(*arguments, stdout=writing, stderr=subprocess.PIPE, cwd=shop.parent)
    finally:
        os.close(writing)

    assert (code, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("arguments", [["rules"], ["check", "."], ["add", "shop.json", "--image", IMAGE]])
def test_closed_standard_output_is_reported(arguments: list[str], shop: Path) -> None:
    """Without a standard output (`>&-`) there is one line, and no traceback."""
    command = f'{sys.executable} -m task_helper taskdef "$@" >&-'
    done = subprocess.run(
        ["sh", "-c", command, "sh", *arguments], stderr=subprocess.PIPE, text=True, timeout=60, cwd=shop.parent
    )

    assert (73, "task-helper: standard output cannot be written: it is closed\n") == (done.returncode, done.stderr)


def test_interrupt_ends_without_a_traceback(tmp_path: Path) -> None:
    """Ctrl-C while the command waits for its input ends it with the shell's code for that."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # a shell's background job ignores SIGINT, and so would the command if these tests are one
    command = ["env", "--default-signal=INT", sys.executable, "-m", "task_helper", "taskdef", "check", str(pipe)]
    # the pipe's `open` returns when the command has opened the pipe to read from it
    with started(command, os.environ, stderr=subprocess.PIPE) as process, pipe.open("wb"):
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)

    assert (130, "", "") == (process.returncode, out, err)


def test_hint_names_a_rule_that_is_explained(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the last line of a report says to run prints a rule's page."""
    main(["taskdef", "check", str(shop)])
    hint = capsys.readouterr().out.splitlines()[-1].rpartition("why: ")[2]

    assert "task-helper taskdef rules helper-missing" == hint
    assert main(hint.split()[1:]) == 0


@pytest.mark.parametrize("rule", ["ignore", "unreadable"])
def test_what_is_reported_like_a_rule_is_explained_too(rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A report may have these names, which no rule has."""
    assert main(["taskdef", "rules", rule]) == 0
    assert capsys.readouterr().out.startswith(f"### {rule}\n")


@pytest.mark.parametrize("command", [["run"], ["plan"], ["healthcheck"], ["taskdef"], ["taskdef", "add"]])
def test_every_command_prints_the_version(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--version works wherever a person tries it."""
    with pytest.raises(SystemExit) as ended:
        main([*command, "--version"])

    assert 0 == ended.value.code
    assert capsys.readouterr().out.startswith("task-helper ")
