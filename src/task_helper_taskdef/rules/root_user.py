"""The helper does not run as root

The helper needs no rights: no files, no ports below 1024, no capabilities. The image's own user is not root. Any other
user number works too.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "user": "65532"}, {"name": "envoy", "user": "0"}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "user": "root"}]}

    warning $.containerDefinitions[0].user
      The helper runs as root, but it needs no rights.
      Write "user": "65532", or remove user.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.roles import Task
from task_helper_taskdef.rules.auto_egress import UNPRIVILEGED_USER


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        if helper.user.partition(":")[0] in ("0", "root"):
            yield warning(
                f"{helper.place}.user",
                "The helper runs as root, but it needs no rights.",
                f'Write "user": "{UNPRIVILEGED_USER}", or remove user.',
                fix=[Edit(f"{helper.place}.user", UNPRIVILEGED_USER)],
            )
