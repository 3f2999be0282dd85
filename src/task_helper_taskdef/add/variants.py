"""Edits of a template whose containers depend on its conditions: what each variant needs, as one change of the file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from task_helper_taskdef.definition import read_source
from task_helper_taskdef.findings import Copied, Edit
from task_helper_taskdef.formats import IN_FILE, Source
from task_helper_taskdef.formats.cloudformation import conditional
from task_helper_taskdef.formats.conditions import distinguishing
from task_helper_taskdef.formats.editing import NotEditable, apply_edits
from task_helper_taskdef.roles import assign_roles

_CONTAINERS = "$.containerDefinitions"


def edit_variants(source: Source, edits_of: Callable[[Any], Sequence[Edit]], envoy: str | None) -> Source:
    """`source` with what `edits_of` wants of its document, and of each of its alternatives that has an Envoy.

    What is wanted of some only gets their condition. Raises NotEditable where that cannot be said in one change, where
    it would not be enough for one of them, and where it would change another.
    """
    if not source.alternatives:
        return apply_edits(source, list(edits_of(source.document)))
    variants = source.variants
    wanted = [i for i, variant in enumerate(variants) if _has_envoy(variant, envoy)] or list(range(len(variants)))
    edits = [[_in_file(variants[i], edit) for edit in edits_of(variants[i].document)] for i in wanted]
    if not any(edits):
        return source
    refusal = NotEditable(
        f"{source.file}: the containers depend on the conditions {', '.join(source.conditions)}, and each variant"
        " needs another helper; add the helpers by hand"
    )
    if len({len(each) for each in edits}) != 1:
        raise refusal
    conditions = [variant.conditions for variant in variants]
    among = [conditions[i] for i in wanted]
    everywhere = distinguishing(set(wanted), conditions)
    merged = [_merged(list(alike), among, everywhere) for alike in zip(*edits, strict=True)]
    if everywhere is None or any(edit is None for edit in merged):
        raise refusal
    after = apply_edits(source, [edit for edit in merged if edit])
    for i, (one, other) in enumerate(zip(variants, after.variants, strict=True)):
        if list(edits_of(other.document)) if i in wanted else one.document != other.document:
            raise refusal
    return after


def _has_envoy(source: Source, envoy: str | None) -> bool:
    definition = read_source(source)
    return bool(assign_roles(definition, envoy=envoy if envoy in definition.by_name else None).envoys)


def _in_file(source: Source, edit: Edit) -> Edit:
    """`edit` with places of the file, which are the same for all variants."""
    if edit.place == _CONTAINERS:
        return edit._replace(value=_copies_in_file(source, edit.value))
    return edit._replace(place=f"{IN_FILE}{source.file_place(edit.place)}", value=_copies_in_file(source, edit.value))


def _copies_in_file(source: Source, value: Any) -> Any:
    if isinstance(value, Copied):
        return Copied(f"{IN_FILE}{source.written_place(value.place)}")
    if isinstance(value, dict):
        return {key: _copies_in_file(source, item) for key, item in value.items()}
    return [_copies_in_file(source, item) for item in value] if isinstance(value, list) else value


def _merged(
    edits: list[Edit], conditions: list[dict[str, bool]], everywhere: Sequence[tuple[str, bool]] | None
) -> Edit | None:
    """One edit for all variants that `edits` are of; None where they differ in more than in a new container's
    dependsOn. A new container gets the condition `everywhere`."""
    first = edits[0]
    if first.place != _CONTAINERS or not isinstance(first.value, dict):
        return first if all(edit == first for edit in edits) else None
    rest = [{**edit.value, "dependsOn": None} for edit in edits if isinstance(edit.value, dict)]
    if any(edit._replace(value=None) != first._replace(value=None) for edit in edits) or rest != [rest[0]] * len(edits):
        return None
    entries: list[tuple[Any, set[int]]] = []
    for i, edit in enumerate(edits):
        for entry in edit.value.get("dependsOn", []):
            where = next((where for each, where in entries if each == entry), None)
            if where is None:
                entries.append((entry, {i}))
            else:
                where.add(i)
    conditional_entries = [(entry, distinguishing(where, conditions)) for entry, where in entries]
    if any(literals is None for _, literals in conditional_entries):
        return None
    container = dict(first.value)
    if conditional_entries:
        container["dependsOn"] = [conditional(entry, literals or ()) for entry, literals in conditional_entries]
    return first._replace(value=conditional(container, everywhere or ()))
