"""Changing a file's text where a value is to change, and nowhere else: comments, order and layout stay as they are."""

from __future__ import annotations

import copy
import json
import re
import textwrap
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from task_helper_taskdef.findings import Edit
from task_helper_taskdef.formats import Source, cloudformation, load
from task_helper_taskdef.formats.tree import Span, Tree, parent, plain

DEFAULT_INDENT: Final = "  "


class NotEditable(ValueError):
    """The text cannot be changed here; the message says why and what to do instead."""


def apply_edits(source: Source, edits: Sequence[Edit]) -> Source:
    """`source` with `edits` made in its text, each at the places that the one before has left; raises NotEditable."""
    for edit in edits:
        again = load(source.file, apply(source, edit))
        source = next(each for each in again if each.label == source.label)
    return source


def apply(source: Source, edit: Edit) -> str:
    """The text of the file of `source` with `edit` made, its lines ended as they were; raises NotEditable."""
    text = _edited(source, edit)
    return re.sub("(?<!\r)\n", "\r\n", text) if "\r\n" in source.tree.text else text


def _edited(source: Source, edit: Edit) -> str:
    if source.spelling == "terraform":
        raise NotEditable("a plan is not where the containers are written down; put this into the Terraform code")
    if source.spelling == "containers" and not edit.place.startswith("$.containerDefinitions"):
        raise NotEditable(f"a list of containers has no place for {edit.place[2:]}; give the whole task definition")
    place = source.file_place(edit.place)
    spell = cloudformation.to_cloudformation if source.spelling == "cloudformation" else plain
    text = _Text(source.tree)
    if edit.rename:
        return text.rename(place, next(iter(spell({edit.rename: 0}))))
    if edit.remove:
        return text.remove(place)
    if edit.append:
        return text.append(place, spell(edit.value))
    return text.put(place, spell(edit.value))


def changed(document: Any, edits: Iterable[Edit]) -> Any:
    """`document`, in the API's spelling, with `edits` made; itself it stays as it is. Raises NotEditable."""
    document = copy.deepcopy(document)
    for edit in edits:
        *keys, last = _keys(edit.place)
        holder = document
        for key, following in pairwise([*keys, last]):
            if isinstance(holder, dict) and holder.get(key) is None:
                holder[key] = [] if isinstance(following, int) else {}
            holder = holder[key]
        if edit.rename:
            renamed = {edit.rename if key == last else key: item for key, item in holder.items()}
            holder.clear()
            holder.update(renamed)
        elif edit.remove:
            del holder[last]
        elif edit.append:
            items = holder.get(last)
            if items is not None and not isinstance(items, list):
                raise NotEditable(f"{edit.place} is made by a function of the template; change it by hand")
            holder[last] = [*(items or []), edit.value]
        else:
            holder[last] = edit.value
    return document


def _keys(place: str) -> list[str | int]:
    return [int(index) if index else key for key, index in re.findall(r"\.([^.\[]+)|\[(\d+)\]", place)]


def indent_of(text: str) -> str:
    """How `text` indents: by what its first line that is indented begins with."""
    match = re.search(r"\n([ \t]+)\S", text)
    return match[1] if match else DEFAULT_INDENT


class _Text:
    """A text with the places of its values. What changes it gives the new text; the places are of the old one."""

    def __init__(self, tree: Tree) -> None:
        self._tree, self._text, self._spans = tree, tree.text, tree.spans

    def put(self, place: str, value: Any) -> str:
        """With `value` at `place`, whether there is one or not."""
        self._refuse_function(place)
        if place in self._spans:
            span = self._spans[place]
            if span.start == span.end:
                # YAML's nothing is nowhere: `cpu:`
                colon = self._after_colon(place)
                return self._replaced(colon, colon, f" {self._flow(value, colon)}")
            if span.flow or not isinstance(value, dict | list):
                return self._replaced(span.start, self._end(place), self._flow(value, span.start))
            if place in self._tree.keys:
                return self._put_block(place, value)
            raise NotEditable(f"{place} is written in a way that is not changed here; change it by hand")
        if place.endswith("]"):
            raise NotEditable(f"{place} is not there")
        above, key = parent(place), place.rpartition(".")[2]
        if above not in self._spans or self._value_at(above) is None:
            return self.put(above, {key: value})
        return self._add_member(above, key, value)

    def _put_block(self, place: str, value: Any) -> str:
        """With lines of YAML in the place of those that are there, the key's own included."""
        key = self._tree.keys[place]
        column = " " * (key - self._text.rfind("\n", 0, key) - 1)
        written = self._block({place.rpartition(".")[2]: value}, column)
        return self._replaced(key, self._end(place), written.lstrip())

    def append(self, place: str, item: Any) -> str:
        """With `item` behind the last one of the list at `place`."""
        if place not in self._spans or self._value_at(place) is None:
            return self.put(place, [item])
        self._refuse_function(place)
        items = self._children(place)
        if self._spans[place].flow:
            return self._add_flow(self._spans[place], items, lambda column: self._flow(item, column))
        first = self._spans[items[0]].start
        line = self._text.rfind("\n", 0, first) + 1
        dash = " " * (self._text.index("-", line) - line)
        return self._add_line(items[-1], self._block([item], dash))

    def remove(self, place: str) -> str:
        """Without the key or the item at `place`."""
        above, siblings = self._spans[parent(place)], self._children(parent(place))
        start = self._tree.keys.get(place, self._spans[place].start)
        end = self._end(place)
        if above.flow:
            if place != siblings[-1]:
                following = siblings[siblings.index(place) + 1]
                end = self._tree.keys.get(following, self._spans[following].start)
            elif len(siblings) > 1:
                start = self._end(siblings[-2])
            return self._replaced(start, end, "")
        line = self._text.rfind("\n", 0, start) + 1
        end = self._text.find("\n", end) + 1 or len(self._text)
        if len(siblings) == 1:
            colon = self._after_colon(parent(place))
            return self._replaced(colon, self._end(parent(place)), " []" if place.endswith("]") else " {}")
        if self._text[line:start].strip(" -"):
            raise NotEditable(f"{place} is written in a way that is not changed here; change it by hand")
        if place == siblings[0] and not place.endswith("]"):
            # the next key moves up to where this one began, behind the dash of its item
            return self._replaced(start, self._tree.keys[siblings[1]], "")
        return self._replaced(line, end, "")

    def rename(self, place: str, name: str) -> str:
        """With another name for the key at `place`."""
        start = self._tree.keys[place]
        old = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s:]+').match(self._text, start)
        if old is None:
            raise NotEditable(f"{place} is written in a way that is not changed here; change it by hand")
        return self._replaced(start, old.end(), f'"{name}"' if old[0].startswith('"') else name)

    def _refuse_function(self, place: str) -> None:
        """Raise NotEditable where a function makes the value: what it takes, a parameter perhaps, is to be changed."""
        match self._value_at(place):
            case dict(value) if len(value) == 1 and next(iter(value)).startswith(("Ref", "Fn::")):
                raise NotEditable(f"{place} is made by a function of the template; change it by hand")

    def _replaced(self, start: int, end: int, new: str) -> str:
        return self._text[:start] + new + self._text[end:]

    def _value_at(self, place: str) -> Any:
        """The value at `place` of the file, None where there is none."""
        value = self._tree.value
        for key in _keys(place):
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def _children(self, place: str) -> list[str]:
        """The places of the items or of the keys' values of the list or object at `place`, in the order of the text."""
        pattern = re.compile(re.escape(place) + r"(\.[^.\[]+|\[\d+\])")
        return sorted(filter(pattern.fullmatch, self._spans), key=lambda below: self._spans[below].start)

    def _end(self, place: str) -> int:
        """Where the value at `place` ends: of YAML's blocks, where the last that is written in them does."""
        span = self._spans[place]
        below = [] if span.flow else self._children(place)
        return max(map(self._end, below)) if below else span.start + len(self._text[span.start : span.end].rstrip())

    def _after_colon(self, place: str) -> int:
        """Where the colon ends behind the key of `place`."""
        if place not in self._tree.keys:
            raise NotEditable(f"{place} is written in a way that is not changed here; change it by hand")
        return self._text.index(":", self._tree.keys[place]) + 1

    def _column(self, offset: int) -> str:
        """The white space at the beginning of the line of `offset`."""
        line = self._text.rfind("\n", 0, offset) + 1
        return re.compile(r"[ \t]*").match(self._text, line)[0]  # type: ignore[index]

    def _flow(self, value: Any, offset: int) -> str:
        """`value` as JSON, to stand at `offset`: in as many lines as people would write there."""
        if not self._text.lstrip().startswith(("{", "[")) or "\n" not in self._text.strip():
            return json.dumps(value, ensure_ascii=False)
        written = json.dumps(value, ensure_ascii=False, indent=indent_of(self._text))
        return written.replace("\n", f"\n{self._column(offset)}")

    def _add_member(self, place: str, key: str, value: Any) -> str:
        members, span = self._children(place), self._spans[place]
        if span.flow:
            return self._add_flow(span, members, lambda offset: f"{json.dumps(key)}: {self._flow(value, offset)}")
        first = self._tree.keys[members[0]]
        column = " " * (first - self._text.rfind("\n", 0, first) - 1)
        return self._add_line(members[-1], self._block({key: value}, column))

    def _add_flow(self, span: Span, members: list[str], write: Any) -> str:
        """With one more member of a list or an object in JSON's way, laid out as the last one is."""
        if members:
            last = self._tree.keys.get(members[-1], self._spans[members[-1]].start)
            end = self._end(members[-1])
            line = self._text.rfind("\n", 0, last) + 1
            alone = not self._text[line:last].strip()
            return self._replaced(end, end, f",\n{self._text[line:last]}{write(last)}" if alone else f", {write(last)}")
        if "\n" not in self._text.strip() or not self._text.lstrip().startswith(("{", "[")):
            return self._replaced(span.start + 1, span.end - 1, write(span.start))
        column = self._column(span.start)
        inner = column + indent_of(self._text)
        written = write(span.start).replace("\n", f"\n{indent_of(self._text)}")
        return self._replaced(span.start + 1, span.end - 1, f"\n{inner}{written}\n{column}")

    def _block(self, value: Any, column: str) -> str:
        import yaml

        class Representer(yaml.representer.SafeRepresenter):
            """With a template's functions in their short form, `!Ref Image`, as people write them in YAML."""

            def represent_dict(self, data: Any) -> Any:
                (name, argument), *others = data.items() if data else [("", "")]
                if others or not (name == "Ref" or name.startswith("Fn::")):
                    return super().represent_dict(data)
                tag = f"!{name.removeprefix('Fn::')}"
                if tag == "!GetAtt" and isinstance(argument, list):
                    argument = ".".join(argument)
                if isinstance(argument, list):
                    return self.represent_sequence(tag, argument)
                return self.represent_scalar(tag, str(argument))

        Representer.add_representer(dict, Representer.represent_dict)
        # None is for short ones in JSON's way; the type stubs do not know it
        style: Any = None
        node: Any = Representer(default_flow_style=style, sort_keys=False).represent_data(value)
        # lines of their own without, JSON's way within, as people write short lists and objects
        node.flow_style = False
        # a width that no line has: what is there to be copied stays in one piece
        written: str = yaml.serialize(node, Dumper=yaml.SafeDumper, width=10_000, allow_unicode=True)
        return textwrap.indent(written.rstrip("\n"), column)

    def _add_line(self, last: str, written: str) -> str:
        """With lines of YAML behind that on which the value at `last` ends."""
        end = self._text.find("\n", self._end(last))
        end = len(self._text) if end < 0 else end
        return self._replaced(end, end, f"\n{written}")
