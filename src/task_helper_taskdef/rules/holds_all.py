"""The helper depends on every other container, and on Envoy directly

ECS stops a container only when all containers that name it in their
[`dependsOn`](https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDependency.html) have stopped. It
looks at direct dependencies only (`verifyShutdownOrder` in aws/amazon-ecs-agent, pull request 1866). Take the chain
helper -> application -> Envoy: if the application has crashed, no running container depends on Envoy. ECS then stops
Envoy during the drain, and cuts every connection.

Containers that serve the application, such as an authorization sidecar or the X-Ray daemon, have to keep running too.
For these it is enough that the application depends on them. Of two helpers in a chain each one depends on all other
containers, because the other helper may have crashed. Containers that end at the start (`COMPLETE`, `SUCCESS`) need no
dependency. No container may depend on the one that deregisters the task ([holds-discovery](#holds-discovery)).

Passes:

    {"containerDefinitions": [
      {"name": "envoy"},
      {"name": "cache"},
      {"name": "app", "dependsOn": [{"containerName": "cache", "condition": "START"}]},
      {"name": "task-helper", "dependsOn": [
        {"containerName": "envoy", "condition": "HEALTHY"}, {"containerName": "app", "condition": "START"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "envoy"},
      {"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]},
      {"name": "cache"},
      {"name": "xray", "image": "amazon/aws-xray-daemon"},
      {"name": "task-helper", "dependsOn": [{"containerName": "app", "condition": "START"}]}]}

    error $.containerDefinitions[4].dependsOn
      The helper depends on envoy only through other containers. If one of them has crashed, ECS stops envoy at once.
      Add {"containerName": "envoy", "condition": "START"} to the helper's dependsOn.
    error $.containerDefinitions[4].dependsOn
      The helper does not depend on cache, so ECS stops cache at once, while the task still gets requests.
      Add {"containerName": "cache", "condition": "START"} to the helper's dependsOn.
    warning $.containerDefinitions[4].dependsOn
      The helper does not depend on xray, so ECS stops xray at once and the task loses its data during the drain.
      Add {"containerName": "xray", "condition": "START"} to the helper's dependsOn.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, error, warning
from task_helper_taskdef.roles import Task, condition_for, is_agent


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        direct = task.definition.waits_for(helper)
        # not through another helper, which may have crashed
        others = [task.definition.by_name[name] for name in direct if task.definition.by_name[name] not in task.helpers]
        in_all = direct | task.definition.stopped_after(*others)
        for other in task.kept_running:
            place = f"{helper.place}.dependsOn"
            entry = f'{{"containerName": "{other.name}", "condition": "{condition_for(task, other)}"}}'
            remedy = f"Add {entry} to the helper's dependsOn."
            name = task.definition.written_name(other)
            fix = [Edit(place, {"containerName": name, "condition": condition_for(task, other)}, append=True)]
            # an open item of these lists may be the dependency, and an open container may be one that does not serve
            rests_on = task.definition.unknown_order
            if other.name not in in_all and is_agent(other):
                lost = f"so ECS stops {other.name} at once and the task loses its data during the drain."
                yield warning(place, f"The helper does not depend on {other.name}, {lost}", remedy, rests_on, fix)
            elif other.name not in in_all:
                lost = f"so ECS stops {other.name} at once, while the task still gets requests."
                yield error(place, f"The helper does not depend on {other.name}, {lost}", remedy, rests_on, fix)
            elif other in task.envoys and other.name not in direct:
                yield error(
                    place,
                    f"The helper depends on {other.name} only through other containers."
                    f" If one of them has crashed, ECS stops {other.name} at once.",
                    remedy,
                    rests_on,
                    fix,
                )
