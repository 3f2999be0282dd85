"""How the helper reads an Envoy with many listeners: first little, then the details that it needs."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from task_helper.envoy.admin import FEW, FIRST_GROUP, Envoy, Observation
from task_helper.envoy.listeners import Listener
from task_helper.http import Response, TooLarge
from task_helper.settings import Url
from tests.helper import virtual
from tests.helper.fakes import ENVOY

MANAGER = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

Json = dict[str, Any]


def web(name: str, prefix: str, direction: str = "OUTBOUND", **fields: Any) -> Json:
    """A listener with HTTP, as Envoy's configuration has it."""
    manager = {"name": "hcm", "typed_config": {"@type": MANAGER, "stat_prefix": prefix}}
    address = {"socket_address": {"address": "10.0.0.1", "port_value": 1000 + int(re.sub(r"\D", "", name) or 0)}}
    chains = [{"filters": [manager]}]
    return {"name": name, "address": address, "traffic_direction": direction, "filter_chains": chains, **fields}


class Admin:
    """An admin API as far as the helper reads it: static and dynamic listeners, and statistics.

    An answer with more than `most` whole listeners, or with one that is `too_large`, is an `error`. `calls` has the
    targets, and `groups` the names of the whole listeners in each answer.
    """

    def __init__(
        self,
        static: Sequence[Json] = (),
        dynamic: Sequence[Json] = (),
        stats: Mapping[str, int] | None = None,
        *,
        most: int = 1000,
        too_large: Collection[str] = (),
        error: type[Exception] = TooLarge,
        leaves_out: bool = False,
    ) -> None:
        self.static, self.dynamic, self.stats = list(static), list(dynamic), dict(stats or {})
        self.most, self.too_large, self.error, self.leaves_out = most, too_large, error, leaves_out
        self.version = "1"
        self.calls: list[str] = []
        self.groups: list[set[str]] = []

    async def request(self, method: str, url: Url, target: str) -> Response:
        assert "GET" == method
        self.calls.append(target)
        parts = urlsplit(target)
        return Response(200, json.dumps(self.answer(parts.path, parse_qs(parts.query))).encode())

    def answer(self, path: str, query: Mapping[str, list[str]]) -> Json:
        if path == "/server_info":
            return {"uptime_current_epoch": "100s"}
        if path == "/stats":
            return {"stats": [{"name": name, "value": value} for name, value in self.stats.items()]}
        if "bootstrap" in query.get("mask", [""])[0]:
            matcher = {"exclusion_list": {"patterns": [{"prefix": "x"}]}}
            return {"configs": [{"bootstrap": {"stats_config": {"stats_matcher": matcher}} if self.leaves_out else {}}]}
        resource, mask = query.get("resource"), query.get("mask", [""])[0]
        pattern = re.compile(query.get("name_regex", [".*"])[0])
        static = [each for each in self.static if resource != ["dynamic_listeners"] and pattern.match(each["name"])]
        dynamic = [each for each in self.dynamic if resource != ["static_listeners"] and pattern.match(each["name"])]
        if mask.startswith("listener."):
            cheap = ("name", "address", "traffic_direction", "drain_type")
            return {"configs": [{"listener": {k: v for k, v in each.items() if k in cheap}} for each in static]}
        if mask.startswith("name,"):
            return {
                "configs": [{"name": each["name"], "active_state": {"version_info": self.version}} for each in dynamic]
            }
        names = {each["name"] for each in (*static, *dynamic)}
        if len(names) > self.most or names.intersection(self.too_large):
            raise self.error("too large")
        self.groups.append(names)
        states = [
            {"name": each["name"], "active_state": {"version_info": self.version, "listener": each}} for each in dynamic
        ]
        if resource:
            return {"configs": [{"listener": each} for each in static] + states}
        return {"configs": [{"static_listeners": [{"listener": each} for each in static], "dynamic_listeners": states}]}

    @property
    def details(self) -> list[str]:
        """The calls for details by names."""
        return [call for call in self.calls if "name_regex" in call and "bootstrap" not in call]

    @property
    def whole(self) -> list[str]:
        """The calls for all static or all dynamic listeners with their details."""
        return [call for call in self.calls if "resource=" in call and "mask=" not in call]


def listeners(admin: Admin) -> dict[str, Listener]:
    found: list[Listener] = virtual.run(Envoy(ENVOY, admin.request).listeners())
    return {each.name: each for each in found}


def looks(admin: Admin, times: int = 1) -> Observation:
    async def look() -> Observation:
        envoy = Envoy(ENVOY, admin.request)
        return [await envoy.look() for _ in range(times)][-1]

    found: Observation = virtual.run(look())
    return found


def outbound(number: int, **fields: Any) -> list[Json]:
    return [web(f"out-{n}", f"egress-{n}", **fields) for n in range(number)]


INBOUND = web("in", "ingress", "INBOUND")


def test_few_listeners_are_read_whole() -> None:
    """A configuration with few listeners is read whole, in one call."""
    admin = Admin([INBOUND, *outbound(FEW - 1)])

    assert all(each.detailed for each in listeners(admin).values())
    assert ["/config_dump?resource=static_listeners"] == admin.whole
    assert [] == admin.details


def test_of_many_listeners_the_inbound_ones_are_read() -> None:
    """In a large configuration only inbound listeners have their details read."""
    modify_only = {"drain_type": "MODIFY_ONLY"}
    admin = Admin([INBOUND, *outbound(FEW, **modify_only)])

    found = listeners(admin)

    assert ["in"] == [name for name, each in found.items() if each.detailed]
    assert ("ingress",) == found["in"].prefixes
    assert FEW + 1 == len(found)
    assert [] == admin.whole


def test_some_outbound_listeners_that_drain_are_read() -> None:
    """The helper also reads a few outbound listeners that drain: they show what the drain does to them."""
    found = listeners(Admin([INBOUND, *outbound(FEW + 20)]))
    detailed = {name for name, each in found.items() if each.detailed}

    assert {"in"} | {f"out-{n}" for n in range(FIRST_GROUP)} <= detailed
    assert len(detailed) < FEW


@pytest.mark.parametrize("error", [TooLarge, TimeoutError])
def test_few_listeners_that_are_too_large(error: type[Exception]) -> None:
    """Few listeners whose details are too large together, or take too long, are read one by one."""
    admin = Admin([INBOUND, web("in2", "ingress-2", "INBOUND")], most=1, error=error)

    found = listeners(admin)

    assert {"in": ("ingress",), "in2": ("ingress-2",)} == {name: each.prefixes for name, each in found.items()}
    assert 2 == len(admin.details)


@pytest.mark.parametrize("error", [TooLarge, TimeoutError])
def test_few_dynamic_listeners_that_are_too_large(error: type[Exception]) -> None:
    """The same is true for listeners by LDS."""
    admin = Admin([], [INBOUND, web("in2", "ingress-2", "INBOUND")], most=1, error=error)

    found = listeners(admin)

    assert {"in": ("ingress",), "in2": ("ingress-2",)} == {name: each.prefixes for name, each in found.items()}


def test_a_listener_that_is_too_large_alone() -> None:
    """A listener that is too large by itself is known by name, and uncounted."""
    found = listeners(Admin([], [INBOUND], most=0))

    assert [("in", False)] == [(name, each.detailed) for name, each in found.items()]
    assert ["in"] == list(looks(Admin([], [INBOUND], most=0)).account.uncounted)


def test_many_dynamic_listeners_are_read_in_groups() -> None:
    """Many listeners by LDS are read in groups, each once."""
    admin = Admin([], [INBOUND, *outbound(FEW)], most=20)

    found = listeners(admin)

    assert FEW + 1 == len(found)
    assert all(each.detailed for each in found.values())
    assert 2 <= len(admin.details) < FEW
    assert not any("dynamic" in call for call in admin.whole)


@pytest.mark.parametrize("too_large", [["in"], ["in2"], ["in", "in2"]])
def test_listeners_that_are_too_large_beside_others(too_large: list[str]) -> None:
    """A listener that is too large alone does not keep the helper from reading the others."""
    found = listeners(Admin([], [INBOUND, web("in2", "ingress-2", "INBOUND"), *outbound(3)], too_large=too_large))

    assert set(too_large) == {name for name, each in found.items() if not each.detailed}


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8, 13, 40])
def test_listeners_of_which_few_fit_into_an_answer(most: int) -> None:
    """Every listener is read, for any number of listeners that fit into one answer."""
    found = listeners(Admin([], [INBOUND, *outbound(FEW)], most=most))

    assert FEW + 1 == len(found)
    assert all(each.detailed for each in found.values())


@pytest.mark.parametrize("fit", [0, 1, 2, 5, 30])
def test_size_of_an_answer(fit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first group of listeners, an answer has GROUP_SIZE bytes at most, or a single listener."""
    names = [f"out-{number:03d}" for number in range(100, 200)]
    one = len(json.dumps({"name": "out-100", "active_state": {"version_info": "1", "listener": web("out-100", "x")}}))
    monkeypatch.setattr("task_helper.envoy.admin.GROUP_SIZE", one * fit + 60)
    admin = Admin([], [web(name, "x") for name in names])

    assert all(each.detailed for each in listeners(admin).values())
    first, *others = (len(group) for group in admin.groups if group)
    assert first <= FIRST_GROUP
    assert fit // 2 <= max(others) <= max(fit, 1)


def test_listeners_that_did_not_change_are_not_read_again() -> None:
    """A second look reads only the names and versions of listeners by LDS."""
    admin = Admin([], [INBOUND, web("in2", "ingress-2", "INBOUND")])

    looks(admin, 3)

    assert 1 == len([call for call in admin.whole if "dynamic" in call])


def test_listeners_that_changed_are_read_again() -> None:
    """A listener with another version is read again, and one that left is forgotten."""
    admin = Admin([], [INBOUND, web("in2", "ingress-2", "INBOUND")])

    async def look_twice() -> Sequence[Listener]:
        envoy = Envoy(ENVOY, admin.request)
        await envoy.listeners()
        admin.dynamic, admin.version = [web("in", "changed", "INBOUND")], "2"
        return await envoy.listeners()

    found: Sequence[Listener] = virtual.run(look_twice())

    assert [("in", ("changed",))] == [(each.name, each.prefixes) for each in found]


def used(prefix: str) -> dict[str, int]:
    stats = {f"http.{prefix}.downstream_rq_{kind}": 1 for kind in ("active", "total", "completed")}
    return {**stats, **{f"http.{prefix}.downstream_cx_{kind}": 0 for kind in ("tx_bytes_buffered", "http3_active")}}


def test_statistics_of_an_outbound_listener_that_was_not_read() -> None:
    """Statistics that belong to no listener that was read make the helper read outbound ones until one owns them."""
    quiet = outbound(FEW + 20, drain_type="MODIFY_ONLY")
    stats = {**used("ingress"), **used("egress-7"), "listener.10.0.0.1_1007.downstream_cx_active": 1}
    admin = Admin([INBOUND, *quiet], stats=stats)

    look = looks(admin)

    assert (1, (), None) == (look.traffic.in_flight, look.traffic.unknown, look.traffic.doubtful)
    assert {} == look.account.uncounted
    assert [{"in"}, {"out-7"}] == admin.groups, "the listener whose connections are used is read first"


def test_listeners_that_were_read_are_not_read_again() -> None:
    """The helper does not read an outbound listener twice, even if its connections are used."""
    connections = {f"listener.10.0.0.1_{1000 + n}.downstream_cx_active": 1 for n in (0, 57)}
    admin = Admin([INBOUND, *outbound(FEW + 20)], stats={**used("egress-0"), **used("egress-57"), **connections})

    assert () == looks(admin).traffic.unknown
    assert 1 == sum("out-0" in group for group in admin.groups)


def test_unused_listener_beside_statistics_of_an_outbound_one() -> None:
    """A listener of which Envoy has no statistics yet was not used, and is counted."""
    admin = Admin(
        [INBOUND, web("in2", "ingress-2", "INBOUND"), *outbound(FEW, drain_type="MODIFY_ONLY")], stats=used("egress-7")
    )

    look = looks(admin)

    assert ((), {}) == (look.traffic.unknown, look.account.uncounted)
    assert {"ingress", "ingress-2"} == look.account.requests.keys()


def test_statistics_of_an_outbound_listener_without_connections() -> None:
    """If no connection shows which listener it is, the helper reads all outbound ones."""
    admin = Admin([INBOUND, *outbound(FEW + 20, drain_type="MODIFY_ONLY")], stats={**used("egress-7")})

    look = looks(admin)

    assert ((), None) == (look.traffic.unknown, look.traffic.doubtful)
    assert 2 <= len(admin.details)


def test_statistics_of_no_listener() -> None:
    """Statistics that belong to no listener at all are in doubt."""
    look = looks(Admin([INBOUND, *outbound(FEW, drain_type="MODIFY_ONLY")], stats=used("nowhere")))

    assert ("http.nowhere",) == look.traffic.unknown
    assert look.traffic.doubtful and 1 == look.traffic.doubtful.in_flight


def test_where_statistics_are_left_out() -> None:
    """If Envoy leaves statistics out, a listener without any is uncounted."""
    look = looks(Admin([INBOUND], stats={}, leaves_out=True))

    assert ["in"] == list(look.account.uncounted)
    assert (100, 0) == (look.uptime, look.asked_at)
    assert {} == looks(Admin([INBOUND], stats=used("ingress"), leaves_out=True)).account.uncounted
    assert {} == looks(Admin([INBOUND], stats={})).account.uncounted


def test_the_bootstrap_is_read_once() -> None:
    """Whether Envoy leaves statistics out is read once."""
    admin = Admin([INBOUND], stats=used("ingress"))

    looks(admin, 3)

    assert 1 == sum("bootstrap" in call for call in admin.calls)
