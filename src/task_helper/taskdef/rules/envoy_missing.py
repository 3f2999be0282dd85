"""One container is Envoy

The helper does its work through Envoy's admin API. Where there is no Envoy it waits for one, the task never comes into
service, and a deployment waits with it.

A container counts as Envoy if `proxyConfiguration` names it, else if its image has `envoy` in its name or is one of
Consul's or Kuma's data planes, else if its own name has `envoy` in it; `--envoy NAME` names any other.

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "proxy", "image": "envoyproxy/envoy:v1.36.2"}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "app"}]}

    error $.containerDefinitions
      No container is an Envoy, and without one the helper never reports the task as in service.
      Put Envoy into the task, or name it with --envoy if it goes by another name.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper.taskdef.problem import Finding, error
from task_helper.taskdef.task import Task


def check(task: Task) -> Iterator[Finding]:
    if not task.envoys:
        yield error(
            f"{task.definition.place}.containerDefinitions",
            "No container is an Envoy, and without one the helper never reports the task as in service.",
            "Put Envoy into the task, or name it with --envoy if it goes by another name.",
        )
