"""Making typed values of a document: a wrong type is refused with its place, and Unknown values are left out.

The types are those of `definition`. An Unknown is kept as text where a text belongs, as `${Name}` is still the same as
another `${Name}`, and left out elsewhere; either way its place is noted, so that no rule relies on it.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from task_helper_taskdef.formats.tree import NotATaskDefinition, Unknown

# put into each object that has a field for it: where it stands, and which places below are Unknown
PLACE: Final = "$place"
UNKNOWN: Final = "$unknown"
# the object itself, as it was
DOCUMENT: Final = "$document"
T = TypeVar("T")
_KNOWN: Final[dict[type, inspect.Type]] = {}
_WORDS: Final[dict[type, str]] = {
    dict: "an object",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}


def typed(document: Any, place: str, kind: type[T]) -> T:
    """`document` as a value of `kind`; raises NotATaskDefinition with the place of what does not fit."""
    try:
        fitted = _fit(document, _described(kind), place, [])
        return msgspec.convert(fitted, kind)
    except UnicodeEncodeError as error:
        raise NotATaskDefinition(f"{place}: {error.object!r} contains an unpaired surrogate") from None


def _described(kind: type) -> inspect.Type:
    """msgspec's description of `kind`; to make it takes longer than to read a definition."""
    if kind not in _KNOWN:
        _KNOWN[kind] = inspect.type_info(kind)
    return _KNOWN[kind]


def _fit(value: Any, kind: inspect.Type, place: str, unknown: list[str]) -> Any:
    """`value` ready to become a `kind`; adds the places of what is Unknown in it to `unknown`."""
    match kind:
        case inspect.UnionType(types=kinds):
            numbers = [k for k in kinds if isinstance(k, inspect.IntType)]
            wanted = [k for k in kinds if not isinstance(k, inspect.NoneType)]
            if len(wanted) > 1 and isinstance(value, Unknown | str | int) and not isinstance(value, bool) and numbers:
                if isinstance(value, Unknown):
                    unknown.append(place)
                return str(value) if isinstance(value, str) else value
            return _fit(value, wanted[0], place, unknown)
        case inspect.StructType():
            return _object(value, kind, place, unknown)
        case inspect.ListType(item_type=item_kind):
            if not isinstance(value, list):
                raise _refusal(value, "a list", place)
            return _list(value, item_kind, place, unknown)
        case inspect.DictType():
            if not isinstance(value, dict):
                raise _refusal(value, "an object", place)
            return {key: item for key, item in value.items() if item is not None}
        case inspect.StrType():
            return _text(value, place, unknown)
        case inspect.IntType(ge=least, le=most):
            return _number(value, least, most, place)
        case inspect.BoolType():
            if str(value).lower() in ("true", "false"):
                return str(value).lower() == "true"
            raise _refusal(value, "true or false", place)
        case inspect.LiteralType(values=allowed):
            if value not in allowed:
                raise NotATaskDefinition(f"{place}: {_quoted(value)} is not one of {', '.join(map(str, allowed))}")
            return str(value)
    return value


def _object(value: Any, kind: inspect.StructType, place: str, unknown: list[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refusal(value, "an object", place)
    mine: list[str] = []
    fitted: dict[str, Any] = {}
    names = {field.encode_name for field in kind.fields}
    for field in kind.fields:
        name = field.encode_name
        if name.startswith("$"):
            continue
        item = value.get(name)
        if item is None:
            if field.required:
                written = next((f"; write {name}, not {key}" for key in value if key.lower() == name.lower()), "")
                raise NotATaskDefinition(f"{place}: {name} is missing{written}")
        elif isinstance(item, Unknown) and not _takes_text(field.type):
            mine.append(f"{place}.{name}")
            if field.required:
                fitted[name] = _stand_in(field.type)
        else:
            fitted[name] = _fit(item, field.type, f"{place}.{name}", mine)
    unknown += mine
    injected = {PLACE: place, UNKNOWN: mine, DOCUMENT: value}
    return fitted | {name: item for name, item in injected.items() if name in names}


def _list(values: list[Any], kind: inspect.Type, place: str, unknown: list[str]) -> list[Any]:
    fitted = []
    for i, value in enumerate(values):
        if isinstance(value, Unknown) and not _takes_text(kind):
            unknown.append(f"{place}[{i}]")
        elif value is None:
            raise NotATaskDefinition(f"{place}[{i}]: {_wanted(kind)} is missing")
        else:
            fitted.append(_fit(value, kind, f"{place}[{i}]", unknown))
    return fitted


def _takes_text(kind: inspect.Type) -> bool:
    kinds = kind.types if isinstance(kind, inspect.UnionType) else (kind,)
    return any(isinstance(k, inspect.StrType) for k in kinds)


def _stand_in(kind: inspect.Type) -> Any:
    """The substitute for a required value that is Unknown; its place is noted, so that no rule relies on it."""
    match kind:
        case inspect.ListType():
            return []
        case inspect.LiteralType(values=allowed):
            return "START" if "START" in allowed else allowed[0]
        case inspect.BoolType():
            return True
    return 0


def _text(value: Any, place: str, unknown: list[str]) -> str:
    if not isinstance(value, str):
        raise _refusal(value, "text", place)
    if isinstance(value, Unknown):
        unknown.append(place)
    value.encode()
    return str(value)


def _number(value: Any, least: int | None, most: int | None, place: str) -> int:
    if isinstance(value, str):
        value.encode()
    # CloudFormation has numbers as text, some tools whole ones as 64.0
    text = str(value).strip().removesuffix(".0")
    if isinstance(value, bool) or not re.fullmatch("-?[0-9]{1,20}", text):
        raise _refusal(value, "a whole number", place)
    number = int(text)
    if (least is not None and number < least) or (most is not None and number > most):
        raise NotATaskDefinition(f"{place}: {number} is not from {least} to {most}")
    return number


def _wanted(kind: inspect.Type) -> str:
    match kind:
        case inspect.StructType() | inspect.DictType():
            return "an object"
        case inspect.StrType():
            return "text"
    return "a value"


def _refusal(value: Any, wanted: str, place: str) -> NotATaskDefinition:
    return NotATaskDefinition(f"{place}: expected {wanted}, got {_quoted(value)}")


def _quoted(value: Any) -> str:
    if isinstance(value, str):
        return repr(value[:60])
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return str(value)[:30] if isinstance(value, int | float) else _WORDS[type(value)]
