"""Choosing some of the task definitions of a file by their names."""

from __future__ import annotations

from collections.abc import Sequence

from task_helper_taskdef.formats import Source


class NoSuchDefinition(ValueError):
    """No task definition of the files has the name that was given."""

    def __init__(self, name: str, sources: Sequence[Source]) -> None:
        there = "; ".join(described(source, number) for source, number in _numbered(sources)) or "none"
        super().__init__(f"no task definition is named {name!r}; the definitions are: {there}")


def chosen(sources: Sequence[Source], names: Sequence[str]) -> list[Source]:
    """Those of `sources`, which are all definitions of one file, that match one of `names`; all without `names`.

    A name is a definition's logical ID in a template, its address or name in Terraform, its family, or its number in
    the file, from 1.
    """
    return [source for source, number in _numbered(sources) if not names or _names(source, number) & set(names)]


def refuse_unused(sources: Sequence[Source], names: Sequence[str]) -> None:
    """Raise NoSuchDefinition for the first of `names` that matches none of `sources`, the definitions of all files."""
    for name in names:
        if not any(name in _names(source, number) for source, number in _numbered(sources)):
            raise NoSuchDefinition(name, sources)


def described(source: Source, number: int) -> str:
    """The names of a definition, with the clearest one first."""
    family = source.document.get("family") if isinstance(source.document, dict) else None
    names = [source.label, str(family or "") if str(family or "") != source.label else "", str(number)]
    return " or ".join(filter(None, names))


def _numbered(sources: Sequence[Source]) -> list[tuple[Source, int]]:
    """Each definition with its number in its file."""
    numbers: dict[str, int] = {}
    found = []
    for source in sources:
        numbers[source.file] = numbers.get(source.file, 0) + 1
        found.append((source, numbers[source.file]))
    return found


def _names(source: Source, number: int) -> set[str]:
    family = source.document.get("family") if isinstance(source.document, dict) else None
    label = source.label.rpartition(" ")[2]
    names = {source.label, label, label.rpartition(".")[2], str(family or ""), str(number)}
    return names - {""}
