"""Every text that a person reads is plain English, as far as a program can check that.

Pages, help texts, and the meanings of settings, log events and rules have short sentences and the glossary's words. A
page that names a part of ECS or Envoy links to its documentation.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from markdown_it import MarkdownIt

from task_helper.cli import _parser
from task_helper.logs import Event
from task_helper.settings import SETTINGS
from task_helper_taskdef.rule_pages import OTHERS, examples, names, pages, reason

ROOT: Final = Path(__file__).parents[2]
PAGES: Final = {
    str(page.relative_to(ROOT)): page.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "examples/*.md", "tests/taskdef/corpus/README.md")
    for page in sorted(ROOT.glob(pattern))
}

# words in a sentence; so many sentences of a text in a hundred may have more than LONG words
LONGEST: Final = 35
LONG: Final = 25
FEW: Final = 5

FORBIDDEN: Final = re.compile(
    r"(?<![\w-])(tells?|told|holds?|held|whom|whoever|nobody|somebody|befalls?"
    r"|befell|callers?|successors?|neither|gone)(?![\w-])",
    re.IGNORECASE,
)

AWS: Final = "https://docs.aws.amazon.com/"
ENVOY: Final = "https://www.envoyproxy.io/docs/envoy/"
LINKED: Final = {"stopTimeout": AWS, "dependsOn": AWS, "/healthcheck/fail": ENVOY}

PARSER: Final = MarkdownIt("commonmark").enable("table")


def prose(markdown: str, code: str) -> Iterator[str]:
    """The paragraphs, headings and table cells, without blocks of code; each code span is `code`."""
    for block in PARSER.parse(markdown):
        if block.type == "inline":
            yield "".join(
                {"text": part.content, "code_inline": code or part.content, "softbreak": " ", "hardbreak": " "}.get(
                    part.type, ""
                )
                for part in block.children or ()
            )


def sentences(markdown: str) -> list[str]:
    return [
        sentence
        for paragraph in prose(markdown, "CODE")
        for sentence in re.split(r'(?<=[.!?:;])\s+(?=[A-Z0-9("])', paragraph)
        if sentence.strip()
    ]


def links(markdown: str) -> Iterator[str]:
    for block in PARSER.parse(markdown):
        for part in block.children or ():
            if part.type == "link_open":
                yield str(part.attrs["href"])


def problems(markdown: str) -> list[str]:
    """What is not plain in the text."""
    every = sentences(markdown)
    long = [each for each in every if len(each.split()) > LONG]
    found = [f"{len(each.split())} words: {each}" for each in every if len(each.split()) > LONGEST]
    found += [f"{word}: {each}" for each in every for word in FORBIDDEN.findall(each)]
    if len(long) > max(1, len(every) * FEW // 100):
        found += [f"{len(long)} of {len(every)} sentences have more than {LONG} words", *long]
    return found


def without_links(page: str) -> list[str]:
    """The terms that the page names although it has no link to the documentation that explains them."""
    named = "\n".join(prose(page, ""))
    addresses = list(links(page))
    return [
        f"{term} without a link to {where}"
        for term, where in LINKED.items()
        if term in named and not any(address.startswith(where) for address in addresses)
    ]


def help_texts(parser: argparse.ArgumentParser) -> Iterator[str]:
    """The descriptions and help texts of a command, its options, and its own commands."""
    yield from filter(None, (parser.description, parser.epilog))
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from (choice.help or "" for choice in action._choices_actions)
            for command in action.choices.values():
                yield from help_texts(command)
        elif action.help and action.help != argparse.SUPPRESS:
            yield action.help


def rule_text(name: str) -> str:
    """What the rule requires and why, and the messages of the findings in its examples."""
    shown = (re.sub(r"(?m)^\S.*\n", "\n", each.findings) for each in examples(dict(pages())[name]))
    return "\n\n".join([reason(name), *(re.sub(r"(?m)^ +", "", findings) for findings in shown)])


TEXTS: Final = {
    **PAGES,
    "help of the commands": "\n\n".join(help_texts(_parser(light=False))),
    "meanings of settings": "\n\n".join(each.meaning for each in SETTINGS),
    "meanings of log events": "\n\n".join(each.meaning for each in Event),
    "what is reported in the way of a rule": "\n\n".join(OTHERS.values()),
    **{f"rule {name}": rule_text(name) for name in names()},
}


@pytest.mark.parametrize("name", TEXTS)
def test_plain_words(name: str) -> None:
    """Sentences are short, and have no word that the glossary replaces. Terms of AWS and Envoy have their link."""
    found = problems(TEXTS[name]) + (without_links(TEXTS[name]) if name in PAGES else [])

    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        (f"{'word ' * LONGEST}end.", 1),
        (f"{'word ' * (LONGEST - 1)}end.", 0),
        (f"{'Word ' * LONG}end. " * 2, 3),
        ("Nobody was told.", 2),
        ("The rule `holds-discovery` and the field `told`.", 0),
        ("```\nwhoever\n```", 0),
        ("| caller |\n|---|\n| gone |", 2),
    ],
)
def test_problems(text: str, number: int) -> None:
    """Long sentences and forbidden words are found in prose and tables, and not in code."""
    assert number == len(problems(text))


@pytest.mark.parametrize(
    ("page", "number"),
    [
        ("It sets `stopTimeout`.", 1),
        (f"It sets [`stopTimeout`]({AWS}AmazonECS/x.html).", 0),
        (f"It calls `/healthcheck/fail` ([API]({AWS}x.html)).", 1),
        ("```\ndependsOn\n```", 0),
    ],
)
def test_without_links(page: str, number: int) -> None:
    """A term in prose needs a link to the documentation of its own project; a term in a block of code does not."""
    assert number == len(without_links(page))
