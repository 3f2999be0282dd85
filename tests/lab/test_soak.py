"""The soak: its statistics on known values, its figures on made-up records, and a few updates for real."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.parts.history import Event, History, Request, Run
from lab.parts.processes import wait_for
from lab.report.report import RECORD
from lab.scenarios.all_scenarios import DEMO
from lab.scenarios.scenario import Column
from lab.soak import page
from lab.soak.confidence import at_most, quantile
from lab.soak.figures import Latency, latencies, played, scenario_of, summary
from lab.soak.play import UNDER_WAY, Soak
from tests.helper.process.program import started


@pytest.mark.parametrize(
    ("events", "trials", "bound"),
    [
        # quantiles of the beta distribution, as scipy 1.17.1 has them: beta.ppf(0.95, events + 1, trials - events)
        (0, 1, 0.95),
        (0, 100, 0.0295130496),
        (0, 1_000_000, 2.9957277864e-06),
        (1, 10, 0.3941633024),
        (5, 10, 0.7775588990),
        (9, 10, 0.9948838032),
        (3, 100, 0.0757107938),
        (30, 1000, 0.0404722373),
        (7, 350_000, 3.7565709493e-05),
        (2_000, 20_000, 0.1035573844),
    ],
)
def test_the_bound_is_the_exact_one(events: int, trials: int, bound: float) -> None:
    """The bound is that of Clopper and Pearson, one-sided, with 95 %."""
    assert at_most(events, trials) == pytest.approx(bound, rel=1e-7)


@pytest.mark.parametrize("trials", [30, 100, 1_000, 1_000_000])
def test_the_rule_of_three(trials: int) -> None:
    """Where nothing happened in so many trials, at most three in their number do: to within a twentieth from 30 on."""
    assert at_most(0, trials) == pytest.approx(3 / trials, rel=0.05)


def test_what_was_never_tried_may_always_happen() -> None:
    """Unknown is not zero: without a trial, and where every one had the event, the bound is 1."""
    assert at_most(0, 0) == at_most(7, 7) == 1


def test_no_more_events_than_trials() -> None:
    """More events than trials are an error, not a share above 1."""
    with pytest.raises(ValueError, match="3 events in 2 trials"):
        at_most(3, 2)


@given(st.integers(1, 500), st.data())
def test_a_bound_grows_with_the_events_and_shrinks_with_the_trials(trials: int, data: st.DataObject) -> None:
    """One event more allows more, one trial more without an event allows less, and the bound is above what was seen."""
    events = data.draw(st.integers(0, trials - 1))
    assert events / trials < at_most(events, trials) < at_most(events + 1, trials) <= 1
    assert at_most(events, trials + 1) < at_most(events, trials)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.99, 7.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.51, 3.0),
        ([4.0, 3.0, 2.0, 1.0], 0, 1.0),
        ([4.0, 3.0, 2.0, 1.0], 1, 4.0),
        ([float(each) for each in range(1, 101)], 0.99, 99.0),
        ([float(each) for each in range(1, 101)], 0.07, 7.0),
        ([1.0] * 98 + [50.0, 60.0], 0.99, 50.0),
    ],
)
def test_quantiles(values: list[float], share: float, expected: float | None) -> None:
    """A quantile is a value that was measured, which at least that share of all do not exceed."""
    assert quantile(Counter(values), share) == expected


RUN = Run("abc", {"envoy": "1.40.0"}, DEMO.name, DEMO.title, "auto", {}, "2026-11-25T00:00:00+00:00")


def update(kept: float = 15.0, lost: int = 0, late: float = 0.0, finished: bool = True) -> History:
    """An update whose old task is stopped at 10 s, and is kept for `kept` seconds.

    A request is due each half second. Its answer takes 20 ms between the stop and the end of the old task, and 10 ms
    otherwise. `lost` of the requests from 10 s on fail, and the first request is sent `late` seconds late.
    """
    kept_until = 10 + kept
    ends = kept_until + 0.5
    events = [
        Event(0.0, "phase", "baseline"),
        Event(4.0, "phase", "change"),
        Event(10.0, "task", "stopping", "old"),
        Event(10.0, "container", "sigterm", "old", {"container": "helper"}),
        Event(kept_until - 0.1, "container", "stopped", "old", {"container": "helper"}),
        Event(kept_until, "container", "sigterm", "old", {"container": "application"}),
        Event(ends, "task", "stopped", "old"),
        *([Event(ends + 4, "phase", "finished")] if finished else []),
    ]
    requests = []
    for number in range(int((ends + 4) * 2)):
        due = number / 2
        takes = 0.02 if 10 <= due < ends else 0.01
        outcome = "503" if 20 <= number < 20 + lost else "ok"
        requests.append(Request("persistent", due, due + late * (number == 0), due + takes, outcome, "old"))
    return History(RUN, events, requests)


def keep(folder: Path, number: int, column: Column, history: History) -> None:
    """The record of an update that was played to its end."""
    place = folder / f"{number:04}-{column}"
    place.mkdir(parents=True)
    lines = msgspec.json.Encoder().encode_lines([history.run, *history.events, *history.requests])
    (place / RECORD).write_bytes(lines)


def test_latencies_by_the_parts_of_an_update() -> None:
    """Requests belong to the part in which they were due; those that failed have no latency."""
    found = latencies(update(kept=4.5, lost=3))
    assert found == {"before": {10.0: 8}, "starting": {10.0: 12}, "held": {20.0: 7}, "after": {10.0: 8}}


def test_a_latency_counts_from_when_the_request_was_due() -> None:
    """The wait of a request in the client counts."""
    request = Request("persistent", 1.0, 1.5, 1.6, "ok")
    assert latencies(History(RUN, [Event(4.0, "phase", "change")], [request]))["before"] == {600.0: 1}


def test_figures(tmp_path: Path) -> None:
    """Lost requests and updates are counted, each with its bound; times kept and latencies are quantiles."""
    for number, history in enumerate([update(14), update(15), update(15), update(16, lost=2)], 1):
        keep(tmp_path, number, "auto", history)
    found = summary(tmp_path, DEMO)
    auto = found.columns["auto"]
    assert (auto.updates, auto.unknown, auto.updates_that_lost, auto.lost) == (4, 0, 1, 2)
    assert auto.requests == 57 + 59 + 59 + 61
    assert auto.lost_at_most == at_most(2, auto.requests) and auto.updates_that_lost_at_most == at_most(1, 4)
    assert auto.held == {"least": 14, "5 %": 14, "median": 15, "95 %": 16, "most": 16}
    assert auto.held_seconds == [14, 15, 15, 16]
    assert auto.latency["before"] == Latency(32, 10.0, 10.0)
    assert auto.latency["held"].p50 == 20.0
    assert auto.worse == ["0004-auto: 2 of 61 requests failed"]
    assert found.versions == {"revision": ["abc"], "envoy": ["1.40.0"]}


def test_an_update_that_could_not_be_judged_is_no_pass(tmp_path: Path) -> None:
    """It counts as played and as unknown, with why; nothing of it is in the other figures, and the bounds stay wide."""
    keep(tmp_path, 1, "trap", update(late=1.5, lost=1))
    keep(tmp_path, 2, "trap", update(finished=False))
    (tmp_path / "0003-trap").mkdir()
    (tmp_path / "0004-trap").mkdir()
    (tmp_path / "0004-trap" / RECORD).write_text('{"kind": "run", ')
    trap = summary(tmp_path, DEMO).columns["trap"]
    assert (trap.updates, trap.unknown, trap.requests, trap.lost, trap.updates_that_lost) == (4, 4, 0, 0, 0)
    assert trap.lost_at_most == trap.updates_that_lost_at_most == 1
    assert set(trap.held.values()) == {None} and trap.latency["before"] == Latency(0, None, None)
    first, second, third, fourth = trap.worse
    assert first == (
        "0001-trap: unknown: the load fell behind by 1.5 s: the machine is too busy; 1 of 59 requests failed"
    )
    assert second == "0002-trap: unknown: the run did not finish; 0 of 59 requests failed"
    assert third.startswith("0003-trap: unknown: no record that can be read: ")
    assert fourth.startswith("0004-trap: unknown: no record that can be read: ")


def test_what_is_worse_is_the_scenarios_to_say(tmp_path: Path) -> None:
    """A trap may lose requests where the scenario says so; an `auto` that keeps a task for too long is worse."""
    keep(tmp_path, 1, "trap", update(kept=25, lost=1))
    keep(tmp_path, 1, "auto", update(kept=25))
    found = summary(tmp_path, DEMO).columns
    assert found["trap"].worse == []
    assert found["auto"].worse == ["0001-auto: retired after 25.0 s, not within 18.2 s"]


def test_what_was_under_way_does_not_count(tmp_path: Path) -> None:
    """An update that was interrupted is not one that could not be judged: it will be played anew."""
    keep(tmp_path, 10, "auto", update())
    keep(tmp_path, 9, "auto", update())
    (tmp_path / f"0011-auto{UNDER_WAY}").mkdir()
    assert [place.name for place, _ in played(tmp_path)] == ["0009-auto", "0010-auto"]
    assert (scenario_of(tmp_path), scenario_of(tmp_path / "nothing")) == ("demo", None)


def test_columns_take_turns(tmp_path: Path) -> None:
    """Each update is played in every column before the next one, and another column goes first each time."""
    soak = Soak(DEMO, ("trap", "fixed", "auto"), tmp_path, count=3)
    assert [job.folder.name for job in soak.jobs()] == [
        *("0001-fixed", "0001-auto", "0001-trap"),
        *("0002-auto", "0002-trap", "0002-fixed"),
        *("0003-trap", "0003-fixed", "0003-auto"),
    ]


def test_a_folder_goes_on_where_it_was_left(tmp_path: Path) -> None:
    """What is there is not played again, and what is missing between is."""
    for name in ("0001-trap", "0001-auto", "0002-auto", f"0002-trap{UNDER_WAY}"):
        (tmp_path / name).mkdir()
    soak = Soak(DEMO, ("trap", "auto"), tmp_path, count=3)
    assert [job.folder.name for job in soak.jobs()] == ["0002-trap", "0003-auto", "0003-trap"]


def test_no_update_begins_after_the_hours_are_over(tmp_path: Path) -> None:
    """The hours bound when an update may begin; the one that has begun is played in every column."""
    assert list(Soak(DEMO, ("trap", "auto"), tmp_path, hours=-1).jobs()) == []
    endless = Soak(DEMO, ("trap", "auto"), tmp_path, hours=1).jobs()
    assert [next(endless).folder.name for _ in range(3)] == ["0001-auto", "0001-trap", "0002-trap"]


@pytest.mark.slow  # it draws: group `pictures`
def test_the_page(tmp_path: Path) -> None:
    """Markdown, HTML that needs no other file, a picture, and JSON with the same figures."""
    for number in range(1, 5):
        keep(tmp_path, number, "trap", update(16))
        keep(tmp_path, number, "auto", update(15 + number / 10, lost=number // 4, late=1.5 * (number == 3)))
    found = summary(tmp_path, DEMO)
    html = page.write(tmp_path, found).read_text()
    text = (tmp_path / "soak.md").read_text()
    assert "| shell trap | 4 | 0 (0.0 %) | 244 | 0 | 0.0 | 12,202.5 | 0 (0.0 %) | 52.7 % |" in text
    assert "| helper, auto | 4 | 1 (25.0 %) | 177 | 1 | 5,649.7 | 26,519.7 | 1 (33.3 %) | 86.5 % |" in text
    assert "| helper, auto | 15.1 | 15.1 | 15.2 | 15.4 | 15.4 |" in text
    assert "| shell trap | 10.0 / 10.0 | 10.0 / 10.0 | 20.0 / 20.0 | 10.0 / 10.0 |" in text
    assert "- 0003-auto: unknown: the load fell behind by 1.5 s" in text
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")
    assert "data:image/png;base64," in html and "<td>helper, auto</td>" in html
    assert "http:" not in html and "https:" not in html
    figures = json.loads((tmp_path / "soak.json").read_text())
    assert figures == msgspec.to_builtins(found)
    assert figures["columns"]["auto"]["lost"] == 1


def lab_soak(*arguments: str) -> AbstractContextManager[subprocess.Popen[str]]:
    # tests that a shell runs in the background would hand down that Ctrl-C is ignored
    command = ["env", "--default-signal=INT", sys.executable, "-m", "lab", "soak", *arguments]
    return started(command, os.environ, stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_an_interrupted_soak_leaves_its_page_and_goes_on(tmp_path: Path) -> None:
    """After Ctrl-C the page has what has been played; given the folder again it plays the rest, and only the rest."""
    arguments = ("--folder", str(tmp_path), "--scenario", "never-in-service", "--columns", "fixed", "--jobs", "1")
    first, second = tmp_path / "0001-fixed" / RECORD, tmp_path / f"0002-fixed{UNDER_WAY}" / RECORD
    with lab_soak(*arguments, "--count", "3") as soak:
        wait_for(lambda: None if second.exists() or soak.poll() is not None else "no second update", 120)
        soak.send_signal(signal.SIGINT)
        output = soak.communicate(timeout=60)[0]
    assert soak.returncode == 130, output
    assert f"--folder {tmp_path} continues" in output.replace("\n", " ")
    assert json.loads((tmp_path / "soak.json").read_text())["columns"]["fixed"]["updates"] == 1
    before = first.read_bytes()

    with lab_soak(*arguments, "--count", "2") as soak:
        output = soak.communicate(timeout=120)[0]
    figures = json.loads((tmp_path / "soak.json").read_text())["columns"]["fixed"]
    assert figures["updates"] == 2, output
    assert soak.returncode == (1 if figures["worse"] else 0), output
    assert first.read_bytes() == before

    (tmp_path / "soak.md").unlink()
    with lab_soak("--report", str(tmp_path)) as again:
        assert again.communicate(timeout=60)[0].endswith(f"The page: {tmp_path}/soak.html\n")
    assert json.loads((tmp_path / "soak.json").read_text())["columns"]["fixed"] == figures
    assert (tmp_path / "soak.md").exists()


def test_a_folder_keeps_to_its_scenario(tmp_path: Path) -> None:
    """Figures of two scenarios are no figures: what has updates of one does not go on with another."""
    keep(tmp_path, 1, "auto", update())
    with lab_soak("--folder", str(tmp_path), "--scenario", "plain", "--count", "2") as soak:
        output = soak.communicate(timeout=60)[0]
    assert (soak.returncode, output) == (2, f"{tmp_path} has updates of demo, which cannot continue as plain\n")
