"""The meshes that a scenario can be played in, a class each behind one interface (`mesh.Mesh`)."""

from lab.meshes.app_mesh import AppMesh
from lab.meshes.mesh import Mesh, Surroundings
from lab.scenario import MeshName

__all__ = ["MESHES", "Mesh", "Surroundings", "mesh_class"]

MESHES: dict[MeshName, type[Mesh]] = {"app-mesh": AppMesh}


def mesh_class(name: MeshName) -> type[Mesh]:
    """The class of the mesh with this name."""
    return MESHES[name]
