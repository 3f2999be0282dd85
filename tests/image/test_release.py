"""Releases: one version everywhere, the tags of the image, and how Jenkins publishes it."""

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.engine import ROOT, run

JENKINSFILE = (ROOT / "Jenkinsfile").read_text()


def test_changelog(version: str) -> None:
    """The newest entry of the changelog is this version, or what comes after it."""
    headings = re.findall(r"^## (?:\[?)([\w.]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version in [heading for heading in headings if heading != "Unreleased"][:1]


def test_installed_version(version: str) -> None:
    """What is installed here says the version of pyproject.toml, the only place that has it."""
    assert importlib.metadata.version("ecs-task-helper") == version


def test_tags_of_main() -> None:
    """A build of main is `main`, and has a tag of its own."""
    commit = run("git", "rev-parse", "HEAD").strip()
    assert run("tools/image-tags", "main").split() == ["main", f"sha-{commit[:12]}"]


def test_tags_of_a_release(version: str) -> None:
    """A release is its version, the newest of its minor version, and `latest`."""
    assert run("tools/image-tags", f"v{version}").split() == [version, version.rpartition(".")[0], "latest"]


@pytest.mark.parametrize("ref", ["v99.0.0", "feature/main", "0.1.0"])
def test_no_other_tags(ref: str) -> None:
    """Nothing else is published: no branch, and no tag that is not the version in pyproject.toml."""
    done = subprocess.run([ROOT / "tools" / "image-tags", ref], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert ref in done.stderr


def test_publish() -> None:
    """`make publish` builds for both processors, with a bill of materials and provenance, and pushes every tag."""
    command = run("make", "--dry-run", "publish", "IMAGE=registry.example.com/helper", "REF=main")
    options = ("--platform linux/amd64,linux/arm64", "--sbom=true", "--provenance=mode=max", "--push")
    for word in (*options, "--metadata-file dist/image.json"):
        assert word in command
    assert command.count("--tag registry.example.com/helper:") == 2


IMAGE = "registry.example.com/helper"
DIGEST = f"sha256:{'1' * 64}"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A checkout after `make publish`. bin has what signing needs, and a cosign that records its arguments."""
    (tmp_path / "tools").mkdir()
    shutil.copy2(ROOT / "tools" / "sign-image", tmp_path / "tools")
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "image.json").write_text(json.dumps({"containerimage.digest": DIGEST}))
    (tmp_path / "bin").mkdir()
    for tool, place in {
        "bash": shutil.which("bash"),
        "dirname": shutil.which("dirname"),
        "python3": sys.executable,
    }.items():
        (tmp_path / "bin" / tool).symlink_to(place or "")
    cosign = tmp_path / "bin" / "cosign"
    cosign.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    cosign.chmod(0o755)
    return tmp_path


def sign(release: Path, *flags: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [str(release / "tools" / "sign-image"), IMAGE, *flags]
    environ["PATH"] = f"{release}/bin"
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("environ", [{}, {"SIGNING": ""}, {"SIGNING": "none"}])
def test_without_signing(release: Path, environ: dict[str, str]) -> None:
    """Without a request for a signature the script makes none, and reports that in one line."""
    done = sign(release, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"sign-image: SKIPPED: {IMAGE} is published without a signature (SIGNING is none)\n"
    assert not (release / "calls").exists()


@pytest.mark.parametrize(
    "environ, key",
    [
        ({"SIGNING": "key", "COSIGN_KEY": "/run/key"}, " --key /run/key"),
        ({"SIGNING": "key", "COSIGN_KEY": "awskms:///alias/release"}, " --key awskms:///alias/release"),
        ({"SIGNING": "keyless"}, ""),
    ],
)
def test_signing(release: Path, environ: dict[str, str], key: str) -> None:
    """What was pushed is signed by its digest, for every processor, with the key, or with the build's identity."""
    done = sign(release, "--flag", "value", **environ)
    assert done.returncode == 0, done.stderr
    assert (release / "calls").read_text() == f"sign --yes --recursive{key} --flag value {IMAGE}@{DIGEST}\n"


@pytest.mark.parametrize("environ", [{"SIGNING": "key"}, {"SIGNING": "yes"}])
def test_signing_without_key(release: Path, environ: dict[str, str]) -> None:
    """A signature that is asked for without a key, or in no way that there is, is a failure and not left out."""
    done = sign(release, **environ)
    assert done.returncode != 0
    assert "key" in done.stderr
    assert not (release / "calls").exists()


def test_signing_without_cosign(release: Path) -> None:
    """An agent without cosign fails where a signature is asked for."""
    (release / "bin" / "cosign").unlink()
    done = sign(release, SIGNING="keyless")
    assert done.returncode != 0
    assert "cosign" in done.stderr


def test_jenkins_offers_each_way_to_sign() -> None:
    """The ways to sign that the job offers are those of tools/sign-image, and none is the default."""
    (choices,) = re.findall(r"choice\(name: 'SIGNING', choices: \[(.*?)]", JENKINSFILE)
    ways = re.findall(r"^  (\w+)\)", (ROOT / "tools" / "sign-image").read_text(), re.MULTILINE)
    offered = re.findall(r"'(\w+)'", choices)
    assert offered[0] == "none"
    assert sorted(offered) == sorted(ways)


def test_jenkins_runs_make() -> None:
    """Every step in the Jenkinsfile is a make target that exists, but for the login."""
    makefile = (ROOT / "Makefile").read_text()
    for targets in re.findall(r"sh 'make ([a-z -]+)", JENKINSFILE):
        for target in targets.split():
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_jenkins_checks_what_ci_run_checks() -> None:
    """The stages before the publication are the targets of .ci/run."""
    script = (ROOT / ".ci" / "run").read_text()
    stages = JENKINSFILE.partition("stage('Publish')")[0]
    targets = {target for each in re.findall(r"sh 'make ([a-z -]+)'", stages) for target in each.split()}

    assert targets == {*re.findall(r"^make ([a-z-]+)", script, re.MULTILINE), "audit"}
    assert "tools/audit.py" in script


def test_no_secret_in_a_log() -> None:
    """The shell, not Groovy, fills in the password, so that it is in no command's text and in no argument."""
    assert 'sh "' not in JENKINSFILE
    assert "withCredentials" in JENKINSFILE
    (use,) = (line.strip() for line in JENKINSFILE.splitlines() if "$REGISTRY_PASSWORD" in line)
    assert use.startswith("""sh 'printf %s "$REGISTRY_PASSWORD" | docker login """)
    assert "--password-stdin" in use
