"""./batect, the launcher: it runs the pinned file or nothing, and says what is missing."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.image.engine import ROOT

TOOLS = ("bash", "curl", "cut", "dirname", "mkdir", "mktemp", "mv", "rm", "sha256sum")


@pytest.fixture
def java(tmp_path: Path) -> Path:
    """A folder of programs for the PATH: those that the launcher needs, and a `java` that prints its arguments."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or "")
    fake = folder / "java"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    return folder


def launch(
    path: Path, cache: Path, url: str, *arguments: str, launcher: Path = ROOT / "batect"
) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": str(path), "HOME": str(cache), "BATECT_CACHE_DIR": str(cache), "BATECT_DOWNLOAD_URL": url}
    return subprocess.run([launcher, *arguments], env=environ, capture_output=True, text=True, timeout=60)


def test_runs_the_pinned_file(tmp_path: Path, java: Path) -> None:
    """The file is fetched once, its checksum is checked, and Java runs it with the arguments."""
    jar = tmp_path / "served.jar"
    jar.write_bytes(b"stands for batect")
    launcher = tmp_path / "batect"
    pinned = (ROOT / "batect").read_text()
    (line,) = (line for line in pinned.splitlines() if line.startswith("sha256="))
    launcher.write_text(pinned.replace(line, f"sha256={hashlib.sha256(jar.read_bytes()).hexdigest()}"))
    launcher.chmod(0o755)

    first = launch(java, tmp_path / "cache", jar.as_uri(), "--list-tasks", launcher=launcher)
    assert first.returncode == 0, first.stderr
    assert first.stdout.endswith(".jar --list-tasks\n")
    jar.unlink()
    second = launch(java, tmp_path / "cache", jar.as_uri(), "test", "--", "-k name", launcher=launcher)
    assert second.returncode == 0, second.stderr
    assert second.stdout.endswith(".jar test -- -k name\n")
    assert second.stderr == ""


def test_another_file(tmp_path: Path, java: Path) -> None:
    """The launcher does not run or keep another file than the pinned one."""
    jar = tmp_path / "served.jar"
    jar.write_bytes(b"something else")
    done = launch(java, tmp_path / "cache", jar.as_uri())
    assert done.returncode == 65
    assert "checksum differs" in done.stderr
    assert done.stdout == ""
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []


def test_damaged_cache(tmp_path: Path, java: Path) -> None:
    """A file in the cache that has been damaged is not run."""
    jar = tmp_path / "cache" / "0.85.0" / "batect-0.85.0.jar"
    jar.parent.mkdir(parents=True)
    jar.write_bytes(b"half of batect")
    done = launch(java, tmp_path / "cache", "file:///nowhere")
    assert done.returncode == 65
    assert "Delete it" in done.stderr


def test_no_network(tmp_path: Path, java: Path) -> None:
    """Without network it names the address, the place for the file, and the way without batect."""
    done = launch(java, tmp_path / "cache", "http://127.0.0.1:9/batect.jar")
    assert done.returncode == 69
    assert "http://127.0.0.1:9/batect.jar" in done.stderr
    assert str(tmp_path / "cache" / "0.85.0" / "batect-0.85.0.jar") in done.stderr
    assert "make RUNNER=local" in done.stderr


def test_no_java(tmp_path: Path, java: Path) -> None:
    """Without Java it says so before it fetches anything."""
    (java / "java").unlink()
    done = launch(java, tmp_path / "cache", "file:///nowhere")
    assert done.returncode == 69
    assert "needs Java" in done.stderr


def test_choice_of_batect(tmp_path: Path, java: Path) -> None:
    """Where an engine answers, and the base image, Java and batect are at hand, make goes through batect."""
    (pinned,) = re.findall(r"^sha256=(\w+)$", (ROOT / "batect").read_text(), re.MULTILINE)
    for name, body in {"docker": "", "sha256sum": f"echo {pinned}", "curl": "", "timeout": 'shift; "$@"'}.items():
        (java / name).unlink(missing_ok=True)
        (java / name).write_text(f"#!/bin/bash\n{body}\n")
        (java / name).chmod(0o755)
    (java / "sed").symlink_to(shutil.which("sed") or "")
    environ = {"PATH": str(java), "BATECT_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([ROOT / "tools" / "runner"], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout == "batect\n", done.stderr
    assert done.stderr == "make: through batect, in the runner image (RUNNER=local: natively in .venv)\n"


def test_choice_without_engine(tmp_path: Path) -> None:
    """Where no engine answers, make takes its steps natively, and says so in one line."""
    environ = os.environ | {"DOCKER_HOST": "tcp://127.0.0.1:9"}
    done = subprocess.run([ROOT / "tools" / "runner"], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout == "local\n"
    assert done.stderr.startswith("make: natively in .venv, because ")
    assert done.stderr.count("\n") == 1
