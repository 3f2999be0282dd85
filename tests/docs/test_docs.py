"""What the documentation says is what the code does."""

import json
import logging
import re
from pathlib import Path

import pytest

from lab.scenarios.all_scenarios import ALL
from task_helper.life.record import Exit
from task_helper.logs import Event
from task_helper.plan import draw
from task_helper.settings import SETTINGS, from_env
from task_helper_taskdef.presets import PRESETS
from task_helper_taskdef.roles import Mesh

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LOG = (ROOT / "docs/operate/log.md").read_text()


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
    assert draw(from_env({}).plan, 100).splitlines()[0] in README


def test_events_table() -> None:
    """The table of events is the code's."""
    expected = [[f"`{each.name.lower()}`", logging.getLevelName(each.level).lower(), each.meaning] for each in Event]

    assert expected == rows(LOG, "## Events")


def test_example_of_the_log() -> None:
    """The log's example has only events that there are, and parses."""
    lines = [json.loads(line) for line in LOG.splitlines() if line.startswith('{"time"')]

    assert lines and {line["event"].upper() for line in lines} <= {event.name for event in Event}


PAGES = [
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
    ROOT / "examples/README.md",
    ROOT / "tests/taskdef/corpus/README.md",
]
MESHES = {
    "app-mesh": "app-mesh-style",
    "consul": "consul",
    "kuma": "kuma",
    "static-dns": "static-dns",
    "alb": "load-balancer",
    "nlb": "load-balancer",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_tests_that_are_named(page: Path) -> None:
    """The test, or the row of the lab, by which a page proves what it says, is there."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())
    lists = re.findall(r"\brows? ((?:`[\w-]+`(?:, | and )?)+)", page.read_text())
    played = [row for names in lists for row in re.findall(r"`([\w-]+)`", names)]

    assert [] == [(file, test) for file, test in named if f"def {test}(" not in (ROOT / file).read_text()]
    assert [] == [row for row in played if row not in {each.name for each in ALL}]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links(page: Path) -> None:
    """What a page links to in the repository is there, and so is the heading."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
    targets = [((page.parent / link) if link else page, heading) for link, heading in links]

    assert [] == [str(target) for target, _ in targets if not target.exists()]
    assert [] == [heading for target, heading in targets if heading and heading not in headings(target)]


def headings(page: Path) -> set[str]:
    """The headings of a page as links have them: in lower case, with hyphens for spaces, without other marks."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in found}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_scenarios(page: Path) -> None:
    """The scenarios that a page says to run are there."""
    named = {name for names in re.findall(r'SCENARIOS="([^"]+)"', page.read_text()) for name in names.split()}

    assert set() == named - {scenario.name for scenario in ALL}


@pytest.mark.parametrize("mesh, page", MESHES.items())
def test_settings_of_a_mesh(mesh: Mesh, page: str) -> None:
    """The page of a mesh has the settings that `taskdef add` writes for it."""
    text = (ROOT / f"docs/use/meshes/{page}.md").read_text()
    lines = rows(text, "## Settings")
    # the load balancers have a column each
    on_page = {row[0].strip("`"): row[2 if mesh == "nlb" else 1] for row in lines}

    for variable, value, _ in PRESETS[mesh]:
        # a lag is used by one kind of delay alone, and stands with it
        known = on_page.get(variable) or on_page["DRAIN_DELAY"]
        assert re.search(rf"\b{value}\b", known), f"{variable} is {value}"


def test_every_mesh_has_a_page() -> None:
    """Each mesh that has settings of its own has a page, and the index leads to each page."""
    index = (ROOT / "docs/use/meshes/README.md").read_text()

    assert MESHES.keys() == PRESETS.keys()
    pages = {page.name for page in ROOT.glob("docs/use/meshes/*.md")} - {"README.md"}
    assert set() == {page for page in pages if f"({page})" not in index}
