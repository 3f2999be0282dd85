"""One container is the task helper

Without the helper, ECS stops Envoy and the application while downstreams still send requests. Every stop then loses the
requests in flight, and those that arrive until the downstreams have noticed. ECS has no hook before a stop
(aws/containers-roadmap#952). A container that ECS stops first takes its place. A task without an Envoy needs no helper,
and a task on Windows cannot have one.

The linter takes a container for the helper if its name or image is `ecs-task-helper` or `task-helper`. A container
that runs `task-helper`, itself or as its health check, counts too. `--helper NAME` names any other container.

Passes:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "drain", "image": "registry.example/ecs-task-helper:1"}]}

Passes:

    {"containerDefinitions": [{"name": "app"}]}

Passes:

    {"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"},
     "containerDefinitions": [{"name": "envoy"}]}

Fails:

    {"containerDefinitions": [{"name": "envoy"}, {"name": "app"}]}

    error $.containerDefinitions
      No container is the task helper, so ECS stops Envoy and the application at once, with requests in flight.
      Add it with `task-helper taskdef add`, or name it with --helper if it has another name.

Fails:

    {"containerDefinitions": [{"name": "gateway", "image": "envoyproxy/envoy:v1.36.2"}]}

    error $.containerDefinitions
      No container is the task helper, so ECS stops gateway at once, with requests in flight.
      Add it with `task-helper taskdef add`, or name it with --helper if it has another name.

Fails:

    {"containerDefinitions": [{"name": "envoy"},
      {"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]}]}

    error $.containerDefinitions
      No container is the task helper, so ECS stops app at once and then envoy, while downstreams still send.
      Add it with `task-helper taskdef add`, or name it with --helper if it has another name.
"""

from __future__ import annotations

from collections.abc import Iterator

from task_helper_taskdef.definition import Container
from task_helper_taskdef.findings import Finding, error
from task_helper_taskdef.roles import Task


def check(task: Task) -> Iterator[Finding]:
    # the helper does not run on Windows
    if task.helpers or not task.envoys or task.definition.windows:
        return
    if any(may_be_helper(task, c) for c in task.definition.container_definitions):
        return
    envoy = task.envoys[0]
    before = task.definition.stopped_before(envoy)
    first = [c.name for c in task.kept_running if c.name in before]
    if first:
        stops = f"ECS stops {' and '.join(first)} at once and then {envoy.name}, while downstreams still send."
    else:
        # a gateway's Envoy has no application beside it
        both = "Envoy and the application" if task.applications else envoy.name
        stops = f"ECS stops {both} at once, with requests in flight."
    yield error(
        f"{task.definition.place}.containerDefinitions",
        f"No container is the task helper, so {stops}",
        "Add it with `task-helper taskdef add`, or name it with --helper if it has another name.",
        rests_on=[
            f"{task.definition.place}.runtimePlatform.operatingSystemFamily",
            *(place for place in task.definition.unknown_containers if place.endswith("]")),
        ],
    )


def may_be_helper(task: Task, container: Container) -> bool:
    """Whether this may be the helper in the filled-in template: it serves no port, and no container waits for it."""
    definition = task.definition
    return (
        any(f"{container.place}.{key}" in container.unknown for key in ("image", "name", "entryPoint"))
        and not container.port_mappings
        and bool(definition.waits_for(container))
        and not any(container.name in definition.waits_for(other) for other in definition.container_definitions)
        and (container.stop_timeout is not None or f"{container.place}.stopTimeout" in container.unknown)
    )
