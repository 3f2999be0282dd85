"""Which files `taskdef check` reads, and that what it has not read never passes."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from task_helper.cli import main

TEXT = '{"containerDefinitions": [{"name": "app", "image": "app:1"}]}'
BARE = '{"containerDefinitions": [{"name": "envoy", "image": "envoyproxy/envoy:v1"}]}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(name: str, text: str = TEXT) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(text, encoding="utf-8")


def check(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], list[str], str]:
    """The exit code, the files that were checked, what was skipped, and what was printed for people."""
    code = main(["taskdef", "check", *arguments, "--format", "json"])
    printed = capsys.readouterr()
    report: dict[str, Any] = json.loads(printed.out) if printed.out else {"definitions": [], "skipped": []}
    files = [each["file"] for each in report["definitions"]]
    return code, files, [each["file"] for each in report["skipped"]], printed.err


@pytest.mark.parametrize("name", [".aws/task-definition.json", ".github/ecs/task.json", ".ecs/x.yml", "a/.aws/t.json"])
def test_dot_folders_of_deployments_are_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The folders in which GitHub's own action and others keep task definitions are looked into."""
    write(name)

    assert (0, [name], []) == check(capsys, ".")[:3]


def test_folders_that_are_not_read_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Folders of packages and other dot folders are named, with the reason."""
    write("x.json")
    write(".venv/x.json")
    write("node_modules/a/x.json")
    code, files, skipped, printed = check(capsys, ".")

    assert (0, ["x.json"], [".venv", "node_modules"]) == (code, files, skipped)
    assert "task-helper: not read: .venv: a folder whose name begins with a dot" in printed
    assert "task-helper: not read: node_modules: a folder of packages" in printed


@pytest.mark.parametrize(
    "name, text, reason",
    [
        ("main.tf", 'resource "aws_ecs_task_definition" "x" {\n}\n', "terraform show -json"),
        ("stack.ts", "new ecs.FargateTaskDefinition(this, 'x')", "cdk synth"),
        (
            "state.json",
            '{"terraform_version": "1", "serial": 1, "x": "container_definitions", "image": 1}',
            "terraform show",
        ),
    ],
)
def test_code_with_a_task_definition_is_listed_and_never_passes(
    name: str, text: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What has a task definition in a form that is not read is named with what to give instead; alone it fails."""
    write(name, text)
    code, files, skipped, printed = check(capsys, ".")

    assert (3, [], [name]) == (code, files, skipped)
    assert reason in printed
    assert 65 == check(capsys, name)[0]


@pytest.mark.parametrize("name", ["service.tftpl", "service.json.jinja2", "service.jinja"])
def test_templates_of_terraform_and_jinja_are_read(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory's templates count, whichever engine they are for."""
    write(name)

    assert (0, [name]) == check(capsys, ".")[:2]


@pytest.mark.parametrize(
    "text",
    [
        '[{"name": "envoy", "image": "${image}", "essential": true, ${logging}}]',
        '[{"name": "envoy", "image": "envoy:1", "portMappings": ${ports}, %{ if health }"healthCheck": {}%{ endif }}]',
        "- name: envoy\n  image: {{ image }}:{{ tag }}\n  essential: true\n{{ others }}\n",
    ],
)
@pytest.mark.parametrize("name", ["x.json", "x.yaml.tpl"])
def test_bare_list_of_containers_that_cannot_be_read_never_passes(
    name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A template with a list of containers mentions no containerDefinitions, and is still no other file."""
    write("read.json")
    write(name, text)

    assert (65, ["read.json"]) == check(capsys, ".")[:2]


def test_single_container_in_a_file_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """A container that a script puts into a definition was not checked."""
    write("read.json")
    write("envoy.json", '{"name": "envoy", "image": "envoyproxy/envoy:v1", "essential": true}')
    code, _, skipped, printed = check(capsys, ".")

    assert (0, ["envoy.json"]) == (code, skipped)
    assert "this is one container" in printed


def test_other_templates_with_images_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A chart for Kubernetes that cannot be read is no news."""
    write("read.json")
    write("chart/pod.yaml", "spec:\n  containers:\n{{ range .All }}\n  - image: {{ .image }}\n    x: {{ end }}\n")

    assert (0, ["read.json"], [], "") == check(capsys, ".")


def test_other_code_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """Code that makes no task definition, and other files, are no news."""
    write("x.json")
    write("main.tf", 'resource "aws_s3_bucket" "x" {\n}\n')
    write("app.py", "print(1)")
    write("package.json", "{}")

    assert (0, ["x.json"], [], "") == check(capsys, ".")


@pytest.mark.parametrize("text", [None, "{}"])
def test_nothing_read_is_a_failure(text: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without a definition has an exit code of its own, unless that is permitted."""
    Path("empty").mkdir()
    if text:
        write("empty/package.json", text)

    code, _, _, printed = check(capsys, "empty")
    assert 3 == code
    assert "no task definition was read; give a file, or --allow-none to exit with 0" in printed
    assert 0 == check(capsys, "empty", "--allow-none")[0]


@pytest.mark.parametrize("text", ["[]", '{"containerDefinitions": []}'])
def test_empty_list_is_no_task_definition(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A list without containers was not checked, and ECS refuses it."""
    write("x.json", text)

    assert 65 == check(capsys, "x.json")[0]


@pytest.mark.skipif(os.getuid() == 0, reason="root may read every folder")
def test_folder_that_cannot_be_read_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without permission is named."""
    write("x.json")
    write("closed/x.json")
    Path("closed").chmod(0)
    code, _, _, printed = check(capsys, ".")
    Path("closed").chmod(0o700)

    assert 66 == code and "closed: Permission denied" in printed


def test_folder_that_fails_is_a_failure(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason is why a folder cannot be listed, it is named."""
    write("x.json")
    scandir = os.scandir

    def failing(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    Path("closed").mkdir()
    monkeypatch.setattr(os, "scandir", failing)

    assert 66 == check(capsys, ".")[0]


def test_every_document_of_a_stream_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    """A YAML file with several documents: the second one's errors are found at their place, and repaired there."""
    text = f"# a\n---\nx: 1\n---\n{TEXT}\n---\n{BARE}\n---\n"
    write("x.yaml", text)

    assert 1 == main(["taskdef", "check", "x.yaml"])
    printed = capsys.readouterr().out
    assert "error  x.yaml:7:2  $.containerDefinitions  (helper-missing)" in printed
    assert "x.yaml document 3" in printed and "2 task definitions checked" in printed
    assert 0 == main(["taskdef", "add", "x.yaml", "--image", "ecs-task-helper:1.0.0", "--in-place"])
    after = Path("x.yaml").read_text()
    assert after.startswith(text[: -len("]}\n---\n")]) and after.endswith("]}\n---\n")


def test_excluded_files_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """What the configuration leaves out is said to be left out."""
    write(".task-helper.toml", 'exclude = ["old/*"]\n')
    write("x.json")
    write("old/y.json")

    assert (0, ["x.json"], ["old/y.json"]) == check(capsys, ".")[:3]


def test_pattern_finds_dot_folders(capsys: pytest.CaptureFixture[str]) -> None:
    """A pattern finds what the directory above it would."""
    write(".aws/x.json")
    write(".venv/x.json")

    assert (0, [".aws/x.json"]) == check(capsys, "**/*.json")[:2]
    assert (0, [".venv/x.json"]) == check(capsys, ".venv/*.json")[:2]


@pytest.mark.parametrize("name", ["x.j2", "x.template", "-"])
def test_yaml_error_is_reported_as_one(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no ending says that it is YAML, YAML's own words still say what is wrong."""
    text = "containerDefinitions:\n  - name: a\n   image: b\n"
    if name == "-":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    else:
        write(name, text)

    assert 65 == main(["taskdef", "check", name])
    assert "line 3, column 4: did not find expected '-' indicator" in capsys.readouterr().err


def test_utf_16_is_found_in_a_directory(capsys: pytest.CaptureFixture[str]) -> None:
    """A file of Windows' is recognised by its words."""
    Path("x.json").write_bytes(TEXT.encode("utf-16"))

    assert (0, ["x.json"]) == check(capsys, ".")[:2]
