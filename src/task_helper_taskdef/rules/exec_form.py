"""The helper runs `run` without a shell

A shell that is the container's first process does not pass SIGTERM on. The helper never detects the stop, and ECS kills
both at the end of `stopTimeout`. With `exec` the helper replaces the shell. `dumb-init` and `tini -g` pass SIGTERM on
to both.

The image's own entry point and command run the helper directly. With another command the container does something else.
With another entry point alone it has no command. The image's entry point is already `task-helper`. So the command
`task-helper run` without an entry point becomes `task-helper task-helper run`, which the helper refuses.

Consul's Terraform module sets `consul-ecs app-entrypoint` at each container without its own entry point, if
`application_shutdown_delay_seconds` is set. That program delays SIGTERM by so many seconds
(hashicorp/terraform-aws-consul-ecs, modules/mesh-task).

Passes:

    {"containerDefinitions": [{"name": "task-helper", "command": ["run"]}]}

Passes:

    {"containerDefinitions": [{"name": "task-helper", "entryPoint": ["sh", "-c"], "command": ["exec task-helper run"]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "entryPoint": ["sh", "-c"], "command": ["task-helper run"]}]}

    error $.containerDefinitions[0].entryPoint
      A shell starts the helper and does not pass SIGTERM on, so the helper does not drain and ECS kills it.
      Remove entryPoint and command; the image runs the helper by itself.

Fails:

    {"containerDefinitions": [{"name": "task-helper",
      "entryPoint": ["/usr/bin/tini", "--"], "command": ["sh", "-c", "sleep 5; task-helper run"]}]}

    error $.containerDefinitions[0].command
      A shell starts the helper and does not pass SIGTERM on, so the helper does not drain and ECS kills it.
      Remove entryPoint and command; the image runs the helper by itself.

Fails:

    {"containerDefinitions": [{"name": "task-helper",
      "entryPoint": ["/consul/consul-ecs", "app-entrypoint", "-shutdown-delay", "20s"]}]}

    error $.containerDefinitions[0].entryPoint
      Consul's app-entrypoint replaces the helper's own entry point, and runs nothing or delays SIGTERM.
      Write "entryPoint": ["task-helper"], "command": ["run"], which the module does not change.

Fails:

    {"containerDefinitions": [{"name": "task-helper", "command": ["healthcheck"]}]}

    error $.containerDefinitions[0].command
      The container runs `task-helper healthcheck`, not `task-helper run`, so it drains nothing.
      Remove entryPoint and command; the image runs the helper by itself.

Fails:

    {"containerDefinitions": [{"name": "task-helper", "image": "example.com/ecs-task-helper:1",
      "command": ["task-helper", "run"]}]}

    error $.containerDefinitions[0].command
      The container runs `task-helper task-helper run`, as task-helper is the image's entry point. It exits at once.
      Write "command": ["run"], or remove it; the image runs the helper by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from task_helper_taskdef.definition import Container
from task_helper_taskdef.findings import Edit, Finding, error
from task_helper_taskdef.roles import HELPER_NAMES, Task, helper_subcommand

SHELLS = {"sh", "bash", "ash", "dash", "busybox"}
COMMANDS = {"healthcheck", "plan", "taskdef"}


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        entry = [PurePosixPath(word).name for word in helper.entry_point]
        other = other_command(helper)
        if entry[:2] == ["consul-ecs", "app-entrypoint"]:
            yield error(
                f"{helper.place}.entryPoint",
                "Consul's app-entrypoint replaces the helper's own entry point, and runs nothing or delays SIGTERM.",
                'Write "entryPoint": ["task-helper"], "command": ["run"], which the module does not change.',
                rests_on=[f"{helper.place}.entryPoint{i}" for i in ("", *_indices(helper, "entryPoint"))],
                fix=[Edit(f"{helper.place}.entryPoint", ["task-helper"]), Edit(f"{helper.place}.command", ["run"])],
            )
            continue
        if is_ours(helper) and not helper.entry_point and entry_point_twice(helper):
            whole = " ".join(["task-helper", *helper.command])
            yield error(
                f"{helper.place}.command",
                f"The container runs `{whole}`, as task-helper is the image's entry point. It exits at once.",
                'Write "command": ["run"], or remove it; the image runs the helper by itself.',
                rests_on=[
                    f"{helper.place}.{k}{i}" for k in ("entryPoint", "command") for i in ("", *_indices(helper, k))
                ]
                + [f"{helper.place}.image"],
                fix=[Edit(f"{helper.place}.command", ["run"])] if helper.command[1:] == ["run"] else [],
            )
            continue
        if (at := shell_at(helper)) is not None:
            key = "entryPoint" if at < len(entry) else "command"
            message = (
                "A shell starts the helper and does not pass SIGTERM on, so the helper does not drain and ECS kills it."
            )
        elif other is not None:
            key = "command" if helper.command else "entryPoint"
            runs = f"task-helper {other}".strip()
            message = f"The container runs `{runs}`, not `task-helper run`, so it drains nothing."
        else:
            continue
        yield error(
            f"{helper.place}.{key}",
            message,
            "Remove entryPoint and command; the image runs the helper by itself.",
            rests_on=[f"{helper.place}.{k}{i}" for k in ("entryPoint", "command") for i in ("", *_indices(helper, k))],
            fix=[
                Edit(f"{helper.place}.{k}", remove=True)
                for k, words in (("entryPoint", helper.entry_point), ("command", helper.command))
                if words
            ],
        )


def is_ours(helper: Container) -> bool:
    """Whether the image is the project's own, as far as its name shows it."""
    return helper.repository in HELPER_NAMES or not helper.image


def entry_point_twice(helper: Container) -> bool:
    """Whether its command begins with the program of the image's entry point."""
    return PurePosixPath(helper.command[0]).name == "task-helper" if helper.command else False


def shell_at(helper: Container) -> int | None:
    """Which word of entry point and command is a shell that does not pass signals on."""
    names = [PurePosixPath(word).name for word in helper.command_line]
    for i, name in enumerate(names):
        if name in SHELLS:
            forwards = "dumb-init" in names[:i] or ("tini" in names[:i] and "-g" in names[:i])
            replaced = re.search(r"\bexec\s+\S*task-helper\b", helper.command_line[-1])
            return None if forwards or replaced else i
    return None


def other_command(helper: Container) -> str | None:
    """The helper's command if it is another than `run`; None for `run`, and where it is unknown."""
    following = helper_subcommand(helper.command_line)
    if following is not None:
        return None if following == "run" else following
    if is_ours(helper) and not helper.entry_point and helper.command and helper.command[0] in COMMANDS:
        return helper.command[0]
    return None


def _indices(helper: Container, key: str) -> list[str]:
    return [f"[{i}]" for i in range(len(helper.entry_point if key == "entryPoint" else helper.command))]
