"""The application stops before Envoy

After SIGTERM an application still answers requests in flight, calls other services or sends a last message. It needs
Envoy for all of these. If the application does not depend on Envoy, ECS sends SIGTERM to both at the same moment. The
one that exits first cuts the connections of the other. With `dependsOn` Envoy starts before the application and stops
after it.

If a task has several other containers, the linter takes those with ports for applications. The others may serve Envoy,
as an authorization sidecar does. A Consul agent is no application: Envoy gets its configuration from it.

Passes:

    {"containerDefinitions": [{"name": "envoy"},
      {"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "START"}]}]}

Passes:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "authorization"},
      {"name": "app", "portMappings": [{"containerPort": 8080}],
       "dependsOn": [{"containerName": "envoy", "condition": "START"}]}]}

Passes:

    {"containerDefinitions": [{"name": "envoy"},
      {"name": "consul", "image": "hashicorp/consul:1.21", "command": ["agent", "-retry-join=consul.internal"],
       "portMappings": [{"containerPort": 8502}]},
      {"name": "app", "portMappings": [{"containerPort": 8080}],
       "dependsOn": [{"containerName": "envoy", "condition": "START"}]}]}

Fails:

    {"containerDefinitions": [{"name": "envoy", "healthCheck": {"command": ["CMD", "/ready"]}}, {"name": "app"}]}

    warning $.containerDefinitions[1].dependsOn
      app does not depend on envoy, so ECS stops both at once and cuts the last answers and calls of app.
      Add {"containerName": "envoy", "condition": "HEALTHY"} to the dependsOn of app.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.roles import Task, condition_for


def check(task: Task) -> Iterator[Finding]:
    definition = task.definition
    # a container that another one waits for serves that one, and stops after it
    waited_for = {name for c in task.kept_running if c not in task.envoys for name in definition.waits_for(c)}
    with_ports = [application for application in task.applications if application.port_mappings]
    for envoy in task.envoys[:1]:
        for application in with_ports or (task.applications if len(task.applications) == 1 else []):
            one, other = definition.stopped_after(application), definition.stopped_after(envoy)
            ordered = envoy.name in one or application.name in other
            if ordered or application.name in waited_for:
                continue
            place = f"{application.place}.dependsOn"
            entry = {"containerName": envoy.name, "condition": condition_for(task, envoy)}
            yield warning(
                place,
                f"{application.name} does not depend on {envoy.name}, so ECS stops both at once"
                f" and cuts the last answers and calls of {application.name}.",
                f"Add {json.dumps(entry)} to the dependsOn of {application.name}.",
                # an open image may be an agent's, which serves no port and needs no Envoy
                rests_on=definition.unknown_order
                + ([] if application.port_mappings else [f"{application.place}.image"]),
                fix=[Edit(place, {**entry, "containerName": definition.written_name(envoy)}, append=True)],
            )
