"""Realistic task definitions: what is found in them, and that nothing made from them is ever a crash."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from task_helper.cli import main
from task_helper_taskdef.add import edits
from task_helper_taskdef.check import Checked, apply_rules
from task_helper_taskdef.definition import Container, read
from task_helper_taskdef.formats import Source, cloudformation, json_text, parse, sources
from task_helper_taskdef.formats.editing import NotEditable, apply, changed
from task_helper_taskdef.formats.tree import NotATaskDefinition, Unknown, plain
from task_helper_taskdef.plan import plan
from task_helper_taskdef.reports import Report, as_json
from task_helper_taskdef.reports.github import as_github
from task_helper_taskdef.reports.sarif import as_sarif
from task_helper_taskdef.reports.text import as_text
from task_helper_taskdef.roles import assign_roles, deregisters_task
from task_helper_taskdef.rules.memory import FIXED, mebibytes

CORPUS = Path(__file__).with_name("corpus")
CASES = sorted(path.stem for path in CORPUS.glob("*.findings"))
# beside each, a file with the same name in whatever format
(FILES,) = zip(
    *[[path for path in CORPUS.glob(f"{name}.*") if path.suffix != ".findings"] for name in CASES], strict=True
)
SOURCES = [sources(file.name, parse(file.name, file.read_bytes()))[0] for file in FILES]
DOCUMENTS = [source.document for source in SOURCES]
# Envoy's admin API is a socket that only a change of Envoy's own container could give to the helper
UNREACHED = {"appmesh-admin-socket", "appmesh-shared-socket"}
IMAGE = "registry.example/ecs-task-helper:1.0.0"


@pytest.mark.parametrize("name, file", list(zip(CASES, FILES, strict=True)))
def test_check_finds_in_each_definition_what_is_wrong_with_it(
    name: str, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Severity, rule and place of all findings are those in NAME.findings, and errors make the exit code 1."""
    monkeypatch.chdir(CORPUS)
    expected = Path(f"{name}.findings").read_text(encoding="utf-8").splitlines()
    options = expected.pop(0).split() if expected and expected[0].startswith("--") else []

    code = main(["taskdef", "check", file.name, "--format", "json", *options])
    found = [f"{p['severity']} {p['rule']} {p['place']}" for p in json.loads(capsys.readouterr().out)["problems"]]

    assert found == expected
    assert code == any(finding.startswith("error") for finding in found)


@pytest.mark.parametrize("name, document", list(zip(CASES, DOCUMENTS, strict=True)))
def test_helper_that_is_added_passes_check(name: str, document: Any) -> None:
    """In every definition of the corpus, stripped of its helper, the helper that add writes is found no fault with."""
    bare = without_helper(document)

    assert faults_of_helper(with_helper(bare)) == ([] if name not in UNREACHED else ["admin-address"])


@pytest.mark.parametrize(
    "name", ["appmesh-fargate-plain", "consul-fargate", "described-with-alb", "firelens-fargate", "static-dns"]
)
def test_check_finds_nothing_in_what_add_writes(name: str) -> None:
    """A definition that has no fault but that it lacks a helper passes check with no finding once it has one."""
    document = with_helper(without_helper(DOCUMENTS[CASES.index(name)]))

    assert [problem for problem in apply_rules(assign_roles(read(document))) if problem.severity != "note"] == []


@pytest.mark.parametrize("source", SOURCES, ids=CASES)
def test_unknown_value_never_causes_a_finding(source: Source) -> None:
    """With any one value left open by a template, check finds nothing that it does not find with that value known."""
    known = findings_of(source.document)
    for holder, key in list(places(document := copy.deepcopy(source.document))):
        kept, holder[key] = holder[key], Unknown("${Open}")
        try:
            assert findings_of(document) <= known, f"{key} left open in {str(holder)[:300]}"
        finally:
            holder[key] = kept


def with_helper(document: Any, **options: Any) -> Any:
    """`document` with the edits that `add` makes."""
    return changed(document, edits(document, IMAGE, **options))


def findings_of(document: Any) -> set[tuple[str, str]]:
    """The rules and places of what check says of `document`, but for that something is open."""
    problems = apply_rules(assign_roles(read(document), spot=True))
    return {(problem.rule, problem.place) for problem in problems if problem.rule != "containers-unknown"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=CASES)
def test_add_changes_text_and_values_alike(document: Any) -> None:
    """The text that add writes has the values of the document that it makes, and every line that was there before.

    That holds for each indent.
    """
    for indent in (None, 1, 4, "\t"):
        bare = without_helper(document)
        text = json.dumps(bare, indent=indent, ensure_ascii=False)
        bare = sources("x.json", parse("x.json", text.encode()))[0].document
        after = text
        for edit in edits(bare, IMAGE):
            after = apply(sources("x.json", parse("x.json", after.encode()))[0], edit)

        assert sources("x.json", parse("x.json", after.encode()))[0].document == with_helper(bare), f"{indent=}"
        lines = iter(after.splitlines())
        assert indent is None or all(
            any(line.rstrip(",") == each.rstrip(",") for each in lines) for line in text.splitlines()
        ), f"{indent=}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=CASES)
def test_each_fix_changes_text_and_values_alike(document: Any) -> None:
    """In each format, the fix of one finding changes the file as it changes the values, or is refused."""
    for form in ("json", "yaml", "cloudformation"):
        source = written(document, form)
        for problem in apply_rules(assign_roles(read(source.document), spot=True)):
            try:
                edited = source
                for edit in problem.fix:
                    edited = reread(edited, apply(edited, edit))
            except NotEditable:
                continue
            assert changed(source.document, problem.fix) == edited.document, f"{problem.rule} in {form}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=CASES)
def test_add_changes_yaml_text_and_values_alike(document: Any) -> None:
    """In YAML and in a template, too, the text that add writes has the values of the document that it makes."""
    for form in ("yaml", "cloudformation"):
        source = written(without_helper(document), form)
        edited = source
        for edit in edits(source.document, IMAGE):
            edited = reread(edited, apply(edited, edit))

        assert with_helper(source.document) == edited.document, form


def written(document: Any, form: str) -> Source:
    """`document` as a file in another format has it."""
    document = plain(document)
    if form == "json":
        return sources("x.json", parse("x.json", json.dumps(document, indent=2).encode()))[0]
    if form == "cloudformation":
        properties = cloudformation.to_cloudformation(document)
        if proxy := properties.get("ProxyConfiguration"):
            proxy["ProxyConfigurationProperties"] = proxy.pop("Properties", [])
        document = {"Resources": {"Task": {"Type": "AWS::ECS::TaskDefinition", "Properties": properties}}}
    return sources("x.yaml", parse("x.yaml", yaml.safe_dump(document, sort_keys=False).encode()))[0]


def reread(source: Source, text: str) -> Source:
    return sources(source.file, parse(source.file, text.encode()))[0]


def without_helper(document: Any) -> Any:
    """`document` as it was before anybody thought of a helper."""
    fields = document = copy.deepcopy(document)
    helpers = {helper.name for helper in assign_roles(read(document)).helpers}
    fields["containerDefinitions"] = [c for c in fields["containerDefinitions"] if c["name"] not in helpers]
    for container in fields["containerDefinitions"]:
        if container.get("dependsOn"):
            container["dependsOn"] = [d for d in container["dependsOn"] if d["containerName"] not in helpers]
    return document


def faults_of_helper(document: Any) -> list[str]:
    """The rules that find something wrong with the helper's own container."""
    task = assign_roles(read(document))
    place = task.helpers[0].place
    return [
        problem.rule
        for problem in apply_rules(task)
        if f"{problem.place}.".startswith(f"{place}.") and problem.severity != "note"
    ]


JSON_KEYS = sorted(Container.__struct_encode_fields__)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers() | st.integers(-(2**80), 2**80),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["task-helper", "envoy", "HEALTHY", "START", "auto", "-5", "bridge", "uds", "1337", "{", "\ud800"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(JSON_KEYS), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each object or list within `value`, with each of its keys."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value):
        yield value, key
        if isinstance(item, dict | list):
            yield from places(item)


@st.composite
def mutated(draw_: st.DrawFn) -> Any:
    """A definition of the corpus with a few values replaced, removed, doubled or moved elsewhere."""
    document = copy.deepcopy(draw_(st.sampled_from(DOCUMENTS)))
    for _ in range(draw_(st.integers(1, 4))):
        if not (anywhere := list(places(document))):
            break
        holder, key = draw_(st.sampled_from(anywhere))
        match draw_(st.sampled_from(["replace", "remove", "double", "move", "insert"])):
            case "replace":
                holder[key] = draw_(VALUES)
            case "remove":
                del holder[key]
            case "double" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[key]))
            case "move":
                other, there = draw_(st.sampled_from(anywhere))
                holder[key] = copy.deepcopy(other[there]) if there in other or isinstance(other, list) else None
            case "insert" if isinstance(holder, dict):
                holder[draw_(st.sampled_from(JSON_KEYS))] = draw_(VALUES)
    return document


THOROUGH = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@THOROUGH
@given(mutated() | VALUES)
def test_any_json_is_checked_or_refused(document: Any) -> None:
    """Whatever the input, it is refused with a reason or judged, reported and drawn; never is there a traceback."""
    try:
        tree = json_text.parse(json.dumps(document))
        definition = read(tree.value)
    except NotATaskDefinition as refused:
        assert str(refused).startswith(("$", "99", "-99")) or "too large" in str(refused)
        return
    task = assign_roles(definition, spot=True)
    source = Source("x.json", tree, tree.value)
    report = Report([Checked(source, task, list(apply_rules(task)))], [])

    assert as_text(report, 80, colour=True)
    assert as_json(report) and as_sarif(report)
    assert len(as_github(report).splitlines()) == len(report.located())
    assert plan(source, 80, spot=True)


@THOROUGH
@given(mutated())
def test_add_keeps_the_rest_and_its_helper_passes(document: Any) -> None:
    """Add touches the helper's container alone, of an existing one only image and gaps, and a second run nothing.

    Consul's health-sync gets a stopTimeout where it has none.
    """
    try:
        before = assign_roles(read(document))
    except NotATaskDefinition:
        return
    given_ = copy.deepcopy(document)
    try:
        added = with_helper(document)
    except NotEditable:
        assert isinstance(document["containerDefinitions"], Unknown)
        return

    assert document == given_
    assert with_helper(added) == added
    # Kuma's socket needs a volume, and Envoy's part in it
    if before.mesh == "kuma":
        return
    agents = {envoy.name for envoy in before.envoys} if before.mesh == "app-mesh" else set()
    assert {**added, "containerDefinitions": None} == {**document, "containerDefinitions": None}
    # where a container should be there can be a text, which a template computes
    read_ = iter(before.definition.container_definitions)
    for i, container in enumerate(document["containerDefinitions"]):
        now = added["containerDefinitions"][i]
        if isinstance(container, dict) and deregisters_task(next(read_)):
            gained = {"stopTimeout"} if container.get("stopTimeout") is None else set()
            assert without(now, gained) == without(container, gained)
        # a mutation may give Envoy's container the helper's image as well
        elif not isinstance(container, dict) or container.get("name") not in {each.name for each in before.helpers}:
            # AWS's agent gets a variable of its own
            gained = {"environment"} if isinstance(container, dict) and container.get("name") in agents else set()
            assert now == container or without(now, gained) == without(container, gained)
        else:
            assert {key: now[key] for key in container if kept(key, container[key])} == {
                key: value for key, value in container.items() if kept(key, value)
            }
    if not before.helpers:
        # where the other containers leave the helper no CPU, add cannot decide whose to lower
        allowed = {"admin-address", "misspelt-key", "quoted-value", "cpu"}
        # nor can it raise the memory of a task that has less than the helper needs
        available = mebibytes(before.definition.memory)
        if available is not None and available < FIXED.enough:
            allowed.add("memory")
        assert set(faults_of_helper(added)) <= allowed


def without(container: dict[str, Any], keys: set[str]) -> dict[str, Any]:
    return {key: value for key, value in container.items() if key not in keys}


def kept(key: str, value: Any) -> bool:
    """Whether add leaves the `key` of an existing helper alone: not the image, and lists and nulls are completed."""
    return key not in ("image", "dependsOn", "environment", "links") and value is not None
