"""Numbers, true and false have no quotation marks

ECS's API takes a JSON number for `stopTimeout`, `cpu`, `memory` and the times of a health check. It takes `true` or
`false` for `essential`. `aws ecs register-task-definition` and Terraform refuse text in their place. CloudFormation
accepts both.

Passes:

    {"containerDefinitions": [{"name": "app", "stopTimeout": 30, "essential": true}]}

Fails:

    {"containerDefinitions": [{"name": "app", "stopTimeout": "30", "essential": "true"}]}

    warning $.containerDefinitions[0].stopTimeout
      stopTimeout is text, but ECS takes a number and refuses text.
      Write "stopTimeout": 30, without quotation marks around the value.
    warning $.containerDefinitions[0].essential
      essential is text, but ECS takes true or false and refuses text.
      Write "essential": true, without quotation marks around the value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.formats import aws_shapes
from task_helper_taskdef.formats.tree import Unknown, steps
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    # Terraform itself refuses such a text before it writes a plan
    if task.spelling not in ("api", "containers"):
        return
    for place, wanted, text in aws_shapes.mistyped(task.definition.document):
        plain = text.strip().lower()
        if isinstance(text, Unknown) or not re.fullmatch("true|false|-?[0-9]{1,20}", plain):
            continue
        key, value = steps(place)[-1], json.loads(plain) if plain in ("true", "false") else int(plain)
        yield warning(
            place,
            f"{key} is text, but ECS takes {wanted} and refuses text.",
            f'Write "{key}": {json.dumps(value)}, without quotation marks around the value.',
            fix=[Edit(place, value)],
        )
