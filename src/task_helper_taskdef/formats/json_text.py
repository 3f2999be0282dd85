"""JSON text as a tree. Python's own parser judges it; a second look, at what is known to be JSON, finds the places."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from task_helper_taskdef.formats.tree import (
    MAX_DEPTH,
    PLACEHOLDER,
    NotATaskDefinition,
    Span,
    Tree,
    Unknown,
    mark_placeholders,
    unrendered,
)

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]|[^][{}\s,:"]+')
# stands at the beginning of a text that was no text in the file: `"memory": ${memory}`
_MARK: Final = "\ue000"


def parse(text: str) -> Tree:
    """The tree of `text`; raises NotATaskDefinition with the line and column of a syntax error."""
    json_text = text
    try:
        value = _load(text)
    except json.JSONDecodeError as error:
        json_text = _with_quoted_placeholders(text)
        try:
            value = _load(json_text)
        except json.JSONDecodeError:
            raise NotATaskDefinition(_syntax_error(text, error), error.pos) from None
    spans, keys, duplicates = _places(json_text)
    return Tree(text, mark_placeholders(_with_unknowns(value)), spans, keys, duplicates)


def _load(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_parse_float, parse_int=_parse_int)
    except RecursionError:
        raise NotATaskDefinition("nested too deeply") from None


def _syntax_error(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "the file is empty"
    if placeholder := PLACEHOLDER.match(text, error.pos) or re.compile(r"%\{.*?\}|\{%.*?%\}").match(text, error.pos):
        return unrendered(placeholder[0])
    return f"line {error.lineno}, column {error.colno}: {error.msg}"


def _with_quoted_placeholders(text: str) -> str:
    """`text` with each placeholder that stands where a value belongs as a text, so that nothing moves."""

    def fill(match: re.Match[str]) -> str:
        inner = re.sub(r'["\\\x00-\x1f]', "_", match[0][2:-1])
        return match[0] if match[0].startswith('"') else f'"{_MARK}{inner}"'

    return re.sub(rf'"(?:[^"\\\n]|\\.)*"|(?:{PLACEHOLDER.pattern})', fill, text)


def _with_unknowns(value: Any) -> Any:
    """`value` with what `_with_quoted_placeholders` has put in as Unknown."""
    if isinstance(value, dict):
        return {key: _with_unknowns(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_unknowns(item) for item in value]
    return Unknown(f"${{{value.strip(_MARK + '{} ')}}}") if isinstance(value, str) and value[:1] == _MARK else value


def _places(text: str) -> tuple[dict[str, Span], dict[str, int], list[tuple[str, int]]]:
    spans: dict[str, Span] = {}
    keys: dict[str, int] = {}
    duplicates: list[tuple[str, int]] = []
    tokens = _TOKEN.finditer(text)

    def walk(token: re.Match[str], place: str, depth: int = 0) -> int:
        """Note the value that begins with `token`, and all in it; where it ends."""
        end = token.end()
        if depth > MAX_DEPTH:
            raise NotATaskDefinition("nested too deeply", token.start())
        if token[0] == "[":
            for i, item in enumerate(iter(lambda: next(tokens), None)):
                if item is None or item[0] == "]":
                    end = item.end() if item else end
                    break
                walk(item, f"{place}[{i}]", depth + 1)
        elif token[0] == "{":
            for key in iter(lambda: next(tokens), None):
                if key is None or key[0] == "}":
                    end = key.end() if key else end
                    break
                below = f"{place}.{json.loads(key[0], strict=False)}"
                if below in keys:
                    duplicates.append((below, key.start()))
                keys[below] = key.start()
                walk(next(tokens), below, depth + 1)
        spans[place] = Span(token.start(), end)
        return end

    walk(next(tokens), "$")
    return spans, keys, duplicates


def _refuse_constant(text: str) -> NoReturn:
    raise NotATaskDefinition(f"{text} is no JSON number")


def _parse_int(text: str) -> int:
    if len(text) > 20:
        raise NotATaskDefinition(f"{text[:20]}... is too large a number")
    return int(text)


def _parse_float(text: str) -> float:
    if (value := float(text)) in (float("inf"), float("-inf")):
        raise NotATaskDefinition(f"{text[:20]} is too large a number")
    return value
