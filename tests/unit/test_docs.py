"""What the documentation says is what the code does."""

import json
import logging
import re
from pathlib import Path

import pytest

from task_helper.life.record import Exit
from task_helper.logs import Event
from task_helper.plan import draw
from task_helper.settings import SETTINGS, from_env

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LOG = (ROOT / "docs/log.md").read_text()


def rows(text: str, heading: str) -> list[list[str]]:
    """The cells of the first table after `heading`, without its head."""
    table = re.findall(r"^\|.*\|$", text[text.index(heading) :].partition("\n\n| ")[2].partition("\n\n")[0], re.M)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table[1:]]


def test_settings_table() -> None:
    """The README's table of settings is the code's."""
    expected = [[f"`{each.name}`", f"`{each.default}`" if each.default else "none", each.meaning] for each in SETTINGS]

    assert expected == rows(README, "## Settings")


def test_exit_codes() -> None:
    """The README explains every exit code there is."""
    codes = {int(row[0]) for row in rows(README, "## Exit codes")}

    assert {int(code) for code in Exit} == codes - {137}


def test_timeline() -> None:
    """The README's picture of the timeline is what `plan` draws."""
    assert draw(from_env({}), 100).splitlines()[0] in README


def test_events_table() -> None:
    """The table of events is the code's."""
    expected = [[f"`{each.name.lower()}`", logging.getLevelName(each.level).lower(), each.meaning] for each in Event]

    assert expected == rows(LOG, "## Events")


def test_example_of_the_log() -> None:
    """The log's example has only events that there are, and parses."""
    lines = [json.loads(line) for line in LOG.splitlines() if line.startswith('{"time"')]

    assert lines and {line["event"].upper() for line in lines} <= {event.name for event in Event}


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")], ids=lambda page: str(page.name))
def test_links(page: Path) -> None:
    """What a page links to in the repository is there."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())

    assert [] == [link for link in links if not (page.parent / link).exists()]
