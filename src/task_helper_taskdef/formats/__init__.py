"""The formats in which people keep task definitions: which one a file is in, and the definitions in it.

`json_text` and `yaml_text` make a tree of a text, `cloudformation` and `terraform` find the definitions in a tree, and
`unrelated` recognises files of another kind. In all formats a `Source` has the definition in the API's spelling.
`aws_shapes` knows what the API takes, `decoding` makes typed values of a definition, and `editing` changes the file's
text.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final, Literal

import msgspec

from task_helper_taskdef.formats import aws_shapes, cloudformation, json_text, terraform, unrelated, yaml_text
from task_helper_taskdef.formats.tree import NotATaskDefinition, Tree, parent, steps

# the endings of files that may contain a task definition, for the search in a directory
SUFFIXES: Final = {".json", ".yaml", ".yml", ".template", ".tpl", ".tftpl", ".tmpl", ".j2", ".jinja", ".jinja2"}
_YAML: Final = {".yaml", ".yml"}
# the longer ones first: UTF-32's begins with UTF-16's
_MARKS: Final = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
    codecs.BOM_UTF8: "utf-8",
}

# begins a place that is the file's own, not the API's
IN_FILE: Final = "in the file "

Spelling = Literal["api", "containers", "cloudformation", "terraform"]


class Source(msgspec.Struct, frozen=True, dict=True):
    """One task definition: in the API's spelling, and where it stands in its file.

    root: its place in the file
    spelling: how the file has it; `containers` is a bare list of containers
    label: what the file calls it, empty where it is all there is
    places: for CloudFormation, where in the file what stands at a place of `document` is written
    functions: for what a condition chose, where in the file the function is that chose it
    conditions: the values of the conditions for which it is so
    alternatives: the same definition for all other values of the conditions that `document` depends on
    complete: whether the alternatives are all that there are
    """

    file: str
    tree: Tree
    document: Any
    root: str = "$"
    spelling: Spelling = "api"
    label: str = ""
    places: dict[str, str] = {}
    functions: dict[str, str] = {}
    conditions: dict[str, bool] = {}
    alternatives: tuple[Source, ...] = ()
    complete: bool = True

    @property
    def key(self) -> tuple[int, str, str]:
        """The key that identifies it among the definitions of its file."""
        return self.tree.number, self.root, self.label

    @property
    def is_template(self) -> bool:
        """Whether functions may stand in it."""
        return self.spelling == "cloudformation"

    @property
    def variants(self) -> tuple[Source, ...]:
        """This and its alternatives."""
        return self, *self.alternatives

    def file_place(self, place: str) -> str:
        """A place in the API's spelling, `$.containerDefinitions[0]`, in the file's spelling."""
        if place.startswith(IN_FILE):
            return place.removeprefix(IN_FILE)
        within = place.removeprefix("$")
        match self.spelling:
            case "containers":
                return f"{self.root}{within.removeprefix('.containerDefinitions')}"
            case "cloudformation":
                known = place
                while known not in self.places and known != "$":
                    known = parent(known)
                rest = cloudformation.file_place(place.removeprefix(known))
                return f"{self.places.get(known, self.root)}{rest}"
            case "terraform":
                return f"{self.root}{terraform.file_place(within)}"
        return f"{self.root}{within}"

    def written_place(self, place: str) -> str:
        """As `file_place`, but the place of the function where one chose what stands at `place`."""
        return self.functions.get(place) or self.file_place(place)

    def in_file_spelling(self, remedy: str) -> str:
        """`remedy`, with keys in the file's spelling."""
        return cloudformation.in_file_spelling(remedy) if self.spelling == "cloudformation" else remedy

    def api_place(self, place: str) -> str:
        """A place of the file in the API's spelling: the reverse of `file_place`."""
        within = place.removeprefix(self.root)
        match self.spelling:
            case "containers":
                return f"$.containerDefinitions{within}"
            case "cloudformation":
                known = place
                while known not in self._api_places and known != "$":
                    known = parent(known)
                return f"{self._api_places.get(known, '$')}{cloudformation.api_place(place.removeprefix(known))}"
        return f"${within}"

    @cached_property
    def _api_places(self) -> dict[str, str]:
        """The reverse of `places`."""
        return {its: mine for mine, its in self.places.items()}

    @property
    def text(self) -> str:
        """The text of the whole file."""
        return self.tree.text

    @property
    def duplicates(self) -> list[str]:
        """The places, in the API's spelling, of the keys that stand twice in one object of this definition."""
        inside = f"{self.root}.", f"{self.root}["
        return [self.api_place(place) for place, _ in self.tree.duplicates if f"{place}.".startswith(inside)]

    @property
    def small_keys(self) -> list[str]:
        """The places, in the API's spelling, of the keys that CloudFormation wants with a capital letter and that have
        none."""
        if self.spelling != "cloudformation":
            return []
        found = []
        for place in self.tree.inside(self.root):
            if place not in self.tree.keys:
                continue
            *above, key = steps(place.removeprefix(self.root))
            names = [str(each) for each in above]
            if str(key)[:1].islower() and not any(cloudformation.has_own_keys(name) for name in names):
                found.append(self.api_place(place))
        return found

    def end(self, place: str) -> tuple[int, int] | None:
        """The line and the column, from 1, right behind what stands at a place in the API's spelling; None where
        nothing does."""
        span = self.tree.spans.get(self.file_place(place))
        return self.tree.lines.at(span.start + len(self.text[span.start : span.end].rstrip())) if span else None

    def position(self, place: str) -> tuple[int, int]:
        """The line and the column, from 1, of a place in the API's spelling, or of what it would belong to."""
        return self.tree.lines.at(self.tree.offset(self.file_place(place)))


def load(name: str, content: bytes | str) -> list[Source]:
    """The task definitions, at least one, in a file of the name `name` with this content.

    The name's ending says whether it is YAML. Raises NotATaskDefinition with what the content is instead, and where.
    """
    return sources(name, *parse_all(name, content))


def parse(name: str, raw: bytes) -> Tree:
    """The tree of the first document in the file `name` with the bytes `raw`; raises NotATaskDefinition."""
    return parse_all(name, raw)[0]


def parse_all(name: str, content: bytes | str) -> list[Tree]:
    """The trees of all documents, at least one, in the file `name` with this content; raises NotATaskDefinition."""
    if other := unrelated.by_name(name) or (unrelated.by_bytes(content) if isinstance(content, bytes) else None):
        raise NotATaskDefinition(other)
    if isinstance(content, str):
        return _parsed(name, content)
    encoding = encoding_of(content)
    return [msgspec.structs.replace(tree, encoding=encoding) for tree in _parsed(name, decoded(content))]


def _parsed(name: str, text: str) -> list[Tree]:
    if PurePath(name).suffix.lower() in _YAML:
        return yaml_text.parse_all(text)
    try:
        return [json_text.parse(text)]
    except NotATaskDefinition as no_json:
        if other := unrelated.by_text(text):
            raise NotATaskDefinition(other) from None
        # YAML is for people, who do not begin with a brace; JSON's own words suit what does
        if text.lstrip()[:1] in ("{", "[", "") or not _looks_like_yaml(text):
            raise
        try:
            return yaml_text.parse_all(text)
        except NotATaskDefinition as no_yaml:
            is_json = PurePath(name).suffix.lower() == ".json" and "PyYAML" not in str(no_yaml)
            raise (no_json if is_json else no_yaml) from None


def sources(name: str, *trees: Tree) -> list[Source]:
    """The task definitions, at least one, in the documents of a file; raises NotATaskDefinition with what it is
    instead."""
    found: list[Source] = []
    for tree in trees:
        label = f"document {tree.number + 1}"
        for source in _sources(name, tree):
            if len(trees) > 1:
                source = msgspec.structs.replace(source, label=" ".join(filter(None, (label, source.label))))
            found.append(source)
    if not found:
        kinds = (unrelated.by_value(tree.value) for tree in trees)
        kind = next(filter(None, kinds), f"no containerDefinitions are in it; {unrelated.DESCRIBE}")
        raise NotATaskDefinition(kind)
    return found


def _sources(name: str, tree: Tree) -> Iterator[Source]:
    value = tree.value
    if _are_containers(value):
        yield Source(name, tree, {"containerDefinitions": value}, spelling="containers")
    elif cloudformation.is_template(value):
        for template in cloudformation.definitions(value):
            yield _of_template(name, tree, template)
    elif terraform.is_plan_or_state(value):
        for label, place, document in terraform.definitions(value):
            yield Source(name, tree, document, place, "terraform", label)
        if not any(True for _ in terraform.definitions(value)):
            raise NotATaskDefinition("a Terraform plan without an aws_ecs_task_definition")
    elif isinstance(value, dict) and "ContainerDefinitions" in value:
        yield _of_template(name, tree, cloudformation.properties(value))
    elif isinstance(value, list):
        yield from _of_list(name, tree, value)
    elif source := _of_api(name, tree, value, "$"):
        yield source


def _of_list(name: str, tree: Tree, items: list[Any]) -> Iterator[Source]:
    """The definitions of which a list is made, none if it is made of other things; raises NotATaskDefinition."""
    found = [_of_api(name, tree, item, f"$[{i}]") for i, item in enumerate(items)]
    for number, source in enumerate(found if any(found) else [], 1):
        if source is None:
            raise NotATaskDefinition(f"item {number} of the list is not a task definition; remove it")
        yield msgspec.structs.replace(source, label=str(source.document.get("family") or f"item {number}"))


def _of_api(name: str, tree: Tree, value: Any, root: str) -> Source | None:
    """The definition that stands at `root` as the API takes it, or as describe-task-definition prints it."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("taskDefinition"), dict):
        return Source(name, tree, value["taskDefinition"], f"{root}.taskDefinition")
    return Source(name, tree, value, root) if "containerDefinitions" in value else None


def _of_template(name: str, tree: Tree, template: cloudformation.Template) -> Source:
    """The definition as the parameters' defaults have it, with the others that its conditions make."""
    first, *others = (
        Source(
            name,
            tree,
            variant.document,
            template.root,
            "cloudformation",
            template.label,
            variant.places,
            variant.functions,
            variant.conditions,
            complete=template.complete,
        )
        for variant in template.variants
    )
    return msgspec.structs.replace(first, alternatives=tuple(others))


def _are_containers(value: Any) -> bool:
    """Whether it is a list of containers: objects with names, and an image or nothing that the API has not."""
    if not isinstance(value, list) or not value:
        return False
    if not all(isinstance(item, dict) and item.keys() & {"name", "image"} for item in value):
        return False
    return any("image" in item for item in value) or not list(aws_shapes.unknown_keys({"containerDefinitions": value}))


def encoding_of(raw: bytes) -> tuple[bytes, str]:
    """The byte order mark of a file and the name of its encoding: UTF-8, UTF-16 or UTF-32."""
    for mark, encoding in _MARKS.items():
        if raw.startswith(mark):
            return mark, encoding
    return b"", json.detect_encoding(raw)


def decoded(raw: bytes) -> str:
    """The text of a file; raises NotATaskDefinition."""
    mark, encoding = encoding_of(raw)
    try:
        return raw[len(mark) :].decode(encoding, "surrogatepass")
    except UnicodeDecodeError as error:
        raise NotATaskDefinition(f"byte {error.start + len(mark)}: not UTF-8 text") from None


def _looks_like_yaml(text: str) -> bool:
    """Whether any of the first lines is a key with a colon behind it."""
    return any(line.partition(":")[0].strip().isidentifier() for line in text.splitlines()[:50] if ":" in line)
