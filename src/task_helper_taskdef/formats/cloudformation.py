"""CloudFormation's task definitions in the spelling of the API, with what a template says of itself filled in.

A parameter's default counts as its value; what is known only when the stack is made stays Unknown. `cdk synth` and SAM
write such templates, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from task_helper_taskdef.formats.tree import Resolved, Unknown, plain

KIND: Final = "AWS::ECS::TaskDefinition"
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


def is_template(value: Any) -> bool:
    """Whether `value` is a template: an object whose Resources have types."""
    resources = value.get("Resources") if isinstance(value, dict) else None
    return isinstance(resources, dict) and any(isinstance(r, dict) and "Type" in r for r in resources.values())


def definitions(template: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """The name and the properties, spelt as the API spells them, of each task definition in `template`."""
    resolver = _Resolver(template)
    for name, resource in template["Resources"].items():
        if isinstance(resource, dict) and resource.get("Type") == KIND:
            properties = resolver.resolve(resource.get("Properties") or {})
            yield name, _text_where_text_belongs(_api_names(properties))


def file_place(place: str) -> str:
    """A place within a task definition, `.proxyConfiguration.properties[0]`, as CloudFormation spells it."""
    place = re.sub(r"\.([a-z])", lambda match: f".{match[1].upper()}", place)
    return place.replace(".ProxyConfiguration.Properties", ".ProxyConfiguration.ProxyConfigurationProperties")


def in_file_spelling(remedy: str) -> str:
    """What is to be written, `"stopTimeout": 120`, with CloudFormation's names for the keys."""
    return re.sub(r'"([a-z])([A-Za-z]*)":', lambda match: f'"{match[1].upper()}{match[2]}":', remedy)


def api_place(place: str) -> str:
    """The reverse of `shown`."""
    place = place.replace(".ProxyConfiguration.ProxyConfigurationProperties", ".ProxyConfiguration.Properties")
    return re.sub(r"\.([A-Z])", lambda match: f".{match[1].lower()}", place)


def to_cloudformation(value: Any) -> Any:
    """A value of the API in CloudFormation's spelling; what a function of the template made is that function again."""
    if isinstance(value, Resolved):
        return str(value) if value.written is None else plain(value.written)
    if isinstance(value, dict):
        return {
            key[0].upper() + key[1:]: _copied(item) if key in _COPIED else to_cloudformation(item)
            for key, item in value.items()
        }
    return [to_cloudformation(item) for item in value] if isinstance(value, list) else value


def _copied(value: Any) -> Any:
    """A map whose keys are the user's own."""
    return (
        {key: to_cloudformation(item) for key, item in value.items()}
        if isinstance(value, dict)
        else to_cloudformation(value)
    )


class _Resolver:
    """Replaces intrinsic functions by their values, as far as the template has them."""

    def __init__(self, template: Mapping[str, Any]) -> None:
        parameters = _object(template.get("Parameters"))
        self._defaults = {
            name: parameter["Default"]
            for name, parameter in parameters.items()
            # an empty default is there to be replaced
            if isinstance(parameter, dict) and parameter.get("Default") not in (None, "")
            # the default of these is the name of what holds the value
            and not str(parameter.get("Type", "")).startswith("AWS::SSM::")
        }
        self._lists = {n for n, p in parameters.items() if isinstance(p, dict) and "List" in str(p.get("Type"))}
        self._mappings = _object(template.get("Mappings"))

    def resolve(self, value: Any) -> Any:
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not _NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref":
                return _with_function(self._reference(str(argument)), value)
            if name.startswith("Fn::") or name == "Condition":
                return _with_function(self._function(name, argument), value)
        return {key: item for key, item in ((k, self.resolve(v)) for k, v in value.items()) if item is not _NO_VALUE}

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        if name not in self._defaults:
            return Unknown(f"${{{name}}}")
        default = self._defaults[name]
        return [part.strip() for part in str(default).split(",")] if name in self._lists else default

    def _function(self, name: str, argument: Any) -> Any:
        match name, argument:
            case "Fn::Sub", str(text):
                return self._substitute(text, {})
            case "Fn::Sub", [str(text), dict(values)]:
                return self._substitute(text, {key: self.resolve(item) for key, item in values.items()})
            case "Fn::Join", [str(separator), parts]:
                resolved = self.resolve(parts)
                if isinstance(resolved, list) and all(isinstance(part, str | int) for part in resolved):
                    joined = separator.join(map(str, resolved))
                    return Unknown(joined) if any(isinstance(part, Unknown) for part in resolved) else joined
            case "Fn::FindInMap", [first, second, third, *_]:
                keys = [str(self.resolve(key)) for key in (first, second, third)]
                found: Any = self._mappings
                for key in keys:
                    found = found.get(key) if isinstance(found, dict) else None
                if found is not None:
                    return found
                return Unknown(f"${{{'.'.join(key.strip('${}') for key in keys)}}}")
            case "Fn::Select", [index, items]:
                resolved = self.resolve(items)
                if isinstance(resolved, list) and str(index).isdigit() and int(index) < len(resolved):
                    return resolved[int(index)]
            case "Fn::Split", [str(separator), text]:
                resolved = self.resolve(text)
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


def _with_function(resolved: Any, function: Any) -> Any:
    """`resolved`, which remembers the function that made it."""
    if not isinstance(resolved, str):
        return resolved
    text = Unknown(resolved) if isinstance(resolved, Unknown) else Resolved(resolved)
    text.written = function
    return text


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _api_names(value: Any, key: str = "") -> Any:
    if isinstance(value, dict) and key in _MAPS:
        return value
    if isinstance(value, dict):
        return {_IRREGULAR.get(k, k[:1].lower() + k[1:]): _api_names(item, k) for k, item in value.items()}
    return [_api_names(item, key) for item in value] if isinstance(value, list) else value


def _text_where_text_belongs(definition: Any) -> Any:
    """CloudFormation takes `Value: 8080` for a text; booleans it writes in small letters."""

    def text(value: Any) -> Any:
        if isinstance(value, bool):
            return str(value).lower()
        return str(value) if isinstance(value, int | float) else value

    def mend(value: Any, key: str) -> Any:
        if isinstance(value, dict):
            return {k: mend(item, k) for k, item in value.items()}
        if isinstance(value, list):
            return [mend(item, key) for item in value]
        return text(value) if key in ("value", "user", "command", "entryPoint", "image", "name", "links") else value

    return mend(definition, "")
