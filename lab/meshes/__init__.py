"""The meshes of the scenarios, a class each behind one interface; a new mesh touches this folder and its rows."""

import os

from lab.meshes.app_mesh import AppMesh
from lab.meshes.cloud_map_dns import CloudMapDns
from lab.meshes.consul import Consul, ConsulHeld
from lab.meshes.consul_server import ConsulServer, ConsulServerHeld
from lab.meshes.kuma import Kuma
from lab.meshes.kuma_control_plane import KumaControlPlane
from lab.meshes.load_balancer import ApplicationLoadBalancer, NetworkLoadBalancer
from lab.meshes.mesh import Mesh, Surroundings
from lab.scenarios.scenario import MeshName

__all__ = ["MESHES", "Mesh", "Surroundings", "mesh_class"]

MESHES: dict[MeshName, type[Mesh]] = {
    "app-mesh": AppMesh,
    "cloud-map-dns": CloudMapDns,
    "consul": Consul,
    "consul-held": ConsulHeld,
    "kuma": Kuma,
    "alb": ApplicationLoadBalancer,
    "nlb": NetworkLoadBalancer,
}

# by the variable that names the control plane's program
REAL: dict[str, dict[MeshName, type[Mesh]]] = {
    "KUMA_CP": {"kuma": KumaControlPlane},
    "CONSUL": {"consul": ConsulServer, "consul-held": ConsulServerHeld},
}


def mesh_class(name: MeshName) -> type[Mesh]:
    """The class of the mesh with this name: with its real control plane where that is given."""
    for variable, meshes in REAL.items():
        if name in meshes and os.environ.get(variable):
            return meshes[name]
    return MESHES[name]
