"""One container is Envoy

The helper does its work through Envoy's admin API. Where there is no Envoy it waits for one, the task never comes into
service, and a deployment waits with it. A task with neither Envoy nor helper is none of this program's business, and no
fault. With Service Connect, which the service has and the task definition does not, ECS adds an Envoy of its own and
drains it itself; its admin API is closed to other containers.

A container counts as Envoy if `proxyConfiguration` names it, if its image is an Envoy's (the data planes of Consul,
Kuma and Istio included), or if its command line starts one; else if its own name has `envoy` in it. `--envoy NAME`
names any other. A container whose end others wait for (COMPLETE, SUCCESS) is none: it prepares something.

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "proxy", "image": "envoyproxy/envoy:v1.36.2"}]}

Passes:

    {"containerDefinitions": [{"name": "task-helper"},
      {"name": "proxy", "image": "shop/proxy:7", "command": ["/usr/local/bin/envoy", "-c", "/etc/envoy.yaml"]}]}

Fails:

    {"containerDefinitions": [{"name": "download-envoy-config", "essential": false},
      {"name": "app", "dependsOn": [{"containerName": "download-envoy-config", "condition": "COMPLETE"}]}]}

    note $.containerDefinitions
      No container is an Envoy, so there is nothing here for the task helper to drain.
      Nothing is to be done; if one is, name it with --envoy.

Fails:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "app"}]}

    error $.containerDefinitions
      No container is an Envoy, and without one the helper never reports the task as in service.
      Put Envoy into the task, or name it with --envoy if it goes by another name.

Fails:

    {"containerDefinitions": [{"name": "app"}]}

    note $.containerDefinitions
      No container is an Envoy, so there is nothing here for the task helper to drain.
      Nothing is to be done; if one is, name it with --envoy.

Fails:

    {"containerDefinitions": [{"name": "app", "portMappings": [{"containerPort": 8080, "name": "http"}]}]}

    note $.containerDefinitions
      No container is an Envoy. Named ports are there for Service Connect, whose Envoy ECS adds and drains itself.
      Nothing is to be done; if one is, name it with --envoy.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, error, note
from task_helper_taskdef.roles import Task, identifying_places


def check(task: Task) -> Iterator[Finding]:
    containers = task.definition.container_definitions
    place = f"{task.definition.place}.containerDefinitions"
    if task.envoys:
        return
    # what is open may be one
    shown = [
        place for container in containers if container not in task.helpers for place in identifying_places(container)
    ]
    rests_on = [*shown, "$.proxyConfiguration", *task.definition.unknown_order]
    if task.helpers:
        yield error(
            place,
            "No container is an Envoy, and without one the helper never reports the task as in service.",
            "Put Envoy into the task, or name it with --envoy if it goes by another name.",
            rests_on,
        )
    else:
        named = any(port.name for container in containers for port in container.port_mappings)
        yield note(
            place,
            (
                "No container is an Envoy. Named ports are there for Service Connect,"
                " whose Envoy ECS adds and drains itself."
                if named
                else "No container is an Envoy, so there is nothing here for the task helper to drain."
            ),
            "Nothing is to be done; if one is, name it with --envoy.",
            rests_on,
        )
