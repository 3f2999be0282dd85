"""Where the project is published, and its version, stand in one place."""

import re

import pytest

from tools.publishing import ROOT, Values, files, rewritten, values

OLD = Values("1.2.3", "example.com/helper", "https://example.com/helper", "example/helper")
NEW = Values("1.2.4", "example.org/team/helper", "https://git.example.org/helper", "team/helper")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('version = "1.2.3"\n', 'version = "1.2.4"\n'),
        ("example.com/helper:1.2.3 check", "example.org/team/helper:1.2.4 check"),
        ("git+https://example.com/helper@v1.2.3'", "git+https://git.example.org/helper@v1.2.4'"),
        ("uses: example/helper@v1.2.3", "uses: team/helper@v1.2.4"),
        ("  rev: v1.2.3", "  rev: v1.2.4"),
        ("example.com/helper@sha256:...", "example.org/team/helper@sha256:..."),
        ("another program 1.2.3", "another program 1.2.3"),
    ],
)
def test_rewritten(before: str, after: str) -> None:
    """Each place gets the new values; versions of other things stay."""
    assert after == rewritten(before, OLD, NEW)


def test_every_version_is_this_one() -> None:
    """Every file names the version of pyproject.toml."""
    now = values()
    named = re.compile(
        rf"(?:{re.escape(now.image)}:|{re.escape(now.action)}@v|{re.escape(now.repository)}@v)(\d+\.\d+\.\d+)"
    )
    found = {
        (str(file.relative_to(ROOT)), version)
        for file in files()
        if file.suffix in (".md", ".py", ".yaml", ".yml", ".tf", ".json", ".ts", ".toml")
        for version in named.findall(file.read_text(encoding="utf-8"))
    }

    assert found, "no file names a version"
    assert set() == {each for each in found if each[1] != now.version}
