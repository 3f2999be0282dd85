"""The helper depends on every container that it has to hold up, directly

ECS stops a container only when all that name it in their `dependsOn` have stopped. It looks at direct dependencies only
(`verifyShutdownOrder` in aws/amazon-ecs-agent, pull request 1866): with helper -> application -> Envoy alone, an
application that has crashed leaves nothing that holds Envoy up, and every connection is cut while the helper drains.
So the helper names each container that serves, and those that serve them: an authorization sidecar, or the X-Ray daemon
that would miss the drain's traces. Containers that end at the start (`COMPLETE`, `SUCCESS`) need none.

Passes:

    {"containerDefinitions": [
      {"name": "envoy"},
      {"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]},
      {"name": "task-helper", "dependsOn": [
        {"containerName": "envoy", "condition": "HEALTHY"}, {"containerName": "app", "condition": "START"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "envoy"},
      {"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]},
      {"name": "xray", "image": "amazon/aws-xray-daemon"},
      {"name": "task-helper", "dependsOn": [{"containerName": "app", "condition": "START"}]}]}

    error $.containerDefinitions[3].dependsOn
      The helper does not depend on envoy directly, so ECS may stop envoy while the helper still drains.
      Add {"containerName": "envoy", "condition": "START"} to the helper's dependsOn.
    warning $.containerDefinitions[3].dependsOn
      The helper does not depend on xray, so ECS stops it first and what it carries is lost during the drain.
      Add {"containerName": "xray", "condition": "START"} to the helper's dependsOn.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper.taskdef.problem import Finding, error, warning
from task_helper.taskdef.task import Task, condition_for, is_agent


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        for held in task.held:
            if held.name in task.definition.waits_for(helper):
                continue
            place = f"{helper.place}.dependsOn"
            remedy = (
                f'Add {{"containerName": "{held.name}", "condition": "{condition_for(task, held)}"}}'
                " to the helper's dependsOn."
            )
            if is_agent(held):
                yield warning(
                    place,
                    f"The helper does not depend on {held.name}, so ECS stops it first"
                    " and what it carries is lost during the drain.",
                    remedy,
                )
            else:
                yield error(
                    place,
                    f"The helper does not depend on {held.name} directly,"
                    f" so ECS may stop {held.name} while the helper still drains.",
                    remedy,
                )
