"""CloudFormation's task definitions in the spelling of the API, with what a template says of itself filled in.

A parameter's default counts as its value; what is known only when the stack is made stays Unknown. What stands under a
condition is read both ways: each way in which the conditions can be met together makes a `Variant` (`conditions`).
`cdk synth` and SAM write such templates, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from task_helper_taskdef.formats.conditions import Conditions
from task_helper_taskdef.formats.tree import PLACEHOLDER, Unknown, below, parent

KIND: Final = "AWS::ECS::TaskDefinition"
_LOOP: Final = "Fn::ForEach::"
# stands for what `!Ref AWS::NoValue` removes
_NO_VALUE: Final = object()
# what is below is the user's own: keys of a map, not names of the API
_MAPS: Final = {"DockerLabels", "Options", "DriverOpts", "Labels"}
_COPIED: Final = {"dockerLabels", "options", "driverOpts", "labels"}
_IRREGULAR: Final = {
    "ProxyConfigurationProperties": "properties",
    "EFSVolumeConfiguration": "efsVolumeConfiguration",
    "FSxWindowsFileServerVolumeConfiguration": "fsxWindowsFileServerVolumeConfiguration",
    "FilesystemId": "fileSystemId",
    "IAM": "iam",
}
# CloudFormation takes `Value: 8080` for a text under these
_TEXTS: Final = {"value", "user", "command", "entryPoint", "image", "name", "links"}
# more than these ways in which a template's conditions can be met together are not looked at
MOST_VARIANTS: Final = 32


class Variant(NamedTuple):
    """A task definition as it is where the conditions have these values.

    places: where in the file what stands at a place of `document` is written
    functions: for what a condition chose, where in the file the function is that chose it
    """

    document: Any
    places: dict[str, str]
    functions: dict[str, str]
    conditions: dict[str, bool]


class Template(NamedTuple):
    """A task definition in a template: its logical id, where its properties stand, and all its variants (at least one).

    `complete` is False where there are more variants than these.
    """

    label: str
    root: str
    variants: list[Variant]
    complete: bool = True


def is_template(value: Any) -> bool:
    """Whether `value` is a template: an object whose Resources have types."""
    resources = value.get("Resources") if isinstance(value, dict) else None
    return isinstance(resources, dict) and any(
        name.startswith(_LOOP) or isinstance(r, dict) and "Type" in r for name, r in resources.items()
    )


def definitions(template: dict[str, Any]) -> Iterator[Template]:
    """The task definitions in `template`; the first variant of each is the one of the parameters' defaults."""
    for name, place, resource, loops in _resources(template, template["Resources"], "$.Resources", {}):
        if resource is None:
            # a loop over what is not known here
            document = {"containerDefinitions": Unknown(f"${{{name}}}")}
            yield Template(name, place, [Variant(document, {"$": place}, {}, {})])
        elif resource.get("Type") == KIND:
            yield _definition(template, name, below(place, "Properties"), resource, loops)


def properties(template: dict[str, Any]) -> Template:
    """The task definition whose properties are `template`, without a template around them."""
    return _definition({}, "", "$", {"Properties": template}, {})


def _definition(
    template: Mapping[str, Any], name: str, root: str, resource: dict[str, Any], loops: dict[str, str]
) -> Template:
    loop = next((key for key in resource if key.startswith(_LOOP)), None)
    if loop and "Properties" not in resource:
        return Template(name, parent(root), [Variant(Unknown(f"${{{loop}}}"), {"$": parent(root)}, {}, {})])
    fields = resource.get("Properties")
    fields = fields if isinstance(fields, dict) else {}
    ways, complete = Conditions(template).ways(fields, resource.get("Condition"), MOST_VARIANTS)
    variants: list[Variant] = []
    for conditions in ways:
        reader = _Reader(template, conditions, loops)
        document = reader.read(fields, root, "$", "")
        if all(document != each.document or reader.places != each.places for each in variants):
            variants.append(Variant(document, reader.places, reader.functions, conditions))
    return Template(name, root, variants, complete)


def _resources(
    template: Mapping[str, Any], resources: Mapping[str, Any], place: str, loops: dict[str, str]
) -> Iterator[tuple[str, str, dict[str, Any] | None, dict[str, str]]]:
    """Name, place and value of each resource, with the values of the loops around it; None for a loop that is open."""
    for key, resource in resources.items():
        at = below(place, key)
        if not key.startswith(_LOOP):
            if isinstance(resource, dict):
                yield _substituted(key, loops), at, resource, loops
            continue
        match resource:
            case [str(variable), collection, dict(body)]:
                items = _Reader(template, {}, loops).collection(collection)
                for item in items or []:
                    yield from _resources(template, body, f"{at}[2]", {**loops, variable: item})
                if items is None and KIND in str(body):
                    yield key, at, None, loops
            case _ if KIND in str(resource):
                yield key, at, None, loops


def _substituted(text: str, values: Mapping[str, str]) -> str:
    """`text` with the values of loops; `&{Name}` is without what a logical id may not have."""
    for name, value in values.items():
        text = text.replace(f"${{{name}}}", value).replace(f"&{{{name}}}", re.sub("[^A-Za-z0-9]", "", value))
    return text


def has_own_keys(name: str) -> bool:
    """Whether the keys below `name` are the user's own, or a function's, and not CloudFormation's."""
    return name in _MAPS or name in _COPIED or name.startswith("Fn::")


def file_place(place: str) -> str:
    """A place within a task definition, `.proxyConfiguration.properties[0]`, as CloudFormation spells it."""
    place = re.sub(r"\.([a-z])", lambda match: f".{match[1].upper()}", place)
    return place.replace(".ProxyConfiguration.Properties", ".ProxyConfiguration.ProxyConfigurationProperties")


def api_place(place: str) -> str:
    """The reverse of `file_place`."""
    place = place.replace(".ProxyConfiguration.ProxyConfigurationProperties", ".ProxyConfiguration.Properties")
    return re.sub(r"\.([A-Z])", lambda match: f".{match[1].lower()}", place)


def in_file_spelling(remedy: str) -> str:
    """A remedy such as `"stopTimeout": 120` with CloudFormation's names for the keys."""
    return re.sub(r'"([a-z])([A-Za-z]*)":', lambda match: f'"{match[1].upper()}{match[2]}":', remedy)


def to_cloudformation(value: Any) -> Any:
    """A value of the API in CloudFormation's spelling."""
    if isinstance(value, dict):
        return {
            key if key.startswith("Fn::") or key == "Ref" else key[:1].upper() + key[1:]: (
                item if key in _COPIED else to_cloudformation(item)
            )
            for key, item in value.items()
        }
    return [to_cloudformation(item) for item in value] if isinstance(value, list) else value


class _Reader:
    """Reads the properties of a task definition: names as the API spells them, intrinsic functions as their values as
    far as the template has them. Notes where everything stands."""

    def __init__(self, template: Mapping[str, Any], conditions: Mapping[str, bool], loops: Mapping[str, str]) -> None:
        parameters = _object(template.get("Parameters"))
        self._defaults = {
            name: parameter["Default"]
            for name, parameter in parameters.items()
            # an empty default is there to be replaced
            if isinstance(parameter, dict) and parameter.get("Default") not in (None, "")
            # the default of these is the name of a stored value, not the value
            and not str(parameter.get("Type", "")).startswith("AWS::SSM::")
        }
        self._lists = {n for n, p in parameters.items() if isinstance(p, dict) and "List" in str(p.get("Type"))}
        self._mappings = _object(template.get("Mappings"))
        self._conditions, self._loops = conditions, loops
        self.places: dict[str, str] = {}
        self.functions: dict[str, str] = {}

    def read(self, value: Any, at: str, place: str, key: str) -> Any:
        """`value`, which stands at the place `at` of the file, in the spelling of the API, where its place is `place`.

        `key` is the key, as the file spells it, that it belongs to.
        """
        self.places[place] = at
        if isinstance(value, list):
            items: list[Any] = []
            for i, item in enumerate(value):
                read = self.read(item, f"{at}[{i}]", f"{place}[{len(items)}]", key)
                if read is not _NO_VALUE:
                    items.append(read)
                else:
                    # the next item has this place
                    self.places.pop(f"{place}[{len(items)}]")
                    self.functions.pop(f"{place}[{len(items)}]", None)
            return items
        if not isinstance(value, dict):
            return self._plain(value, key)
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Fn::If" and (chosen := self._chosen(argument)):
                index, branch = chosen
                read = self.read(branch, f"{below(at, name)}[{index}]", place, key)
                self.functions[place] = at
                return read
            if name == "Ref" or (name.startswith("Fn::") and not name.startswith(_LOOP)):
                resolved = self._resolve(value)
                return resolved if resolved is _NO_VALUE else self._spelt(resolved, key)
        fields: dict[str, Any] = {}
        for name, item in value.items():
            if name.startswith(_LOOP):
                return Unknown(f"${{{name}}}")
            spelt = name if key in _MAPS else _api_name(name)
            read = self.read(item, below(at, name), below(place, spelt), key if key in _MAPS else name)
            if read is not _NO_VALUE:
                fields[spelt] = read
        return fields

    def collection(self, value: Any) -> list[str] | None:
        """The items of a loop, None if they are unknown."""
        items = self._resolve(value)
        if not isinstance(items, list) or any(isinstance(item, Unknown | dict | list) for item in items):
            return None
        return [str(item) for item in items]

    def _chosen(self, argument: Any) -> tuple[int, Any] | None:
        """Which argument of `Fn::If` counts, and that argument; None where its condition is left open."""
        match argument:
            case [str(name), first, second] if name in self._conditions:
                return (1, first) if self._conditions[name] else (2, second)
        return None

    def _plain(self, value: Any, key: str) -> Any:
        return self._spelt(self._text(value) if isinstance(value, str) else value, key)

    def _text(self, text: str) -> str:
        """`text` with the values of loops; what is still to be filled in then is Unknown."""
        if not self._loops:
            return text
        filled = _substituted(str(text), self._loops)
        return Unknown(filled) if isinstance(text, Unknown) and PLACEHOLDER.search(filled) else filled

    def _spelt(self, value: Any, key: str) -> Any:
        """`value`, which has no functions any more, as the API spells it."""
        if isinstance(value, dict):
            names = {name: name if key in _MAPS else _api_name(name) for name in value}
            return {names[n]: self._spelt(item, key if key in _MAPS else n) for n, item in value.items()}
        if isinstance(value, list):
            return [self._spelt(item, key) for item in value]
        if key[:1].lower() + key[1:] not in _TEXTS:
            return value
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, int | float) else value

    def _resolve(self, value: Any) -> Any:
        """`value` with functions replaced by their values."""
        if isinstance(value, list):
            return [item for item in map(self._resolve, value) if item is not _NO_VALUE]
        if isinstance(value, str):
            return self._text(value)
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return self._reference(str(argument))
            if name.startswith("Fn::") or name == "Condition":
                return self._function(name, argument)
        return {key: item for key, item in ((k, self._resolve(v)) for k, v in value.items()) if item is not _NO_VALUE}

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name in self._loops:
            return self._loops[name]
        if name not in self._defaults:
            return Unknown(f"${{{name}}}")
        default = self._defaults[name]
        return [part.strip() for part in str(default).split(",")] if name in self._lists else default

    def _function(self, name: str, argument: Any) -> Any:
        match name, argument:
            case "Fn::If", _ if chosen := self._chosen(argument):
                return self._resolve(chosen[1])
            case "Fn::Sub", str(text):
                return self._substitute(self._text(text), {})
            case "Fn::Sub", [str(text), dict(values)]:
                return self._substitute(text, {key: self._resolve(item) for key, item in values.items()})
            case "Fn::Join", [str(separator), parts]:
                resolved = self._resolve(parts)
                if isinstance(resolved, list) and all(isinstance(part, str | int) for part in resolved):
                    joined = separator.join(map(str, resolved))
                    return Unknown(joined) if any(isinstance(part, Unknown) for part in resolved) else joined
            case "Fn::FindInMap", [first, second, third, *_]:
                keys = [str(self._resolve(key)) for key in (first, second, third)]
                found: Any = self._mappings
                for key in keys:
                    found = found.get(key) if isinstance(found, dict) else None
                if found is not None:
                    return found
                return Unknown(f"${{{'.'.join(key.strip('${}') for key in keys)}}}")
            case "Fn::Select", [index, items]:
                resolved = self._resolve(items)
                if isinstance(resolved, list) and str(index).isdigit() and int(index) < len(resolved):
                    return resolved[int(index)]
            case "Fn::Split", [str(separator), text]:
                resolved = self._resolve(text)
                if isinstance(resolved, str) and not isinstance(resolved, Unknown) and separator:
                    return resolved.split(separator)
            case "Fn::GetAtt", [str(resource), attribute]:
                return Unknown(f"${{{resource}.{attribute}}}")
        return Unknown(f"${{{name.removeprefix('Fn::')}}}")

    def _substitute(self, text: str, values: dict[str, Any]) -> str:
        known = True

        def replace(match: re.Match[str]) -> str:
            nonlocal known
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            value = values[name] if name in values else self._reference(name)
            known = known and isinstance(value, str | int) and not isinstance(value, Unknown)
            return str(value) if isinstance(value, str | int) else match[0]

        substituted = re.sub(r"\$\{([^{}]*)\}", replace, text)
        return str(substituted) if known else Unknown(substituted)


def _api_name(name: str) -> str:
    return _IRREGULAR.get(name, name[:1].lower() + name[1:])


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def conditional(value: Any, conditions: Sequence[tuple[str, bool]]) -> Any:
    """`value`, so that it is there only where the conditions have these values."""
    nothing = {"Ref": "AWS::NoValue"}
    for name, met in conditions:
        value = {"Fn::If": [name, value, nothing] if met else [name, nothing, value]}
    return value
