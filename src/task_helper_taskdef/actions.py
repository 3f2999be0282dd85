"""What the commands of `commands` do: read files, judge, mend, print.

Every command returns its exit code: 0 nothing that fails, 1 findings that do, 2 a wrong name or configuration, 65 no
task definition, 66 no such file.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatch
from pathlib import Path
from typing import Final, NamedTuple, TextIO

from task_helper_taskdef import add as adding
from task_helper_taskdef import editing, suppressions
from task_helper_taskdef.config import BadConfiguration, Configuration, find, load
from task_helper_taskdef.definition import VirtualNode, read, read_virtual_node
from task_helper_taskdef.files import File, Unreadable, expand
from task_helper_taskdef.files import read as read_file
from task_helper_taskdef.findings import Edit, Problem
from task_helper_taskdef.formats import Source, parse, sources
from task_helper_taskdef.formats.tree import NotATaskDefinition
from task_helper_taskdef.reports import Checked, Report, as_json
from task_helper_taskdef.reports.github import as_github
from task_helper_taskdef.reports.sarif import as_sarif
from task_helper_taskdef.reports.text import as_text
from task_helper_taskdef.roles import BadName, Mesh, cast
from task_helper_taskdef.rule_pages import markdown, section
from task_helper_taskdef.rules import RULES
from task_helper_taskdef.rules import check as findings
from task_helper_taskdef.stop_timeouts import BadStopTimeout
from task_helper_taskdef.timeline import draw

STDIN: Final = "-"


class BadCommandLine(ValueError):
    """What the options ask for cannot be done."""


class NoTaskDefinition(Exception):
    """A file cannot be used; `unreadable` says why."""

    def __init__(self, unreadable: Unreadable, kind: str = "task definition") -> None:
        super().__init__(said(unreadable, kind))
        self.unreadable = unreadable


def _refusing(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """`command`, with what is wrong about its input said in one line on standard error."""

    def run(arguments: argparse.Namespace) -> int:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                # a definition may hold text that the terminal's encoding has not
                stream.reconfigure(errors="backslashreplace")
        try:
            code = command(arguments)
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # who reads has had enough, as `head` has; so that Python's own flush at the exit does not complain
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 1
        except NoTaskDefinition as error:
            code, reason = error.unreadable.code, str(error)
        except editing.NotEditable as error:
            code, reason = 65, str(error)
        except (BadName, BadConfiguration, BadCommandLine, BadStopTimeout) as error:
            code, reason = 2, str(error)
        except OSError as error:
            code, reason = 66, f"{error.filename}: {error.strerror}"
        print(f"task-helper: {reason}", file=sys.stderr)
        return code

    return run


def said(unreadable: Unreadable, kind: str = "task definition") -> str:
    """One line that says what is wrong with a file."""
    if unreadable.code == 66:
        return f"{unreadable.file}: {unreadable.reason}"
    return f"{unreadable.file} is no {kind}: {unreadable.reason}"


class Options(NamedTuple):
    """How to judge: what the command line says, and where it says nothing, the configuration."""

    helper: str | None
    envoy: str | None
    spot: bool
    fail_on: str
    off: set[str]
    configuration: Configuration
    node: tuple[Source, VirtualNode] | None
    mesh: Mesh | None


@_refusing
def check(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef check`"""
    if arguments.fix and STDIN in arguments.files:
        raise BadCommandLine("standard input cannot be mended; give a file")
    options = _options(arguments)
    checked: list[Checked] = []
    unreadable: list[Unreadable] = []
    for file in expand(arguments.files, options.configuration.exclude):
        found = file if isinstance(file, Unreadable) else _checked(file, options, arguments.fix)
        if isinstance(found, Unreadable):
            unreadable.append(found)
        else:
            checked += found
    _no_such_name((arguments.helper, arguments.envoy), checked)
    report = Report(checked, unreadable)
    if arguments.format == "text":
        for each in unreadable:
            print(f"task-helper: {said(each)}", file=sys.stderr)
        if checked or not unreadable:
            print(as_text(report, _columns(), _colour(sys.stdout)))
    elif written := {"json": as_json, "sarif": as_sarif, "github": as_github}[arguments.format](report):
        print(written)
    return _code(report, options.fail_on)


def _options(arguments: argparse.Namespace) -> Options:
    configuration = load(Path(arguments.config) if arguments.config else find(Path.cwd()))
    ignored = [rule for option in arguments.ignore or [] for rule in option.split(",") if rule]
    for rule in ignored:
        if rule not in RULES:
            raise BadName(f"no rule is named {rule!r}; there are {', '.join(RULES)}")
    return Options(
        helper=arguments.helper or configuration.helper,
        envoy=arguments.envoy or configuration.envoy,
        spot=arguments.spot or configuration.spot,
        fail_on=arguments.fail_on or configuration.fail_on,
        off={*ignored, *configuration.ignore},
        configuration=configuration,
        node=_virtual_node(arguments.virtual_node) if arguments.virtual_node else None,
        mesh=arguments.mesh or configuration.mesh,
    )


def _virtual_node(name: str) -> tuple[Source, VirtualNode]:
    raw = Path(name).read_bytes()
    try:
        tree = parse(name, raw)
        return Source(name, tree, tree.value), read_virtual_node(tree.value)
    except NotATaskDefinition as error:
        raise NoTaskDefinition(Unreadable(name, str(error)), "virtual node") from None


def _checked(file: File, options: Options, fix: bool) -> list[Checked] | Unreadable:
    """The judgement of each definition in `file`, mended first if `fix`."""
    found = read_file(file)
    if isinstance(found, Unreadable):
        return found
    judged = [_judged(source, options) for source in found]
    if fix and all(isinstance(each, Checked) for each in judged):
        text, mended = _mended(file, found, options)
        if mended:
            _write(file.name, text)
            print(f"task-helper: {file.name}: mended {', '.join(dict.fromkeys(mended))}", file=sys.stderr)
            found = sources(found[0].file, parse(file.name, text.encode(errors="surrogatepass")))
            judged = [_judged(source, options) for source in found]
    unreadable = next((each for each in judged if isinstance(each, Unreadable)), None)
    return unreadable or [each for each in judged if isinstance(each, Checked)]


def _judged(source: Source, options: Options) -> Checked | Unreadable:
    try:
        definition = read(source.document)
    except NotATaskDefinition as error:
        return _located(source, error)
    names = definition.by_name
    task = cast(
        definition,
        # of several definitions each has its own containers
        options.helper if options.helper in names else None,
        options.envoy if options.envoy in names else None,
        options.spot,
        options.node[1] if options.node else None,
        [place for place, _ in _duplicates(source)],
        options.mesh,
    )
    off = options.off | {
        rule for files in options.configuration.files if fnmatch(source.file, files.match) for rule in files.ignore
    }
    problems, ignored = suppressions.sifted(task, list(findings(task)), suppressions.ignores(task, source), off)
    return Checked(source, task, problems, ignored, options.node[0] if options.node else None)


def _duplicates(source: Source) -> Iterator[tuple[str, int]]:
    """The keys of this definition that stand twice, with their places in the API's spelling."""
    for place, offset in source.tree.duplicates:
        if f"{place}.".startswith((f"{source.root}.", f"{source.root}[")):
            yield source.unshown(place), offset


def _located(source: Source, error: NotATaskDefinition) -> Unreadable:
    """What is wrong with the shape of `source`, with the place as its file spells it."""
    place, colon, reason = str(error).partition(": ")
    if not place.startswith("$"):
        return Unreadable(source.file, str(error))
    return Unreadable(source.file, f"{source.shown(place)}{colon}{reason}", *source.at(place))


def _no_such_name(given: Sequence[str | None], checked: Sequence[Checked]) -> None:
    """Raise BadName for the name of a container that none of the definitions has."""
    for name in filter(None, given):
        names = [container for each in checked for container in each.task.definition.by_name]
        if checked and name not in names:
            raise BadName(f"no container is named {name!r}; there are {', '.join(dict.fromkeys(names))}")


def _code(report: Report, fail_on: str) -> int:
    if report.unreadable:
        return max(each.code for each in report.unreadable)
    failing = {"error"} if fail_on == "error" else {"error", "warning"}
    return int(any(problem.severity in failing for each in report.checked for problem in each.problems))


def _mended(file: File, found: list[Source], options: Options) -> tuple[str, list[str]]:
    """The text of `file` with all that is mechanical mended, and the rules that had something to say of it."""
    text, tried = found[0].tree.text, set[tuple[str, str, str]]()
    mended: list[str] = []
    # written anew, one of the values of a key that stands twice would be lost; the rule for that tells it
    while not found[0].tree.duplicates:
        found = sources(found[0].file, parse(file.name, text.encode(errors="surrogatepass")))
        next_ = next(_fixable(found, options, tried), None)
        if next_ is None:
            break
        source, problem = next_
        tried.add((source.root, problem.rule, problem.place))
        # what cannot be changed here is left for a person, who is told of it as of all else
        with suppress(editing.NotEditable):
            text = _edited(file, source, problem.fix).tree.text
            mended.append(problem.rule)
    return text, mended


def _edited(file: File, source: Source, edits: Sequence[Edit]) -> Source:
    """`source` with `edits` made, one after the other, each with the places that the one before has left."""
    for edit in edits:
        text = editing.apply(source, edit)
        again = sources(source.file, parse(file.name, text.encode(errors="surrogatepass")))
        source = next(each for each in again if each.label == source.label)
    return source


def _fixable(
    found: list[Source], options: Options, tried: set[tuple[str, str, str]]
) -> Iterator[tuple[Source, Problem]]:
    for source in found:
        judged = _judged(source, options)
        if source.spelling != "terraform" and isinstance(judged, Checked):
            for problem in judged.problems:
                if problem.fix and (source.root, problem.rule, problem.place) not in tried:
                    yield source, problem


@_refusing
def add(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef add`"""
    file = File(arguments.file)
    source = _only(file)
    if source.tree.duplicates:
        place = source.tree.duplicates[0][0]
        raise NoTaskDefinition(
            Unreadable(source.file, f"{place}: the key stands twice, and one of its values would be lost")
        )
    if source.spelling == "terraform":
        raise editing.NotEditable(
            f"{source.file}: a plan is not where the containers are written down; examples/terraform shows the helper's"
        )
    try:
        edits = adding.edits(
            source.document,
            arguments.image,
            arguments.name,
            arguments.envoy,
            arguments.spot,
            arguments.mesh,
            arguments.stop_timeout,
        )
    except NotATaskDefinition as error:
        raise NoTaskDefinition(_located(source, error)) from None
    source = _edited(file, source, edits)
    text = source.tree.text
    if arguments.registrable:
        if source.spelling == "cloudformation":
            raise editing.NotEditable(f"{source.file}: CloudFormation registers what is in its template itself")
        document = adding.registrable(source.tree.value if source.spelling == "api" else source.document)
        text = json.dumps(document, indent=editing.indent_of(text), ensure_ascii=False) + "\n"
    if arguments.in_place and file.name != STDIN:
        _write(file.name, text)
    else:
        sys.stdout.buffer.write(_encoded(text))
        sys.stdout.flush()
    task = cast(read(source.document), envoy=arguments.envoy, spot=arguments.spot, mesh=arguments.mesh)
    problems, ignored = suppressions.sifted(task, list(findings(task)), suppressions.ignores(task, source), set())
    report = Report([Checked(source, task, problems, ignored)], [])
    if any(problem.severity != "note" for problem in problems):
        print(as_text(report, _columns(), _colour(sys.stderr)), file=sys.stderr)
    return _code(report, "error")


def _only(file: File) -> Source:
    """The one task definition in `file`; raises NoTaskDefinition."""
    found = read_file(file)
    if isinstance(found, Unreadable):
        raise NoTaskDefinition(found)
    with_envoy = [source for source in found if len(found) > 1 and _has_envoy(source)]
    if len(found) > 1 and len(with_envoy) != 1:
        labels = ", ".join(source.label for source in found)
        reason = f"{len(found)} task definitions are in it ({labels}), and not just one of them has an Envoy"
        raise NoTaskDefinition(Unreadable(found[0].file, reason))
    return with_envoy[0] if with_envoy else found[0]


def _has_envoy(source: Source) -> bool:
    try:
        return bool(cast(read(source.document)).envoys)
    except NotATaskDefinition:
        return False


@_refusing
def plan(arguments: argparse.Namespace) -> int:
    """`task-helper plan --taskdef FILE`; reads the attributes taskdef, helper, envoy and spot."""
    source = _only(File(arguments.taskdef))
    try:
        definition = read(source.document)
    except NotATaskDefinition as error:
        raise NoTaskDefinition(_located(source, error)) from None
    print(draw(definition, _columns(), arguments.helper, arguments.envoy, arguments.spot))
    return 0


@_refusing
def rules(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef rules`"""
    if arguments.rule and arguments.rule not in RULES:
        raise BadName(f"no rule is named {arguments.rule!r}; there are {', '.join(RULES)}")
    print(section(arguments.rule) if arguments.rule else markdown(), end="")
    return 0


def _write(name: str, text: str) -> None:
    """Replace the content of the file as a whole or not at all, keeping its permissions; a link stays one."""
    file = Path(name).resolve()
    written = _encoded(text)
    # what Windows tools wrote stays as they wrote it
    if (raw := file.read_bytes()).startswith(b"\xef\xbb\xbf"):
        written = raw[:3] + written
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(written)
    new.chmod(file.stat().st_mode)
    new.replace(file)


def _encoded(text: str) -> bytes:
    """What UTF-8 cannot hold, half a surrogate pair, becomes the very escape that JSON has for it."""
    return text.encode(errors="backslashreplace")


def _colour(stream: TextIO) -> bool:
    """Whether `stream` is a terminal whose user has not asked for none (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def _columns() -> int:
    return min(shutil.get_terminal_size().columns, 120)
