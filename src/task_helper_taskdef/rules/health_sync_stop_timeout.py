"""The helper knows when ECS kills the container that deregisters the task

In Consul's tasks on ECS, `consul-ecs-health-sync` marks the task critical once, at its own SIGTERM. It deregisters the
task when Envoy has stopped (hashicorp/consul-ecs, subcommand/health-sync). If the Consul server does not answer the
first call, downstreams stop sending only at the deregistration. ECS kills health-sync at the end of its `stopTimeout`,
30 s by default. A health-sync that was killed deregisters nothing.

So the helper exits 15 s before that if downstreams still send. HEALTH_SYNC_STOP_TIMEOUT has to be the `stopTimeout` of
health-sync. With a larger number the helper exits too late, with a smaller one too early. A longer `stopTimeout` gives
Consul's servers more time to come back. `add` sets it to the helper's own `stopTimeout`. HashiCorp's Terraform module
has no variable for it.

Passes:

    {"containerDefinitions": [
      {"name": "consul-ecs-health-sync", "image": "hashicorp/consul-ecs:0.10.0", "command": ["health-sync"],
       "stopTimeout": 120},
      {"name": "task-helper", "environment": [{"name": "HEALTH_SYNC_STOP_TIMEOUT", "value": "120"}]}]}

Fails:

    {"containerDefinitions": [
      {"name": "consul-ecs-health-sync", "image": "hashicorp/consul-ecs:0.10.0", "command": ["health-sync"]},
      {"name": "task-helper", "environment": [{"name": "HEALTH_SYNC_STOP_TIMEOUT", "value": "120"}]}]}

    error $.containerDefinitions[1].environment[0].value
      ECS kills consul-ecs-health-sync after 30 s, but the helper counts with 120 s and exits too late.
      Set HEALTH_SYNC_STOP_TIMEOUT to 30, or the stopTimeout of consul-ecs-health-sync to 120.

Fails:

    {"containerDefinitions": [
      {"name": "consul-ecs-health-sync", "image": "hashicorp/consul-ecs:0.10.0", "command": ["health-sync"],
       "stopTimeout": 90},
      {"name": "task-helper"}]}

    note $.containerDefinitions[1].environment
      ECS kills consul-ecs-health-sync after 90 s, but the helper counts with 30 s and exits too early.
      Set HEALTH_SYNC_STOP_TIMEOUT to 90.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from task_helper_taskdef.findings import Finding, error, note
from task_helper_taskdef.roles import Task, deregisters_task, settings_of

VARIABLE: Final = "HEALTH_SYNC_STOP_TIMEOUT"


def check(task: Task) -> Iterator[Finding]:
    for container in filter(deregisters_task, task.definition.container_definitions):
        for helper in task.helpers:
            settings = settings_of(helper)
            if settings is None:
                continue
            taken_for, seconds = settings.plan.health_sync_stop_timeout, container.stop_seconds
            place, rests_on = helper.variable_place(VARIABLE), [f"{container.place}.stopTimeout"]
            killed = f"ECS kills {container.name} after {seconds} s, but the helper counts with {taken_for:g} s"
            if taken_for > seconds:
                yield error(
                    place,
                    f"{killed} and exits too late.",
                    f"Set {VARIABLE} to {seconds}, or the stopTimeout of {container.name} to {taken_for:g}.",
                    rests_on,
                    fix=[helper.set_variable(VARIABLE, str(seconds))],
                )
            elif taken_for < seconds:
                yield note(place, f"{killed} and exits too early.", f"Set {VARIABLE} to {seconds}.", rests_on)
