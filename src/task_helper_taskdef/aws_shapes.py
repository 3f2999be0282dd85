"""What the API takes and prints of task definitions: the description of ECS that botocore brings with it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final

# what describe-task-definition prints beside the definition, and some save with it
_BESIDE: Final = {"tags", "$schema"}


@cache
def _shapes() -> dict[str, Any]:
    # read as a file: the whole of botocore takes ten times as long to import
    (description,) = sorted(files("botocore").joinpath("data/ecs").iterdir(), key=lambda path: path.name)[-1:]
    text = gzip.decompress(description.joinpath("service-2.json.gz").read_bytes())
    shapes: dict[str, Any] = json.loads(text)["shapes"]
    return shapes


def registrable(key: str) -> bool:
    """Whether register-task-definition takes this key of a task definition."""
    return key in _shapes()["RegisterTaskDefinitionRequest"]["members"]


def unknown_keys(definition: Any) -> Iterator[tuple[str, str, list[str]]]:
    """The place of an object, a key in it that the API has not, and those that it has there."""
    shapes = _shapes()
    registered, described = shapes["RegisterTaskDefinitionRequest"]["members"], shapes["TaskDefinition"]["members"]
    yield from _unknown(definition, "$", {**described, **registered}, _BESIDE)


def _unknown(
    value: dict[str, Any], place: str, members: dict[str, Any], beside: set[str]
) -> Iterator[tuple[str, str, list[str]]]:
    for key, item in value.items():
        if key in members:
            yield from _below(item, f"{place}.{key}", members[key]["shape"])
        elif key not in beside:
            yield place, key, list(members)


def _below(value: Any, place: str, name: str) -> Iterator[tuple[str, str, list[str]]]:
    shape = _shapes()[name]
    if shape["type"] == "structure" and isinstance(value, dict):
        yield from _unknown(value, place, shape["members"], set())
    elif shape["type"] == "list" and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _below(item, f"{place}[{i}]", shape["member"]["shape"])
