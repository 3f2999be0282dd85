"""Downstreams' health checks can fail (with --virtual-node)

A TCP check passes while Envoy's listener is open, and `/healthcheck/fail` leaves it open. Downstreams keep sending
until Envoy has stopped. DRAIN_LISTENERS=true closes the listeners once the drain is confirmed, and then a TCP check
fails too.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "environment": [{"name": "DRAIN_LISTENERS", "value": "true"}]}]}

    {"spec": {"listeners": [{"healthCheck": {"protocol": "tcp", "intervalMillis": 5000, "timeoutMillis": 2000,
      "unhealthyThreshold": 2}}]}}

Fails:

    {"containerDefinitions": [{"name": "task-helper"}]}

    {"spec": {"listeners": [{"healthCheck": {"protocol": "tcp", "intervalMillis": 5000, "timeoutMillis": 2000,
      "unhealthyThreshold": 2}}]}}

    error virtual node $.spec.listeners[0].healthCheck.protocol
      Downstreams check with TCP, which still passes while Envoy drains, so they send until Envoy has stopped.
      Check with http, http2 or grpc; for a listener without HTTP set DRAIN_LISTENERS to true at the helper.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.findings import Finding, error
from task_helper_taskdef.roles import Task, settings_of


def check(task: Task) -> Iterator[Finding]:
    for settings in map(settings_of, task.helpers):
        if settings is None or settings.drain_listeners is True or task.virtual_node is None:
            continue
        for i, listener in enumerate(task.virtual_node.listeners):
            if listener.health_check and listener.health_check.protocol.lower() == "tcp":
                yield error(
                    f"virtual node {task.virtual_node.place}.listeners[{i}].healthCheck.protocol",
                    "Downstreams check with TCP, which still passes while Envoy drains,"
                    " so they send until Envoy has stopped.",
                    "Check with http, http2 or grpc; for a listener without HTTP set DRAIN_LISTENERS to true"
                    " at the helper.",
                )
