"""The helper waits for Envoy to be HEALTHY and for the application to START

The conditions count at the start only; at the stop all give the same order. A helper that waits for the application to
be HEALTHY never starts beside a sick one, and then nothing holds Envoy up or drains it; the helper itself watches the
application until it answers. COMPLETE and SUCCESS wait for a container to end, which one that serves never does. A
container without `healthCheck` is never HEALTHY, and ECS refuses a name that no container has.

Passes:

    {"containerDefinitions": [
      {"name": "envoy", "healthCheck": {"command": ["CMD", "/ready"]}}, {"name": "app"},
      {"name": "task-helper", "dependsOn": [
        {"containerName": "envoy", "condition": "HEALTHY"}, {"containerName": "app", "condition": "START"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "envoy"}, {"name": "app", "healthCheck": {"command": ["CMD", "/ready"]}},
      {"name": "task-helper", "dependsOn": [
        {"containerName": "envoy", "condition": "HEALTHY"}, {"containerName": "app", "condition": "HEALTHY"},
        {"containerName": "cache", "condition": "START"}]}]}

    error $.containerDefinitions[2].dependsOn[0].condition
      The helper waits for envoy to be HEALTHY, but envoy has no healthCheck, so the task cannot start.
      Give envoy a healthCheck, or write START.
    warning $.containerDefinitions[2].dependsOn[1].condition
      The helper waits for app to be HEALTHY, so beside a sick app it never starts and nothing drains the task.
      Write START.
    error $.containerDefinitions[2].dependsOn[2].containerName
      The helper depends on cache, which is no container of this task, so ECS refuses the task definition.
      Write the name of a container of this task.

Fails:

    {"containerDefinitions": [
      {"name": "app"}, {"name": "task-helper", "dependsOn": [{"containerName": "app", "condition": "COMPLETE"}]}]}

    error $.containerDefinitions[1].dependsOn[0].condition
      The helper waits for app to end, so it is not there while app serves.
      Write START.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper.taskdef.definition import Dependency
from task_helper.taskdef.problem import Finding, error, warning
from task_helper.taskdef.task import Task


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        for i, dependency in enumerate(helper.depends_on):
            yield from judge(task, dependency, f"{helper.place}.dependsOn[{i}]")


def judge(task: Task, dependency: Dependency, place: str) -> Iterator[Finding]:
    name = dependency.container_name
    container = task.definition.by_name.get(name)
    if container is None:
        yield error(
            f"{place}.containerName",
            f"The helper depends on {name}, which is no container of this task, so ECS refuses the task definition.",
            "Write the name of a container of this task.",
        )
    elif dependency.condition == "HEALTHY" and container.health_check is None:
        yield error(
            f"{place}.condition",
            f"The helper waits for {name} to be HEALTHY, but {name} has no healthCheck, so the task cannot start.",
            f"Give {name} a healthCheck, or write START.",
        )
    elif dependency.condition == "HEALTHY" and container not in task.envoys:
        yield warning(
            f"{place}.condition",
            f"The helper waits for {name} to be HEALTHY, so beside a sick {name} it never starts"
            " and nothing drains the task.",
            "Write START.",
        )
    elif dependency.condition in ("COMPLETE", "SUCCESS") and container in task.held:
        yield error(
            f"{place}.condition",
            f"The helper waits for {name} to end, so it is not there while {name} serves.",
            "Write START.",
        )
