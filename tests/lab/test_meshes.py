"""The meshes that scenarios are played in: what each makes of a task, of the downstream and of the settings."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from lab import envoy
from lab.history import Recorder, Run, began_now
from lab.meshes import MESHES, Mesh, mesh_class
from lab.scenario import BY_NAME, MeshName


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Recorder]:
    recorder = Recorder(tmp_path / "record.jsonl", Run("", {}, "", "", "", {}, began_now()))
    yield recorder
    recorder.close()


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
    options = mesh.options(envoy.EnvoyOptions(address, (address, envoy.APPLICATION_PORT)))
    for command in (mesh.envoy("task", options), mesh.downstream(address)):
        validated = subprocess.run([*command, "--mode", "validate"], capture_output=True, text=True, timeout=60)
        assert validated.returncode == 0, validated.stderr
