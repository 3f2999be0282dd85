"""The rules, in the order in which their findings are shown and the page has them: first what breaks every stop.

Each is a module with `check(task)`, which yields findings. Its docstring is its page: a title, what it wants and why,
with the source, then examples that pass and fail; the tests feed these to the rule and compare all that it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Final

from task_helper.taskdef.problem import Problem
from task_helper.taskdef.rules import (
    admin_address,
    auto_egress,
    auto_permissions,
    depends_on_cycle,
    depends_on_helper,
    depends_on_condition,
    envoy_missing,
    envoy_stop_timeout,
    essential,
    exec_form,
    health_check,
    health_check_cycle,
    helper_missing,
    holds_all,
    log_driver,
    memory,
    metadata_address,
    misspelt_variable,
    restart_policy,
    root_user,
    settings,
    spot_budget,
    stop_timeout,
    stop_timeout_variable,
    tcp_health_check,
)
from task_helper.taskdef.task import Task

RULES: Final[dict[str, ModuleType]] = {
    "helper-missing": helper_missing,
    "envoy-missing": envoy_missing,
    "holds-all": holds_all,
    "depends-on-helper": depends_on_helper,
    "depends-on-condition": depends_on_condition,
    "depends-on-cycle": depends_on_cycle,
    "stop-timeout": stop_timeout,
    "stop-timeout-variable": stop_timeout_variable,
    "settings": settings,
    "misspelt-variable": misspelt_variable,
    "admin-address": admin_address,
    "exec-form": exec_form,
    "health-check": health_check,
    "essential": essential,
    "restart-policy": restart_policy,
    "memory": memory,
    "envoy-stop-timeout": envoy_stop_timeout,
    "spot-budget": spot_budget,
    "health-check-cycle": health_check_cycle,
    "tcp-health-check": tcp_health_check,
    "metadata-address": metadata_address,
    "auto-egress": auto_egress,
    "auto-permissions": auto_permissions,
    "root-user": root_user,
    "log-driver": log_driver,
}


def check(task: Task) -> Iterator[Problem]:
    """Everything that the rules find in `task`."""
    for name, rule in RULES.items():
        for finding in rule.check(task):
            yield Problem(name, *finding)
