"""The helper drains every Envoy of the task

A helper calls one admin API, at its ENVOY_ADMIN_URL. A second Envoy keeps running with the other containers, but its
health checks still pass until ECS stops it. Downstreams send requests to it until then.

Passes:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}, {"name": "task-helper"}]}

Passes:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "inbound", "image": "envoyproxy/envoy:v1.36.2"}, {"name": "other", "image": "envoyproxy/envoy:v1.36.2"},
      {"name": "task-helper"}, {"name": "second", "image": "ecs-task-helper:1",
       "environment": [{"name": "ENVOY_ADMIN_URL", "value": "http://127.0.0.1:9902"}]}]}

Fails:

    {"networkMode": "awsvpc", "containerDefinitions": [
      {"name": "inbound", "image": "envoyproxy/envoy:v1.36.2"}, {"name": "other", "image": "envoyproxy/envoy:v1.36.2"},
      {"name": "task-helper"}]}

    warning $.containerDefinitions[1]
      There are 2 Envoys, inbound and other, but the helper drains only the one at http://127.0.0.1:9901.
      Remove the other Envoy, or give each Envoy its own helper with its ENVOY_ADMIN_URL.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, warning
from task_helper_taskdef.roles import Task, settings_of


def check(task: Task) -> Iterator[Finding]:
    settings = [settings_of(helper) for helper in task.helpers]
    addresses = {str(each.envoy_admin_url) for each in settings if each}
    if not settings or None in settings or len(task.envoys) <= len(addresses):
        return
    names = [envoy.name for envoy in task.envoys]
    yield warning(
        task.envoys[1].place,
        f"There are {len(names)} Envoys, {', '.join(names[:-1])} and {names[-1]},"
        f" but the helper drains only the one at {' and '.join(sorted(addresses))}.",
        "Remove the other Envoy, or give each Envoy its own helper with its ENVOY_ADMIN_URL.",
        rests_on=[f"{envoy.place}.{key}" for envoy in task.envoys for key in ("image", "name")],
    )
