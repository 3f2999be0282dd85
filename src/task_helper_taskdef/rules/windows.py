"""The task runs on Linux

The helper's image is a Linux image. ECS starts no Linux container in a task on Windows, so with the helper such a task
never starts.

Passes:

    {"runtimePlatform": {"operatingSystemFamily": "LINUX"}, "containerDefinitions": [{"name": "task-helper"}]}

Fails:

    {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"},
     "containerDefinitions": [{"name": "task-helper"}]}

    error $.runtimePlatform.operatingSystemFamily
      The helper's image is for Linux, so this task never starts on WINDOWS_SERVER_2022_CORE.
      Run the task on Linux, or remove the helper.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, error
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    if task.helpers and task.definition.windows and task.definition.runtime_platform:
        family = task.definition.runtime_platform.operating_system_family
        yield error(
            f"{task.definition.place}.runtimePlatform.operatingSystemFamily",
            f"The helper's image is for Linux, so this task never starts on {family}.",
            "Run the task on Linux, or remove the helper.",
        )
