"""The application does not wait again after the helper's drain

Consul's Terraform module has its own delay, `application_shutdown_delay_seconds`. `consul-ecs app-entrypoint` withholds
SIGTERM from the application for that time (hashicorp/consul-ecs, subcommand/app-entrypoint). With the helper, no
requests arrive any more when ECS stops the application. So the delay only makes every stop longer. If the delay is as
long as the application's `stopTimeout`, 30 s by default, ECS kills the application.

Passes:

    {"containerDefinitions": [{"name": "consul-dataplane"}, {"name": "task-helper"},
      {"name": "app", "entryPoint": ["/app"]}]}

Fails:

    {"containerDefinitions": [{"name": "consul-dataplane"}, {"name": "task-helper"},
      {"name": "app", "entryPoint": ["/consul/consul-ecs", "app-entrypoint", "-shutdown-delay", "20s"]},
      {"name": "worker", "entryPoint": ["/consul/consul-ecs", "app-entrypoint", "-shutdown-delay=1m0s"]}]}

    note $.containerDefinitions[2].entryPoint
      app waits another 20 s after the helper's drain, which makes each stop 20 s longer.
      Remove application_shutdown_delay_seconds from the module's call.
    warning $.containerDefinitions[3].entryPoint
      worker waits 60 s when ECS stops it, but ECS kills it after 30 s.
      Remove application_shutdown_delay_seconds from the module's call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from task_helper_taskdef.definition import Container
from task_helper_taskdef.findings import Finding, note, warning
from task_helper_taskdef.roles import Task, identifying_places


def check(task: Task) -> Iterator[Finding]:
    for application in task.applications if task.helpers else []:
        delay = delay_of(application)
        place, remedy = (
            f"{application.place}.entryPoint",
            "Remove application_shutdown_delay_seconds from the module's call.",
        )
        rests_on = identifying_places(application)
        if delay >= application.stop_seconds:
            late = f"{application.name} waits {delay} s when ECS stops it"
            yield warning(place, f"{late}, but ECS kills it after {application.stop_seconds} s.", remedy, rests_on)
        elif delay:
            yield note(
                place,
                f"{application.name} waits another {delay} s after the helper's drain,"
                f" which makes each stop {delay} s longer.",
                remedy,
                rests_on,
            )


def delay_of(application: Container) -> int:
    """Seconds for which Consul's entry point withholds SIGTERM; 0 without it."""
    match = re.search(
        r"\bapp-entrypoint .*?-shutdown-delay[= ](?:(\d{1,5})m)?(?:(\d{1,5})s)?", " ".join(application.command_line)
    )
    return 60 * int(match[1] or 0) + int(match[2] or 0) if match else 0
