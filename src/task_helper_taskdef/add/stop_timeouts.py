"""Gives a task's helper more time, on Fargate by a second helper that ECS stops after it: docs/use/long-drains.md."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from task_helper.settings import BadSettings, from_env
from task_helper_taskdef.definition import Container, Definition, read
from task_helper_taskdef.findings import Copied, Edit
from task_helper_taskdef.formats.tree import below
from task_helper_taskdef.roles import assign_roles, chain_of, knows_settings

# a container's most, https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ContainerDefinition.html
FARGATE_SECONDS: Final = 120
# the helper's default of STOP_TIMEOUT
DEFAULT: Final = "120"


class BadStopTimeout(ValueError):
    """The task cannot keep running for so many seconds."""


def shares(total: int, definition: Definition, chained: bool) -> list[int]:
    """The stopTimeouts that make `total` seconds: one, or where Fargate does not allow that, or where the task has two
    helpers already, two. Raises BadStopTimeout."""
    if definition.fargate and total > 2 * FARGATE_SECONDS:
        raise BadStopTimeout(
            f"a stopTimeout of {total} is too long: Fargate allows {FARGATE_SECONDS} s for a container,"
            f" so {2 * FARGATE_SECONDS} s for two helpers; EC2 instances have no limit"
        )
    if chained or (definition.fargate and total > FARGATE_SECONDS):
        return [total - total // 2, total // 2]
    return [total]


def stop_timeout_edits(document: Any, total: int) -> Iterator[Edit]:
    """The changes in `document`, which has a helper, that keep the task running for `total` seconds.

    The second helper is a copy of the first, as the two carry out one plan. Raises BadStopTimeout.
    """
    definition = read(document)
    task = assign_roles(definition)
    first, second = chain_of(task) or (task.helpers[0], None)
    own, *others = shares(total, definition, second is not None)
    variables = {"STOP_TIMEOUT": str(own)}
    # people who want more than the usual time want to wait for the end of long requests
    if total > FARGATE_SECONDS and not any(each.name == "DRAIN_TIMEOUT" for each in first.environment):
        variables["DRAIN_TIMEOUT"] = "auto"
    if not others:
        yield from _helper_edits(first, own, variables)
        return
    name = second.name if second else f"{first.name}-2"
    if second is None and name in definition.by_name:
        raise BadStopTimeout(
            f"a container named {name} already exists; the second helper needs that name, so rename the container"
        )
    yield from _helper_edits(first, own, {**variables, "HANDS_OVER_TO": f"{name}:{others[0]}"})
    variables |= {"STOP_TIMEOUT": str(others[0]), "TAKES_OVER_FROM": f"{first.name}:{own}"}
    if second:
        yield from _helper_edits(second, others[0], variables)
        return
    there = definition.value_at(first.place)
    copied = {key: Copied(below(first.place, key)) for key in there} | {"name": name, "stopTimeout": others[0]}
    place = f"{first.place}.environment"
    kept = [
        Copied(f"{place}[{i}]")
        for i, each in enumerate(there.get("environment") or [])
        if each.get("name") not in variables
    ]
    added = [
        {"name": key, "value": value} for key, value in variables.items() if (key, value) != ("STOP_TIMEOUT", DEFAULT)
    ]
    yield Edit("$.containerDefinitions", {**copied, "environment": [*kept, *added]}, append=True)
    # after the copy, which must not depend on itself
    yield Edit(f"{first.place}.dependsOn", {"containerName": name, "condition": "START"}, append=True)


def _helper_edits(helper: Container, stop_timeout: int, variables: dict[str, str]) -> Iterator[Edit]:
    """The missing stopTimeout and variables of `helper`; raises BadStopTimeout if its plan does not fit."""
    if knows_settings(helper):
        try:
            from_env({**helper.env, **variables})
        except BadSettings as error:
            raise BadStopTimeout(str(error)) from None
    if helper.stop_timeout != stop_timeout:
        yield Edit(f"{helper.place}.stopTimeout", stop_timeout)
    for name, value in variables.items():
        if helper.env.get(name, DEFAULT if name == "STOP_TIMEOUT" else None) != value:
            yield helper.set_variable(name, value)
