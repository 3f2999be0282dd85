"""The rules, in the order in which their findings are shown and the page has them: first what breaks every stop.

Each is a module with `check(task)`, which yields findings. Its docstring is its page: a title, what it wants and why,
with the source, then examples that pass and fail; the tests feed these to the rule and compare all that it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Final

from task_helper_taskdef.definition import Definition
from task_helper_taskdef.findings import Finding, Problem
from task_helper_taskdef.roles import Task
from task_helper_taskdef.rules import (
    admin_address,
    application_health,
    application_order,
    auto_egress,
    auto_permissions,
    container_limit,
    containers_unknown,
    depends_on_condition,
    depends_on_cycle,
    depends_on_helper,
    depends_on_possible,
    drain_time,
    duplicate_key,
    envoy_config,
    envoy_missing,
    envoy_stop_timeout,
    essential,
    exec_form,
    health_check,
    health_check_cycle,
    helper_chain,
    helper_missing,
    holds_all,
    holds_discovery,
    image,
    log_driver,
    memory,
    mesh_settings,
    metadata_address,
    misspelt_key,
    misspelt_variable,
    one_envoy,
    one_helper,
    restart_policy,
    root_user,
    settings,
    shutdown_delay,
    spot_budget,
    stop_timeout,
    stop_timeout_variable,
    tcp_health_check,
    windows,
)

RULES: Final[dict[str, ModuleType]] = {
    "containers-unknown": containers_unknown,
    "duplicate-key": duplicate_key,
    "misspelt-key": misspelt_key,
    "helper-missing": helper_missing,
    "envoy-missing": envoy_missing,
    "one-envoy": one_envoy,
    "one-helper": one_helper,
    "helper-chain": helper_chain,
    "holds-all": holds_all,
    "holds-discovery": holds_discovery,
    "depends-on-helper": depends_on_helper,
    "depends-on-condition": depends_on_condition,
    "depends-on-possible": depends_on_possible,
    "depends-on-cycle": depends_on_cycle,
    "application-order": application_order,
    "stop-timeout": stop_timeout,
    "stop-timeout-variable": stop_timeout_variable,
    "settings": settings,
    "misspelt-variable": misspelt_variable,
    "admin-address": admin_address,
    "envoy-config": envoy_config,
    "exec-form": exec_form,
    "image": image,
    "health-check": health_check,
    "application-health": application_health,
    "essential": essential,
    "restart-policy": restart_policy,
    "memory": memory,
    "container-limit": container_limit,
    "windows": windows,
    "envoy-stop-timeout": envoy_stop_timeout,
    "shutdown-delay": shutdown_delay,
    "spot-budget": spot_budget,
    "health-check-cycle": health_check_cycle,
    "tcp-health-check": tcp_health_check,
    "drain-time": drain_time,
    "mesh-settings": mesh_settings,
    "metadata-address": metadata_address,
    "auto-egress": auto_egress,
    "auto-permissions": auto_permissions,
    "root-user": root_user,
    "log-driver": log_driver,
}


def check(task: Task) -> Iterator[Problem]:
    """Everything that the rules find in `task`, but for what rests on what a template leaves open."""
    for name, rule in RULES.items():
        for finding in rule.check(task):
            # that it is open is what this rule says
            if is_known(task.definition, finding) or rule is containers_unknown:
                yield Problem(name, finding.severity, finding.place, finding.message, finding.remedy, finding.fix)


def is_known(definition: Definition, finding: Finding) -> bool:
    """Whether all that `finding` rests on is known: what is open never makes a finding by itself."""
    return all(map(definition.is_known, (finding.place, *finding.rests_on)))
