"""The checking engine: a task definition in, the findings of all rules out. It reads no file and prints nothing."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from task_helper_taskdef.definition import VirtualNode, read_source
from task_helper_taskdef.findings import Finding
from task_helper_taskdef.formats import Source
from task_helper_taskdef.roles import Mesh, Task, assign_roles
from task_helper_taskdef.rules import RULES, containers_unknown
from task_helper_taskdef.suppressions import suppress


class Options(msgspec.Struct, frozen=True):
    """How to check.

    helper: the container that is the helper; a definition without a container of that name is searched for one
    envoy: the container that is Envoy, likewise
    mesh: the mesh; None where the containers show it
    spot: whether the task runs on Spot, where its whole stop has two minutes
    virtual_node: the mesh's virtual node, for its health check
    ignore: the rules that report nothing
    """

    helper: str | None = None
    envoy: str | None = None
    mesh: Mesh | None = None
    spot: bool = False
    virtual_node: VirtualNode | None = None
    ignore: frozenset[str] = frozenset()


class Checked(msgspec.Struct, frozen=True):
    """A task definition that was checked: its findings, and how many findings its file suppresses."""

    source: Source
    task: Task
    findings: list[Finding]
    suppressed: int = 0


DEFAULTS = Options()


def check(source: Source, options: Options = DEFAULTS) -> Checked:
    """The findings of all rules about the definition `source`.

    Raises NotATaskDefinition, with the place as the file spells it and its offset, where ECS would refuse the shape.
    """
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
    )
    findings, suppressed = suppress(list(apply_rules(task)), definition, source, options.ignore, RULES)
    return Checked(source, task, findings, suppressed)


def apply_rules(task: Task) -> Iterator[Finding]:
    """All that the rules find in `task`, without what rests on a value that a template leaves unknown."""
    for name, rule in RULES.items():
        for finding in rule.check(task):
            known = all(map(task.definition.is_known, (finding.place, *finding.rests_on)))
            # the rule containers-unknown reports that something is unknown
            if known or rule is containers_unknown:
                yield finding._replace(rule=name)
