"""Reading: what is no task definition is refused with the place."""

from __future__ import annotations

from typing import Any

import pytest

from task_helper_taskdef.definition import read, read_virtual_node
from task_helper_taskdef.formats.tree import NotATaskDefinition, Unknown


def one(**fields: Any) -> Any:
    """A definition of one container with `fields`."""
    return {"containerDefinitions": [{"name": "app", **fields}]}


@pytest.mark.parametrize(
    "document, reason",
    [
        (None, "$: expected an object with containerDefinitions"),
        ([], "$: expected an object with containerDefinitions"),
        ({}, "$: containerDefinitions is missing"),
        ({"containerDefinitions": {}}, "$.containerDefinitions: expected a list, got an object"),
        ({"containerDefinitions": [3]}, "$.containerDefinitions[0]: expected an object, got 3"),
        ({"containerDefinitions": [None]}, "$.containerDefinitions[0]: an object is missing"),
        ({"containerDefinitions": [{}]}, "$.containerDefinitions[0]: name is missing"),
        (one(name=None), "$.containerDefinitions[0]: name is missing"),
        (one(name="a b"), "$.containerDefinitions[0].name: 'a b' is not a container name; ECS takes letters, digits"),
        (one(stopTimeout="soon"), "$.containerDefinitions[0].stopTimeout: expected a whole number, got 'soon'"),
        (one(stopTimeout=True), "$.containerDefinitions[0].stopTimeout: expected a whole number, got true"),
        (one(stopTimeout=2.5), "$.containerDefinitions[0].stopTimeout: expected a whole number, got 2.5"),
        (one(stopTimeout=-1), "$.containerDefinitions[0].stopTimeout: -1 is not from 0 to 2147483647"),
        (one(essential="maybe"), "$.containerDefinitions[0].essential: expected true or false, got 'maybe'"),
        (one(command="run"), "$.containerDefinitions[0].command: expected a list, got 'run'"),
        (one(command=[None]), "$.containerDefinitions[0].command[0]: text is missing"),
        (one(dockerLabels=[]), "$.containerDefinitions[0].dockerLabels: expected an object, got a list"),
        (one(dependsOn=[{"containerName": "envoy"}]), "$.containerDefinitions[0].dependsOn[0]: condition is missing"),
        (
            one(dependsOn=[{"containerName": "envoy", "condition": "Healthy"}]),
            "$.containerDefinitions[0].dependsOn[0].condition: 'Healthy' is not one of COMPLETE, HEALTHY",
        ),
        (
            one(environment=[{"name": "A", "value": 3}]),
            "$.containerDefinitions[0].environment[0].value: expected text, got 3",
        ),
        (one(stopTimeout="\ud800"), "$: '\\ud800' contains an unpaired surrogate"),
        ({"containerDefinitions": [], "memory": []}, "$.memory: expected text, got a list"),
        (one(essential=None, command=[["x"]]), "$.containerDefinitions[0].command[0]: expected text, got a list"),
        (one(memory="a lot"), "$.containerDefinitions[0].memory: expected a whole number, got 'a lot'"),
        (
            {"containerDefinitions": [{"name": "a"}, {"name": "a"}]},
            "$.containerDefinitions[1].name: a is the name of two",
        ),
    ],
)
def test_invalid_definition_is_refused_with_the_place(document: Any, reason: str) -> None:
    """A wrong type, a missing name, another tool's spelling: each is reported with its place in the file."""
    with pytest.raises(NotATaskDefinition) as refused:
        read(document)

    assert str(refused.value).startswith(reason)


def test_nulls_count_as_absent_and_numbers_may_be_text() -> None:
    """Terraform's nulls and CloudFormation's numbers as text are read as what they stand for."""
    (container,) = read(one(stopTimeout="90", healthCheck=None, memory=None)).container_definitions

    assert (90, None, None) == (container.stop_timeout, container.health_check, container.memory)


def test_required_value_may_be_unknown() -> None:
    """A required value that a template leaves open is stood in for, and known to be so."""
    check = {"interval": Unknown("${Interval}"), "command": Unknown("${Command}")}
    dependency = {"containerName": "envoy", "condition": Unknown("${Condition}")}
    policy = {"enabled": Unknown("${Restart}")}
    definition = read(one(healthCheck=check, dependsOn=[dependency], restartPolicy=policy))

    place = "$.containerDefinitions[0]"
    assert sorted(definition.unknown) == [
        f"{place}.dependsOn[0].condition",
        f"{place}.healthCheck.command",
        f"{place}.healthCheck.interval",
        f"{place}.restartPolicy.enabled",
    ]


def test_unknown_value_is_left_out_and_its_place_noted() -> None:
    """An open number counts as absent, an open name stays a name, and the places of both are known."""
    (container,) = read(one(stopTimeout=Unknown("${Stop}"), user=Unknown("${User}"))).container_definitions

    assert (None, "${User}") == (container.stop_timeout, container.user)
    assert ["$.containerDefinitions[0].stopTimeout", "$.containerDefinitions[0].user"] == container.unknown


@pytest.mark.parametrize(
    "fields, known",
    [
        ({}, True),
        ({"environment": [{"name": "PORT", "value": "80"}]}, True),
        ({"environment": [{"name": "PORT", "value": Unknown("${Port}")}]}, False),
        ({"environment": [{"name": "HOST", "value": Unknown("${Host}")}]}, True),
        ({"environment": [{"name": Unknown("${Name}"), "value": "80"}]}, False),
        ({"environment": Unknown("${Variables}")}, False),
        ({"secrets": [{"name": "PORT", "valueFrom": "arn:aws:ssm:eu-west-1:123456789012:parameter/port"}]}, False),
        ({"secrets": [{"name": "HOST", "valueFrom": "arn:aws:ssm:eu-west-1:123456789012:parameter/host"}]}, True),
        ({"environmentFiles": [{"type": "s3", "value": "arn:aws:s3:::settings/shop.env"}]}, False),
    ],
)
def test_variable_is_known_or_not(fields: dict[str, Any], known: bool) -> None:
    """A variable is known if its value stands there, or if it can stand nowhere else either."""
    (container,) = read(one(**fields)).container_definitions

    assert known == container.knows_variable("PORT")


@pytest.mark.parametrize("document", [3, {"spec": {"listeners": 3}}, {"virtualNode": {"spec": {"listeners": [[]]}}}])
def test_invalid_virtual_node_is_refused(document: Any) -> None:
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
                    "links": ["db:database", "missing"],
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
    assert {"db", "files", "router", "envoy", "disk"} == definition.stopped_after(app)
