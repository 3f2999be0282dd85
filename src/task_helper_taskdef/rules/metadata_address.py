"""The task metadata endpoint is not redirected to Envoy

With a
[`proxyConfiguration`](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html) ECS
redirects the task's outgoing connections to Envoy, except to the addresses in EgressIgnoredIPs. The helper calls the
metadata endpoint at 169.254.170.2. From its answer the helper knows whether the application's container has stopped,
and whether ECS has restarted the helper. Credentials for `auto` come from there too. Envoy does not know this
destination.

Passes:

    {"proxyConfiguration": {"type": "APPMESH", "containerName": "envoy", "properties": [
      {"name": "EgressIgnoredIPs", "value": "169.254.170.2,169.254.169.254"}]},
     "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

Passes:

    {"proxyConfiguration": {"type": "APPMESH", "containerName": "envoy", "properties": [
      {"name": "EgressIgnoredIPs", "value": "169.254.170.0/24"}]},
     "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

Fails:

    {"proxyConfiguration": {"type": "APPMESH", "containerName": "envoy", "properties": []},
     "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper"}]}

    warning $.proxyConfiguration.properties
      The metadata endpoint is redirected to Envoy, so the helper cannot detect stopped or restarted containers.
      Add 169.254.170.2 to EgressIgnoredIPs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address, ip_network

from task_helper_taskdef.definition import ProxyConfiguration
from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.roles import Task
from task_helper_taskdef.rules.auto_egress import bypasses_envoy

METADATA = "169.254.170.2"
RESTS_ON = {"EgressIgnoredIPs", "IgnoredUID", "IgnoredGID"}


def check(task: Task) -> Iterator[Finding]:
    proxy = task.definition.proxy_configuration
    if proxy is None or is_ignored(METADATA, proxy.values.get("EgressIgnoredIPs", "")):
        return
    if not all(bypasses_envoy(helper, proxy) for helper in task.helpers):
        yield warning(
            f"{task.definition.place}.proxyConfiguration.properties",
            "The metadata endpoint is redirected to Envoy, so the helper cannot detect stopped"
            " or restarted containers.",
            f"Add {METADATA} to EgressIgnoredIPs.",
            # an open item may be the missing one
            rests_on=[pair.place + ".value" for pair in proxy.properties if pair.name in RESTS_ON]
            + [place for place in task.definition.unknown if place.startswith("$.proxyConfiguration.properties[")],
            fix=[_edit(task, proxy)],
        )


def is_ignored(address: str, ignored: str) -> bool:
    """Whether one of the addresses and networks in `ignored`, with commas between them, contains `address`."""
    for text in ignored.split(","):
        with suppress(ValueError):
            if ip_address(address) in ip_network(text.strip(), strict=False):
                return True
    return False


def _edit(task: Task, proxy: ProxyConfiguration) -> Edit:
    for pair in proxy.properties:
        if pair.name == "EgressIgnoredIPs":
            return Edit(f"{pair.place}.value", ",".join(filter(None, [*pair.value.split(","), METADATA])))
    value = {"name": "EgressIgnoredIPs", "value": METADATA}
    return Edit(f"{task.definition.place}.proxyConfiguration.properties", value, append=True)
