"""Every dependsOn condition can be met

ECS refuses three kinds of
[`dependsOn`](https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html). The first names a
container that does not exist. The second waits for HEALTHY of a container without a `healthCheck`; the image's own
HEALTHCHECK does not count. The third waits for COMPLETE or SUCCESS of an essential container, whose end stops the task.
`essential` is true by default.

Passes:

    {"containerDefinitions": [
      {"name": "envoy", "healthCheck": {"command": ["CMD", "/ready"]}},
      {"name": "migration", "essential": false},
      {"name": "app", "dependsOn": [
        {"containerName": "envoy", "condition": "HEALTHY"}, {"containerName": "migration", "condition": "SUCCESS"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "envoy"},
      {"name": "migration"},
      {"name": "app", "dependsOn": [
        {"containerName": "envoy", "condition": "HEALTHY"}, {"containerName": "migration", "condition": "SUCCESS"},
        {"containerName": "cache", "condition": "START"}]}]}

    error $.containerDefinitions[2].dependsOn[0].condition
      app waits for envoy to be HEALTHY, but envoy has no healthCheck, so the task cannot start.
      Give envoy a healthCheck, or write START.
    error $.containerDefinitions[2].dependsOn[1].condition
      app waits for migration to end, but migration is essential, so ECS refuses the task definition.
      Write "essential": false at migration.
    error $.containerDefinitions[2].dependsOn[2].containerName
      app depends on cache, which is no container of this task, so ECS refuses the task definition.
      Write the name of a container of this task.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.definition import Container, Dependency
from task_helper_taskdef.findings import Edit, Finding, error
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    for container in task.definition.container_definitions:
        for dependency in container.depends_on:
            yield from check_dependency(task, container, dependency)


def check_dependency(task: Task, container: Container, dependency: Dependency) -> Iterator[Finding]:
    name = dependency.container_name
    awaited = task.definition.by_name.get(name)
    condition = f"{dependency.place}.condition"
    if awaited is None:
        yield error(
            f"{dependency.place}.containerName",
            f"{container.name} depends on {name}, which is no container of this task,"
            " so ECS refuses the task definition.",
            "Write the name of a container of this task.",
            # an open container, or one with an open name, may be the one
            rests_on=[f"{task.definition.place}.containerDefinitions", *task.definition.unknown_containers],
        )
    elif dependency.condition == "HEALTHY" and awaited.health_check is None:
        yield error(
            condition,
            f"{container.name} waits for {name} to be HEALTHY, but {name} has no healthCheck,"
            " so the task cannot start.",
            f"Give {name} a healthCheck, or write START.",
            rests_on=[f"{dependency.place}.containerName", f"{awaited.place}.name", f"{awaited.place}.healthCheck"],
        )
    # depends-on-condition checks what the helper waits for
    elif dependency.condition in ("COMPLETE", "SUCCESS") and awaited.essential and container not in task.helpers:
        yield error(
            condition,
            f"{container.name} waits for {name} to end, but {name} is essential,"
            " so ECS refuses the task definition.",
            f'Write "essential": false at {name}.',
            rests_on=[f"{dependency.place}.containerName", f"{awaited.place}.name", f"{awaited.place}.essential"],
            fix=[Edit(f"{awaited.place}.essential", False)],
        )
