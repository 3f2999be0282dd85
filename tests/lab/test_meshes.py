"""The meshes that scenarios are played in: what each makes of a task, of the downstream and of the settings."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import pytest

from lab.ecs.runtime import ContainerSpec
from lab.meshes import MESHES, Mesh, mesh_class
from lab.parts import envoy_process
from lab.parts.downstream import SERVICE, hosts_of
from lab.parts.history import Recorder
from lab.run.task_definition import TaskDefinition, helper_settings
from lab.scenarios import control_plane_faults
from lab.scenarios.all_scenarios import ALL, BY_NAME
from lab.scenarios.in_meshes import ROWS
from lab.scenarios.scenario import Column, MeshName, Scenario
from task_helper.settings import from_env


def in_mesh(name: MeshName, folder: Path, record: Recorder) -> Mesh:
    return mesh_class(name)(BY_NAME["scale-in"], "auto", folder, record)


def test_each_mesh_has_a_class() -> None:
    """A scenario can be played in every mesh that it can name."""
    assert set(get_args(MeshName)) == MESHES.keys()


@pytest.mark.parametrize("name", MESHES)
def test_envoy_takes_what_a_mesh_configures(name: MeshName, tmp_path: Path, record: Recorder) -> None:
    """The configurations of a task's Envoy and of the downstream are valid for Envoy itself."""
    mesh = in_mesh(name, tmp_path, record)
    address = "127.9.9.9"
    options = mesh.options(envoy_process.EnvoyOptions(address, (address, envoy_process.APPLICATION_PORT)))
    for command in (mesh.envoy("task", options), mesh.downstream(address)):
        validated = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, timeout=60)
        assert validated.returncode == 0, validated.stderr


@pytest.mark.parametrize("name", MESHES)
def test_each_mesh_plays_an_update(name: MeshName) -> None:
    """There is a row in which tasks are replaced; for the wiring that a restart breaks, one of a restart."""
    change = "scale-in" if name == "consul-follows-helper" else "update"
    assert any(each.mesh == name and each.change == change for each in ALL)


@pytest.mark.parametrize("row", (*ROWS, *control_plane_faults.ROWS), ids=lambda row: row.name)
def test_a_row_is_named_after_its_mesh(row: Scenario) -> None:
    """A row's name begins with its mesh, and the column with the mesh's own settings is played."""
    assert row.name.startswith(row.mesh)
    assert "auto" in row.expected


@contextmanager
def defined(name: MeshName, folder: Path, record: Recorder) -> Iterator[TaskDefinition]:
    """The task definition with a helper."""
    mesh = in_mesh(name, folder, record)
    definition = TaskDefinition(mesh.scenario, "auto", folder, "http://127.9.9.9:8000", record, mesh)
    yield definition
    definition.close()


def helper_of(definition: TaskDefinition) -> ContainerSpec:
    (helper,) = [each for each in definition.containers("one", "127.9.9.8") if each.name == "helper"]
    return helper


@pytest.mark.parametrize(("name", "depends"), [("consul", False), ("consul-held", True)])
def test_the_helper_depends_on_health_sync_in_the_wrong_wiring_only(
    name: MeshName, depends: bool, tmp_path: Path, record: Recorder
) -> None:
    """On Consul, the helper depends on health-sync in the mesh `consul-held` only."""
    with defined(name, tmp_path, record) as definition:
        assert ("consul-ecs-health-sync" in helper_of(definition).depends_on) is depends


def test_kuma_has_its_admin_api_on_a_unix_socket(tmp_path: Path, record: Recorder) -> None:
    """ENVOY_ADMIN_URL names the socket, and no `health_check` filter answers for Envoy."""
    with defined("kuma", tmp_path, record) as definition:
        options = definition.options("one", "127.9.9.8")
        assert options.admin == definition.admin_socket("one") and not options.health_check_filter
        assert helper_of(definition).environ["ENVOY_ADMIN_URL"] == f"unix://{options.admin}"


def test_a_task_serves_once_its_application_says_so(tmp_path: Path, record: Recorder) -> None:
    """A run waits for that: over TCP Envoy's listener accepts connections before there is an application behind it."""
    with defined("app-mesh", tmp_path, record) as definition:
        (application,) = [each for each in definition.containers("one", "127.9.9.8") if each.name == "application"]
        assert application.on_line and definition.up == set()
        application.on_line(b'{"time": "2026-01-01T00:00:00+00:00", "event": "up"}')
        assert definition.up == {"one"}


# a chain's helpers have settings about each other as well, which make their plan fit
@pytest.mark.parametrize("row", [row for row in ALL if not row.chain], ids=lambda row: row.name)
@pytest.mark.parametrize("column", ["fixed", "auto"])
def test_the_helper_takes_the_settings_of_a_row(row: Scenario, column: Column) -> None:
    """What suits a mesh elsewhere may not fit a row's shorter stopTimeout: then the helper would refuse to start."""
    if column in row.expected:
        from_env(helper_settings(row, column, MESHES[row.mesh]))


def test_settings_are_those_that_the_docs_advise() -> None:
    """`auto` gets a mesh's own settings, at the scale of the run; fixed times are the same everywhere."""
    row = next(each for each in ROWS if each.name == "kuma-update")
    assert helper_settings(row, "auto", mesh_class("kuma"))["HEALTH_CHECK_INTERVAL"] == "1.4"
    fixed = {name: helper_settings(row, "fixed", mesh_class(name)) for name in MESHES}
    assert all(each == fixed["app-mesh"] for each in fixed.values())


def test_what_discovery_finds_unhealthy_is_failed_for_the_downstream() -> None:
    """A task that stays in the assignment as UNHEALTHY gets no requests, as one whose checks fail."""

    def host(address: str, **health: Any) -> dict[str, Any]:
        return {"address": {"socket_address": {"address": address}}, "health_status": health}

    hosts = [
        host("127.1.1.1", eds_health_status="HEALTHY"),
        host("127.1.1.2", eds_health_status="UNHEALTHY"),
        host("127.1.1.3", eds_health_status="HEALTHY", failed_active_health_check=True),
    ]
    seen = hosts_of({"cluster_statuses": [{"name": SERVICE, "host_statuses": hosts}, {"name": "another"}]})
    assert seen == {"127.1.1.1": "serving", "127.1.1.2": "failed", "127.1.1.3": "failed"}


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("service", True),
        ("service.default.dc1.internal.0c4e.consul", True),
        ("new-connections.service.default.dc1.internal.0c4e.consul", False),
        ("service-01aad9fe13cab0de", False),
    ],
)
def test_the_downstreams_cluster_is_known_by_its_name(name: str, seen: bool) -> None:
    """Consul's name for it goes on to the trust domain; those for connections of their own are others."""
    host = {"address": {"socket_address": {"address": "127.1.1.1"}}, "health_status": {}}
    assert bool(hosts_of({"cluster_statuses": [{"name": name, "host_statuses": [host]}]})) is seen
