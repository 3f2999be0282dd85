"""How a file is replaced: as a whole or not at all, not by another user's file, and with owner and permissions kept."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from task_helper.cli import main
from task_helper_taskdef.formats import parse
from task_helper_taskdef.writer import NotWritten, replace_file

IMAGE = "registry.example/ecs-task-helper:1.0.0"
TEXT = '{"containerDefinitions": [{"name": "envoy", "image": "envoyproxy/envoy:v1", "family": "é"}]}'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def file(name: str = "x.json", raw: bytes = TEXT.encode()) -> Path:
    Path(name).write_bytes(raw)
    return Path(name)


def replace(path: Path, text: str = "new") -> None:
    replace_file(str(path), text, parse(path.name, path.read_bytes()))


def test_only_the_file_itself_is_in_the_folder_afterwards(folder: Path) -> None:
    """The file has the new content, and nothing else came or went."""
    file(".x.json.new", b"the user's own")
    replace(file())

    assert "new" == Path("x.json").read_text()
    assert {"x.json", ".x.json.new"} == {path.name for path in folder.iterdir()}
    assert b"the user's own" == Path(".x.json.new").read_bytes()


def test_symbolic_link_beside_the_file_is_not_followed(folder: Path) -> None:
    """A link that a pull request has put where a temporary file might be leads nowhere."""
    target = file("target", b"precious")
    target.chmod(0o600)
    for name in (".x.json.new", ".x.json.tmp", "x.json.tmp"):
        Path(name).symlink_to("target")
    replace(file())

    assert b"precious" == target.read_bytes()
    assert 0o600 == target.stat().st_mode & 0o777


def test_symbolic_link_itself_is_kept_and_its_file_replaced(folder: Path) -> None:
    """What a symbolic link names is replaced, with its permissions; the link stays."""
    (folder / "real").mkdir()
    file("real/x.json").chmod(0o640)
    Path("x.json").symlink_to("real/x.json")
    replace(Path("x.json"))

    assert Path("x.json").is_symlink() and "new" == Path("real/x.json").read_text()
    assert 0o640 == Path("real/x.json").stat().st_mode & 0o777


@pytest.mark.skipif(os.getuid() != 0, reason="only root may give a file away")
def test_owner_is_kept() -> None:
    """A file of another user stays that user's."""
    os.chown(file(), 1234, 2345)
    replace(Path("x.json"))

    assert (1234, 2345) == (Path("x.json").stat().st_uid, Path("x.json").stat().st_gid)


def test_read_only_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """A read-only file is unchanged, for root too."""
    file().chmod(0o444)

    assert 73 == main(["taskdef", "add", "x.json", "--image", IMAGE, "--in-place"])
    assert "x.json: cannot be written: it is read-only" in capsys.readouterr().err
    assert TEXT.encode() == Path("x.json").read_bytes()


def test_hard_link_is_refused() -> None:
    """A file with two names would become two files."""
    file()
    os.link("x.json", "y.json")

    with pytest.raises(NotWritten, match="2 names"):
        replace(Path("x.json"))


def test_what_is_no_file_is_refused() -> None:
    """A pipe is no file that could be replaced."""
    os.mkfifo("x.json")

    with pytest.raises(NotWritten, match="not a regular file"):
        replace_file("x.json", "new", parse("x.json", b"{}"))


def test_file_that_has_changed_since_is_refused() -> None:
    """What another program has written in the meantime is not lost."""
    tree = parse("x.json", file().read_bytes())
    Path("x.json").write_text("{}")

    with pytest.raises(NotWritten, match="has changed"):
        replace_file("x.json", "new", tree)
    assert "{}" == Path("x.json").read_text()


@pytest.mark.parametrize("step", ["fsync", "replace", "fchmod"])
def test_full_disk_leaves_nothing_behind(
    folder: Path, step: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever fails, the file is as it was, no other is there, and the exit code says that it was not written."""
    file()

    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, step, fail)
    code = main(["taskdef", "add", "x.json", "--image", IMAGE, "--in-place"])

    assert 73 == code
    assert "x.json: cannot be written: No space left on device" in capsys.readouterr().err
    assert ["x.json"] == [path.name for path in folder.iterdir()]
    assert TEXT.encode() == Path("x.json").read_bytes()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encoding_is_kept(encoding: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """The file stays in its encoding, with its byte order mark, in place and on standard output."""
    file(raw=TEXT.encode(encoding))
    main(["taskdef", "add", "x.json", "--image", IMAGE])
    printed = capfdbinary.readouterr().out
    main(["taskdef", "add", "x.json", "--image", IMAGE, "--in-place"])

    assert printed == Path("x.json").read_bytes()
    assert TEXT.encode(encoding)[:4] == printed[:4]
    containers = json.loads(printed.decode(encoding))["containerDefinitions"]
    assert ["envoyproxy/envoy:v1", IMAGE] == [container["image"] for container in containers]


def test_lines_keep_their_ends_where_they_are_mixed() -> None:
    """Only what is new gets an end, that of its neighbours."""
    text = b'{"family": "a",\n "containerDefinitions": [\r\n  {"name": "envoy",\r\n   "image": "envoy"}\r\n ]\n}\n'
    file(raw=text)
    main(["taskdef", "add", "x.json", "--image", IMAGE, "--in-place"])
    after = Path("x.json").read_bytes()

    assert after.startswith(text[:70])
    assert after.endswith(b"\r\n ]\n}\n")
    assert after[len(b'{"family": "a",\n') : -len(b"\n}\n")].count(b"\n") == after.count(b"\r\n")


def test_full_standard_output_has_its_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    """What could not be printed was not written."""
    import subprocess
    import sys

    file()
    command = [sys.executable, "-m", "task_helper", "taskdef", "add", "x.json", "--image", IMAGE]
    with open("/dev/full", "wb") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)

    assert (73, 1) == (ran.returncode, len(ran.stderr.splitlines()))
    assert "standard output cannot be written: No space left on device" in ran.stderr
