"""The helper's image is pinned

A tag that moves, such as `latest`, `main` or `stable`, changes the helper of a service's tasks without a decision. Two
tasks of one deployment may run different helpers, and a rollback does not bring the old helper back. ECS refuses a
container without an image. The images of other containers may be filled in by a pipeline.

Passes:

    {"containerDefinitions": [{"name": "task-helper", "image": "registry.example/ecs-task-helper:1.2.3"}]}

Fails:

    {"containerDefinitions": [{"name": "task-helper", "image": "registry.example:5000/ecs-task-helper"}]}

    warning $.containerDefinitions[0].image
      The helper's image has the tag latest, so the helper of this service's tasks may change any day.
      Name the version, such as :1.2.3, or the digest.

Fails:

    {"containerDefinitions": [{"name": "task-helper", "image": "registry.example/ecs-task-helper:main"}]}

    warning $.containerDefinitions[0].image
      The helper's image has the tag main, so the helper of this service's tasks may change any day.
      Name the version, such as :1.2.3, or the digest.

Fails:

    {"containerDefinitions": [{"name": "task-helper", "image": ""}]}

    error $.containerDefinitions[0].image
      The helper has no image, so ECS refuses the task definition.
      Name the image with its version or digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from task_helper_taskdef.findings import Finding, error, warning
from task_helper_taskdef.roles import Task

# names of branches, stages and channels: each push moves these tags
MOVING: Final = {
    *("latest", "main", "master", "trunk", "head", "develop", "development", "dev", "edge", "nightly", "snapshot"),
    *("stable", "release", "current", "prod", "production", "staging", "test", "rolling"),
}


def check(task: Task) -> Iterator[Finding]:
    for helper in task.helpers:
        tag = helper.image.rpartition("/")[2].partition(":")[2]
        if not helper.image.strip():
            yield error(
                f"{helper.place}.image",
                "The helper has no image, so ECS refuses the task definition.",
                "Name the image with its version or digest.",
            )
        elif "@" not in helper.image and (not tag or tag.lower() in MOVING):
            yield warning(
                f"{helper.place}.image",
                f"The helper's image has the tag {tag or 'latest'}, so the helper of this service's tasks may"
                " change any day.",
                "Name the version, such as :1.2.3, or the digest.",
            )
