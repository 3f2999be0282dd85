"""A restart of the helper leaves the task in the mesh

consul-ecs takes a task out of Consul's mesh while one container of `healthSyncContainers` is not HEALTHY
(hashicorp/consul-ecs 0.10, subcommand/health-sync). After a restart by its restart policy, the helper has no health
until its next health check. Downstreams then send nothing for up to 10 s, although the task serves. If all helpers of a
service restart together, every request fails.

HashiCorp's Terraform module lists each container that has both keys `essential` and `healthCheck`. ECS's default for
`essential` is true, so the helper does not need the key. The application needs both keys: its own health check keeps
requests away until it answers.

Passes:

    {"containerDefinitions": [
      {"name": "task-helper", "stopTimeout": 120},
      {"name": "consul-ecs-health-sync", "image": "hashicorp/consul-ecs:0.10.0", "command": ["health-sync"],
       "environment": [{"name": "CONSUL_ECS_CONFIG_JSON", "value": "{\\"healthSyncContainers\\": [\\"app\\"]}"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "task-helper", "stopTimeout": 120},
      {"name": "consul-ecs-health-sync", "image": "hashicorp/consul-ecs:0.10.0", "command": ["health-sync"],
       "environment": [{"name": "CONSUL_ECS_CONFIG_JSON",
                        "value": "{\\"healthSyncContainers\\": [\\"task-helper\\"]}"}]}]}

    warning $.containerDefinitions[1].environment[0].value
      healthSyncContainers names task-helper, so a restart of the helper takes the task out of the mesh for up to 10 s.
      Remove the key essential from task-helper in the module's container_definitions; set it at the application.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from task_helper_taskdef.definition import Container
from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.roles import Task, deregisters_task

VARIABLE: Final = "CONSUL_ECS_CONFIG_JSON"


def check(task: Task) -> Iterator[Finding]:
    helpers = {helper.name for helper in task.helpers}
    # the module gives the same configuration to its other containers
    for container in filter(deregisters_task, task.definition.container_definitions):
        for name in sorted(helpers & followed(container)):
            yield warning(
                container.variable_place(VARIABLE),
                f"healthSyncContainers names {name}, so a restart of the helper takes the task out of the mesh"
                " for up to 10 s.",
                f"Remove the key essential from {name} in the module's container_definitions;"
                " set it at the application.",
            )


def followed(container: Container) -> set[str]:
    """The containers whose health consul-ecs follows, by the configuration of `container`; none if it is unreadable."""
    try:
        config = json.loads(container.env.get(VARIABLE, "{}"))
        return set(config.get("healthSyncContainers") or ())
    except (ValueError, AttributeError, TypeError):
        return set()
