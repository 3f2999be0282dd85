"""The commands. Each one reads files, calls the core, prints, writes files, and returns its exit code."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, get_args

from task_helper.settings import SETTINGS
from task_helper_taskdef.add import add as add_helper
from task_helper_taskdef.add import has_envoy
from task_helper_taskdef.baseline import as_baseline, read_baseline, without_baseline
from task_helper_taskdef.check import Checked, Options
from task_helper_taskdef.check import check as check_source
from task_helper_taskdef.check import in_words
from task_helper_taskdef.config import Configuration, Configurations, matching
from task_helper_taskdef.console import (
    BadCommandLine,
    ExitCode,
    Unusable,
    code_of,
    columns,
    complain,
    emit,
    in_colour,
    show,
    with_errors_printed,
)
from task_helper_taskdef.definition import Definition, read_source, read_virtual_node
from task_helper_taskdef.files import STDIN_NAME, read_file, read_files, unreadable
from task_helper_taskdef.findings import Skipped, Unreadable
from task_helper_taskdef.fix import fix
from task_helper_taskdef.formats import Source, load, parse
from task_helper_taskdef.formats.aws_shapes import registrable
from task_helper_taskdef.formats.editing import NotEditable, indent_of
from task_helper_taskdef.formats.tree import NotATaskDefinition
from task_helper_taskdef.plan import plan as draw_plan
from task_helper_taskdef.reports import Report, as_json
from task_helper_taskdef.reports.github import as_github
from task_helper_taskdef.reports.junit import as_junit
from task_helper_taskdef.reports.lines import as_lines
from task_helper_taskdef.reports.sarif import as_sarif
from task_helper_taskdef.reports.text import as_text
from task_helper_taskdef.roles import BadName, Mesh
from task_helper_taskdef.rule_pages import OTHERS, markdown, names, section, severities, title
from task_helper_taskdef.selection import chosen, described, refuse_unused
from task_helper_taskdef.writer import NotWritten, encoded, replace_file

STDIN: Final = "-"
# how many files with the same reason a line names
_SHOWN: Final = 10
# the rules with notes about settings that only the user knows
_UNSUPPLIED: Final = {"application-health", "mesh-settings"}
_REPORTS: Final[dict[str, Callable[[Report], str]]] = {
    "json": as_json,
    "sarif": as_sarif,
    "github": as_github,
    "junit": as_junit,
    "line": as_lines,
}


@with_errors_printed
def check(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef check`"""
    outputs = _outputs(arguments)
    if arguments.list_rules:
        emit(_rules_as(outputs[0][0]))
        return ExitCode.PASSED
    if arguments.fix and STDIN in arguments.files and not _writes_nothing(arguments):
        raise BadCommandLine(
            "--fix cannot write to standard input; give a file, such as --fix task.json, or add --diff"
        )
    files = arguments.files or ["."]
    configurations = Configurations(arguments.config, names())
    node = _virtual_node(arguments.virtual_node) if arguments.virtual_node else None
    exclude = [*arguments.exclude, *(pattern for file in files for pattern in configurations.of(file).excluded)]
    baseline = read_baseline(arguments.baseline) if arguments.baseline else Counter[str]()
    report, failed = Report([], [], node, []), False
    every: list[Source] = []
    for read in read_files(files, exclude, arguments.stdin_filename):
        if isinstance(read, Skipped):
            report.skipped.append(read)
        elif isinstance(read, Unreadable):
            report.unreadable.append(read)
        else:
            every += read
            configuration = configurations.of(read[0].file)
            sources = chosen(read, arguments.definition)
            result = _check_file(sources, _options(arguments, configuration, read[0].file, node), arguments)
            if isinstance(result, Unreadable):
                report.unreadable.append(result)
                continue
            new = [without_baseline(each, baseline) for each in result]
            report.checked.extend(new)
            failed = failed or _fails(new, arguments.fail_on or configuration.fail_on)
    refuse_unused(every, arguments.definition)
    _refuse_unused_names(arguments, report.checked)
    if arguments.write_baseline:
        _write(arguments.write_baseline, as_baseline(report.checked))
        complain(
            f"{arguments.write_baseline}: written, with {sum(len(each.findings) for each in report.checked)} findings"
        )
        failed = False
    if not arguments.quiet:
        _print_skipped(report)
    for format_, file in outputs:
        _print_report(report, format_, file, arguments)
    if report.nothing_read and not report.unreadable and not arguments.allow_none:
        complain("no task definition was read; give a file, or --allow-none to exit with 0")
        return ExitCode.NOTHING_READ
    if report.unreadable:
        return max(map(code_of, report.unreadable))
    return ExitCode.FAILED if failed else ExitCode.PASSED


def _outputs(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    """Each format, with the file that its report is for; empty for standard output."""
    outputs = [(format_, file) for format_, _, file in (each.partition("=") for each in arguments.format or ["text"])]
    if arguments.output:
        open_ones = [format_ for format_, file in outputs if not file]
        if len(open_ones) != 1:
            raise BadCommandLine(
                "--output needs exactly one --format without a file; write --format FORMAT=FILE for the others"
            )
        outputs = [(format_, file or arguments.output) for format_, file in outputs]
    printed = [format_ for format_, file in outputs if not file]
    if len(printed) > 1:
        raise BadCommandLine(
            f"two reports cannot both use standard output; write one to a file: --format {printed[1]}=FILE"
        )
    if arguments.diff and printed not in ([], ["text"]):
        raise BadCommandLine(
            f"--diff prints to standard output; write the report to a file: --format {printed[0]}=FILE"
        )
    return outputs


def _options(arguments: argparse.Namespace, configuration: Configuration, file: str, node: Source | None) -> Options:
    """How to check `file`; an option of the command line replaces the one of the configuration."""
    return Options(
        helper=arguments.helper or configuration.helper,
        envoy=arguments.envoy or configuration.envoy,
        mesh=arguments.mesh or configuration.mesh,
        spot=arguments.spot or configuration.spot,
        virtual_node=read_virtual_node(node.document) if node else None,
        ignore=_rules(arguments.ignore) | configuration.ignored_in(file),
        select=_rules(arguments.select) or frozenset(configuration.select),
        severities=configuration.severity,
    )


def _rules(options: Sequence[str]) -> frozenset[str]:
    """The rules of the options: names or patterns, separated by commas; raises NoSuchRule."""
    return frozenset(matching([rule for option in options for rule in option.split(",") if rule], names()))


def _virtual_node(name: str) -> Source:
    try:
        tree = parse(name, Path(name).read_bytes())
        read_virtual_node(tree.value)
    except NotATaskDefinition as error:
        raise Unusable(Unreadable(name, str(error))) from None
    return Source(name, tree, tree.value)


def _check_file(sources: list[Source], options: Options, arguments: argparse.Namespace) -> list[Checked] | Unreadable:
    """The findings of each of these definitions of a file. With --fix the file is repaired first."""
    if not sources:
        return []
    file, text = sources[0].file, sources[0].text
    try:
        checked = [check_source(source, options) for source in sources]
        if arguments.fix or _writes_nothing(arguments):
            text, rules, refused = fix(sources, options)
            for reason in dict.fromkeys(refused):
                complain(f"{file}: not repaired: {reason}")
            if rules:
                _write_change(sources[0], text, f"repaired {', '.join(dict.fromkeys(rules))}", arguments)
                keys = {source.key for source in sources}
                checked = [check_source(source, options) for source in load(file, text) if source.key in keys]
        return checked
    except NotATaskDefinition as error:
        return unreadable(file, error, text)


def _writes_nothing(arguments: argparse.Namespace) -> bool:
    return bool(arguments.diff or arguments.dry_run)


def _write_change(source: Source, text: str, what: str, arguments: argparse.Namespace) -> None:
    """Replace the file of `source` by `text`; with --diff and --dry-run only print the change."""
    if arguments.diff:
        emit(_diff(source.file, source.text, text))
    elif not arguments.dry_run:
        replace_file(source.file, text, source.tree)
    complain(f"{source.file}: {'would be ' if _writes_nothing(arguments) else ''}{what}")


def _diff(name: str, before: str, after: str) -> str:
    """The change as a diff for `patch` and `git apply`."""
    name = os.path.relpath(name) if os.path.isabs(name) else name
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
    )
    ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return "".join(ended).removesuffix("\n")


def _refuse_unused_names(arguments: argparse.Namespace, checked: list[Checked]) -> None:
    """Raise BadName for a container name that is in none of the definitions."""
    for name in filter(None, (arguments.helper, arguments.envoy)):
        containers = [container for each in checked for container in each.task.definition.by_name]
        if checked and name not in containers:
            raise BadName(f"no container is named {name!r}; the containers are {', '.join(dict.fromkeys(containers))}")


def _print_skipped(report: Report) -> None:
    """Print the files that were found and not read, one line for each reason."""
    reasons: dict[str, list[str]] = {}
    for each in report.skipped:
        reasons.setdefault(each.reason, []).append(each.file)
    for reason, files in reasons.items():
        more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
        complain(f"not read: {', '.join(files[:_SHOWN])}{more}: {reason}")


def _print_report(report: Report, format_: str, file: str, arguments: argparse.Namespace) -> None:
    if format_ != "text":
        written = _REPORTS[format_](report)
    else:
        for each in report.unreadable:
            complain(f"{each.file}: {each.reason}")
        coloured = in_colour(None if file else sys.stderr if arguments.diff else sys.stdout, not arguments.no_color)
        nothing = report.unreadable and not report.checked
        written = "" if nothing else as_text(report, columns(), coloured, arguments.quiet)
    if file:
        _write(file, f"{written}\n" if written else "")
    elif written and arguments.diff:
        show(written)
    elif written:
        emit(written)


def _write(name: str, text: str) -> None:
    """Write a report to the file `name`; raises NotWritten."""
    try:
        Path(name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise NotWritten(f"{name}: cannot be written: {error.strerror or error}") from None


def _fails(checked: Sequence[Checked], fail_on: str) -> bool:
    failing = {"error"} if fail_on == "error" else {"error", "warning"}
    return any(finding.severity in failing for each in checked for finding in each.findings)


@with_errors_printed
def add(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef add`"""
    sources = _sources(arguments.file, arguments.stdin_filename)
    file, tree = sources[0].file, sources[0].tree
    configuration = Configurations(arguments.config, names()).of(arguments.file)
    node = _virtual_node(arguments.virtual_node) if arguments.virtual_node else None
    options = Options(
        helper=arguments.helper or configuration.helper,
        envoy=arguments.envoy or configuration.envoy,
        mesh=arguments.mesh or configuration.mesh,
        # with --stop-timeout the configuration's times for Spot do not fit
        spot=arguments.spot or (configuration.spot and arguments.stop_timeout is None),
        virtual_node=read_virtual_node(node.document) if node else None,
        ignore=configuration.ignored_in(file),
        severities=configuration.severity,
    )
    targets = _targets(sources, arguments, options)
    if arguments.registrable and len(targets) != 1:
        raise BadCommandLine("--registrable writes one definition; choose it with --definition NAME")
    keys = [source.key for source in targets]
    current = sources
    for key in keys:
        (source,) = (source for source in current if source.key == key)
        with _usable(source):
            source = add_helper(
                source,
                image=arguments.image,
                name=arguments.name,
                envoy=options.envoy,
                spot=options.spot,
                mesh=options.mesh,
                stop_timeout=arguments.stop_timeout,
                helper=options.helper,
                settings=_settings(arguments.set),
                virtual_node=options.virtual_node,
            )
        current = load(file, source.text)
    added = [source for source in current if source.key in keys]
    text = _registrable(added[0]) if arguments.registrable else added[0].text
    if _writes_nothing(arguments) or (arguments.in_place and arguments.file != STDIN):
        if text != sources[0].text:
            which = ", ".join(filter(None, (source.label for source in added)))
            _write_change(sources[0], text, f"changed{f' ({which})' if which else ''}", arguments)
    else:
        emit(encoded(text, tree))
    with _usable(added[0]):
        checked = [check_source(source, options) for source in added]
    for each in checked:
        if each.task.mesh is None and not arguments.quiet:
            label = f" {each.source.label}" if each.source.label else ""
            complain(
                f"{file}{label}: the mesh is unknown, so times that you do not set suit the slowest mesh;"
                f" name the mesh with --mesh NAME: {', '.join(get_args(Mesh))}"
            )
    if any(each.findings for each in checked):
        show(as_text(Report(checked, []), columns(), in_colour(sys.stderr, not arguments.no_color), arguments.quiet))
    if any(finding.rule in _UNSUPPLIED for each in checked for finding in each.findings):
        complain("set missing settings with --set NAME=VALUE")
    return ExitCode.FAILED if _fails(checked, "error") else ExitCode.PASSED


def _targets(sources: list[Source], arguments: argparse.Namespace, options: Options) -> list[Source]:
    """The definitions that get a helper: the named ones, otherwise those with an Envoy; raises NotEditable."""
    refuse_unused(sources, arguments.definition)
    if arguments.definition or len(sources) == 1:
        targets = chosen(sources, arguments.definition)
        _refuse_names_of_none(targets, arguments)
        return targets
    _refuse_names_of_none(sources, arguments)
    targets = []
    for source in sources:
        with _usable(source):
            variants = [read_source(variant) for variant in source.variants]
        if not has_envoy(variants, options.helper, options.envoy):
            continue
        if any(variant.windows for variant in variants):
            complain(f"{source.file} {source.label}: unchanged: it runs on Windows, and the helper needs Linux")
        else:
            targets.append(source)
    if not targets:
        raise NotEditable(
            f"{sources[0].file}: none of its {len(sources)} task definitions has an Envoy on Linux, so the helper has"
            " nothing to drain; name the container with --envoy NAME, or the definition with --definition NAME"
        )
    return targets


def _refuse_names_of_none(sources: Sequence[Source], arguments: argparse.Namespace) -> None:
    """Raise BadName for a container of the command line that is in none of `sources`."""
    if not (arguments.helper or arguments.envoy):
        return
    containers: list[str] = []
    for source in sources:
        with _usable(source):
            containers += [name for variant in source.variants for name in read_source(variant).by_name]
    for name in filter(None, (arguments.helper, arguments.envoy)):
        if name not in containers:
            raise BadName(f"no container is named {name!r}; the containers are {', '.join(dict.fromkeys(containers))}")


def _settings(options: Sequence[str]) -> dict[str, str]:
    """The helper's settings of `--set NAME=VALUE`."""
    settings: dict[str, str] = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals or not value:
            raise BadCommandLine(f"--set {option} is not NAME=VALUE, such as --set {SETTINGS[0].name}=VALUE")
        settings[name] = value
    return settings


def _registrable(source: Source) -> str:
    """The text of `source` in the form that register-task-definition accepts."""
    if source.spelling == "cloudformation":
        raise NotEditable(
            f"{source.file}: --registrable is not for CloudFormation, which registers its template itself"
        )
    document = registrable(source.tree.value if source.spelling == "api" else source.document)
    return json.dumps(document, indent=indent_of(source.text), ensure_ascii=False) + "\n"


@with_errors_printed
def plan(arguments: argparse.Namespace) -> int:
    """`task-helper plan --taskdef FILE`; reads the attributes taskdef, definition, helper, envoy, spot and config."""
    sources = _sources(arguments.taskdef, STDIN_NAME)
    configuration = Configurations(arguments.config, names()).of(arguments.taskdef)
    refuse_unused(sources, arguments.definition)
    targets = chosen(sources, arguments.definition)
    _refuse_names_of_none(targets, arguments)
    helper, envoy = arguments.helper or configuration.helper, arguments.envoy or configuration.envoy
    if len(targets) > 1 and (with_envoy := [each for each in targets if _has_envoy(each, helper, envoy)]):
        targets = with_envoy
    drawn = []
    for source in targets:
        with _usable(source):
            variant = _drawn_variant(source, helper, envoy)
            definition = read_source(variant)
            drawing = draw_plan(
                variant,
                columns(),
                helper if helper in definition.by_name else None,
                envoy if envoy in definition.by_name else None,
                arguments.spot or configuration.spot,
            )
            if definition.unknown_list:
                drawing = "The containers are unknown until the deployment, so their stop cannot be drawn."
            drawing = "\n".join([drawing, *_left_out(source, variant, definition)])
        heading = described(source, sources.index(source) + 1)
        drawn.append(f"{heading}\n{drawing}" if len(targets) > 1 else drawing)
    emit("\n\n".join(drawn))
    return ExitCode.PASSED


def _drawn_variant(source: Source, helper: str | None, envoy: str | None) -> Source:
    """The first variant of `source` that has an Envoy, as `check` chooses it; without one, that of the defaults."""
    variants = source.variants
    return next((each for each in variants if has_envoy([read_source(each)], helper, envoy)), variants[0])


def _left_out(source: Source, variant: Source, definition: Definition) -> Iterator[str]:
    """Lines about what the drawing of `variant` does not show of `source`."""
    if source.alternatives:
        yield f"This applies if {in_words(list(variant.conditions.items()))}."
    if missing := sum(place.endswith("]") for place in definition.unknown_containers):
        yield f"{missing} more {'containers are' if missing > 1 else 'container is'} unknown until the deployment."


def _has_envoy(source: Source, helper: str | None, envoy: str | None) -> bool:
    with _usable(source):
        return has_envoy([read_source(variant) for variant in source.variants], helper, envoy)


@with_errors_printed
def rules(arguments: argparse.Namespace) -> int:
    """`task-helper taskdef rules`"""
    if arguments.rule and arguments.rule not in OTHERS:
        matching([arguments.rule], names())
    if arguments.list or arguments.json:
        emit(_rules_as("json" if arguments.json else "text"))
    elif arguments.rule:
        shown = [arguments.rule] if arguments.rule in OTHERS else matching([arguments.rule], names())
        emit("\n".join(map(section, shown)).removesuffix("\n"))
    else:
        emit(markdown().removesuffix("\n"))
    return ExitCode.PASSED


def _rules_as(format_: str) -> str:
    """All rules with their severities and titles, for people or as JSON."""
    listed = [{"rule": name, "severities": severities(name), "title": title(name)} for name in names()]
    if format_ == "json":
        return json.dumps(listed, indent=2)
    width = max(map(len, names()))
    return "\n".join(f"{name:{width}}  {', '.join(severities(name)):20}  {title(name)}" for name in names())


def _sources(name: str, stdin_name: str) -> list[Source]:
    """The task definitions in the file `name`; raises Unusable."""
    sources = read_file(name, stdin_name)
    if isinstance(sources, Unreadable):
        raise Unusable(sources)
    return sources


@contextmanager
def _usable(source: Source) -> Iterator[None]:
    """Raises Unusable, with the place in the file, for a NotATaskDefinition about `source`."""
    try:
        yield
    except NotATaskDefinition as error:
        raise Unusable(unreadable(source.file, error, source.text)) from None
