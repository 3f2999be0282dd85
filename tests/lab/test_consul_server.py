"""Consul itself in place of its imitation: chosen by CONSUL, configured for the lab, and played where it is given."""

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web

from lab.meshes import mesh_class
from lab.meshes.consul import RECONNECTED, Consul, ConsulHeld, ConsulOfThree
from lab.meshes.consul_server import (
    ConsulServer,
    ConsulServerHeld,
    ConsulServers,
    config_entries,
    program,
    registrations,
    server_of_three,
    statuses,
)
from lab.parts import envoy_process
from lab.parts.envoy_process import Protocol
from lab.parts.history import Recorder
from lab.report import verdict
from lab.scenarios.in_meshes import ROWS
from tests.lab.conftest import played, write_program

ROW = next(row for row in ROWS if row.name == "consul-scale-in")
GIVEN = os.environ.get("CONSUL")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with something that can be run under each name, and CONSUL pointing there."""
    for name, answer in {"consul": "Consul v1.21.0", "consul-dataplane": "v2.0.1", "consul-ecs": "v0.10.0"}.items():
        write_program(tmp_path / name, answer)
    monkeypatch.setenv("CONSUL", str(tmp_path / "consul"))
    monkeypatch.delenv("CONSUL_DATAPLANE", raising=False)
    monkeypatch.delenv("CONSUL_ECS", raising=False)
    return tmp_path


@pytest.fixture
def mesh(programs: Path, record: Recorder) -> ConsulServer:
    """Consul itself, before its server runs."""
    return ConsulServer(ROW, "auto", programs, record)


def test_consul_is_imitated_where_none_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without CONSUL the meshes are the imitations."""
    monkeypatch.delenv("CONSUL", raising=False)
    assert mesh_class("consul") is Consul and mesh_class("consul-held") is ConsulHeld


def test_consul_is_itself_where_it_is_given(programs: Path) -> None:
    """With CONSUL the same scenarios run on it, and the record has the versions of all three programs."""
    assert mesh_class("consul") is ConsulServer and mesh_class("consul-held") is ConsulServerHeld
    assert ConsulServer.versions() == {"consul": "1.21.0", "consul-dataplane": "2.0.1", "consul-ecs": "0.10.0"}


def test_a_program_that_is_missing_is_named(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the missing program and its variable; the variable wins over a program beside consul."""
    (programs / "consul-ecs").rename(programs / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"consul-ecs is no program: CONSUL_ECS is to name .* beside consul"):
        program("consul-ecs")
    monkeypatch.setenv("CONSUL_ECS", str(programs / "elsewhere"))
    assert program("consul-ecs") == programs / "elsewhere"


@pytest.mark.parametrize("protocol", ["tcp", "grpc", "http2"])
def test_what_is_not_played_on_it_is_refused(protocol: Protocol, programs: Path, record: Recorder) -> None:
    """Rather than played as what it is not; HTTP/2 where a stream wants connections of its own, as here."""
    with pytest.raises(ValueError, match="Consul is given HTTP/1.1"):
        ConsulServer(replace(ROW, protocol=protocol), "auto", programs, record)


def test_a_server_that_ends_ends_the_run(mesh: ConsulServer) -> None:
    """The error has the exit code and the place of the log."""

    async def run() -> None:
        async with mesh.running():
            pass

    with pytest.raises(RuntimeError, match=r"consul exited with 0: see consul\.log"):
        asyncio.run(run())


def test_the_agent_reports_health_as_rarely_as_in_real_time(mesh: ConsulServer) -> None:
    """health-sync takes one second also in a scaled run; faster reports to ECS would come before it."""
    assert mesh.agent() == replace(ROW.times.agent, health=20.0)


def test_one_check_that_does_not_pass_makes_a_task_critical() -> None:
    """Consul counts it so, and reports it to the downstreams' Envoys."""

    def instance(task: str, *states: str) -> envoy_process.Json:
        return {"Service": {"Meta": {"task-id": task}}, "Checks": [{"Status": status} for status in states]}

    instances = [instance("one", "passing", "passing"), instance("two", "passing", "critical")]
    assert statuses(instances) == {"one": "healthy", "two": "critical"}


def patches(entries: list[envoy_process.Json]) -> dict[str, list[envoy_process.Json]]:
    """By the name of the service."""
    return {
        entry["Name"]: [patch for each in entry["EnvoyExtensions"] for patch in each["Arguments"]["Patches"]]
        for entry in entries
        if "EnvoyExtensions" in entry
    }


def test_requests_reach_the_clusters_that_consul_makes() -> None:
    """The downstream's listener leads to the service, and to its subset where a request wants a new connection."""
    _, proxy = registrations("127.9.9.7", "1234.consul")
    listener = json.loads(proxy["Service"]["Proxy"]["Config"]["envoy_extra_static_listeners_json"])
    assert listener["address"]["socket_address"] == {"address": "127.9.9.7", "port_value": envoy_process.INBOUND_PORT}
    for cluster in ("service", "new-connections.service"):
        assert f'"{cluster}.default.dc1.internal.1234.consul"' in json.dumps(listener)


def test_only_what_wants_new_connections_has_one_request_in_each() -> None:
    """The patch is for the name that leads to the subset, not for the service."""
    (patch,) = patches(config_entries("http"))["downstream"]
    assert patch["ResourceFilter"]["Services"] == [{"Name": "service-new-connections"}]


def test_applications_speak_http1_behind_http2() -> None:
    """Consul would have Envoy speak HTTP/2 to them as well; where it speaks HTTP/1.1 anyway nothing is patched."""
    assert [patch["Op"] for patch in patches(config_entries("http2"))["service"]] == ["remove"]
    assert "service" not in patches(config_entries("http"))


def test_three_servers_wait_for_each_other(programs: Path) -> None:
    """They have one certificate and data of their own, and ACLs deny what no token allows."""
    addresses = ["127.9.9.1", "127.9.9.2", "127.9.9.3"]
    first, second, _ = (server_of_three(each, addresses, "token", programs) for each in addresses)
    assert first["bootstrap_expect"] == 3 and first["retry_join"] == addresses
    assert first["tls"]["defaults"]["cert_file"] == second["tls"]["defaults"]["cert_file"]
    assert second["acl"]["default_policy"] == "deny" and second["data_dir"] != first["data_dir"]


def test_tasks_of_three_servers_have_a_token_and_tls(programs: Path, record: Recorder) -> None:
    """All containers of consul-ecs have the token, and their consul-dataplane the server's name."""
    mesh = ConsulServers(ROW, "auto", programs, record)
    mesh._work.mkdir()
    try:
        containers = mesh.containers("one", "127.9.9.9", "http://127.9.9.8:8000/v4/one")
        dataplane = mesh.envoy("one", envoy_process.EnvoyOptions("127.9.9.9", ("127.9.9.9", 8080)))
    finally:
        shutil.rmtree(mesh._work)
    assert {each.environ["CONSUL_HTTP_TOKEN"] for each in containers} == {mesh._token}
    config = json.loads(containers[0].environ["CONSUL_ECS_CONFIG_JSON"])
    assert config["consulServers"]["defaults"]["tls"] and config["consulServers"]["http"]["https"]
    assert "DP_TLS_SERVER_NAME=server.dc1.consul" in dataplane


def calls_of_an_imitation(consul: Consul, seconds: float, moments: Mapping[str, float]) -> list[str]:
    """What becomes of calls at these moments after the server's death. It is dead for so many seconds, 0: for good."""

    async def calls() -> list[str]:
        outcomes = []
        failing = asyncio.create_task(consul.fail("dies", seconds))
        for name, pause in moments.items():
            await asyncio.sleep(pause)
            try:
                await consul._until_it_answers()
                outcomes.append(name)
            except web.HTTPInternalServerError:
                outcomes.append(f"{name} refused")
        await failing
        return outcomes

    return asyncio.run(calls())


def test_the_imitations_leader_refuses_and_then_waits(record: Recorder, tmp_path: Path) -> None:
    """The call of a moment after the leader's death is lost, one that comes later is answered when another leads."""
    calls = calls_of_an_imitation(
        ConsulOfThree(ROW, "auto", tmp_path, record), 0, {"at once": 0.1, "later": RECONNECTED}
    )

    assert calls == ["at once refused", "later"]


@pytest.mark.parametrize(("seconds", "later"), [(0, "later refused"), (0.5, "later")])
def test_the_imitations_only_server_refuses_until_it_is_back(
    seconds: float, later: str, record: Recorder, tmp_path: Path
) -> None:
    """No other server answers instead."""
    calls = calls_of_an_imitation(Consul(ROW, "auto", tmp_path, record), seconds, {"at once": 0.1, "later": 1.0})

    assert calls == ["at once refused", later]


@pytest.mark.skipif(not GIVEN, reason="needs Consul: CONSUL is to name consul, with consul-dataplane and consul-ecs")
def test_a_scale_in_on_consul_itself_loses_nothing(tmp_path: Path) -> None:
    """health-sync's SIGTERM takes the task out of use, and the helper lets it go when its requests have ended."""
    record = played(ROW, tmp_path)
    assert verdict.judge(record).kind == "valid"
    assert record.run.versions["consul"] and verdict.figures(record).failed == 0
