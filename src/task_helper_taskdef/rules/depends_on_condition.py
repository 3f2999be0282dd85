"""The helper waits for Envoy to be HEALTHY and for the application to START

The conditions count at the start only. At the stop all conditions give the same order. A helper that waits for the
application to be HEALTHY never starts beside a sick application. Then Envoy does not keep running, and no container
drains it. The helper itself checks the application until it answers. COMPLETE and SUCCESS wait for a container to end,
and a container that serves does not end.

Passes:

    {"containerDefinitions": [
      {"name": "envoy", "healthCheck": {"command": ["CMD", "/ready"]}}, {"name": "app"},
      {"name": "task-helper", "dependsOn": [
        {"containerName": "envoy", "condition": "HEALTHY"}, {"containerName": "app", "condition": "START"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "envoy"}, {"name": "app", "healthCheck": {"command": ["CMD", "/ready"]}},
      {"name": "task-helper", "dependsOn": [{"containerName": "app", "condition": "HEALTHY"}]}]}

    warning $.containerDefinitions[2].dependsOn[0].condition
      The helper waits for app to be HEALTHY, so beside a sick app it never starts and the task is not drained.
      Write START.

Fails:

    {"containerDefinitions": [
      {"name": "app"}, {"name": "task-helper", "dependsOn": [{"containerName": "app", "condition": "COMPLETE"}]}]}

    error $.containerDefinitions[1].dependsOn[0].condition
      The helper waits for app to end, so it does not run while app serves.
      Write START.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.definition import Dependency
from task_helper_taskdef.findings import Edit, Finding, error, warning
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    serving = {container.name for container in task.kept_running}
    for helper in task.helpers:
        for dependency in helper.depends_on:
            yield from check_dependency(task, dependency, serving)


def check_dependency(task: Task, dependency: Dependency, serving: set[str]) -> Iterator[Finding]:
    name = dependency.container_name
    container = task.definition.by_name.get(name)
    place = f"{dependency.place}.condition"
    # the template may leave open whether it is an Envoy, and whether another container waits for its end
    rests_on = [f"{dependency.place}.containerName"]
    rests_on += [f"{container.place}.image", f"{container.place}.name"] if container else []
    if container is None or container in task.envoys and dependency.condition == "HEALTHY":
        return
    if dependency.condition == "HEALTHY" and container.health_check:
        yield warning(
            place,
            f"The helper waits for {name} to be HEALTHY, so beside a sick {name} it never starts"
            " and the task is not drained.",
            "Write START.",
            rests_on,
            [Edit(place, "START")],
        )
    elif dependency.condition in ("COMPLETE", "SUCCESS") and name in serving:
        yield error(
            place,
            f"The helper waits for {name} to end, so it does not run while {name} serves.",
            "Write START.",
            [*rests_on, *task.definition.unknown_order],
            [Edit(place, "START")],
        )
