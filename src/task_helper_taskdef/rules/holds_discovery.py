"""No container depends on the container that deregisters the task

In Consul's tasks on ECS, `consul-ecs-health-sync` marks the task critical when it gets SIGTERM (hashicorp/consul-ecs,
subcommand/health-sync). Consul then removes the task from discovery. Consul's downstreams do no health checks of their
own (hashicorp/consul#8304), so `/healthcheck/fail` has no effect on them.

If the helper depends on this container, downstreams learn of the stop only after the drain. They send requests until
the task has stopped. If no container depends on it, ECS stops it at the same moment as the helper.

HashiCorp's module 0.7 has `consul-ecs-control-plane` instead, and makes all its containers depend on it. From 0.8 on
the module has `consul-ecs-health-sync`.

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
      task-helper depends on consul-ecs-health-sync, which deregisters the task, so downstreams send until the drain \
is over.
      Remove consul-ecs-health-sync from the dependsOn of task-helper.

Fails:

    {"containerDefinitions": [
      {"name": "consul-ecs-control-plane", "image": "hashicorp/consul-ecs:0.7.0", "command": ["control-plane"]},
      {"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:1.3.0",
       "dependsOn": [{"containerName": "consul-ecs-control-plane", "condition": "START"}]},
      {"name": "task-helper", "dependsOn": [{"containerName": "consul-dataplane", "condition": "START"}]}]}

    error $.containerDefinitions[0]
      ECS stops consul-ecs-control-plane after all other containers, and it deregisters the task only then, so \
downstreams send to a task that has stopped.
      Use version 0.8 or later of HashiCorp's module, where no container depends on the one that deregisters the task.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, error
from task_helper_taskdef.roles import Task, deregisters_task, is_consul_control_plane


def check(task: Task) -> Iterator[Finding]:
    containers = task.definition.container_definitions
    running = task.kept_running + task.helpers
    for control_plane in filter(is_consul_control_plane, containers):
        if any(control_plane.name in task.definition.waits_for(container) for container in running):
            yield error(
                control_plane.place,
                f"ECS stops {control_plane.name} after all other containers, and it deregisters the task only"
                " then, so downstreams send to a task that has stopped.",
                "Use version 0.8 or later of HashiCorp's module, where no container depends on the one that"
                " deregisters the task.",
                rests_on=[f"{control_plane.place}.{key}" for key in ("name", "image", "command")],
            )
    deregistering = {c.name for c in containers if deregisters_task(c)}
    for container in running:
        direct = [dependency for dependency in container.depends_on if dependency.container_name in deregistering]
        by_other_means = (task.definition.waits_for(container) & deregistering) - {d.container_name for d in direct}
        for name, place, fix in [
            *((d.container_name, d.place, [Edit(d.place, remove=True)]) for d in direct),
            *((name, container.place, []) for name in sorted(by_other_means)),
        ]:
            yield error(
                place,
                f"{container.name} depends on {name}, which deregisters the task,"
                " so downstreams send until the drain is over.",
                (
                    f"Remove {name} from the dependsOn of {container.name}."
                    if fix
                    else f"Remove {name} from the links and volumesFrom of {container.name}."
                ),
                fix=fix,
            )
