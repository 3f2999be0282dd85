"""With `auto`, the helper's calls to AWS bypass Envoy

With DRAIN_DELAY=auto the helper calls ECS and Cloud Map about the replacement. With a `proxyConfiguration` these calls
pass through Envoy, which drains at that moment and may not know the destination. They bypass Envoy if the helper runs
as the ignored user or group. If the calls fail, the helper waits for DISCOVERY_LAG, a fixed time.

Passes:

    {"proxyConfiguration": {"containerName": "envoy", "properties": [{"name": "IgnoredUID", "value": "1337"}]},
     "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper", "user": "1337",
       "environment": [{"name": "DRAIN_DELAY", "value": "auto"}]}]}

Fails:

    {"proxyConfiguration": {"containerName": "envoy", "properties": [{"name": "IgnoredUID", "value": "1337"}]},
     "containerDefinitions": [{"name": "envoy"}, {"name": "task-helper",
       "environment": [{"name": "DRAIN_DELAY", "value": "auto"}]}]}

    warning $.containerDefinitions[1].user
      DRAIN_DELAY is auto, but the helper's calls to ECS pass through Envoy. If they fail, it waits for DISCOVERY_LAG.
      Write "user": "1337", which the proxyConfiguration ignores.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.definition import Container, ProxyConfiguration
from task_helper_taskdef.findings import Edit, Finding, warning
from task_helper_taskdef.roles import Task, waits_for_replacement


def check(task: Task) -> Iterator[Finding]:
    proxy = task.definition.proxy_configuration
    for helper in task.helpers:
        if proxy and waits_for_replacement(helper) and not bypasses_envoy(helper, proxy):
            user = ignored_user(proxy)
            yield warning(
                f"{helper.place}.user",
                "DRAIN_DELAY is auto, but the helper's calls to ECS pass through Envoy."
                " If they fail, it waits for DISCOVERY_LAG.",
                (
                    f'Write "user": "{user}", which the proxyConfiguration ignores.'
                    if user
                    else "Set IgnoredUID or IgnoredGID in the proxyConfiguration, and run the helper as that user."
                ),
                rests_on=[f"{task.definition.place}.proxyConfiguration", *ignored_places(proxy)],
                fix=[Edit(f"{helper.place}.user", user)] if user else [],
            )


def ignored_places(proxy: ProxyConfiguration) -> list[str]:
    """The places in the proxyConfiguration of the user and group whose connections ECS does not redirect."""
    return [f"{pair.place}.value" for pair in proxy.properties if pair.name in ("IgnoredUID", "IgnoredGID")]


def ignored_user(proxy: ProxyConfiguration) -> str:
    """The `user` whose connections are not redirected; empty where there is none."""
    uid, gid = proxy.values.get("IgnoredUID", ""), proxy.values.get("IgnoredGID", "")
    return uid or (f"{UNPRIVILEGED_USER}:{gid}" if gid else "")


# a user that images and instances rarely have; any user works, because the helper owns no files
UNPRIVILEGED_USER = "65532"


def bypasses_envoy(helper: Container, proxy: ProxyConfiguration) -> bool:
    uid, _, gid = helper.user.partition(":")
    ignored = proxy.values
    return bool((uid and uid == ignored.get("IgnoredUID")) or (gid and gid == ignored.get("IgnoredGID")))
