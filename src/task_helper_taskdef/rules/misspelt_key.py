"""ECS knows every key

The AWS CLI refuses a key that it does not know. CloudFormation's validation fails for it, though some deployments
continue (OctopusDeploy/Issues#7823). Terraform and other tools drop the key without a warning, and ECS uses its
default. The linter takes the keys from the API's own description, which botocore contains. The API's keys begin with a
small letter, CloudFormation's keys with a capital one.

Passes:

    {"containerDefinitions": [{"name": "app", "portMappings": [{"containerPort": 8080, "protocol": "tcp"}]}]}

Fails:

    {"containerDefinitions": [{"name": "app", "portMappings": [{"ContainerPort": 8080, "Protcol": "tcp"}],
      "comment": "the shop"}]}

    warning $.containerDefinitions[0].portMappings[0].ContainerPort
      ECS knows no key ContainerPort here: tools refuse it, or drop it without a warning.
      Write containerPort.
    warning $.containerDefinitions[0].portMappings[0].Protcol
      ECS knows no key Protcol here: tools refuse it, or drop it without a warning.
      Write protocol.
    warning $.containerDefinitions[0].comment
      ECS knows no key comment here: tools refuse it, or drop it without a warning.
      Remove it.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Final

from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.formats import aws_shapes
from task_helper_taskdef.formats.tree import below, steps
from task_helper_taskdef.roles import Task

# a search for similar names takes a millisecond; more unknown keys than this are not typing errors
_MOST_SEARCHES: Final = 200


def check(task: Task) -> Iterator[Finding]:
    for place in task.small_keys:
        key = str(steps(place)[-1])
        yield warning(
            place,
            f"CloudFormation's keys begin with a capital letter, so its validation fails for {key}.",
            f"Write {key[:1].upper()}{key[1:]}.",
        )
    for number, (place, key, known) in enumerate(aws_shapes.unknown_keys(task.definition.document)):
        same = [name for name in known if name.lower() == key.lower()]
        near = same or (get_close_matches(key, known, n=1, cutoff=0.75) if number < _MOST_SEARCHES else [])
        yield warning(
            below(place, key),
            f"ECS knows no key {key} here: tools refuse it, or drop it without a warning.",
            f"Write {near[0]}." if near else "Remove it.",
            fix=[Edit(below(place, key), rename=near[0])] if near else [],
        )
