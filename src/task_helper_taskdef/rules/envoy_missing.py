"""One container is Envoy

The helper works through [Envoy's admin API](https://www.envoyproxy.io/docs/envoy/latest/operations/admin). Without an
Envoy it waits for one: the task never comes into service, and the deployment waits. A task with no Envoy and no helper
is outside the linter's scope, and no fault.

With [Service Connect](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/service-connect.html) ECS adds its
own Envoy and drains it. The service configures Service Connect, so the task definition does not show it: it needs
named ports, but the ECS console names ports of other services too. Other containers cannot reach the admin API of that
Envoy.

The linter takes a container for Envoy if `proxyConfiguration` names it, if its image is an Envoy, or if its command
line starts one. The data planes of Consul, Kuma and Istio count as Envoy images. Otherwise it takes a container with
`envoy` in its name. `--envoy NAME` names any other container. A container that others wait for with COMPLETE or SUCCESS
is not an Envoy, because it ends at the start.

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "proxy", "image": "envoyproxy/envoy:v1.36.2"}]}

Passes:

    {"containerDefinitions": [{"name": "task-helper"},
      {"name": "proxy", "image": "shop/proxy:7", "command": ["/usr/local/bin/envoy", "-c", "/etc/envoy.yaml"]}]}

Fails:

    {"containerDefinitions": [{"name": "download-envoy-config", "essential": false},
      {"name": "app", "dependsOn": [{"containerName": "download-envoy-config", "condition": "COMPLETE"}]}]}

    note $.containerDefinitions
      No container is an Envoy, so the task helper has nothing to drain.
      This needs no change. If a container is an Envoy, name it with --envoy.

Fails:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "app"}]}

    error $.containerDefinitions
      No container is an Envoy, so the helper never reports the task as in service.
      Add Envoy to the task, or name it with --envoy if it has another name.

Fails:

    {"proxyConfiguration": {"type": "APPMESH", "containerName": "envoy"}, "containerDefinitions": [{"name": "app"}]}

    error $.proxyConfiguration.containerName
      proxyConfiguration names envoy as the proxy of all traffic, but no container has this name.
      Add the container envoy, or correct containerName.

Fails:

    {"containerDefinitions": [{"name": "app"}]}

    note $.containerDefinitions
      No container is an Envoy, so the task helper has nothing to drain.
      This needs no change. If a container is an Envoy, name it with --envoy.

Fails:

    {"containerDefinitions": [{"name": "app", "portMappings": [{"containerPort": 8080, "name": "http"}]}]}

    note $.containerDefinitions
      No container is an Envoy. Named ports may be for Service Connect, whose Envoy ECS adds and drains.
      This needs no change. If a container is an Envoy, name it with --envoy.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, error, note
from task_helper_taskdef.roles import Task, identifying_places


def check(task: Task) -> Iterator[Finding]:
    containers = task.definition.container_definitions
    place = f"{task.definition.place}.containerDefinitions"
    proxy = task.definition.proxy_configuration
    if proxy and proxy.container_name and proxy.container_name not in task.definition.by_name:
        yield error(
            "$.proxyConfiguration.containerName",
            f"proxyConfiguration names {proxy.container_name} as the proxy of all traffic,"
            " but no container has this name.",
            f"Add the container {proxy.container_name}, or correct containerName.",
            # an open container, or one with an open name, may be this one
            [place, *task.definition.unknown_containers],
        )
        return
    if task.envoys:
        return
    # a container with open values may be one
    shown = [
        place for container in containers if container not in task.helpers for place in identifying_places(container)
    ]
    rests_on = [*shown, "$.proxyConfiguration", *task.definition.unknown_order]
    if task.helpers:
        yield error(
            place,
            "No container is an Envoy, so the helper never reports the task as in service.",
            "Add Envoy to the task, or name it with --envoy if it has another name.",
            rests_on,
        )
    else:
        named = any(port.name for container in containers for port in container.port_mappings)
        yield note(
            place,
            (
                "No container is an Envoy. Named ports may be for Service Connect, whose Envoy ECS adds and drains."
                if named
                else "No container is an Envoy, so the task helper has nothing to drain."
            ),
            "This needs no change. If a container is an Envoy, name it with --envoy.",
            rests_on,
        )
