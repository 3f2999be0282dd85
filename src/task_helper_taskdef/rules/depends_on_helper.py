"""No container depends on the helper

ECS stops a container that depends on the helper before the helper. The helper gets SIGTERM only when that container has
stopped, and its drain comes too late. An application that waits for the helper to be HEALTHY never starts, because the
helper waits for the application. A link or a shared volume counts as a dependency too. Only another helper may depend
on the helper ([helper-chain](#helper-chain)).

Passes:

    {"containerDefinitions": [
      {"name": "app"}, {"name": "task-helper", "dependsOn": [{"containerName": "app", "condition": "START"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "app", "dependsOn": [{"containerName": "task-helper", "condition": "HEALTHY"}]},
      {"name": "task-helper"}]}

    error $.containerDefinitions[0]
      app depends on the helper, so ECS stops app first and the helper drains too late.
      Remove task-helper from app's dependsOn, links and volumesFrom, and make the helper depend on app.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, error
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        for container in task.definition.container_definitions:
            if helper.name in task.definition.waits_for(container) and container not in task.helpers:
                name = container.name
                yield error(
                    container.place,
                    f"{name} depends on the helper, so ECS stops {name} first" " and the helper drains too late.",
                    f"Remove {helper.name} from {name}'s dependsOn, links and volumesFrom,"
                    f" and make the helper depend on {name}.",
                    # from the last on, as each removal moves those behind it
                    fix=[
                        Edit(dependency.place, remove=True)
                        for dependency in reversed(container.depends_on)
                        if dependency.container_name == helper.name
                    ],
                )
