"""No containers wait for each other in a circle

ECS refuses such a task definition, because it has no order for the start and the stop. A container that waits for
itself is a circle too.

Passes:

    {"containerDefinitions": [{"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "START"}]},
      {"name": "envoy"}, {"name": "task-helper"}]}

Fails:

    {"containerDefinitions": [{"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "START"}]},
      {"name": "envoy", "dependsOn": [{"containerName": "app", "condition": "START"}]}, {"name": "task-helper"}]}

    error $.containerDefinitions
      The containers app and envoy wait for each other, so ECS refuses the task definition.
      Remove one of their dependsOn, links or volumesFrom.

Fails:

    {"containerDefinitions": [{"name": "envoy"},
      {"name": "app", "dependsOn": [{"containerName": "app", "condition": "START"}]}, {"name": "task-helper"}]}

    error $.containerDefinitions[1].dependsOn[0]
      app waits for itself, so ECS refuses the task definition.
      Remove app from its own dependsOn.
"""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

from task_helper_taskdef.findings import Edit, Finding, error
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    for container in task.definition.container_definitions:
        for dependency in container.depends_on:
            if dependency.container_name == container.name:
                yield error(
                    dependency.place,
                    f"{container.name} waits for itself, so ECS refuses the task definition.",
                    f"Remove {container.name} from its own dependsOn.",
                    rests_on=[f"{container.place}.name", f"{dependency.place}.containerName"],
                    fix=[Edit(dependency.place, remove=True)],
                )
    try:
        TopologicalSorter(
            {c.name: task.definition.waits_for(c) for c in task.definition.container_definitions}
        ).prepare()
    except CycleError as cycle:
        names = " and ".join(sorted(set(cycle.args[1])))
        yield error(
            f"{task.definition.place}.containerDefinitions",
            f"The containers {names} wait for each other, so ECS refuses the task definition.",
            "Remove one of their dependsOn, links or volumesFrom.",
        )
