"""The checking engine: a task definition in, the findings of all rules out. It reads no file and prints nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from task_helper_taskdef.definition import VirtualNode, read_source
from task_helper_taskdef.findings import Finding, Severity
from task_helper_taskdef.formats import IN_FILE, Source
from task_helper_taskdef.formats.conditions import distinguishing
from task_helper_taskdef.roles import Mesh, Task, assign_roles
from task_helper_taskdef.rules import RULES, containers_unknown
from task_helper_taskdef.suppressions import suppress


class Options(msgspec.Struct, frozen=True):
    """How to check.

    helper: the name of the helper's container; in a definition without it the helper is detected
    envoy: the name of Envoy's container, likewise
    mesh: the mesh; None to detect it
    spot: whether the task runs on Spot, where its whole stop may take two minutes
    virtual_node: the mesh's virtual node, for its health check
    ignore: the rules that report nothing
    select: the only rules that report anything; all where it is empty
    severities: by rule, the severity of its findings, if it differs from the rule's own
    """

    helper: str | None = None
    envoy: str | None = None
    mesh: Mesh | None = None
    spot: bool = False
    virtual_node: VirtualNode | None = None
    ignore: frozenset[str] = frozenset()
    select: frozenset[str] = frozenset()
    severities: Mapping[str, Severity] = {}


class Checked(msgspec.Struct, frozen=True):
    """A task definition that was checked: its findings, and how many findings its file suppresses."""

    source: Source
    task: Task
    findings: list[Finding]
    suppressed: int = 0


DEFAULTS = Options()


def check(source: Source, options: Options = DEFAULTS) -> Checked:
    """The findings of all rules about the definition `source`.

    Conditional values are checked both ways. A finding that depends on a condition names it. Raises
    NotATaskDefinition, with the place as the file spells it and its offset, where ECS would refuse the shape.
    """
    every = [_check(variant, options) for variant in source.variants]
    # people look first at the variant with an Envoy
    main = next((each for each in every if each.task.envoys), every[0])
    findings = _merged(main, every)
    return Checked(main.source, main.task, findings, max(each.suppressed for each in every))


def _check(source: Source, options: Options) -> Checked:
    """The findings about one variant of a definition."""
    definition = read_source(source)
    names = definition.by_name
    task = assign_roles(
        definition,
        helper=options.helper if options.helper in names else None,
        envoy=options.envoy if options.envoy in names else None,
        spot=options.spot,
        virtual_node=options.virtual_node,
        duplicates=source.duplicates,
        mesh=options.mesh,
        complete=source.complete,
        spelling=source.spelling,
        small_keys=source.small_keys,
    )
    selected = [finding for finding in apply_rules(task) if not options.select or finding.rule in options.select]
    findings, suppressed = suppress(selected, definition, source, options.ignore, RULES)
    findings = [f._replace(severity=options.severities.get(f.rule, f.severity)) for f in findings]
    return Checked(source, task, findings, suppressed)


def _merged(main: Checked, every: list[Checked]) -> list[Finding]:
    """The findings of all variants of a definition, each once, with its conditions.

    Places are those of `main`, as far as they are the same ones in the file.
    """
    if len(every) == 1:
        return every[0].findings
    conditions = [each.source.conditions for each in every]
    found: dict[tuple[str, str, str], tuple[Finding, list[int]]] = {}
    for i, each in enumerate(every):
        for finding in each.findings:
            key = finding.rule, each.source.file_place(finding.place), finding.message
            found.setdefault(key, (finding._replace(place=_place_in(main, each, finding.place)), []))[1].append(i)
    return [
        finding if len(set(where)) == len(every) else _under(finding, _condition_of(set(where), conditions))
        for finding, where in found.values()
    ]


def _place_in(main: Checked, other: Checked, place: str) -> str:
    """`place`, of the variant `other`, for a report about `main`: the place in the file where the two differ."""
    at = other.source.file_place(place)
    return place if not place.startswith("$") or main.source.file_place(place) == at else f"{IN_FILE}{at}"


def _under(finding: Finding, condition: str) -> Finding:
    """`finding` with the condition in its message; it has no repair."""
    return finding._replace(message=f"{finding.message} This applies if {condition}.", fix=())


def _condition_of(where: set[int], conditions: list[dict[str, bool]]) -> str:
    """In words, the conditions that the variants `where` have and all others have not; else those of the first."""
    if literals := distinguishing(where, conditions):
        return in_words(literals)
    words = in_words(list(conditions[min(where)].items()))
    return words if len(where) == 1 else f"{words}, and in {len(where) - 1} more ways"


def in_words(literals: Sequence[tuple[str, bool]]) -> str:
    """Conditions with their values as a part of a sentence."""
    return " and ".join(f"{name} is {'true' if value else 'false'}" for name, value in literals)


def apply_rules(task: Task) -> Iterator[Finding]:
    """All findings of the rules about `task`, without those that rest on a value that a template leaves unknown."""
    for name, rule in RULES.items():
        for finding in rule.check(task):
            known = all(map(task.definition.is_known, (finding.place, *finding.rests_on)))
            # the rule containers-unknown reports that something is unknown
            if known or rule is containers_unknown:
                yield finding._replace(rule=name)
