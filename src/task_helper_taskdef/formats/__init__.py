"""The formats in which people keep task definitions: which one a file is in, and the definitions in it.

`json_text` and `yaml_text` make a tree of a text, `cloudformation` and `terraform` find the definitions in a tree, and
`unrelated` recognises files of another kind. In all formats a `Source` has the definition in the API's spelling.
`aws_shapes` knows what the API takes, `decoding` makes typed values of a definition, and `editing` changes the file's
text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Final, Literal

import msgspec

from task_helper_taskdef.formats import aws_shapes, cloudformation, json_text, terraform, unrelated, yaml_text
from task_helper_taskdef.formats.tree import Lines, NotATaskDefinition, Tree

# the endings of files that may contain a task definition, for the search in a directory
SUFFIXES: Final = {".json", ".yaml", ".yml", ".template", ".tpl", ".tmpl", ".j2"}
_YAML: Final = {".yaml", ".yml"}

Spelling = Literal["api", "containers", "cloudformation", "terraform"]


class Source(msgspec.Struct, frozen=True):
    """One task definition: in the API's spelling, and where it stands in its file.

    `root` is its place in the file, `label` what the file calls it (empty where it is all there is). The spelling
    `containers` is a bare list of containers.
    """

    file: str
    tree: Tree
    document: Any
    root: str = "$"
    spelling: Spelling = "api"
    label: str = ""

    def file_place(self, place: str) -> str:
        """A place in the API's spelling, `$.containerDefinitions[0]`, in the file's spelling."""
        within = place.removeprefix("$")
        match self.spelling:
            case "containers":
                return f"{self.root}{within.removeprefix('.containerDefinitions')}"
            case "cloudformation":
                return f"{self.root}{cloudformation.file_place(within)}"
            case "terraform":
                return f"{self.root}{terraform.file_place(within)}"
        return f"{self.root}{within}"

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
                return f"${cloudformation.api_place(within)}"
        return f"${within}"

    @property
    def text(self) -> str:
        """The text of the whole file."""
        return self.tree.text

    @property
    def duplicates(self) -> list[str]:
        """The places, in the API's spelling, of the keys that stand twice in one object of this definition."""
        inside = f"{self.root}.", f"{self.root}["
        return [self.api_place(place) for place, _ in self.tree.duplicates if f"{place}.".startswith(inside)]

    def position(self, place: str) -> tuple[int, int]:
        """The line and the column, from 1, of a place in the API's spelling, or of what it would belong to."""
        return Lines(self.tree.text).at(self.tree.offset(self.file_place(place)))


def load(name: str, content: bytes | str) -> list[Source]:
    """The task definitions, at least one, in a file of the name `name` with this content.

    The name's ending says whether it is YAML. Raises NotATaskDefinition with what the content is instead, and where.
    """
    raw = content.encode(errors="surrogatepass") if isinstance(content, str) else content
    return sources(name, parse(name, raw))


def parse(name: str, raw: bytes) -> Tree:
    """The tree of the file `name` with the bytes `raw`; raises NotATaskDefinition."""
    if other := unrelated.by_name(name) or unrelated.by_bytes(raw):
        raise NotATaskDefinition(other)
    text = _decoded(raw)
    if PurePath(name).suffix.lower() in _YAML:
        return _yaml(text)
    try:
        return json_text.parse(text)
    except NotATaskDefinition as no_json:
        if other := unrelated.by_text(text):
            raise NotATaskDefinition(other) from None
        # YAML is for people, who do not begin with a brace; JSON's own words suit what does
        if text.lstrip()[:1] in ("{", "[", "") or not _looks_like_yaml(text):
            raise
        try:
            return _yaml(text)
        except NotATaskDefinition as no_yaml:
            raise (no_yaml if "PyYAML" in str(no_yaml) else no_json) from None


def sources(name: str, tree: Tree) -> list[Source]:
    """The task definitions in `tree`, at least one; raises NotATaskDefinition with what it is instead."""
    found = list(_sources(name, tree))
    if not found:
        raise NotATaskDefinition(
            unrelated.by_value(tree.value) or f"no containerDefinitions are in it; {unrelated.DESCRIBE}"
        )
    return found


def _sources(name: str, tree: Tree) -> Iterator[Source]:
    value = tree.value
    if _are_containers(value):
        yield Source(name, tree, {"containerDefinitions": value}, spelling="containers")
    elif cloudformation.is_template(value):
        for label, document in cloudformation.definitions(value):
            yield Source(name, tree, document, f"$.Resources.{label}.Properties", "cloudformation", label)
    elif terraform.is_plan_or_state(value):
        for label, place, document in terraform.definitions(value):
            yield Source(name, tree, document, place, "terraform", label)
        if not any(True for _ in terraform.definitions(value)):
            raise NotATaskDefinition("a Terraform plan without an aws_ecs_task_definition")
    elif isinstance(value, dict) and isinstance(value.get("taskDefinition"), dict):
        yield Source(name, tree, value["taskDefinition"], "$.taskDefinition")
    elif isinstance(value, dict) and "ContainerDefinitions" in value:
        properties = {"Resources": {"": {"Type": cloudformation.KIND, "Properties": value}}}
        for _, document in cloudformation.definitions(properties):
            yield Source(name, tree, document, "$", "cloudformation")
    elif isinstance(value, dict) and "containerDefinitions" in value:
        yield Source(name, tree, value)


def _are_containers(value: Any) -> bool:
    """Whether it is a list of containers: objects with names, and an image or nothing that the API has not."""
    if not isinstance(value, list):
        return False
    if not all(isinstance(item, dict) and item.keys() & {"name", "image"} for item in value):
        return False
    return any("image" in item for item in value) or not list(aws_shapes.unknown_keys({"containerDefinitions": value}))


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode(json.detect_encoding(raw), "surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise NotATaskDefinition(f"byte {error.start}: not UTF-8 text") from None


def _yaml(text: str) -> Tree:
    return yaml_text.parse(text)


def _looks_like_yaml(text: str) -> bool:
    """Whether any of the first lines is a key with a colon behind it."""
    return any(line.partition(":")[0].strip().isidentifier() for line in text.splitlines()[:50] if ":" in line)
