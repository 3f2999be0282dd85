"""No object has the same key twice

JSON and YAML readers use the last of two values without a warning, so the first one has no effect. Only the author
knows which value is right. `taskdef add` and `--fix` refuse such a file, because writing it again would lose one value.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "stopTimeout": 120}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "stopTimeout": 120, "stopTimeout": 30}]}

    warning $.containerDefinitions[0].stopTimeout
      The key stopTimeout is in this object twice, and only the last value counts.
      Remove one of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    for place in task.duplicates:
        yield warning(
            place,
            f"The key {place.rpartition('.')[2]} is in this object twice, and only the last value counts.",
            "Remove one of them.",
        )
