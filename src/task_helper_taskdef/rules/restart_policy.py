"""The helper has a restart policy

The crash of an essential container stops the task. With a [restart
policy](https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerRestartPolicy.html) ECS starts the helper
again, and the new process takes the task as in service. ECS does so only if the container ran for
`restartAttemptPeriod` before: 60 to 1800 s, 300 s by default. ECS restarts no container of a task that it stops, so the
policy does not disturb a drain.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60}}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "restartPolicy": {"enabled": false}}]}

    warning $.containerDefinitions[0].restartPolicy
      ECS does not restart the helper after a crash: the task stops, or loses its drain if the helper is not essential.
      Write "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60}.

Fails:

    {"containerDefinitions": [{"name": "task-helper", "restartPolicy": {"enabled": true, "restartAttemptPeriod": 5}}]}

    error $.containerDefinitions[0].restartPolicy.restartAttemptPeriod
      restartAttemptPeriod is 5, but ECS takes 60 to 1800 and refuses the task definition.
      Write 60.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, error, warning
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        policy = helper.restart_policy
        if policy is None or not policy.enabled:
            yield warning(
                f"{helper.place}.restartPolicy",
                "ECS does not restart the helper after a crash: the task stops,"
                " or loses its drain if the helper is not essential.",
                'Write "restartPolicy": {"enabled": true, "restartAttemptPeriod": 60}.',
                rests_on=[f"{helper.place}.restartPolicy.enabled"],
                fix=[Edit(f"{helper.place}.restartPolicy", {"enabled": True, "restartAttemptPeriod": 60})],
            )
        elif not 60 <= policy.restart_attempt_period <= 1800:
            yield error(
                f"{helper.place}.restartPolicy.restartAttemptPeriod",
                f"restartAttemptPeriod is {policy.restart_attempt_period}, but ECS takes 60 to 1800"
                " and refuses the task definition.",
                "Write 60.",
                fix=[Edit(f"{helper.place}.restartPolicy.restartAttemptPeriod", 60)],
            )
