"""Downstreams notice the drain within DRAIN_TIMEOUT (with --virtual-node)

Downstream Envoys detect the drain by their [health
checks](https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/health_checking). If Envoy's
`health_check` filter answers, one failed check is enough: unlike a refused connection, a failed answer does not wait
for the threshold. So DRAIN_TIMEOUT must be at least the interval and the timeout of one check. If the checks reach the
application instead, the threshold counts: interval × unhealthyThreshold.

Without a health check at the virtual node, downstreams do not detect the drain. Clients of a virtual gateway are not
Envoys of the mesh, and their checks have other rules.

Passes:

    {"containerDefinitions": [{"name": "task-helper"}]}

    {"spec": {"listeners": [{"healthCheck": {"protocol": "http", "path": "/health", "intervalMillis": 10000,
      "timeoutMillis": 2000, "healthyThreshold": 2, "unhealthyThreshold": 2}}]}}

Passes:

    {"containerDefinitions": [{"name": "task-helper"}]}

    {"virtualGateway": {"spec": {"listeners": [{}]}}}

Fails:

    {"containerDefinitions": [{"name": "task-helper"}]}

    {"spec": {"listeners": [
      {"healthCheck": {"protocol": "http", "intervalMillis": 60000, "timeoutMillis": 5000, "unhealthyThreshold": 2}},
      {"healthCheck": {"protocol": "grpc", "intervalMillis": 30000, "timeoutMillis": 5000, "unhealthyThreshold": 3}},
      {}]}}

    error virtual node $.spec.listeners[0].healthCheck
      Downstreams may need 65 s to notice the drain, but the helper waits only 40 s (DRAIN_TIMEOUT) after its start.
      Set DRAIN_TIMEOUT to 65 or more, or lower intervalMillis.
    warning virtual node $.spec.listeners[1].healthCheck
      A downstream that needs all 3 failed checks notices after 90 s, but the helper waits only 40 s (DRAIN_TIMEOUT).
      Lower intervalMillis or unhealthyThreshold, or raise DRAIN_TIMEOUT.
    warning virtual node $.spec.listeners[2]
      The listener has no healthCheck, so downstreams do not notice that the task drains.
      Add a healthCheck to the listener.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper.plan import Seconds
from task_helper_taskdef.definition import HealthCheckPolicy
from task_helper_taskdef.findings import Finding, error, warning
from task_helper_taskdef.roles import Task, settings_of


def check(task: Task) -> Iterator[Finding]:
    for settings in map(settings_of, task.helpers):
        if settings is None or task.virtual_node is None or task.virtual_node.gateway:
            continue
        waits = settings.plan.shortest_drain
        variable = "HEALTH_CHECK_INTERVAL" if settings.plan.drain_timeout == "auto" else "DRAIN_TIMEOUT"
        for i, listener in enumerate(task.virtual_node.listeners):
            place = f"virtual node {task.virtual_node.place}.listeners[{i}]"
            if listener.health_check is None:
                yield warning(
                    place,
                    "The listener has no healthCheck, so downstreams do not notice that the task drains.",
                    "Add a healthCheck to the listener.",
                )
            else:
                yield from check_policy(listener.health_check, waits, variable, f"{place}.healthCheck")


def check_policy(policy: HealthCheckPolicy, waits: Seconds, variable: str, place: str) -> Iterator[Finding]:
    one = (policy.interval_millis + policy.timeout_millis) / 1000
    all_of_them = policy.interval_millis * policy.unhealthy_threshold / 1000
    if one > waits:
        yield error(
            place,
            f"Downstreams may need {one:g} s to notice the drain, but the helper waits only {waits:g} s"
            f" ({variable}) after its start.",
            f"Set {variable} to {one:g} or more, or lower intervalMillis.",
        )
    elif all_of_them > waits:
        yield warning(
            place,
            f"A downstream that needs all {policy.unhealthy_threshold} failed checks notices after"
            f" {all_of_them:g} s, but the helper waits only {waits:g} s ({variable}).",
            f"Lower intervalMillis or unhealthyThreshold, or raise {variable}.",
        )
