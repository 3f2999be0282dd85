"""Changing a file's text where a value is to change, and nowhere else: comments, order and layout stay as they are.

Every result is read again, and compared with what was to come of it, before anybody gets it: the values that the file
had, with the edits and nothing else. Merge keys, aliases, tags and the spelling of numbers count. No library for YAML
that keeps comments is used: ruamel.yaml 0.19 writes 1 of 94 public templates as it read it, with no edit at all.
"""

from __future__ import annotations

import copy
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from itertools import groupby, pairwise
from typing import Any, Final, NamedTuple

from task_helper_taskdef.findings import Copied, Edit
from task_helper_taskdef.formats import Source, cloudformation, json_text, parse_all, sources, yaml_text
from task_helper_taskdef.formats.tree import NotATaskDefinition, Scalar, Span, Tree, below, parent, steps

DEFAULT_INDENT: Final = "  "
# a function that has a short form in YAML, https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide
_FUNCTION: Final = re.compile(r"Ref|Fn::\w+")
# what may stand between the place of a list and its first dash: its anchor and tag, comments, white space
_BEFORE_DASH: Final = re.compile(r"(?:[&!][^\s]*(?=\s)|#[^\n]*|\s)*")


class NotEditable(ValueError):
    """The text cannot be changed; the message says why and what to do instead."""


class Change(NamedTuple):
    """An edit of a text: `new` replaces the text from `start` to `end`."""

    start: int
    end: int
    new: str


def apply_edits(source: Source, edits: Sequence[Edit]) -> Source:
    """`source` with `edits` made in its text, each at the places that the one before has left; raises NotEditable.

    Edits that one after the other append to the same list are made together.
    """
    numbered = enumerate(edits)
    for _, group in groupby(numbered, key=lambda each: each[1].place if each[1].append else each[0]):
        again = sources(source.file, *_applied(source, [edit for _, edit in group]))
        source = next(each for each in again if each.key == source.key)
    return source


def apply(source: Source, *edits: Edit) -> str:
    """The text of the file of `source` with one edit made, or with several that append to the same list; raises
    NotEditable."""
    return _applied(source, edits)[0].text


def _applied(source: Source, edits: Sequence[Edit]) -> list[Tree]:
    editor = Editor(source)
    return apply_together([(editor, edits, editor.change(edits))])


def apply_together(changes: Sequence[tuple[Editor, Sequence[Edit], Change]]) -> list[Tree]:
    """The documents of a file with changes of it made that do not touch each other; raises NotEditable.

    Each change is what its edits come to in the text. The editors are of one file. The result is read again and
    compared with what was to come of it.
    """
    source, first = changes[0][0].source, changes[0][1][0].place
    intended = _written(source.tree)
    in_order = sorted(changes, key=lambda each: each[2])
    # from the end of the text on, so that no change moves the place of another
    for editor, edits, _ in reversed(in_order):
        for edit in edits:
            _edit_written(intended, editor, edit)
    pieces, reached = [], 0
    for _, _, (start, end, new) in in_order:
        pieces += [source.text[reached:start], new]
        reached = end
    text = "".join([*pieces, source.text[reached:]])
    try:
        trees = parse_all(source.file, text)
    except NotATaskDefinition as error:
        raise NotEditable(f"the file would be damaged ({error}); change {first} by hand") from None
    if trees[0].yaml != source.tree.yaml or any(tree.duplicates for tree in trees):
        raise NotEditable(f"the file would be damaged; change {first} by hand")
    if place := _difference(intended, _written(trees[0])):
        raise NotEditable(
            f"with {first} changed, {place} would get a wrong value: perhaps both share an anchor; change it by hand"
        )
    return trees


def _merged(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with what its merge key has."""
    if "<<" not in value:
        return value
    sources = value["<<"] if isinstance(value["<<"], list) else [value["<<"]]
    merged: dict[str, Any] = {}
    for each in sources:
        merged = {**(_merged(each) if isinstance(each, dict) else {}), **merged}
    return {**merged, **{key: item for key, item in value.items() if key != "<<"}}


def _merged_below(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _merged_below(item) for key, item in _merged(value).items()}
    return [_merged_below(item) for item in value] if isinstance(value, list) else value


def _written(tree: Tree) -> list[Any]:
    """All documents of the file of `tree`, as they are written."""
    return yaml_text.written(tree.text) if tree.yaml else [json_text.written(tree)]


def _edit_written(documents: list[Any], editor: Editor, edit: Edit) -> None:
    """Make `edit` in `documents`, which are as they are written."""
    source = editor.source
    number = source.tree.number if source.tree.yaml else 0
    *path, last = steps(source.file_place(edit.place)) or [0]
    holder: Any = documents[number]
    if not steps(source.file_place(edit.place)):
        holder, last = documents, number
    for key, following in pairwise([*path, last]):
        if (isinstance(holder, dict) and key not in holder) or _is_null(holder[key]):
            holder[key] = [] if isinstance(following, int) else {}
        holder = holder[key]
    if edit.rename:
        name = editor.spelt_key(edit.rename)
        renamed = {name if key == last else key: item for key, item in holder.items()}
        holder.clear()
        holder.update(renamed)
    elif edit.remove:
        del holder[last]
    if (edit.rename or edit.remove) and isinstance(holder, dict) and last in _merged(holder):
        raise NotEditable(f"{edit.place} would replace a value of a merge key; change it by hand")
    if edit.rename or edit.remove:
        return
    value = editor.to_write(edit.value)
    if edit.append:
        if isinstance(holder, dict) and last not in holder and last in _merged(holder):
            holder[last] = [*_merged(holder)[last]]
        elif (isinstance(holder, dict) and last not in holder) or _is_null(holder[last]):
            holder[last] = []
        holder[last].append(value)
    else:
        holder[last] = value


def _is_null(value: Any) -> bool:
    return isinstance(value, Scalar) and value.kind == "null"


def _difference(one: Any, other: Any, place: str = "$") -> str:
    """The first place at which the two differ, empty where none is."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            if key not in one or key not in other:
                return below(place, key)
            if found := _difference(one[key], other[key], below(place, key)):
                return found
        return ""
    if type(one) is list and type(other) is list:
        for i, (item, its) in enumerate(zip(one, other, strict=False)):
            if found := _difference(item, its, f"{place}[{i}]"):
                return found
        return "" if len(one) == len(other) else f"{place}[{min(len(one), len(other))}]"
    return "" if type(one) is type(other) and one == other else place


def changed(document: Any, edits: Iterable[Edit]) -> Any:
    """`document`, in the API's spelling, with `edits` made; itself it stays as it is. Raises NotEditable."""
    document = copy.deepcopy(document)
    for edit in edits:
        value = with_copies(edit.value, document)
        *keys, last = steps(edit.place)
        holder = document
        for key, following in pairwise([*keys, last]):
            if (isinstance(holder, dict) and key not in holder) or holder[key] is None:
                holder[key] = [] if isinstance(following, int) else {}
            holder = holder[key]
        if edit.rename:
            renamed = {edit.rename if key == last else key: item for key, item in holder.items()}
            holder.clear()
            holder.update(renamed)
        elif edit.remove:
            del holder[last]
        elif edit.append:
            items = holder.get(last) if isinstance(holder, dict) else holder[last]
            if items is not None and not isinstance(items, list):
                raise NotEditable(f"{edit.place} is made by a function of the template; change it by hand")
            if items is None:
                holder[last] = items = []
            items.append(value)
        else:
            holder[last] = value
    return document


def with_copies(value: Any, document: Any) -> Any:
    """`value` with what is Copied from `document` in it."""
    if isinstance(value, Copied):
        found = document
        for key in steps(value.place):
            found = found[key]
        return copy.deepcopy(found)
    if isinstance(value, dict):
        return {key: with_copies(item, document) for key, item in value.items()}
    return [with_copies(item, document) for item in value] if isinstance(value, list) else value


def indent_of(text: str) -> str:
    """How `text` indents: by what its first line that is indented begins with."""
    match = re.search(r"\n([ \t]+)\S", text)
    return match[1] if match else DEFAULT_INDENT


class Editor:
    """The text of the file of `source`, with the places of its values. What changes it gives the change; the text
    itself stays as it is."""

    def __init__(self, source: Source) -> None:
        self.source, self._tree = source, source.tree
        self._text, self._spans, self._lines = source.tree.text, source.tree.spans, source.tree.lines

    @cached_property
    def _documents(self) -> list[Any]:
        """All documents of the file as they are written, to be copied from."""
        return _written(self._tree)

    @cached_property
    def _indent(self) -> str | None:
        """What JSON in several lines is indented by; None for JSON in one line, and for YAML."""
        text = self._text.strip()
        return indent_of(self._text) if text.startswith(("{", "[")) and "\n" in text else None

    def change(self, edits: Sequence[Edit]) -> Change:
        """`edits`, one or several that append to the same list, as one change of the text; raises NotEditable."""
        edit = edits[0]
        if self.source.spelling == "terraform":
            raise NotEditable("a Terraform plan cannot be changed; change the Terraform code")
        if self.source.spelling == "containers" and not edit.place.startswith("$.containerDefinitions"):
            raise NotEditable(f"a list of containers has no place for {edit.place[2:]}; give the whole task definition")
        place = self.source.file_place(edit.place)
        if "<<" in steps(place):
            raise NotEditable(f"{place} is a merge key; change it by hand")
        if edit.rename:
            return self.rename(place, self.spelt_key(edit.rename))
        if edit.remove:
            return self.remove(place)
        if edit.append:
            return self.append(place, [self.to_write(each.value) for each in edits])
        return self.put(place, self.to_write(edit.value))

    def spelt_key(self, name: str) -> str:
        """The key `name` of the API in the file's spelling."""
        return name[:1].upper() + name[1:] if self.source.spelling == "cloudformation" else name

    def to_write(self, value: Any) -> Any:
        """`value`, of an Edit, in the file's spelling, with a Scalar for what is no text; raises NotEditable."""
        return self._as_written(cloudformation.to_cloudformation(value) if self.source.is_template else value)

    def _as_written(self, value: Any) -> Any:
        if isinstance(value, Copied):
            return self._copy_of(self.source.written_place(value.place))
        if isinstance(value, dict):
            return {str(key): self._as_written(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._as_written(item) for item in value]
        if isinstance(value, str):
            return str(value)
        return Scalar({bool: "bool", type(None): "null"}.get(type(value), type(value).__name__), json.dumps(value))

    def _copy_of(self, place: str) -> Any:
        """The value at `place` of the file, with its merge keys applied; raises NotEditable."""
        if "<<" in steps(place):
            raise NotEditable(f"{place} comes from a merge key; copy it by hand")
        value: Any = self._documents[self._tree.number if self._tree.yaml else 0]
        for key in steps(place):
            held: Any = _merged(value) if isinstance(value, dict) else value
            value = held[key]
        return copy.deepcopy(_merged_below(value))

    def put(self, place: str, value: Any) -> Change:
        """With `value` at `place`, whether there is one or not."""
        self._refuse_shared(place)
        self._refuse_function(place)
        if place in self._spans:
            span = self._spans[place]
            if span.start == span.end:
                # YAML's nothing is nowhere: `cpu:`
                colon = self._after_colon(place)
                return self._replaced(colon, colon, f" {self._flow(value, colon)}")
            block = isinstance(value, dict | list) and place in self._tree.keys and not self._in_flow(place)
            if isinstance(value, dict | list) and block and (not span.flow or place in self._tree.aliases):
                return self._put_block(place, value)
            if span.flow or not isinstance(value, dict | list):
                return self._replaced(span.start, self._end(place), self._flow(value, span.start))
            raise NotEditable(f"{place} is written in a form that cannot be changed safely; change it by hand")
        if place.endswith("]") and not place.endswith("']"):
            raise NotEditable(f"{place} does not exist")
        above, key = parent(place), str(steps(place)[-1])
        if above not in self._spans or self._value_at(above) is None:
            if isinstance(self._value_at(above), dict):
                raise NotEditable(f"{above} comes from a merge key that others share; write it out")
            return self.put(above, {key: value})
        if not isinstance(self._value_at(above), dict):
            raise NotEditable(f"{above} is not an object; change it by hand")
        self._refuse_shared(below(above, key))
        return self._add_member(above, key, value)

    def _put_block(self, place: str, value: Any) -> Change:
        """With lines of YAML in the place of those that are there, the key's own included."""
        key = self._tree.keys[place]
        column = " " * (key - self._lines.start(key))
        written = self._block({str(steps(place)[-1]): value}, column)
        return self._replaced(key, self._end(place), written.lstrip())

    def append(self, place: str, items: list[Any]) -> Change:
        """With `items` behind the last one of the list at `place`."""
        there = self._value_at(place)
        if there is None:
            return self.put(place, items)
        if not isinstance(there, list):
            self._refuse_function(place)
            raise NotEditable(f"{place} is not a list; change it by hand")
        if place not in self._spans or place in self._tree.aliases:
            # its own list for this one, as others share what the alias or the merge key stands for
            return self.put(place, [*self._copy_of(place), *items])
        self._refuse_shared(place)
        self._refuse_function(place)
        members = self._tree.children.get(place)
        if members is None:
            raise NotEditable(f"{place} is written in a form that cannot be changed safely; change it by hand")
        if self._spans[place].flow:
            return self._add_flow(
                self._spans[place], members, lambda offset: [self._flow(item, offset) for item in items]
            )
        dash = _BEFORE_DASH.match(self._text, self._spans[place].start)
        if dash is None or self._text[dash.end() : dash.end() + 1] != "-":
            raise NotEditable(f"{place} is written in a form that cannot be changed safely; change it by hand")
        column = " " * (dash.end() - self._lines.start(dash.end()))
        return self._add_line(members[-1], self._block(items, column))

    def remove(self, place: str) -> Change:
        """Without the key or the item at `place`."""
        self._refuse_shared(place)
        if place not in self._spans:
            raise NotEditable(f"{place} comes from a merge key; change it by hand")
        above, siblings = self._spans[parent(place)], self._tree.children[parent(place)]
        start = self._tree.keys.get(place, self._spans[place].start)
        end = self._end(place)
        if above.flow:
            if place != siblings[-1]:
                following = siblings[siblings.index(place) + 1]
                end = self._tree.keys.get(following, self._spans[following].start)
            elif len(siblings) > 1:
                start = self._end(siblings[-2])
            return self._replaced(start, end, "")
        line = self._lines.start(start)
        is_item = place not in self._tree.keys
        if len(siblings) == 1:
            colon = self._after_colon(parent(place))
            return self._replaced(colon, self._end(parent(place)), " []" if is_item else " {}")
        if self._text[line:start].strip(" -"):
            raise NotEditable(f"{place} is written in a form that cannot be changed safely; change it by hand")
        if place == siblings[0] and not is_item:
            # the next key moves up to where this one began, behind the dash of its item
            return self._replaced(start, self._tree.keys[siblings[1]], "")
        behind = end if self._text[end - 1] == "\n" else self._text.find("\n", end) + 1 or len(self._text)
        return self._replaced(line, behind, "")

    def rename(self, place: str, name: str) -> Change:
        """With another name for the key at `place`."""
        self._refuse_shared(parent(place))
        if place not in self._tree.keys:
            raise NotEditable(f"{place} comes from a merge key; change it by hand")
        start = self._tree.keys[place]
        old = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s:]+').match(self._text, start)
        if old is None:
            raise NotEditable(f"{place} is written in a form that cannot be changed safely; change it by hand")
        return self._replaced(start, old.end(), f'"{name}"' if old[0].startswith('"') else name)

    def _refuse_shared(self, place: str) -> None:
        """Raise NotEditable where an alias or a merge key stands above `place`: others share what is there."""
        above = place
        while above != "$":
            above = parent(above)
            if above in self._tree.aliases:
                span = self._tree.aliases[above]
                alias = self._text[span.start : span.end].partition("\n")[0]
                raise NotEditable(f"{place} is shared: other places use {alias} too; write it out")

    def _refuse_function(self, place: str) -> None:
        """Raise NotEditable if a function makes the value: its input, such as a parameter, has to change instead."""
        value, at = self._tree.value, "$"
        for key in [*steps(place), None]:
            function = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else ""
            if function == "Ref" or function.startswith("Fn::") and key != function:
                raise NotEditable(f"{at} is made by a function of the template; change it by hand")
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return
            at = f"{at}[{key}]" if isinstance(key, int) else below(at, str(key))

    def _in_flow(self, place: str) -> bool:
        return self._spans[parent(place)].flow

    def _replaced(self, start: int, end: int, new: str) -> Change:
        """`new`, with its lines ended as those around it are."""
        return Change(start, end, new.replace("\n", self._lines.ending(start)))

    def _value_at(self, place: str) -> Any:
        """The value at `place` of the file, None where there is none."""
        value = self._tree.value
        for key in steps(place):
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _end(self, place: str) -> int:
        """Where the value at `place` ends: of YAML's blocks, where the last that is written in them does."""
        while not self._spans[place].flow and place not in self._tree.aliases and self._tree.children.get(place):
            place = self._tree.children[place][-1]
        span = self._spans[place]
        text = self._text[span.start : span.end]
        # the empty lines at the end of such a scalar belong to it: `|+`
        keeps = self._tree.yaml and re.match(r"(?:[&!]\S*\s+)*[|>][0-9]?\+", text)
        return span.end if keeps else span.start + len(text.rstrip())

    def _after_colon(self, place: str) -> int:
        """Where the colon ends behind the key of `place`."""
        key = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\']|\'\')*\'|[^:]*').match(
            self._text, self._tree.keys.get(place, len(self._text))
        )
        if place not in self._tree.keys or key is None:
            raise NotEditable(f"{place} is written in a form that cannot be changed safely; change it by hand")
        return self._text.index(":", key.end()) + 1

    def _column(self, offset: int) -> str:
        """The white space at the beginning of the line of `offset`."""
        return re.compile(r"[ \t]*").match(self._text, self._lines.start(offset))[0]  # type: ignore[index]

    def _flow(self, value: Any, offset: int) -> str:
        """`value` as JSON, to stand at `offset`: in as many lines as people would write there."""
        if self._indent is None:
            return _as_json(value, None)
        return _as_json(value, self._indent).replace("\n", f"\n{self._column(offset)}")

    def _add_member(self, place: str, key: str, value: Any) -> Change:
        members, span = self._tree.children.get(place, []), self._spans[place]
        if span.flow:
            return self._add_flow(span, members, lambda offset: [f"{json.dumps(key)}: {self._flow(value, offset)}"])
        first = self._tree.keys[members[0]]
        column = " " * (first - self._lines.start(first))
        return self._add_line(members[-1], self._block({key: value}, column))

    def _add_flow(self, span: Span, members: list[str], write: Callable[[int], list[str]]) -> Change:
        """With more members of a list or an object in JSON's way, laid out as the last one is.

        `write` gives their texts, which are to stand at an offset.
        """
        if members:
            last = self._tree.keys.get(members[-1], self._spans[members[-1]].start)
            end = self._end(members[-1])
            line = self._lines.start(last)
            alone = re.compile(r"\s*").match(self._text, line).end() >= last  # type: ignore[union-attr]
            separator = f",\n{self._text[line:last]}" if alone else ", "
            return self._replaced(end, end, "".join(f"{separator}{each}" for each in write(last)))
        start = span.end - 1
        while self._text[start] not in "[{":
            start -= 1
        if self._indent is None:
            return self._replaced(start + 1, span.end - 1, ", ".join(write(start)))
        column = self._column(start)
        inner = column + self._indent
        written = ",".join(f"\n{inner}" + each.replace("\n", f"\n{self._indent}") for each in write(start))
        return self._replaced(start + 1, span.end - 1, f"{written}\n{column}")

    def _block(self, value: Any, column: str) -> str:
        return textwrap.indent(_as_yaml(value, self.source.is_template), column)

    def _add_line(self, last: str, written: str) -> Change:
        """With lines of YAML behind that on which the value at `last` ends."""
        behind = self._end(last)
        if self._text[behind - 1 : behind] == "\n":
            return self._replaced(behind, behind, f"{written}\n")
        end = self._text.find("\n", behind)
        end = len(self._text) if end < 0 else end - (self._text[end - 1] == "\r")
        return self._replaced(end, end, f"\n{written}")


def _as_json(value: Any, indent: str | None) -> str:
    """`value`, as it is to be written, as JSON."""
    spellings: list[str] = []

    def mark(item: Any) -> Any:
        if isinstance(item, Scalar):
            spellings.append(item.spelling or "null")
            return f"\ue001{len(spellings) - 1}"
        if isinstance(item, dict):
            return {key: mark(each) for key, each in item.items()}
        return [mark(each) for each in item] if isinstance(item, list) else item

    text = json.dumps(mark(value), ensure_ascii=False, indent=indent)
    return re.sub('"\ue001([0-9]+)"', lambda match: spellings[int(match[1])], text)


def _as_yaml(value: Any, is_template: bool) -> str:
    """`value`, as it is to be written, as lines of YAML; in a template with its functions in their short form."""
    import yaml

    class Representer(yaml.representer.SafeRepresenter):
        def ignore_aliases(self, data: Any) -> bool:
            return True

        def represent_dict(self, data: Any) -> Any:
            (name, argument), *others = data.items() if data else [("", "")]
            short = is_template and not others and _FUNCTION.fullmatch(name)
            if short and name == "Fn::GetAtt" and isinstance(argument, list):
                joined = ".".join(argument) if all(isinstance(each, str) for each in argument) else ""
                # a dot in the first part would be taken for the end of it
                argument = joined if joined.split(".", 1) == argument else argument
            # an object, such as one more function, has no place behind a tag: `!ImportValue !Sub` is not YAML
            if not short or not isinstance(argument, str | list):
                return super().represent_dict(data)
            tag = f"!{name.removeprefix('Fn::')}"
            if isinstance(argument, list):
                return self.represent_sequence(tag, argument)
            return self.represent_scalar(tag, argument)

        def represent_as_spelt(self, data: Scalar) -> Any:
            return yaml.ScalarNode(f"tag:yaml.org,2002:{data.kind}", data.spelling or "null")

    Representer.add_representer(dict, Representer.represent_dict)
    Representer.add_representer(Scalar, Representer.represent_as_spelt)
    # None is for short ones in JSON's way; the type stubs do not know it
    style: Any = None
    node: Any = Representer(default_flow_style=style, sort_keys=False).represent_data(value)
    # lines of their own without, JSON's way within, as people write short lists and objects
    node.flow_style = False
    # a width that no line has: what is there to be copied stays in one piece
    written: str = yaml.serialize(node, Dumper=yaml.SafeDumper, width=10_000, allow_unicode=True)
    return written.rstrip("\n")
