"""The meshes of the scenarios, a class each behind one interface; a new mesh touches this folder and its rows."""

import os

from lab.meshes.app_mesh import AppMesh
from lab.meshes.cloud_map_dns import CloudMapDns
from lab.meshes.consul import Consul, ConsulFollowsHelper, ConsulHeld, ConsulOfThree
from lab.meshes.consul_server import ConsulServer, ConsulServerFollowsHelper, ConsulServerHeld, ConsulServers
from lab.meshes.kuma import Kuma, KumaTwo
from lab.meshes.kuma_control_plane import KumaControlPlane, KumaControlPlanes
from lab.meshes.load_balancer import ApplicationLoadBalancer, NetworkLoadBalancer
from lab.meshes.mesh import Mesh, Surroundings
from lab.scenarios.scenario import MeshName

__all__ = ["MESHES", "Mesh", "Surroundings", "mesh_class"]

MESHES: dict[MeshName, type[Mesh]] = {
    "app-mesh": AppMesh,
    "cloud-map-dns": CloudMapDns,
    "consul": Consul,
    "consul-held": ConsulHeld,
    "consul-servers": ConsulOfThree,
    "consul-follows-helper": ConsulFollowsHelper,
    "kuma": Kuma,
    "kuma-two": KumaTwo,
    "alb": ApplicationLoadBalancer,
    "nlb": NetworkLoadBalancer,
}

# by the variables that name the programs, all of which it needs
REAL: dict[tuple[str, ...], dict[MeshName, type[Mesh]]] = {
    ("KUMA_CP",): {"kuma": KumaControlPlane},
    ("KUMA_CP", "POSTGRES"): {"kuma-two": KumaControlPlanes},
    ("CONSUL",): {
        "consul": ConsulServer,
        "consul-held": ConsulServerHeld,
        "consul-servers": ConsulServers,
        "consul-follows-helper": ConsulServerFollowsHelper,
    },
}


def mesh_class(name: MeshName) -> type[Mesh]:
    """The class of the mesh with this name: with its real control plane where that is given."""
    for variables, meshes in REAL.items():
        if name in meshes and all(map(os.environ.get, variables)):
            return meshes[name]
    return MESHES[name]
