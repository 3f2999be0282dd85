"""The rules' docstrings: split for the tests, and joined after rule_pages.md as the page docs/use/rules.md."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Final, NamedTuple

from task_helper_taskdef.findings import SEVERITIES, Severity
from task_helper_taskdef.rules import RULES

_EXAMPLE: Final = re.compile(r"^(?P<verdict>Passes|Fails)(?: with (?P<option>--[a-z-]+))?:$", re.M)

# pseudo rules: reported like a rule
OTHERS: Final = {
    "ignore": "A file ignores a rule without a reason, or names a rule that does not exist. Write the rule's name,"
    " a colon and the reason.",
    "unreadable": "A file is not a task definition, or cannot be read. The message names its kind and the file to give"
    " instead.",
}


class Example(NamedTuple):
    """A fragment of a rule's page: its JSON values, and the rule's findings (empty if it passes)."""

    verdict: str
    option: str
    documents: list[str]
    findings: str


def names() -> list[str]:
    """The names of all rules, in the order of the page."""
    return list(RULES)


def pages() -> list[tuple[str, str]]:
    """Each rule's name and docstring."""
    return [(name, inspect.getdoc(rule) or "") for name, rule in RULES.items()]


def examples(page: str) -> Iterator[Example]:
    """The examples of a rule's docstring, in their order."""
    starts = list(_EXAMPLE.finditer(page))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        blocks = _blocks(page[start.end() : following.start() if following else len(page)])
        documents = [block for block in blocks if block.startswith("{")]
        yield Example(start["verdict"], start["option"] or "", documents, "\n".join(blocks[len(documents) :]))


def _blocks(text: str) -> list[str]:
    """The indented paragraphs of `text`, without the indent."""
    paragraphs = [paragraph.strip("\n") for paragraph in re.split(r"\n\s*\n", text)]
    return [re.sub("^ {4}", "", p, flags=re.M) for p in paragraphs if p.startswith("    ")]


def severities(name: str) -> list[Severity]:
    """The severities of what the rule `name` finds, as its examples show them."""
    found = {
        line.partition(" ")[0] for example in examples(dict(pages())[name]) for line in example.findings.splitlines()
    }
    return [severity for severity in SEVERITIES if severity in found]


def title(name: str) -> str:
    """The title of the rule `name`."""
    return dict(pages())[name].partition("\n")[0]


def markdown() -> str:
    """The page of all rules."""
    head = files("task_helper_taskdef").joinpath("rule_pages.md").read_text(encoding="utf-8")
    parts = [head, *(f"- [`{name}`](#{name}): {page.partition(chr(10))[0]}" for name, page in pages())]
    return "\n".join([*parts, "", *map(section, RULES)])


def reason(name: str) -> str:
    """The title and the reason of the rule `name`, as text."""
    title, _, text = dict(pages())[name].partition("\n")
    return f"{title}.\n\n{(text[: found.start()] if (found := _EXAMPLE.search(text)) else text).strip()}"


def section(name: str) -> str:
    """The page's section about the rule `name`, or about a pseudo rule of OTHERS."""
    if name in OTHERS:
        return f"### {name}\n\n{OTHERS[name]}\n"
    title, _, text = reason(name).partition("\n")
    lines = [f"### {name}", "", f"**{title}**", "", text.strip(), ""]
    for example in examples(dict(pages())[name]):
        lines += [f"{example.verdict}{f' with `{example.option}`' if example.option else ''}:", ""]
        lines += [f"```json\n{document}\n```\n" for document in example.documents]
        lines += [f"```text\n{example.findings}\n```\n"] if example.findings else []
    return "\n".join(lines)
