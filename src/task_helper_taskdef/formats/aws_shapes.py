"""The API's input and output for task definitions: the description of ECS that botocore contains."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Any, Final

from task_helper_taskdef.formats.tree import below

# what describe-task-definition prints beside the definition, and some save with it
_BESIDE: Final = {"tags", "$schema"}


@cache
def _shapes() -> dict[str, Any]:
    # read as a file: the whole of botocore takes ten times as long to import
    (description,) = sorted(files("botocore").joinpath("data/ecs").iterdir(), key=lambda path: path.name)[-1:]
    text = gzip.decompress(description.joinpath("service-2.json.gz").read_bytes())
    shapes: dict[str, Any] = json.loads(text)["shapes"]
    return shapes


def registrable(document: Any) -> dict[str, Any]:
    """`document` as register-task-definition takes it: without what only describe-task-definition prints, and nulls."""
    members = _shapes()["RegisterTaskDefinitionRequest"]["members"]
    outer = document if isinstance(document, dict) else {}
    fields = outer["taskDefinition"] if isinstance(outer.get("taskDefinition"), dict) else outer
    tags = {"tags": outer["tags"]} if outer is not fields and outer.get("tags") else {}
    known = {key: item for key, item in {**fields, **tags}.items() if key in members}
    registered: dict[str, Any] = _without_nulls(known)
    return registered


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def unknown_keys(definition: Any) -> Iterator[tuple[str, str, list[str]]]:
    """The place of an object, a key in it that the API has not, and those that it has there."""
    shapes = _shapes()
    registered, described = shapes["RegisterTaskDefinitionRequest"]["members"], shapes["TaskDefinition"]["members"]
    yield from _unknown(definition, "$", {**described, **registered}, _BESIDE)


def _unknown(
    value: dict[str, Any], place: str, members: dict[str, Any], beside: set[str]
) -> Iterator[tuple[str, str, list[str]]]:
    names = list(members)
    for key, item in value.items():
        if key in members:
            yield from _below(item, below(place, key), members[key]["shape"])
        elif key not in beside:
            yield place, key, names


def mistyped(definition: Any) -> Iterator[tuple[str, str, Any]]:
    """The place of each text where the API takes a number, true or false, which of these it is, and the text."""
    members = _shapes()["RegisterTaskDefinitionRequest"]["members"]
    for key, item in definition.items():
        if key in members:
            yield from _mistyped(item, below("$", key), members[key]["shape"])


_KINDS: Final = {"integer": "a number", "long": "a number", "double": "a number", "boolean": "true or false"}


def _mistyped(value: Any, place: str, name: str) -> Iterator[tuple[str, str, Any]]:
    shape = _shapes()[name]
    if shape["type"] == "structure" and isinstance(value, dict):
        for key, item in value.items():
            if key in shape["members"]:
                yield from _mistyped(item, below(place, key), shape["members"][key]["shape"])
    elif shape["type"] == "list" and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _mistyped(item, f"{place}[{i}]", shape["member"]["shape"])
    elif shape["type"] in _KINDS and isinstance(value, str):
        yield place, _KINDS[shape["type"]], value


def _below(value: Any, place: str, name: str) -> Iterator[tuple[str, str, list[str]]]:
    shape = _shapes()[name]
    if shape["type"] == "structure" and isinstance(value, dict):
        yield from _unknown(value, place, shape["members"], set())
    elif shape["type"] == "list" and isinstance(value, list):
        for i, item in enumerate(value):
            yield from _below(item, f"{place}[{i}]", shape["member"]["shape"])
