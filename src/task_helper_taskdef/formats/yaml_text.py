"""YAML text as trees, CloudFormation's short forms (`!Ref Image`) as the long ones (`{"Ref": "Image"}`).

PyYAML's parser gives events with places; nodes are made of these here, and no objects, so that nothing in a file can be
run. PyYAML's own nodes do not show where an alias stands. PyYAML comes with the extra `taskdef`: the image and every
task do without it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from task_helper_taskdef.formats.tree import (
    MAX_DEPTH,
    NotATaskDefinition,
    Scalar,
    Span,
    Tree,
    below,
    mark_placeholders,
    unrendered,
)

# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/intrinsic-function-reference.html
_WITHOUT_FN: Final = {"Ref", "Condition"}
# lines that a template engine takes for itself: Helm's and Copilot's, Jinja's
_TEMPLATE: Final = re.compile(r"^\s*(?:\{\{.*|\{%.*)", re.M)
# as MAX_DEPTH, for anchors that multiply
_MAX_VALUES: Final = 1_000_000
_INTEGER: Final = re.compile(r"[-+]?[0-9]{1,20}$")
_MERGE: Final = "tag:yaml.org,2002:merge"


class _Node:
    """A value of YAML: a scalar's text, a mapping's pairs or a sequence's items; `key` is a pair's key."""

    __slots__ = ("kind", "tag", "value", "start", "end", "flow")

    def __init__(self, kind: str, tag: str, value: Any, start: int, end: int, flow: bool) -> None:
        self.kind, self.tag, self.value = kind, tag, value
        self.start, self.end, self.flow = start, end, flow


class _Child:
    """A node where it is used; `alias` is where `*name` stands for it."""

    __slots__ = ("node", "alias")

    def __init__(self, node: _Node, alias: Span | None = None) -> None:
        self.node, self.alias = node, alias

    @property
    def start(self) -> int:
        return self.alias.start if self.alias else self.node.start


def parse(text: str) -> Tree:
    """The tree of the first document in `text`; raises NotATaskDefinition with line and column of a syntax error."""
    return parse_all(text)[0]


def parse_all(text: str) -> list[Tree]:
    """The trees of all documents in `text`, at least one, without those that are empty; raises as `parse`."""
    trees = []
    for number, node in enumerate(_documents(text)):
        if node.kind == "scalar" and not node.value:
            continue
        tree = Tree(text, None, {}, {}, [], {}, {}, True, number)
        value = mark_placeholders(_value(_Child(node), "$", tree, frozenset()))
        trees.append(
            Tree(text, value, tree.spans, tree.keys, tree.duplicates, tree.children, tree.aliases, True, number)
        )
    if not trees:
        raise NotATaskDefinition("the file is empty")
    return trees


def written(text: str) -> list[Any]:
    """All documents of `text` as they are written, to be compared with another text's: merge keys as keys, and what is
    no text as a Scalar. Raises as `parse`."""
    return [_written(node, frozenset()) for node in _documents(text)]


def _documents(text: str) -> list[_Node]:
    try:
        import yaml
    except ImportError:
        raise NotATaskDefinition(
            "YAML is read with PyYAML, which is not installed here: pip install 'ecs-task-helper[taskdef]'"
        ) from None
    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return list(_composed(yaml.parse(text, Loader=loader), yaml.resolver.Resolver()))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if placeholder := _TEMPLATE.search(text):
            raise NotATaskDefinition(unrendered(placeholder[0].strip()), placeholder.start()) from None
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise NotATaskDefinition(f"{where}{error.problem}", mark.index if mark else None) from None
    except yaml.YAMLError as error:
        raise NotATaskDefinition(str(error).replace("\n", " ")) from None


def _composed(events: Iterator[Any], resolver: Any) -> Iterator[_Node]:
    """The root of each document."""
    import yaml

    anchors: dict[str, _Node] = {}
    # the collections that are open, each with the key that waits for its value
    stack: list[tuple[_Node, list[_Child]]] = []
    event: Any
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            anchors = {}
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            node, _ = stack.pop()
            node.end = _marks(event)[1]
            if not stack:
                yield node
            continue
        if not isinstance(event, yaml.NodeEvent):
            continue
        start, end = _marks(event)
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise NotATaskDefinition(f"no anchor has the name {event.anchor!r}", start)
            _attach(stack, _Child(anchors[event.anchor], Span(start, end)))
            continue
        node = _node(event, start, end, resolver)
        if event.anchor:
            anchors[event.anchor] = node
        _attach(stack, _Child(node))
        if node.kind != "scalar":
            if len(stack) >= MAX_DEPTH:
                raise NotATaskDefinition("nested too deeply", start)
            stack.append((node, []))
        elif not stack:
            yield node


def _marks(event: Any) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index


def _node(event: Any, start: int, end: int, resolver: Any) -> _Node:
    import yaml

    if isinstance(event, yaml.ScalarEvent):
        tag = event.tag
        if tag is None or tag == "!":
            tag = resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        return _Node("scalar", tag, event.value, start, end, True)
    kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "sequence"
    return _Node(kind, event.tag or "", [], start, end, bool(event.flow_style))


def _attach(stack: list[tuple[_Node, list[_Child]]], child: _Child) -> None:
    """Put `child` into the collection that is open."""
    if not stack:
        return
    node, waiting = stack[-1]
    if node.kind == "sequence":
        node.value.append(child)
    elif waiting:
        node.value.append((waiting.pop(), child))
    else:
        waiting.append(child)


def _short(node: _Node) -> str:
    """The name of the function that a tag stands for, empty without one."""
    short = node.tag[1:] if node.tag.startswith("!") and len(node.tag) > 1 else ""
    return short if not short or short in _WITHOUT_FN else f"Fn::{short}"


def _value(child: _Child, place: str, tree: Tree, above: frozenset[int]) -> Any:
    """The value of `child`; notes in `tree` the places of the value and of all values below it."""
    node = child.node
    if len(tree.spans) > _MAX_VALUES:
        raise NotATaskDefinition("too many values: its anchors multiply", child.start)
    if id(node) in above:
        raise NotATaskDefinition(f"{place}: an anchor that contains itself", child.start)
    name = _short(node)
    inner = below(place, name) if name else place
    tree.spans[place] = tree.spans[inner] = Span(node.start, node.end, node.flow)
    if name:
        tree.children[place] = [inner]
    value: Any
    if node.kind == "mapping":
        value = _mapping(node, inner, tree, above | {id(node)})
    elif node.kind == "sequence":
        value = []
        places = tree.children[inner] = [f"{inner}[{i}]" for i in range(len(node.value))]
        for item, item_place in zip(node.value, places, strict=True):
            value.append(_value(item, item_place, tree, above | {id(node)}))
    else:
        value = _scalar(node)
    if child.alias:
        tree.spans[place] = tree.aliases[place] = child.alias
    if name == "Fn::GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name: value} if name else value


def _mapping(node: _Node, place: str, tree: Tree, above: frozenset[int]) -> dict[str, Any]:
    """The pairs of `node`; what `<<` merges in gives way to what stands there itself."""
    merged: dict[str, Any] = {}
    own: dict[str, Any] = {}
    places: list[str] = []
    for key, item in node.value:
        name = key.node.value if key.node.kind == "scalar" else "?"
        at = below(place, name)
        if name in own:
            tree.duplicates.append((at, key.start))
        else:
            places.append(at)
        tree.keys[at] = key.start
        if key.node.tag == _MERGE:
            values = _value(item, at, tree, above)
            tree.aliases[at] = tree.spans[at]
            for source in values if isinstance(values, list) else [values]:
                if isinstance(source, dict):
                    merged = {**source, **merged}
            continue
        own[name] = _value(item, at, tree, above)
    tree.children[place] = places
    return {**merged, **own}


def _scalar(node: _Node) -> Any:
    """Whole numbers, booleans and nothing as these; all else, dates too, as the text that it is."""
    match node.tag.rpartition(":")[2]:
        case "int" if _INTEGER.match(node.value):
            return int(node.value)
        case "bool":
            return node.value.lower() in ("true", "yes", "on")
        case "null":
            return None
    return node.value


def _written(node: _Node, above: frozenset[int]) -> Any:
    if id(node) in above:
        raise NotATaskDefinition("an anchor that contains itself", node.start)
    name, value = _short(node), node.value
    if node.kind == "mapping":
        value = {
            key.node.value if key.node.kind == "scalar" else repr(_written(key.node, above | {id(node)})): _written(
                item.node, above | {id(node)}
            )
            for key, item in value
        }
    elif node.kind == "sequence":
        value = [_written(item.node, above | {id(node)}) for item in value]
    elif not name and node.tag != "tag:yaml.org,2002:str":
        return Scalar(node.tag.rpartition(":")[2], value)
    if name == "Fn::GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {name: value} if name else value
