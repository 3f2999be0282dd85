"""JSON text as a tree. Python's own parser judges it; a second look, at what is known to be JSON, finds the places."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from task_helper_taskdef.formats.tree import (
    MAX_DEPTH,
    PLACEHOLDER,
    NotATaskDefinition,
    Scalar,
    Span,
    Tree,
    Unknown,
    below,
    mark_placeholders,
    unrendered,
)

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}]|[^][{}\s,:"]+')
# what a template engine fills in or runs, at the place of a syntax error or right before it: `${logging},`
_UNFILLED: Final = re.compile(rf"({PLACEHOLDER.pattern}|%\{{.*?\}}|\{{%.*?%\}})")
_UNFILLED_BEFORE: Final = re.compile(rf"{_UNFILLED.pattern}\s*\Z")
# the longest such placeholder, in characters: a search from the start of the text would take quadratic time
_LONGEST: Final = 300
# stands at the beginning of a text that was no text in the file: `"memory": ${memory}`
_MARK: Final = "\ue000"


def parse(text: str) -> Tree:
    """The tree of `text`; raises NotATaskDefinition with the line and column of a syntax error."""
    json_text = text
    try:
        value = _load(text)
    except json.JSONDecodeError:
        json_text = _with_quoted_placeholders(text)
        try:
            value = _load(json_text)
        except json.JSONDecodeError as error:
            # what is wrong apart from the placeholders
            raise NotATaskDefinition(_syntax_error(text, error), error.pos) from None
    tree = Tree(text, mark_placeholders(_with_unknowns(value)), {}, {}, [], {})
    _note_places(json_text, tree)
    return tree


def written(tree: Tree) -> Any:
    """The value of `tree` as it is written, to be compared with another text's: what is no text as a Scalar."""
    text = tree.text
    try:
        value = _load(text, _float, _int)
    except json.JSONDecodeError:
        value = _load(_with_quoted_placeholders(text), _float, _int)
    return _as_written(value, "$", tree)


def _as_written(value: Any, place: str, tree: Tree) -> Any:
    if isinstance(value, dict):
        return {key: _as_written(item, below(place, key), tree) for key, item in value.items()}
    if isinstance(value, Scalar):
        return value
    if isinstance(value, list):
        return [_as_written(item, f"{place}[{i}]", tree) for i, item in enumerate(value)]
    if value is None or isinstance(value, bool):
        return Scalar("null" if value is None else "bool", json.dumps(value))
    span = tree.spans[place]
    return Scalar("placeholder", tree.text[span.start : span.end]) if value[:1] == _MARK else value


def _int(text: str) -> Scalar:
    return Scalar("int", text)


def _float(text: str) -> Scalar:
    return Scalar("float", text)


def _load(text: str, parse_float: Any = None, parse_int: Any = None) -> Any:
    try:
        return json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=parse_float or _parse_float,
            parse_int=parse_int or _parse_int,
        )
    except RecursionError:
        raise NotATaskDefinition("nested too deeply") from None


def _syntax_error(text: str, error: json.JSONDecodeError) -> str:
    if not text.strip():
        return "the file is empty"
    placeholder = _UNFILLED.match(text, error.pos)
    # behind a value a comma is missing, and the placeholder is all right
    if not placeholder and error.msg != "Expecting ',' delimiter":
        placeholder = _UNFILLED_BEFORE.search(text, max(0, error.pos - _LONGEST), error.pos)
    if placeholder:
        return unrendered(placeholder[1])
    trailing = text[error.pos : error.pos + 1] in ("]", "}") and text[: error.pos].rstrip().endswith(",")
    what = "nothing stands behind the last comma; remove the comma" if trailing else error.msg
    return f"line {error.lineno}, column {error.colno}: {what}"


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


def _note_places(text: str, tree: Tree) -> None:
    """Note in `tree` where everything in `text` stands."""
    tokens = _TOKEN.finditer(text)

    def walk(token: re.Match[str], place: str, depth: int = 0) -> int:
        """Note the value that begins with `token`, and all in it; where it ends."""
        end = token.end()
        if depth > MAX_DEPTH:
            raise NotATaskDefinition("nested too deeply", token.start())
        places: list[str] = []
        if token[0] == "[":
            for i, item in enumerate(iter(lambda: next(tokens), None)):
                if item is None or item[0] == "]":
                    end = item.end() if item else end
                    break
                places.append(f"{place}[{i}]")
                walk(item, places[-1], depth + 1)
            tree.children[place] = places
        elif token[0] == "{":
            for key in iter(lambda: next(tokens), None):
                if key is None or key[0] == "}":
                    end = key.end() if key else end
                    break
                name = key[0][1:-1] if "\\" not in key[0] else json.loads(key[0], strict=False)
                at = below(place, name)
                if at in tree.keys:
                    tree.duplicates.append((at, key.start()))
                else:
                    places.append(at)
                tree.keys[at] = key.start()
                walk(next(tokens), at, depth + 1)
            tree.children[place] = places
        tree.spans[place] = Span(token.start(), end)
        return end

    walk(next(tokens), "$")


def _refuse_constant(text: str) -> NoReturn:
    raise NotATaskDefinition(f"{text} is not a JSON number")


def _parse_int(text: str) -> int:
    if len(text) > 20:
        raise NotATaskDefinition(f"{text[:20]}... is a number that is too large")
    return int(text)


def _parse_float(text: str) -> float:
    if (value := float(text)) in (float("inf"), float("-inf")):
        raise NotATaskDefinition(f"{text[:20]} is a number that is too large")
    return value
