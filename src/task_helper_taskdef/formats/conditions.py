"""A CloudFormation template's conditions, evaluated both ways: in which ways they can be met together.

Conditions compare parameters, and what is known only at the deployment, with values. Each parameter takes every value
that it is compared with, and one that it is not compared with, as far as its AllowedValues allow. So conditions that
exclude each other are never met together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, islice, product
from typing import Any, Final

# values that parameters take together; more are not looked at
_MOST_TRIALS: Final = 4096
# what a parameter has that is compared with none of the values in the template
_OTHER: Final = "\x00other"
# what two parameters have that are the same and are compared with each other only
_SAME: Final = "\x00same"
# what differs in these differs in no container's part, and there are many of them
_VALUES: Final = {"Environment", "Secrets", "Options", "Tags", "DockerLabels"}
_OPEN: Final = "\x00open "


ConditionValue = tuple[str, bool]


def distinguishing(where: set[int], conditions: Sequence[Mapping[str, bool]]) -> tuple[ConditionValue, ...] | None:
    """The fewest conditions, with their values, that those of `conditions` at the indexes `where` have and no other;
    None where no three do."""
    literals = [(name, value) for name in conditions[0] for value in (True, False)]
    for size in range(4):
        for some in combinations(literals, size):
            if where == {i for i, each in enumerate(conditions) if all(each[name] is value for name, value in some)}:
                return some
    return None


class Conditions:
    """The conditions of `template`."""

    def __init__(self, template: Mapping[str, Any]) -> None:
        conditions, parameters = template.get("Conditions"), template.get("Parameters")
        self._conditions: dict[str, Any] = conditions if isinstance(conditions, dict) else {}
        self._parameters: dict[str, Any] = parameters if isinstance(parameters, dict) else {}

    def ways(self, fields: Any, condition: Any, most: int) -> tuple[list[dict[str, bool]], bool]:
        """The values that the conditions which `fields` depend on can have together, at most `most`, and whether these
        are all.

        The first are those of the parameters' defaults. `condition` is a condition that is always met. Where there are
        more, the conditions of single values, such as environment variables, are left out: these values stay open.
        """
        everywhere = set(_names(fields, False))
        ways, complete = self._ways(everywhere, condition, most)
        if not complete and (structural := set(_names(fields, True))) != everywhere:
            ways, complete = self._ways(structural, condition, most)
        return ways, complete

    def _ways(self, names: set[str], condition: Any, most: int) -> tuple[list[dict[str, bool]], bool]:
        if not names:
            return [{}], True
        always = condition if isinstance(condition, str) else None
        compared: dict[str, list[str]] = {}
        for name in sorted(names | ({always} if always else set())):
            for symbol, value in self._comparisons({"Condition": name}, frozenset()):
                values = compared.setdefault(symbol, [])
                if value not in values:
                    values.append(value)
        symbols = list(compared)
        trials = product(*(self._candidates(symbol, compared[symbol]) for symbol in symbols))
        found: list[dict[str, bool]] = []
        for trial in islice(trials, _MOST_TRIALS):
            given = dict(zip(symbols, trial, strict=True))
            if always and not self._holds({"Condition": always}, given, frozenset()):
                continue
            way = {name: self._holds({"Condition": name}, given, frozenset()) for name in sorted(names)}
            if way not in found:
                if len(found) == most:
                    return found, False
                found.append(way)
        # a condition that is never met leaves none
        return found or [dict.fromkeys(sorted(names), True)], next(trials, None) is None

    def _candidates(self, symbol: str, compared: list[str]) -> list[str]:
        """The values that a parameter can have, its default first."""
        if symbol.startswith(_OPEN):
            return ["true", "false"]
        parameter = self._parameters.get(symbol)
        parameter = parameter if isinstance(parameter, dict) else {}
        default = _text(parameter["Default"]) if "Default" in parameter else None
        allowed = parameter.get("AllowedValues")
        if isinstance(allowed, list) and allowed:
            values = [_text(value) for value in allowed]
            # all that are compared with nothing are alike
            values = [value for value in values if value in compared] + [v for v in values if v not in compared][:1]
        else:
            values = [_OTHER, *compared]
        first = default if default in values else next((value for value in values if value not in compared), None)
        return sorted(values, key=lambda value: value != first)

    def _comparisons(self, expression: Any, above: frozenset[str]) -> Iterator[tuple[str, str]]:
        """Each parameter, or other thing that is open, and a value that it is compared with."""
        match expression:
            case {"Condition": str(name)} if name in self._conditions and name not in above:
                yield from self._comparisons(self._conditions[name], above | {name})
            case {"Fn::And": list(parts)} | {"Fn::Or": list(parts)} | {"Fn::Not": list(parts)}:
                for part in parts:
                    yield from self._comparisons(part, above)
            case {"Fn::Equals": [one, other]}:
                left, right = _symbol(one), _symbol(other)
                if left and right:
                    yield from ((left, _SAME), (right, _SAME))
                elif left or right:
                    yield left or right, _text(other if left else one)
            case _:
                yield _open(expression), "true"

    def _holds(self, expression: Any, given: Mapping[str, str], above: frozenset[str]) -> bool:
        match expression:
            case {"Condition": str(name)} if name in self._conditions and name not in above:
                return self._holds(self._conditions[name], given, above | {name})
            case {"Fn::And": list(parts)}:
                return all(self._holds(part, given, above) for part in parts)
            case {"Fn::Or": list(parts)}:
                return any(self._holds(part, given, above) for part in parts)
            case {"Fn::Not": [part]}:
                return not self._holds(part, given, above)
            case {"Fn::Equals": [one, other]}:
                left, right = _symbol(one), _symbol(other)
                return (given[left] if left else _text(one)) == (given[right] if right else _text(other)) and not (
                    left and right and given[left] == _OTHER
                )
        return given.get(_open(expression)) == "true"


def _names(value: Any, structural: bool) -> Iterator[str]:
    """The conditions that functions in `value` depend on; with `structural` without those of single values."""
    if isinstance(value, list):
        for item in value:
            yield from _names(item, structural)
    elif isinstance(value, dict):
        match value:
            case {"Fn::If": [str(name), *_]} if len(value) == 1:
                yield name
        for key, item in value.items():
            if not (structural and key in _VALUES):
                yield from _names(item, structural)


def _symbol(value: Any) -> str:
    """The name for what is open in a comparison: a parameter's own; empty for a value."""
    match value:
        case {"Ref": str(name)}:
            return name
        case dict() | list():
            return json.dumps(value, sort_keys=True, default=str)
    return ""


def _open(expression: Any) -> str:
    """The name for a condition that is open as a whole."""
    return _OPEN + json.dumps(expression, sort_keys=True, default=str)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
