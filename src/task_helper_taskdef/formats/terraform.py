"""The task definitions of what `terraform show -json` prints, of a plan or a state, in the spelling of the API.

https://developer.hashicorp.com/terraform/internals/json-format
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from task_helper_taskdef.formats import json_text
from task_helper_taskdef.formats.tree import NotATaskDefinition, Unknown

KIND: Final = "aws_ecs_task_definition"
_PLAIN: Final = {
    "family": "family",
    "network_mode": "networkMode",
    "requires_compatibilities": "requiresCompatibilities",
    "cpu": "cpu",
    "memory": "memory",
    "task_role_arn": "taskRoleArn",
    "execution_role_arn": "executionRoleArn",
}


def is_plan_or_state(value: Any) -> bool:
    """Whether `value` is a plan or a state as `terraform show -json` prints it."""
    return isinstance(value, dict) and "format_version" in value and ("planned_values" in value or "values" in value)


def definitions(shown_: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """The address, the place in `shown_` and the value of each task definition that is to be, or is, there."""
    after_unknown = {
        change.get("address"): change.get("change", {}).get("after_unknown") or {}
        for change in shown_.get("resource_changes", [])
    }
    key = "planned_values" if "planned_values" in shown_ else "values"
    for place, resource in _resources(shown_[key].get("root_module", {}), f"$.{key}.root_module"):
        if resource.get("type") == KIND and resource.get("mode", "managed") == "managed":
            values = resource.get("values") or {}
            unknown = after_unknown.get(resource.get("address"), {})
            yield resource.get("address", KIND), f"{place}.values", _definition(values, unknown, place)


def file_place(place: str) -> str:
    """A place within a task definition as Terraform's resource spells it, down to the text of the containers."""
    first, _, rest = place[1:].partition(".")
    if first.startswith("containerDefinitions"):
        return f".container_definitions{place[len('.containerDefinitions'):]}"
    snake = re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", first)
    return f".{snake}[0].{rest}" if rest and snake == "proxy_configuration" else f".{snake}"


def _resources(module: dict[str, Any], place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for i, resource in enumerate(module.get("resources", [])):
        yield f"{place}.resources[{i}]", resource
    for i, child in enumerate(module.get("child_modules", [])):
        yield from _resources(child, f"{place}.child_modules[{i}]")


def _definition(values: dict[str, Any], unknown: dict[str, Any], place: str) -> dict[str, Any]:
    definition: dict[str, Any] = {
        name: values[attribute] for attribute, name in _PLAIN.items() if values.get(attribute) is not None
    }
    for attribute, name in _PLAIN.items():
        if unknown.get(attribute) is True:
            definition[name] = Unknown(f"${{{attribute}}}")
    text = values.get("container_definitions")
    if text is None:
        definition["containerDefinitions"] = Unknown("${container_definitions}")
    else:
        try:
            definition["containerDefinitions"] = json_text.parse(str(text)).value
        except NotATaskDefinition as error:
            raise NotATaskDefinition(f"{place}.values.container_definitions: {error}") from None
    for proxy in values.get("proxy_configuration") or []:
        definition["proxyConfiguration"] = {
            "containerName": proxy.get("container_name"),
            "properties": [{"name": name, "value": item} for name, item in (proxy.get("properties") or {}).items()],
        }
    for platform in values.get("runtime_platform") or []:
        definition["runtimePlatform"] = {"operatingSystemFamily": platform.get("operating_system_family")}
    return definition
