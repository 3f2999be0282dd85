"""What the pages on how to use the helper say of its times and of Envoy's admin API is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from task_helper.envoy import admin
from task_helper.settings import from_env
from tests.docs.test_docs import ROOT, rows

AUTO = (ROOT / "docs/use/auto.md").read_text()
ENVOY = (ROOT / "docs/use/envoy.md").read_text()
LONG = (ROOT / "docs/use/long-drains.md").read_text()
# the paths that the helper asks for: the beginnings of the targets in its source
ASKED = set(re.findall(r'"(/[a-z_/]+)', Path(admin.__file__).read_text()))


@pytest.mark.parametrize("row", rows(AUTO, "## How long a stop takes"), ids=lambda row: row[0])
def test_seconds_that_settings_give(row: list[str]) -> None:
    """A stop takes as long as the table says, if the task is quiet and if Envoy's figures are missing."""
    settings, _, quiet, unknown = row
    plan = from_env(dict(each.split("=") for each in re.findall(r"[A-Z_]+=\w+", settings))).plan
    delay = 0.0 if "scale-in" in settings else plan.fixed_delay

    assert [quiet, unknown] == [f"{delay + drain:g} s" for drain in (plan.shortest_drain, plan.fixed_timeout)]


def test_latest_exit() -> None:
    """With the default STOP_TIMEOUT the helper exits when the page says, at the latest."""
    assert f"after {from_env({}).plan.budget:g} s at the latest" in AUTO


def test_paths_to_allow() -> None:
    """The YAML block and the table of envoy.md have the paths that the helper asks for, and no others."""
    section = ENVOY[ENVOY.index("## The paths that the helper asks for") :]
    allowed = yaml.safe_load(section.partition("```yaml\n")[2].partition("```")[0])["admin"]["allow_paths"]
    table = section.partition("\n| path ")[2].partition("\n\n")[0]

    assert ASKED == {each["prefix"] for each in allowed}
    assert ASKED == set(re.findall(r"^\| `(/[a-z_/]+)` \|", table, re.M))


@pytest.mark.parametrize("stop_timeout", ["600", "720"])
def test_drain_of_one_long_stop_timeout(stop_timeout: str) -> None:
    """With one long stopTimeout the drain may last for as long as the table of long-drains.md says."""
    plan = from_env({"STOP_TIMEOUT": stop_timeout, "DRAIN_TIMEOUT": "auto"}).plan
    found = {row[0]: row[1] for row in rows(LONG, "## On EC2")}

    assert f"{plan.longest_drain:g} s" == found[stop_timeout]
