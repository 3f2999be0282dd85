"""The helper runs without a shell before it

A shell that is the container's first process does not hand SIGTERM on: the helper never learns of the stop, and ECS
kills both when `stopTimeout` has run out. The image's own entry point runs the helper directly.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "command": ["run"]}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "entryPoint": ["sh", "-c"], "command": ["task-helper run"]}]}

    error $.containerDefinitions[0].entryPoint
      A shell starts the helper and keeps SIGTERM to itself, so the helper does not drain and is killed.
      Remove entryPoint and command; the image runs the helper by itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from task_helper.taskdef.problem import Finding, error
from task_helper.taskdef.task import Task

SHELLS = {"sh", "bash", "ash", "dash"}


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        for key, words in ("entryPoint", helper.entry_point), ("command", helper.command):
            if words and PurePosixPath(words[0]).name in SHELLS:
                yield error(
                    f"{helper.place}.{key}",
                    "A shell starts the helper and keeps SIGTERM to itself,"
                    " so the helper does not drain and is killed.",
                    "Remove entryPoint and command; the image runs the helper by itself.",
                )
