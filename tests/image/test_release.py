"""Releases: one version everywhere, the tags of the image, and how Jenkins publishes it."""

import importlib.metadata
import re
import subprocess

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
    done = subprocess.run([ROOT / "tools" / "image-tags", ref], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert ref in done.stderr


def test_publish() -> None:
    """`make publish` builds for both processors, with a bill of materials and provenance, and pushes every tag."""
    command = run("make", "--dry-run", "publish", "IMAGE=registry.example.com/helper", "REF=main")
    for word in ("--platform linux/amd64,linux/arm64", "--sbom=true", "--provenance=mode=max", "--push"):
        assert word in command
    assert command.count("--tag registry.example.com/helper:") == 2


def test_jenkins_runs_make() -> None:
    """Every step in the Jenkinsfile is a make target that exists, but for the login."""
    makefile = (ROOT / "Makefile").read_text()
    for targets in re.findall(r"sh 'make ([a-z -]+)", JENKINSFILE):
        for target in targets.split():
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_no_secret_in_a_log() -> None:
    """The shell, not Groovy, fills in the password, so that it is in no command's text and in no argument."""
    assert 'sh "' not in JENKINSFILE
    assert "withCredentials" in JENKINSFILE
    (use,) = (line.strip() for line in JENKINSFILE.splitlines() if "$REGISTRY_PASSWORD" in line)
    assert use.startswith("""sh 'printf %s "$REGISTRY_PASSWORD" | docker login """)
    assert "--password-stdin" in use
