"""Kuma itself in place of its imitation: chosen by KUMA_CP, configured for the lab, and played where it is given."""

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.meshes import mesh_class
from lab.meshes.kuma import Kuma
from lab.meshes.kuma_control_plane import KumaControlPlane, downstream_networking, program, resources, version_of
from lab.parts import envoy_process
from lab.parts.history import Recorder
from lab.report import verdict
from lab.scenarios.in_meshes import ROWS
from tests.helper.process.program import finished
from tests.lab.conftest import played, write_program

ROW = next(row for row in ROWS if row.name == "kuma-scale-in")
GIVEN = os.environ.get("KUMA_CP")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with something that can be run under both names, and KUMA_CP pointing there."""
    for name in ("kuma-cp", "kuma-dp"):
        write_program(tmp_path / name, "Kuma: 2.14.3")
    monkeypatch.setenv("KUMA_CP", str(tmp_path / "kuma-cp"))
    monkeypatch.delenv("KUMA_DP", raising=False)
    return tmp_path


def test_kuma_is_imitated_where_no_control_plane_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without KUMA_CP, or with an empty one, the mesh is the imitation."""
    monkeypatch.delenv("KUMA_CP", raising=False)
    assert mesh_class("kuma") is Kuma
    monkeypatch.setenv("KUMA_CP", "")
    assert mesh_class("kuma") is Kuma


def test_kuma_is_itself_where_its_control_plane_is_given(programs: Path) -> None:
    """With KUMA_CP the same scenarios run on it, and the record has its version; other meshes stay as they are."""
    assert mesh_class("kuma") is KumaControlPlane
    assert KumaControlPlane.versions() == {"kuma-cp": "2.14.3", "kuma-dp": "2.14.3"}
    assert mesh_class("app-mesh") is not KumaControlPlane


def test_a_program_that_is_missing_is_named(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the missing program and its variable; KUMA_DP wins over a program beside kuma-cp."""
    (programs / "kuma-dp").rename(programs / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"kuma-dp is no program.*KUMA_DP"):
        program("kuma-dp")
    monkeypatch.setenv("KUMA_DP", str(programs / "elsewhere"))
    assert program("kuma-dp") == programs / "elsewhere"


@pytest.mark.parametrize(
    ("answer", "why"),
    [("Kuma: 2.13.10", r"Kuma 2\.14 or later"), ("Kuma: unknown", "says no version"), ("", "says no version")],
)
def test_a_kuma_that_is_too_old_is_refused(programs: Path, answer: str, why: str) -> None:
    """Before 2.14 the admin API is one port for all data planes of a machine."""
    write_program(programs / "kuma-dp", answer)
    with pytest.raises(ValueError, match=why):
        version_of("kuma-dp")


@pytest.mark.parametrize(("answer", "version"), [("Kuma: 2.14.3", "2.14.3"), ("Kong Mesh: 3.0.1-rc1", "3.0.1-rc1")])
def test_a_kuma_that_is_new_enough_is_taken(programs: Path, answer: str, version: str) -> None:
    """2.14 and everything later, under whatever name."""
    write_program(programs / "kuma-dp", answer)
    assert version_of("kuma-dp") == version


def test_the_helper_gets_the_socket_that_kuma_makes(programs: Path, record: Recorder) -> None:
    """The admin API is `kuma-envoy-admin.sock` in the work directory that kuma-dp is given, one for each task."""
    mesh = KumaControlPlane(ROW, "auto", programs, record)
    options = mesh.options(envoy_process.EnvoyOptions("127.9.9.9", ("127.9.9.9", 8080), admin=programs / "abc123.sock"))
    assert options.admin == programs / "abc123" / "kuma-envoy-admin.sock"
    assert f"KUMA_DATAPLANE_RUNTIME_WORK_DIR={programs / 'abc123'}" in mesh.envoy("abc123def", options)


def test_what_hides_failures_is_left_out() -> None:
    """The mesh has Kuma's default policies but the retries."""
    assert resources()["/meshes/default"]["skipCreatingInitialPolicies"] == ["MeshRetry"]


def test_requests_with_a_connection_of_their_own_leave_by_a_cluster_of_their_own() -> None:
    """The cluster that is patched has the name that Kuma 2.14.3 gave it."""
    patched = resources()["/meshes/default/meshproxypatches/lab"]["spec"]["default"]["appendModifications"]
    assert {"name": "service-01aad9fe13cab0de"} in [each["cluster"]["match"] for each in patched if "cluster" in each]


def test_the_downstream_listens_where_requests_are_sent() -> None:
    """Its outbound has the address and the port of the lab's downstream, for the tasks' service."""
    (outbound,) = downstream_networking("127.9.9.7")["outbound"]
    assert outbound == {
        "address": "127.9.9.7",
        "port": envoy_process.INBOUND_PORT,
        "tags": {"kuma.io/service": "service"},
    }


def test_only_http1_is_played_on_it(programs: Path, record: Recorder) -> None:
    """A scenario of another protocol is refused, rather than played as what it is not."""
    with pytest.raises(ValueError, match="HTTP/1.1"):
        KumaControlPlane(replace(ROW, protocol="tcp"), "auto", programs, record)


def test_a_control_plane_that_ends_ends_the_run(programs: Path, record: Recorder) -> None:
    """The error has the exit code and the place of the log."""

    async def run() -> None:
        async with KumaControlPlane(ROW, "auto", programs, record).running():
            pass

    with pytest.raises(RuntimeError, match=r"kuma-cp exited with 0: see kuma-cp\.log"):
        asyncio.run(run())


def test_a_bench_that_could_not_play_a_run_is_no_success(tmp_path: Path) -> None:
    """Where the program is missing there is not even a record: the lab says why, and fails."""
    command = [sys.executable, "-m", "lab", "bench", ROW.name, "--columns", "none", "--folder", str(tmp_path)]
    environ = {**os.environ, "KUMA_CP": str(tmp_path / "kuma-cp")}
    benched = finished(command, environ, seconds=120)
    assert benched.returncode == 1
    assert "kuma-cp is no program" in benched.stdout and f"not played: {ROW.name}" in benched.stdout


@pytest.mark.skipif(not GIVEN, reason="needs Kuma: KUMA_CP is to name kuma-cp")
def test_a_scale_in_on_kuma_itself_loses_nothing(tmp_path: Path) -> None:
    """`/healthcheck/fail` takes the task out of Kuma's discovery before the helper lets it go."""
    record = played(ROW, tmp_path)
    assert verdict.judge(record).kind == "valid"
    assert record.run.versions["kuma-cp"] and verdict.figures(record).failed == 0
