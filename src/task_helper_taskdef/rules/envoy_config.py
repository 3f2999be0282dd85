"""An Envoy without a control plane answers health checks, makes them, and keeps the application's calls

The linter reads the configuration of an Envoy if all of it is in `--config-yaml`. The listener for downstreams needs
the HTTP filter
[`envoy.filters.http.health_check`](https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/health_check_filter).
Without the filter, health checks still pass during the drain. Clusters that name other services (`STRICT_DNS`) need
`health_checks`. DNS alone shows a stop only when it is over.

`/healthcheck/fail` also closes the connections of all listeners, including the application's own calls. Listeners with
`drain_type: MODIFY_ONLY` are not affected ([what Envoy needs](envoy.md)).

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "envoy", "command": ["--config-yaml", "\
static_resources: {listeners: [\
{name: in, traffic_direction: INBOUND, http_filters: [{name: envoy.filters.http.health_check}]}, \
{name: out, traffic_direction: OUTBOUND, drain_type: MODIFY_ONLY, http_filters: [], route: {cluster: orders}}], \
clusters: [{name: orders, type: STRICT_DNS, health_checks: [{interval: 5s}]}]}"]}]}

Passes:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "envoy", "command": ["--config-yaml", "\
{dynamic_resources: {}, static_resources: {clusters: [{name: control-plane, type: STRICT_DNS}]}}"]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper"}, {"name": "envoy", "command": ["--config-yaml", "\
static_resources: {listeners: [{name: in, traffic_direction: INBOUND, http_filters: []}, \
{name: out, traffic_direction: OUTBOUND, http_filters: [], route: {cluster: orders}}], \
clusters: [{name: orders, type: STRICT_DNS}]}"]}]}

    error $.containerDefinitions[1].command[1]
      No listener of envoy has the health_check filter, so health checks still pass during the drain.
      Put envoy.filters.http.health_check before the other http_filters of in.
    warning $.containerDefinitions[1].command[1]
      envoy does no health checks of orders, so it sends to draining tasks of orders until they have stopped.
      Give the cluster orders health_checks.
    warning $.containerDefinitions[1].command[1]
      The drain also closes the application's own connections at the listener out.
      Set drain_type: MODIFY_ONLY at this listener.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.definition import Container
from task_helper_taskdef.envoy_command import HEALTH_CHECK_FILTER, read_bootstrap
from task_helper_taskdef.findings import Finding, error, warning
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    if not task.helpers:
        return
    for envoy in task.envoys:
        yield from check_envoy(envoy)


def check_envoy(envoy: Container) -> Iterator[Finding]:
    configured = read_bootstrap(envoy.command_line)
    if configured is None or configured.dynamic:
        return
    place = where(envoy)
    inbound = [listener for listener in configured.listeners if listener.http and not listener.outbound]
    if inbound and not any(listener.health_check_filter for listener in configured.listeners):
        yield error(
            place,
            f"No listener of {envoy.name} has the health_check filter, so health checks still pass during the drain.",
            f"Put {HEALTH_CHECK_FILTER} before the other http_filters of {inbound[0].name or 'the listener'}.",
        )
    for cluster in configured.upstreams:
        if not cluster.checked:
            yield warning(
                place,
                f"{envoy.name} does no health checks of {cluster.name}, so it sends to draining tasks of {cluster.name}"
                " until they have stopped.",
                f"Give the cluster {cluster.name} health_checks.",
            )
    for listener in configured.listeners:
        if listener.outbound and listener.http and not listener.modify_only:
            yield warning(
                place,
                f"The drain also closes the application's own connections at the listener {listener.name}.",
                "Set drain_type: MODIFY_ONLY at this listener.",
            )


def where(envoy: Container) -> str:
    """The place of the word that contains the configuration."""
    for key, words in (("command", envoy.command), ("entryPoint", envoy.entry_point)):
        for i, word in enumerate(words):
            if word.startswith("--config-yaml="):
                return f"{envoy.place}.{key}[{i}]"
            if word == "--config-yaml" and i + 1 < len(words):
                return f"{envoy.place}.{key}[{i + 1}]"
    return f"{envoy.place}.command"
