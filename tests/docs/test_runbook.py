"""The runbook names what the log can say, all of it that is bad, and nothing else."""

import ast
import json
import logging
import re
from collections import defaultdict
from pathlib import Path
from typing import Any, get_args

import pytest

import task_helper
from task_helper.envoy.accounting import Account
from task_helper.envoy.listeners import parse
from task_helper.envoy.mesh import Mesh
from task_helper.envoy.traffic import Traffic
from task_helper.life.record import Ending, Exit, Record
from task_helper.life.summary import causes_of_traffic
from task_helper.logs import Event
from task_helper.settings import SETTINGS, from_env
from tests.helper.unit.timelines import World

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs" / "operate"
PACKAGE = Path(task_helper.__file__).parent
PAGE = (DOCS / "runbook.md").read_text(encoding="utf-8")

FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
TEXT = FENCED.sub("", PAGE)
LINES = [json.loads(line) for kind, block in FENCED.findall(PAGE) if kind == "json" for line in block.splitlines()]
QUERIES = [block for _, block in FENCED.findall(PAGE) if "| " in block]

EVENTS = {event.name.lower(): event for event in Event}
# what ECS calls the end of a container that it has killed
KILLED = 137
# what the log adds to the fields of any event
ADDED = {"time", "level", "event", "dropped", "traceback"}
# words with an underscore that are names of Envoy's
ENVOYS = {
    "allow_paths",
    "check_drain_close",
    "health_check",
    "health_checks",
    "lb_healthy_panic",
    "stats_matcher",
    "tcp_health_check",
    "tcp_proxy",
}
# variables that are no settings of the helper
NO_SETTINGS = {"PRE_INITIALIZING", "MODIFY_ONLY"}


def logged() -> dict[str, set[str]]:
    """The fields of each event, as the calls of `log` in the package have them, and as a summary is.

    An event that is given to another function may have any field that is logged with an event not named there.
    """
    fields: dict[str, set[str]] = defaultdict(set)
    given: set[str] = set()
    unnamed: set[str] = set()
    for file in PACKAGE.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(call, ast.Call):
                events = {name.lower() for each in call.args for name in re.findall(r"Event\.(\w+)", ast.unparse(each))}
                names = {each.arg for each in call.keywords if each.arg}
                if ast.unparse(call.func) != "log":
                    given |= events
                elif not events:
                    unnamed |= names
                for event in events:
                    fields[event] |= names
    for event in given & EVENTS.keys():
        fields[event] |= unnamed
    fields["summary"] = set(World().live([(100, "SIGTERM")]).fields("summary"))
    return fields


FIELDS = logged()
NAMES = EVENTS.keys() | set().union(ADDED, *FIELDS.values()) | {"drains_not_confirmed"}


def anchors(page: str) -> list[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", page), re.M)
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def table(heading: str) -> str:
    """The first table below a heading."""
    return TEXT[TEXT.index(heading) :].partition("\n\n|")[2].partition("\n\n")[0]


@pytest.mark.parametrize("event", [event for event in Event if event.level >= logging.WARNING], ids=lambda e: e.name)
def test_every_warning_has_its_entry(event: Event) -> None:
    """Whatever the helper warns of can be looked up."""
    assert f"`{event.name.lower()}`" in TEXT


def test_every_exit_code_is_in_the_decision_table() -> None:
    """Whatever the helper's container ends with leads somewhere."""
    codes = {int(code) for code in re.findall(r"exit code (?:is )?(\d+)", table("# A deployment"))}

    assert {KILLED, *map(int, Exit)} == codes


def test_every_alarm_is_in_the_decision_table() -> None:
    """Every alarm of the example is in the decision table."""
    template = (ROOT / "examples/cloudformation/monitoring.yaml").read_text(encoding="utf-8")
    alarms = re.findall(r"^  (\w+):\n    Type: AWS::CloudWatch::Alarm$", template, re.M)

    assert alarms and all(re.search(rf"alarms?\b[^|]* {alarm}\b", table("# A deployment")) for alarm in alarms)


def test_every_reason_is_named() -> None:
    """Whatever reason a summary gives can be looked up."""
    assert [] == [reason for reason in get_args(Ending) if f"`{reason}`" not in TEXT]


def test_names_are_those_of_the_log() -> None:
    """Each name with an underscore is an event's or a field's, a metric's, or Envoy's."""
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", TEXT))

    assert set() == named - NAMES - ENVOYS
    assert ENVOYS <= named, "no longer on the page"


def test_settings_are_the_helpers() -> None:
    """Each variable that the page names is a setting."""
    named = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", TEXT))

    assert set() == named - {setting.name for setting in SETTINGS} - NO_SETTINGS


@pytest.mark.parametrize("line", LINES, ids=lambda line: str(line["event"]))
def test_lines_are_of_the_log(line: dict[str, Any]) -> None:
    """Each line that the page quotes has its event's level, and no field that the event has not."""
    event = EVENTS[line["event"]]

    assert logging.getLevelName(event.level).lower() == line["level"]
    assert set() == line.keys() - FIELDS[line["event"]] - ADDED


@pytest.mark.parametrize("query", QUERIES)
def test_queries_ask_for_what_there_is(query: str) -> None:
    """Each query of the log asks for events, levels and fields that there are."""
    made = set(re.findall(r" as (\w+)", query))
    lists = re.findall(r"\b(?:fields|by|filter|sort) ([^|=<>\n]+)", query)
    asked = [each for names in lists for each in re.findall(r"(?<![\w@\"/])@?[A-Za-z_]+(?![\"/])\b", names)]
    asked += re.findall(r"\(([^)*]+)\)", query)
    values = re.findall(r'"(\w+)"', query)

    known = NAMES | made | {"@timestamp", "@logStream", "in", "like", "asc", "desc"}
    assert [] == [each for each in asked if each not in known]
    assert [] == [each for each in values if each not in EVENTS.keys() | {"warning", "error"}]


def test_causes_are_the_summarys() -> None:
    """The causes of traffic that the page explains are those that the helper names, and all of them."""
    manager = {"@type": "x.http_connection_manager.v3.HttpConnectionManager", "stat_prefix": "ingress"}
    inbound = {"name": "inbound", "filter_chains": [{"filters": [{"typed_config": manager}]}]}
    without_filter = parse([json.dumps({"configs": [{"listener": inbound}]}).encode()])
    doubts = {"web": "it is on loopback", "metrics": "its name has 'metrics'"}
    record = Record(listeners=without_filter, mesh=Mesh("consul"), account=Account(doubts=doubts))
    for completed in (0, 1):
        record.meter.read(0, Traffic(completed=completed, doubtful=Traffic(completed=completed)))
    causes = causes_of_traffic(record, from_env({"HEALTH_CHECK_INTERVAL": "40"}).plan, 0)
    causes += causes_of_traffic(Record(), from_env({}).plan, 0)
    causes += causes_of_traffic(Record(mesh=Mesh("kuma", needs_filter=False)), from_env({}).plan, 0)
    explained = re.findall(r"^\| `([^`…]+?) ?…?` \|", table("## traffic_after_drain"), re.M)

    assert [] == [cause for cause in causes if not any(each in cause for each in explained)]
    assert [] == [each for each in explained if not any(each in cause for cause in causes)]


def test_every_entry_is_reached() -> None:
    """Each section is linked to from another place of the page, and each link into a page meets a heading."""
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", PAGE)
    wrong = [
        f"{page}#{anchor}"
        for page, anchor in links
        if anchor not in anchors((DOCS / page).read_text(encoding="utf-8") if page else PAGE)
    ]
    first_screen = {"a-deployment-lost-requests-runbook", "find-the-lines"}

    assert [] == wrong
    assert set(anchors(PAGE)) == {anchor for page, anchor in links if not page} | first_screen
