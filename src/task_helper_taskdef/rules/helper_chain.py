"""Two helpers in a chain carry out one plan

ECS stops the first of two helpers, and the second when the first has exited. So the task keeps running for the sum of
two stopTimeouts ([long drains](long-drains.md)).

The second helper continues the plan of the first only if each one knows the other. HANDS_OVER_TO and TAKES_OVER_FROM
name the other container and its stopTimeout. With a wrong value the second helper starts the plan again from zero, or
ends early. Both helpers need the same times, because they carry out one plan.

It is unconfirmed whether Fargate grants the sum. Each helper alone still drains the task.

Passes:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "task-helper", "stopTimeout": 120,
       "dependsOn": [{"containerName": "second", "condition": "START"}],
       "environment": [{"name": "DRAIN_TIMEOUT", "value": "auto"}, {"name": "HANDS_OVER_TO", "value": "second:120"}]},
      {"name": "second", "image": "ecs-task-helper:1", "stopTimeout": 120,
       "environment": [{"name": "DRAIN_TIMEOUT", "value": "auto"},
         {"name": "TAKES_OVER_FROM", "value": "task-helper:120"}]}]}

Fails:

    {"requiresCompatibilities": ["FARGATE"], "containerDefinitions": [{"name": "envoy"},
      {"name": "task-helper", "stopTimeout": 120,
       "dependsOn": [{"containerName": "second", "condition": "START"}],
       "environment": [{"name": "DRAIN_TIMEOUT", "value": "100"}, {"name": "HANDS_OVER_TO", "value": "second:120"}]},
      {"name": "second", "image": "ecs-task-helper:1", "stopTimeout": 100,
       "environment": [{"name": "STOP_TIMEOUT", "value": "100"}]}]}

    note $.containerDefinitions[1].dependsOn
      task-helper and second keep the task running for 220 s in all. It is unconfirmed whether Fargate grants the sum.
      Stop one task and read the exit codes: if second exits with 137, Fargate does not grant it.
    error $.containerDefinitions[1].environment[1].value
      HANDS_OVER_TO is second:120, but the stopTimeout of second is 100 s, and the plan counts with it.
      Set HANDS_OVER_TO to second:100.
    error $.containerDefinitions[2].environment
      ECS stops second after task-helper, but second has no TAKES_OVER_FROM, so it starts the plan from zero.
      Set TAKES_OVER_FROM to task-helper:120.
    warning $.containerDefinitions[2].environment
      DRAIN_TIMEOUT is 40 in second and 100 in task-helper, but the two carry out one plan.
      Give both the same DRAIN_DELAY, DRAIN_TIMEOUT, HEALTH_CHECK_INTERVAL and DISCOVERY_LAG.

Fails:

    {"containerDefinitions": [{"name": "envoy"},
      {"name": "task-helper", "environment": [{"name": "HANDS_OVER_TO", "value": "second:120"}]},
      {"name": "second", "image": "ecs-task-helper:1",
       "environment": [{"name": "TAKES_OVER_FROM", "value": "task-helper:120"}]}]}

    error $.containerDefinitions[1].environment[0].value
      HANDS_OVER_TO names second, but task-helper does not depend on it, so ECS does not stop one after the other.
      Add {"containerName": "second", "condition": "START"} to the dependsOn of task-helper.
    error $.containerDefinitions[2].environment[0].value
      TAKES_OVER_FROM names task-helper, which does not depend on second, so ECS does not stop one after the other.
      Add {"containerName": "second", "condition": "START"} to the dependsOn of task-helper.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from task_helper.plan import OtherHelper
from task_helper.settings import Settings
from task_helper_taskdef.definition import Container
from task_helper_taskdef.findings import Finding, error, note, warning
from task_helper_taskdef.roles import Task, chain_of, settings_of

# the settings that must be the same at both helpers
OF_THE_PLAN: Final = ("DRAIN_DELAY", "DRAIN_TIMEOUT", "HEALTH_CHECK_INTERVAL", "DISCOVERY_LAG")


class Link(NamedTuple):
    """The variable of one helper of a chain that names the other helper."""

    helper: Container
    variable: str
    value: OtherHelper | None
    other: Container
    consequence: str


def check(task: Task) -> Iterator[Finding]:
    chain = chain_of(task)
    for helper in task.helpers:
        if (settings := settings_of(helper)) and helper not in (chain or ()):
            yield from _without_order(task, helper, settings)
    if chain is None:
        return
    first, second = chain
    one, other = settings_of(first), settings_of(second)
    if one is None or other is None:
        return
    order = [*task.definition.unknown_order, f"{first.place}.stopTimeout", f"{second.place}.stopTimeout"]
    if task.definition.fargate:
        yield note(
            f"{first.place}.dependsOn",
            f"{first.name} and {second.name} keep the task running for {first.stop_seconds + second.stop_seconds} s"
            " in all. It is unconfirmed whether Fargate grants the sum.",
            f"Stop one task and read the exit codes: if {second.name} exits with 137, Fargate does not grant it.",
            rests_on=order,
        )
    before = (
        f"ECS stops {second.name} after {first.name}, but {second.name} has no TAKES_OVER_FROM,"
        " so it starts the plan from zero."
    )
    after = (
        f"ECS stops {first.name} before {second.name}, but {first.name} has no HANDS_OVER_TO,"
        " so it does not hand the drain over."
    )
    for link in (
        Link(first, "HANDS_OVER_TO", one.plan.hands_over_to, second, after),
        Link(second, "TAKES_OVER_FROM", other.plan.takes_over_from, first, before),
    ):
        yield from _wrong_link(link, order)
    for name in OF_THE_PLAN:
        mine, theirs = getattr(other.plan, name.lower()), getattr(one.plan, name.lower())
        if mine != theirs:
            yield warning(
                second.variable_place(name),
                f"{name} is {_plain(mine)} in {second.name} and {_plain(theirs)} in {first.name},"
                " but the two carry out one plan.",
                f"Give both the same {', '.join(OF_THE_PLAN[:-1])} and {OF_THE_PLAN[-1]}.",
                rests_on=order,
            )


def _wrong_link(link: Link, order: list[str]) -> Iterator[Finding]:
    right = OtherHelper(link.other.name, float(link.other.stop_seconds))
    if link.value == right:
        return
    message = link.consequence
    if link.value and link.value.name == right.name:
        message = (
            f"{link.variable} is {link.value}, but the stopTimeout of {right.name} is {right.stop_timeout:g} s,"
            " and the plan counts with it."
        )
    elif link.value:
        message = f"{link.variable} is {link.value}, but {right.name} is the other helper of the chain."
    yield error(
        link.helper.variable_place(link.variable),
        message,
        f"Set {link.variable} to {right}.",
        rests_on=order,
        fix=[link.helper.set_variable(link.variable, str(right))],
    )


def _without_order(task: Task, helper: Container, settings: Settings) -> Iterator[Finding]:
    """The variables of a helper that name another helper, which ECS does not stop before or after it."""
    by_itself = "so ECS does not stop one after the other."
    if second := settings.plan.hands_over_to:
        yield error(
            helper.variable_place("HANDS_OVER_TO"),
            f"HANDS_OVER_TO names {second.name}, but {helper.name} does not depend on it, {by_itself}",
            f'Add {{"containerName": "{second.name}", "condition": "START"}} to the dependsOn of {helper.name}.',
            rests_on=task.definition.unknown_order,
        )
    if first := settings.plan.takes_over_from:
        yield error(
            helper.variable_place("TAKES_OVER_FROM"),
            f"TAKES_OVER_FROM names {first.name}, which does not depend on {helper.name}, {by_itself}",
            f'Add {{"containerName": "{helper.name}", "condition": "START"}} to the dependsOn of {first.name}.',
            rests_on=task.definition.unknown_order,
        )


def _plain(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"
