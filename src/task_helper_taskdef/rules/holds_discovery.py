"""Nobody holds up what tells discovery

In Consul's tasks on ECS it is the SIGTERM to `consul-ecs-health-sync` that marks the task critical and so takes it out
of discovery (hashicorp/consul-ecs, subcommand/health-sync). Its peers' Envoys do no health checks of their own
(hashicorp/consul#8304), so `/healthcheck/fail` moves none of them. A helper that holds this container up makes peers
learn of the stop only when the drain is over: they send until the task is dead. ECS stops it at the same moment as the
helper if nothing waits for it.

Passes:

    {"containerDefinitions": [
      {"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:2.0.1"},
      {"name": "consul-ecs-health-sync", "image": "hashicorp/consul-ecs:0.10.0", "command": ["health-sync"]},
      {"name": "task-helper", "dependsOn": [{"containerName": "consul-dataplane", "condition": "START"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:2.0.1"},
      {"name": "consul-ecs-health-sync", "image": "hashicorp/consul-ecs:0.10.0", "command": ["health-sync"]},
      {"name": "task-helper", "dependsOn": [{"containerName": "consul-dataplane", "condition": "START"},
        {"containerName": "consul-ecs-health-sync", "condition": "START"}]}]}

    error $.containerDefinitions[2].dependsOn[1]
      task-helper holds up consul-ecs-health-sync, whose stop tells discovery, so peers send until the drain is over.
      Remove consul-ecs-health-sync from the dependsOn of task-helper.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, error
from task_helper_taskdef.roles import Task, deregisters_task


def check(task: Task) -> Iterator[Finding]:
    deregistering = {c.name for c in task.definition.container_definitions if deregisters_task(c)}
    for container in task.kept_running + task.helpers:
        direct = [dependency for dependency in container.depends_on if dependency.container_name in deregistering]
        by_other_means = (task.definition.waits_for(container) & deregistering) - {d.container_name for d in direct}
        for name, place, fix in [
            *((d.container_name, d.place, [Edit(d.place, remove=True)]) for d in direct),
            *((name, container.place, []) for name in sorted(by_other_means)),
        ]:
            yield error(
                place,
                f"{container.name} holds up {name}, whose stop tells discovery, so peers send until the drain is over.",
                (
                    f"Remove {name} from the dependsOn of {container.name}."
                    if fix
                    else f"Remove {name} from the links and volumesFrom of {container.name}."
                ),
                fix=fix,
            )
