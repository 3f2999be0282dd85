"""With `auto`, the task has a role with the permissions for its calls

With DRAIN_DELAY=auto the helper calls ECS and Cloud Map about the replacement with the [task's
role](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-iam-roles.html). Without a role AWS denies every
call, and the helper waits for DISCOVERY_LAG, a fixed time. The role needs `ecs:DescribeServices`, `ecs:ListTasks` and
`ecs:DescribeTasks`. For a service in Cloud Map it also needs `servicediscovery:DiscoverInstances`,
`servicediscovery:GetService` and `servicediscovery:GetNamespace`.

Passes:

    {"taskRoleArn": "arn:aws:iam::123456789012:role/shop",
     "containerDefinitions": [{"name": "task-helper", "environment": [{"name": "DRAIN_DELAY", "value": "auto"}]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "environment": [{"name": "DRAIN_DELAY", "value": "auto"}]}]}

    warning $.taskRoleArn
      DRAIN_DELAY is auto, but the task has no role for calls to ECS, so the helper waits for DISCOVERY_LAG.
      Give the task a role that allows ecs:DescribeServices, ecs:ListTasks, ecs:DescribeTasks and, for Cloud Map, \
servicediscovery:DiscoverInstances, servicediscovery:GetService, servicediscovery:GetNamespace.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.roles import Task, waits_for_replacement


def check(task: Task) -> Iterator[Finding]:
    if any(map(waits_for_replacement, task.helpers)) and not task.definition.task_role_arn:
        yield warning(
            f"{task.definition.place}.taskRoleArn",
            "DRAIN_DELAY is auto, but the task has no role for calls to ECS, so the helper waits for DISCOVERY_LAG.",
            "Give the task a role that allows ecs:DescribeServices, ecs:ListTasks, ecs:DescribeTasks"
            " and, for Cloud Map, servicediscovery:DiscoverInstances, servicediscovery:GetService,"
            " servicediscovery:GetNamespace.",
        )
