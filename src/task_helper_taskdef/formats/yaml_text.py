"""YAML text as a tree, CloudFormation's short forms (`!Ref Image`) as the long ones (`{"Ref": "Image"}`).

PyYAML's nodes know their places; only these are made here, no objects, so that nothing in a file can be run. PyYAML
comes with the extra `taskdef`: the image and every task do without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from task_helper_taskdef.formats.tree import MAX_DEPTH, NotATaskDefinition, Span, Tree, mark_placeholders, unrendered

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference.html
_WITHOUT_FN: Final = {"Ref", "Condition"}
# lines that a template engine takes for itself: Helm's and Copilot's, Jinja's
_TEMPLATE: Final = re.compile(r"^\s*(?:\{\{.*|\{%.*)", re.M)
# as MAX_DEPTH, for anchors that multiply
_MAX_VALUES: Final = 500_000
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,20}$")


def parse(text: str) -> Tree:
    """The tree of the first document in `text`; raises NotATaskDefinition with line and column of a syntax error."""
    try:
        import yaml
    except ImportError:
        raise NotATaskDefinition(
            "YAML is read with PyYAML, which is not installed here: pip install 'ecs-task-helper[taskdef]'"
        ) from None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        _refuse_depth(yaml.parse(text, Loader=loader))
        node = next(yaml.compose_all(text, Loader=loader), None)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if placeholder := _TEMPLATE.search(text):
            raise NotATaskDefinition(unrendered(placeholder[0].strip()), placeholder.start()) from None
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NotATaskDefinition(f"{where}{error.problem}", mark.index if mark else None) from None
    except yaml.YAMLError as error:
        raise NotATaskDefinition(str(error).replace("\n", " ")) from None
    if node is None:
        raise NotATaskDefinition("the file is empty")
    tree = Tree(text, None, {}, {}, [])
    value = _value(node, "$", tree, frozenset())
    return Tree(text, mark_placeholders(value), tree.spans, tree.keys, tree.duplicates)


def _refuse_depth(events: Iterable[Any]) -> None:
    """Raise NotATaskDefinition for what is nested so deeply that the C code, which recurses, would crash on it."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        depth += kind.endswith("StartEvent") - kind.endswith("EndEvent")
        if depth > MAX_DEPTH:
            raise NotATaskDefinition("nested too deeply", event.start_mark.index)


def _value(node: Any, place: str, tree: Tree, above: frozenset[int]) -> Any:
    """What `node` stands for; notes in `tree` where it and all below it stands."""
    if len(tree.spans) > _MAX_VALUES:
        raise NotATaskDefinition("too many values: its anchors multiply", node.start_mark.index)
    if id(node) in above:
        raise NotATaskDefinition(f"{place}: an anchor that holds itself", node.start_mark.index)
    short = node.tag[1:] if node.tag.startswith("!") and len(node.tag) > 1 else ""
    name = short if short in _WITHOUT_FN else f"Fn::{short}"
    inner = f"{place}.{name}" if short else place
    flow = bool(node.flow_style) if node.id != "scalar" else True
    tree.spans[place] = tree.spans[inner] = Span(node.start_mark.index, node.end_mark.index, flow)
    value: Any
    if node.id == "mapping":
        value = _mapping(node, inner, tree, above | {id(node)})
    elif node.id == "sequence":
        value = [_value(item, f"{inner}[{i}]", tree, above | {id(node)}) for i, item in enumerate(node.value)]
    else:
        value = _scalar(node)
    if short == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name: value} if short else value


def _mapping(node: Any, place: str, tree: Tree, above: frozenset[int]) -> dict[str, Any]:
    """The pairs of `node`; what `<<` merges in gives way to what stands there itself."""
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for key, item in node.value:
        if key.tag == "tag:yaml.org,2002:merge":
            for source in item.value if item.id == "sequence" else [item]:
                if source.id == "mapping":
                    merged = {**_value(source, f"{place}.<<", tree, above), **merged}
            continue
        name = str(key.value) if key.id == "scalar" else "?"
        below = f"{place}.{name}"
        if name in own:
            tree.duplicates.append((below, key.start_mark.index))
        tree.keys[below] = key.start_mark.index
        own[name] = _value(item, below, tree, above)
    return {**merged, **own}


def _scalar(node: Any) -> Any:
    """Whole numbers, booleans and nothing as these; all else, dates too, as the text that it is."""
    match node.tag.rpartition(":")[2]:
        case "int" if _INTEGER.match(node.value):
            return int(node.value)
        case "bool":
            return node.value.lower() in ("true", "yes", "on")
        case "null":
            return None
    return node.value
