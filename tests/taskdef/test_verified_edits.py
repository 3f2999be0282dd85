"""An edit is made as it is meant, or refused: files in every way of writing, against PyYAML's own loader."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from task_helper_taskdef.add import add
from task_helper_taskdef.findings import Copied, Edit
from task_helper_taskdef.fix import fix
from task_helper_taskdef.formats import Source, load, parse_all, sources
from task_helper_taskdef.formats.editing import Change, Editor, NotEditable, apply, apply_together, changed
from task_helper_taskdef.formats.tree import NotATaskDefinition
from task_helper_taskdef.writer import encoded

IMAGE = "registry.example/ecs-task-helper:1.0.0"
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
SCALARS = ["word", "'single ''quoted'''", '"double \\u00e9"', "7", "1.50", "0x1F", "true", "no", "null", "~", "-1", "é"]
FUNCTIONS = [
    "!Ref Name",
    "!GetAtt A.B.C",
    "!Sub '${A}-b'",
    "!If [X, a, !Ref Y]",
    '{"Fn::Sub": "${A}"}',
    "!Split [',', x]",
]
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))


class Oracle(yaml.SafeLoader):
    """PyYAML's loader, which also reads tags as the functions that they stand for."""


def function(loader: Any, suffix: str, node: Any) -> Any:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        value = value.split(".", 1) if suffix == "GetAtt" else value
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix == "Ref" else f"Fn::{suffix}": value}


Oracle.add_multi_constructor("!", function)


def read(text: str) -> Any:
    """What PyYAML reads of the first document, with nothing shared any more."""
    return json.loads(json.dumps(next(yaml.load_all(text, Loader=Oracle)), default=str))  # nosec: a SafeLoader


class Writer:
    """Writes a value in a way that Hypothesis draws; knows the anchors that it has set."""

    def __init__(self, draw: Any) -> None:
        self.draw, self.maps, self.others, self.count = draw, list[str](), list[str](), 0

    def one_of(self, *ways: Any) -> Any:
        return self.draw(st.sampled_from(ways))

    def value(self, indent: int, depth: int) -> str:
        """What stands behind a colon or a dash."""
        way = self.one_of("scalar", "scalar", "function", "block", "alias", "flow", "map", "map", "list", "list")
        anchor = self.one_of("", "", "", "&")
        if way == "alias" and (self.maps or self.others):
            return f" *{self.one_of(*self.maps, *self.others)}{self.comment()}"
        if way in ("map", "list") and depth:
            name = self.anchor(anchor)
            body = self.map(indent, depth) if way == "map" else self.list(indent, depth)
            if name:
                (self.maps if way == "map" else self.others).append(name)
            return f"{f' &{name}' if name else ''}\n{body}"
        if way == "block":
            header = self.one_of("|", "|-", "|+", ">", ">-", ">+")
            space = " " * indent
            lines = self.one_of("a\n", "a\n  b\n", "a\n\nb\n\n", "a # no comment\n", "- x: 1\n")
            return f" {header}\n" + "".join(
                f"{space}{line}" if line.strip() else line for line in lines.splitlines(True)
            )
        name = self.anchor(anchor)
        if way == "flow":
            written = self.one_of("[]", "{}", "[a, 'b']", '{"k": 1, l: [2]}', "[{k: v}, {k: w}]", "{k: {l: m}}")
            kind = self.maps if written.startswith("{") else self.others
        else:
            written, kind = self.one_of(*(FUNCTIONS if way == "function" else SCALARS)), self.others
        if name and not written.startswith("!"):
            kind.append(name)
            return f" &{name} {written}{self.comment()}"
        return f" {written}{self.comment()}"

    def comment(self) -> str:
        return str(self.one_of("\n", "\n", "\n", "  # why: [not]\n", "\n# - alone\n", "\n\n"))

    def anchor(self, wanted: str) -> str:
        self.count += 1
        return f"a{self.count}" if wanted else ""

    def map(self, indent: int, depth: int) -> str:
        space, lines = " " * indent, []
        for key in self.draw(
            st.lists(st.sampled_from(["k", "l", "'q'", '"r"', "m.n", "o o"]), min_size=1, unique=True)
        ):
            lines.append(f"{space}{key}:{self.value(indent + 2, depth - 1)}")
        if self.maps and self.one_of(True, False):
            lines.insert(self.one_of(0, len(lines)), f"{space}<<: *{self.one_of(*self.maps)}\n")
        return "".join(lines)

    def list(self, indent: int, depth: int) -> str:
        space = " " * indent
        count = self.one_of(1, 2, 3)
        return "".join(f"{space}-{self.value(indent + 2, depth - 1)}" for _ in range(count))


@st.composite
def files(draw: Any) -> str:
    writer = Writer(draw)
    text: str = draw(st.sampled_from(["", "# first\n", "---\n", "%YAML 1.1\n---\n"]))
    text += f"x-shared:{writer.value(2, 2)}containerDefinitions:\n"
    for name in ("envoy", "app"):
        keys = draw(st.lists(st.sampled_from(["dependsOn", "healthCheck", "command", "cpu"]), max_size=3, unique=True))
        text += f"  - name: {name}\n    image: {name}:1\n"
        text += "".join(f"    {key}:{writer.value(6, 2)}" for key in keys)
    text += draw(st.sampled_from(["", "x-last: 1\n", "# last\n", "...\n", "---\nanother: document\n"]))
    if draw(st.booleans()):
        text = text.rstrip("\n")
    ends: str = draw(st.sampled_from(["\n", "\r\n", "mixed"]))
    if ends != "mixed":
        return text.replace("\n", ends)
    return "".join(line + draw(st.sampled_from(["\n", "\r\n"])) for line in text.split("\n"))


values = st.sampled_from(["text", 5, True, None, ["a", "b"], {"k": ["v"]}, {"a.b": "é"}, [{"containerName": "x"}]])
kinds = st.sampled_from(["put", "append", "remove", "rename", "new", "copy"])


@SETTINGS
@given(files(), kinds, values, st.data())
def test_edit_gives_what_pyyaml_reads_of_the_intention(text: str, kind: str, value: Any, data: Any) -> None:
    """Whatever is edited in a file, PyYAML reads from the result the old values with the edit, or it is refused."""
    try:
        before = read(text)
        tree, *_ = parse_all("x.yaml", text)
    except (NotATaskDefinition, yaml.YAMLError):
        return
    places = sorted(place for place in tree.spans if place.startswith("$.containerDefinitions["))
    place = data.draw(st.sampled_from(places))
    source = Source("x.yaml", tree, before)
    edit = {
        "put": Edit(place, value),
        "append": Edit(place, value, append=True),
        "remove": Edit(place, remove=True),
        "rename": Edit(place, rename="renamed"),
        "new": Edit(f"{place}.brandNew", value),
        "copy": Edit("$.containerDefinitions[1].copied", Copied(place)),
    }[kind]
    try:
        after = apply(source, edit)
    except NotEditable:
        return
    assert read(after) == changed(before, [edit])


@SETTINGS
@given(files(), st.sampled_from(ENCODINGS), st.booleans())
def test_add_gives_a_file_with_a_helper_or_refuses(text: str, encoding: str, repair: bool) -> None:
    """`add` and `fix` leave all other values of a file, its encoding and the ends of its lines as they were."""
    raw = text.encode(encoding)
    try:
        (source,) = sources("x.yaml", *parse_all("x.yaml", raw))
        added = fix([source]).text if repair else add(source, IMAGE).text
    except (NotATaskDefinition, NotEditable):
        return
    written = encoded(added, source.tree)
    again, *_ = parse_all("x.yaml", written)

    assert again.encoding == source.tree.encoding
    assert written.startswith(source.tree.encoding[0])
    if not repair:
        containers = again.value["containerDefinitions"]
        assert containers[:2] == source.tree.value["containerDefinitions"]
        assert [IMAGE] == [container["image"] for container in containers[2:]]
        assert {key: item for key, item in again.value.items() if key != "containerDefinitions"} == {
            key: item for key, item in source.tree.value.items() if key != "containerDefinitions"
        }
    if "\r" not in text:
        assert "\r" not in added
    elif text.count("\r\n") == text.count("\n"):
        assert added.count("\r\n") == added.count("\n")


@pytest.mark.parametrize(
    "text",
    [
        '{"containerDefinitions": [{"name": "a", "image": "x"}]}',
        "containerDefinitions:\n- name: a\n  image: x\n  command: &c [b]\n  entryPoint: *c\n",
    ],
)
@SETTINGS
@given(st.data())
def test_change_that_does_more_than_is_meant_is_refused(text: str, data: Any) -> None:
    """Whatever is put into a text, the result has the intended values, or it is refused."""
    (source,) = load("x.yaml" if text.startswith("c") else "x.json", text)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 4)))
    new = data.draw(st.sampled_from(["", "y", '"y"', ",", "}", "\n", "*c", "# ", "z: 1\n", "'"]))
    edit = Edit("$.containerDefinitions[0].image", "y")
    try:
        after = apply_together([(Editor(source), [edit], Change(start, end, new))])[0].text
    except NotEditable:
        return
    assert load(source.file, after)[0].document == changed(source.document, [edit])


SHARED = """\
x-log: &log {logDriver: awslogs}
x-base: &base {cpu: 10, dependsOn: [{containerName: app, condition: START}]}
x-deps: &deps
  - {containerName: app, condition: START}
containerDefinitions:
  - name: app
    image: app:1
  - name: envoy
    image: envoyproxy/envoy:v1
    dependsOn: *deps
    logConfiguration: *log
  - name: task-helper
    image: ecs-task-helper:1
    dependsOn: *deps
  - image: last:1
    name: last
    <<: *base
"""


def test_what_stands_behind_a_last_alias_or_merge_key_stays_its_own() -> None:
    """A container that ends with an alias or a merge key keeps it; what is added comes behind it."""
    (source,) = load("x.yaml", SHARED)
    after = apply(source, Edit("$.containerDefinitions", {"name": "new"}, append=True))

    assert after == f"{SHARED}  - {{name: new}}\n"


def test_list_that_others_share_is_written_out_for_the_one_that_changes() -> None:
    """An item for a list that an alias or a merge key stands for: the others keep theirs."""
    entry = {"containerName": "envoy", "condition": "START"}
    for i in (2, 3):
        (source,) = load("x.yaml", SHARED)
        edit = Edit(f"$.containerDefinitions[{i}].dependsOn", entry, append=True)
        after = load("x.yaml", apply(source, edit))[0].document
        assert after == changed(source.document, [edit])
        assert 1 == len(after["containerDefinitions"][1]["dependsOn"])


@pytest.mark.parametrize(
    "edit",
    [
        Edit("$.containerDefinitions[2].dependsOn[0].condition", "HEALTHY"),
        Edit("$.containerDefinitions[3].dependsOn[0].condition", "HEALTHY"),
        Edit("$.containerDefinitions[3].cpu", remove=True),
        Edit("$.containerDefinitions[3].cpu", rename="cpus"),
    ],
)
def test_edit_within_what_others_share_is_refused(edit: Edit) -> None:
    """A change within an anchor's value would change the others, too, and says so."""
    (source,) = load("x.yaml", SHARED)

    with pytest.raises(NotEditable, match="shared|merge key"):
        apply(source, edit)


def test_edit_of_what_has_the_anchor_is_refused() -> None:
    """A change where the anchor stands would change those that name it."""
    text = SHARED.replace(
        "dependsOn: *deps\n    log", "dependsOn: &own [{containerName: app, condition: START}]\n    log"
    )
    (source,) = load("x.yaml", text.replace("    dependsOn: *deps\n  - image", "    dependsOn: *own\n  - image"))

    with pytest.raises(NotEditable, match="anchor"):
        apply(source, Edit("$.containerDefinitions[1].dependsOn", {"containerName": "x"}, append=True))


@pytest.mark.parametrize(
    "text, added",
    [
        ("containerDefinitions:\n  -\n    name: a\n    image: x\n", "  - {name: new}\n"),
        ("x: &a {name: a, image: x}\ncontainerDefinitions:\n  - *a\n", "  - {name: new}\n"),
        ("containerDefinitions:\n- name: a\n  image: x\n  command:\n  - |+\n    b\n\n\n", "- {name: new}\n"),
        ("containerDefinitions: !x\n  # - no\n  - name: a\n    image: x\n", None),
    ],
)
def test_item_is_added_however_the_list_is_written(text: str, added: str | None) -> None:
    """A dash on a line of its own, an alias as an item, a last scalar that keeps its empty lines."""
    tree = parse_all("x.yaml", text)[0]
    source = Source("x.yaml", tree, tree.value)

    if added is None:
        with pytest.raises(NotEditable):
            apply(source, Edit("$.containerDefinitions", {"name": "new"}, append=True))
    else:
        assert text + added == apply(source, Edit("$.containerDefinitions", {"name": "new"}, append=True))


def test_functions_with_objects_are_copied_as_functions() -> None:
    """A function whose argument is an object, or another function, is written as YAML, at whatever depth."""
    text = """\
Resources:
  T:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
        - Name: envoy
          Image: envoyproxy/envoy:v1
          LogConfiguration:
            LogDriver: awslogs
            Options:
              awslogs-group: !ImportValue {'Fn::Sub': '${Net}-logs'}
              awslogs-region: !Select [0, !Split [',', !Ref Regions]]
              max: !Transform {Name: x, Parameters: {Share: 1.50}}
              attribute: !GetAtt [A.B, C]
"""
    (source,) = load("t.yaml", text)
    after = add(source, IMAGE)
    envoy, helper = after.tree.value["Resources"]["T"]["Properties"]["ContainerDefinitions"]

    assert envoy["LogConfiguration"] == helper["LogConfiguration"]
    assert after.text.startswith(text) and "Share: 1.50" in after.text[len(text) :]
    assert "{'Fn::ImportValue': !Sub '${Net}-logs'}" in after.text[len(text) :]


def test_number_that_a_parameter_makes_is_copied_as_the_parameter() -> None:
    """What a function makes is copied as the function, whatever its value is."""
    text = """\
Parameters: {Size: {Type: Number, Default: 5}}
Resources:
  T:
    Type: AWS::ECS::TaskDefinition
    Properties:
      ContainerDefinitions:
        - {Name: envoy, Image: "envoyproxy/envoy:v1", LogConfiguration: {LogDriver: x, Options: {max: !Ref Size}}}
"""
    (source,) = load("t.yaml", text)

    assert "Options: {max: !Ref 'Size'}" in add(source, IMAGE).text


def test_placeholder_is_copied_as_it_is_written() -> None:
    """A template's placeholder that is no text is none in the copy either."""
    text = '[{"name": "envoy", "image": "envoy", "logConfiguration": {"logDriver": "x", "options": {{ options }}}}]'
    (source,) = load("x.json.j2", text)

    assert 2 == add(source, IMAGE).text.count('"options": {{ options }}')


def test_fix_makes_many_repairs_at_once() -> None:
    """Repairs of one rule are made together, however many there are."""
    containers = [{"name": f"c{i}", "image": "x", "portmappings": []} for i in range(300)]
    fixed = fix(load("x.json", json.dumps({"containerDefinitions": containers}, indent=1)))

    assert ["misspelt-key"] * 300 == fixed.rules
    assert {"name", "image", "portMappings"} == set().union(*json.loads(fixed.text)["containerDefinitions"])


def test_fix_says_what_it_did_not_repair() -> None:
    """A finding whose repair would change others is left alone, and the reason is given."""
    every = "[*app, {containerName: envoy, condition: START}, {containerName: last, condition: START}]"
    text = SHARED.replace("x-deps: &deps\n  - {", "x-deps: &deps\n  - &app {").replace(
        "START}\ncontainer", "HEALTHY}\ncontainer"
    )
    text = text.replace("image: app:1\n", "image: app:1\n    healthCheck: {command: [CMD, a]}\n")
    text = text.replace("helper:1\n    dependsOn: *deps\n", f"helper:1\n    dependsOn: {every}\n")
    fixed = fix(load("x.yaml", text))

    assert any("shared" in reason for reason in fixed.refused)
    assert Editor(load("x.yaml", text)[0]).change([Edit("$.containerDefinitions[0].cpu", 1)]).new == "\n    cpu: 1"


def test_fix_repairs_what_an_earlier_repair_made_its_own() -> None:
    """A list that a first repair writes out, as others share it, is no reason to refuse a second repair in it."""
    text = SHARED.replace("START}\ncontainer", "HEALTHY}\ncontainer")
    text = text.replace("image: app:1\n", "image: app:1\n    healthCheck: {command: [CMD, a]}\n")
    fixed = fix(load("x.yaml", text))

    assert {"holds-all", "depends-on-condition"} <= set(fixed.rules)
    assert [] == fixed.refused
