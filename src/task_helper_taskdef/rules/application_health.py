"""The helper knows where the application answers

Without APP_HEALTH_URL a task counts as in service once its Envoy is live, although its application may still be
starting. A deployment then continues too soon. A task that ECS stops in its first seconds is drained without need. An
essential application with its own `healthCheck` gates the deployment itself.

Passes:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "app"}, {"name": "task-helper",
      "environment": [{"name": "APP_HEALTH_URL", "value": "http://127.0.0.1:8080/health"}]}]}

Fails:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "app", "portMappings": [{"containerPort": 8080}]},
      {"name": "task-helper"}]}

    note $.containerDefinitions[2].environment
      The helper has no APP_HEALTH_URL and app has no healthCheck, so the deployment does not wait until app answers.
      Set APP_HEALTH_URL to an address that app answers with 2xx or 3xx, such as http://127.0.0.1:8080/health.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, note
from task_helper_taskdef.roles import Task, settings_of


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        settings = settings_of(helper)
        if settings is None or settings.app_health_url is not None:
            continue
        # if another container waits for it, that container gates it
        waited_for = {name for c in task.applications for name in task.definition.waits_for(c)}
        silent = [c for c in task.applications if c.essential and not c.health_check and c.name not in waited_for]
        for application in silent[:1]:
            ports = [port.container_port for port in application.port_mappings if port.container_port]
            yield note(
                f"{helper.place}.environment",
                f"The helper has no APP_HEALTH_URL and {application.name} has no healthCheck,"
                f" so the deployment does not wait until {application.name} answers.",
                f"Set APP_HEALTH_URL to an address that {application.name} answers with 2xx or 3xx,"
                f" such as http://127.0.0.1:{ports[0] if ports else 'PORT'}/health.",
                rests_on=[
                    *(f"{application.place}.{key}" for key in ("healthCheck", "essential", "image")),
                    *task.definition.unknown_order,
                ],
            )
