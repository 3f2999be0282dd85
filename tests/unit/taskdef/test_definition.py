"""Reading: what is no task definition is refused with the place."""

from __future__ import annotations

from typing import Any

import pytest

from task_helper.taskdef.definition import NotATaskDefinition, parse, read, read_virtual_node


def one(**fields: Any) -> Any:
    """A definition of one container with `fields`."""
    return {"containerDefinitions": [{"name": "app", **fields}]}


@pytest.mark.parametrize(
    "text, reason",
    [
        (b"", "line 1, column 1: Expecting value"),
        (b'{\n  "family" "shop"\n}', "line 2, column 12: Expecting ':' delimiter"),
        (b"\xff\xfe\xff", "byte 2: not UTF-8 text"),
        (b'{"family": "\xe9"}', "byte 12: not UTF-8 text"),
        (b'{"cpu": NaN}', "NaN is no JSON number"),
        (b'{"cpu": 1e999}', "1e999 is too large a number"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"cpu": ' + b"9" * 5000 + b"}", "99999999999999999999... is too large a number"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(text: bytes, reason: str) -> None:
    """A syntax error is told with line and column, what is no text with its byte."""
    with pytest.raises(NotATaskDefinition) as refused:
        parse(text)

    assert reason == str(refused.value)


@pytest.mark.parametrize(
    "document, reason",
    [
        (None, "$: expected an object with containerDefinitions"),
        ([], '$: expected an object with containerDefinitions (containers alone? wrap them: {"containerDefinitions"'),
        ({}, "$: object missing required field `containerDefinitions`"),
        ({"Resources": {}}, "$: CloudFormation's spelling; give what `aws ecs describe-task-definition"),
        ({"containerDefinitions": {}}, "$.containerDefinitions: expected `array`, got `object`"),
        ({"containerDefinitions": [3]}, "$.containerDefinitions[0]: expected `object`, got `int`"),
        ({"containerDefinitions": [{}]}, "$.containerDefinitions[0]: object missing required field `name`"),
        (one(name=None), "$.containerDefinitions[0]: object missing required field `name`"),
        (one(name="a b"), "$.containerDefinitions[0].name: expected `str` matching regex"),
        (one(stopTimeout="soon"), "$.containerDefinitions[0].stopTimeout: expected `int`, got `str`"),
        (one(stopTimeout=-1), "$.containerDefinitions[0].stopTimeout: expected `int` >= 0"),
        (one(command="run"), "$.containerDefinitions[0].command: expected `array`, got `str`"),
        (
            one(dependsOn=[{"containerName": "envoy"}]),
            "$.containerDefinitions[0].dependsOn[0]: object missing required",
        ),
        (
            one(dependsOn=[{"containerName": "envoy", "condition": "Healthy"}]),
            "$.containerDefinitions[0].dependsOn[0].condition: invalid enum value 'Healthy'",
        ),
        (
            one(environment=[{"name": "A", "value": 3}]),
            "$.containerDefinitions[0].environment[0].value: expected `str`",
        ),
        (one(stopTimeout="\ud800"), "$: '\\ud800' has half a character in it"),
        ({"taskDefinition": one(memory="a lot")}, "$.taskDefinition.containerDefinitions[0].memory: expected `int`"),
        (
            {"containerDefinitions": [{"name": "a"}, {"name": "a"}]},
            "$.containerDefinitions[1].name: a is the name of two",
        ),
    ],
)
def test_what_is_no_task_definition_is_refused_with_the_place(document: Any, reason: str) -> None:
    """A wrong type, a missing name, another tool's spelling: each is told with its place in the file."""
    with pytest.raises(NotATaskDefinition) as refused:
        read(document)

    assert str(refused.value).startswith(reason)


def test_deep_nesting_is_refused() -> None:
    """A value that is nested too deeply to look at is refused; newer Pythons' JSON reads deeper than that."""
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(NotATaskDefinition, match="nested too deeply"):
        read({"containerDefinitions": [], "x": deep})


def test_nulls_count_as_absent_and_numbers_may_be_text() -> None:
    """Terraform's nulls and CloudFormation's numbers as text are read as what they stand for."""
    (container,) = read(one(stopTimeout="90", healthCheck=None, memory=None)).container_definitions

    assert (90, None, None) == (container.stop_timeout, container.health_check, container.memory)


def test_byte_order_mark_is_no_obstacle() -> None:
    """A file that Windows tools wrote is read."""
    assert {"cpu": 0.5} == parse(b'\xef\xbb\xbf{"cpu": 0.5}')
    assert {} == parse(b"\xef\xbb\xbf{}") == parse("{}".encode("utf-16"))


@pytest.mark.parametrize("document", [3, {"spec": {"listeners": 3}}, {"virtualNode": {"spec": {"listeners": [[]]}}}])
def test_what_is_no_virtual_node_is_refused(document: Any) -> None:
    """A virtual node of a wrong shape is refused with the place, too."""
    with pytest.raises(NotATaskDefinition, match=r"^\$"):
        read_virtual_node(document)


def test_order_counts_links_volumes_and_log_router() -> None:
    """What ECS makes dependencies of counts as dependsOn does, and a name that no container has does not."""
    definition = read(
        {
            "containerDefinitions": [
                {
                    "name": "app",
                    "links": ["db:database", "gone"],
                    "volumesFrom": [{"sourceContainer": "files"}],
                    "logConfiguration": {"logDriver": "awsfirelens"},
                    "dependsOn": [{"containerName": "envoy", "condition": "START"}],
                },
                {"name": "db", "dependsOn": [{"containerName": "disk", "condition": "START"}]},
                {"name": "files"},
                {"name": "router", "firelensConfiguration": {"type": "fluentbit"}},
                {"name": "envoy"},
                {"name": "disk"},
            ]
        }
    )
    app = definition.by_name["app"]

    assert {"db", "files", "router", "envoy"} == definition.waits_for(app)
    assert {"db", "files", "router", "envoy", "disk"} == definition.held_up_by(app)
