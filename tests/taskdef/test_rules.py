"""Each rule, fed with the examples of its own page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from task_helper_taskdef.definition import read, read_virtual_node
from task_helper_taskdef.findings import Finding
from task_helper_taskdef.formats import json_text
from task_helper_taskdef.roles import assign_roles
from task_helper_taskdef.rule_pages import Example, examples, markdown, pages
from task_helper_taskdef.rules import RULES

EXAMPLES = [
    pytest.param(name, example, id=f"{name}-{number}")
    for name, page in pages()
    for number, example in enumerate(examples(page), 1)
]


def findings(rule: str, example: Example) -> list[Finding]:
    text, *nodes = example.documents
    tree = json_text.parse(text)
    node = read_virtual_node(json.loads(nodes[0])) if nodes else None
    duplicates = [place for place, _ in tree.duplicates]
    task = assign_roles(read(tree.value), spot=example.option == "--spot", virtual_node=node, duplicates=duplicates)
    return list(RULES[rule].check(task))


@pytest.mark.parametrize("rule, example", EXAMPLES)
def test_rule_reports_what_its_page_shows(rule: str, example: Example) -> None:
    """A rule finds nothing in what passes; in what fails its severity, place, message and remedy are the page's."""
    written = "\n".join(
        f"{finding.severity} {finding.place}\n  {finding.message}\n  {finding.remedy}"
        for finding in findings(rule, example)
    )

    assert example.findings == written
    assert (example.verdict == "Passes") == (not written)


@pytest.mark.parametrize("rule, page", pages())
def test_page_of_each_rule_has_title_reason_and_both_kinds_of_example(rule: str, page: str) -> None:
    """A rule's docstring has a title, a reason, an example that passes and one that fails."""
    title, empty, reason = page.split("\n")[:3]

    assert {"Passes", "Fails"} == {example.verdict for example in examples(page)}
    assert title and not title.endswith(".") and not empty and reason
    assert rule == RULES[rule].__name__.rpartition(".")[2].replace("_", "-")


def test_every_rule_is_registered() -> None:
    """Each module of the rules' folder is in the registry."""
    folder = Path(RULES["memory"].__file__ or "").parent

    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == {name.replace("-", "_") for name in RULES}


def test_rules_page_is_up_to_date() -> None:
    """docs/use/rules.md is what `task-helper taskdef rules` prints."""
    page = Path(__file__).parents[2] / "docs" / "use" / "rules.md"

    assert markdown() == page.read_text(encoding="utf-8"), "run: task-helper taskdef rules > docs/use/rules.md"
