"""No control plane: downstreams resolve a name of a Cloud Map DNS namespace, and health check what they find."""

import asyncio
from pathlib import Path

from lab.ecs.aws import NAMESPACE, SERVICE
from lab.ecs.cloud_map import CloudMap
from lab.meshes.dns_server import DnsServer
from lab.meshes.mesh import Mesh, Surroundings
from lab.parts import downstream, processes
from lab.parts.envoy_process import INBOUND_PORT, Json, typed
from lab.parts.history import Recorder
from lab.scenarios.scenario import Column, Scenario

NAME = f"{SERVICE}.{NAMESPACE}"
PORT = 5300


class CloudMapDns(Mesh):
    """Downstreams have health checks, which `/healthcheck/fail` fails. Envoy ignores DNS while its checks pass.

    The DNS server is real, and answers what Cloud Map lists. There is no push: the TTL takes its time.
    """

    def __init__(self, scenario: Scenario, column: Column, folder: Path, record: Recorder) -> None:
        super().__init__(scenario, column, folder, record)
        self.cloud_map: CloudMap = CloudMap(record, scenario.times.cloud_map, self._publish)
        self._address = processes.free_address()
        self._answered: list[str] = []

    def finding(self) -> Json:
        scenario = self.scenario
        place = {"socket_address": {"address": NAME, "port_value": INBOUND_PORT}}
        endpoint = {"endpoint": {"address": place}}
        resolver = {"socket_address": {"protocol": "UDP", "address": self._address, "port_value": PORT}}
        options = {"no_default_search_domain": True}
        cares = {"resolvers": [resolver], "dns_resolver_options": options}
        kind = "extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
        return {
            "type": "STRICT_DNS",
            "dns_lookup_family": "V4_ONLY",
            "respect_dns_ttl": True,
            # where there is no answer, there is no TTL either; Envoy's own is 5 s
            "dns_refresh_rate": f"{scenario.times.dns_ttl}s",
            "typed_dns_resolver_config": typed("envoy.network.dns_resolver.cares", kind, cares),
            "load_assignment": {"cluster_name": NAME, "endpoints": [{"lb_endpoints": [endpoint]}]},
            **downstream.active_checks(scenario.protocol, scenario.times.checks),
            **downstream.panicking_below(scenario.panic_threshold),
        }

    def begin_lag(self) -> None:
        super().begin_lag()
        self.cloud_map.begin_lag()

    async def follow(self, around: Surroundings) -> None:
        server = DnsServer(NAME, self.scenario.times.dns_ttl, lambda: self.cloud_map.healthy, self._on_answer)
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve(self._address, PORT))
            await self.cloud_map.follow(around.runtime)

    async def _publish(self, addresses: list[str]) -> None:
        """Nothing is pushed: downstreams query DNS."""

    def _on_answer(self, kind: str, addresses: list[str]) -> None:
        if sorted(addresses) != sorted(self._answered):
            self._answered = addresses
            self.record.event("discovery", "pushed", addresses=addresses)
