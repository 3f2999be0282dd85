"""The alarms and the dashboard in examples/: right by their field's tools, and about metrics that there are."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helper.unit.timelines import World

# the whole file: cfn-lint and a reader of Terraform's language are for `make test-all` (group `opinions`)
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "examples" / "cloudformation" / "monitoring.yaml"
LOG = (ROOT / "docs" / "operate" / "log.md").read_text(encoding="utf-8")

README = (ROOT / "README.md").read_text(encoding="utf-8")

# exit codes of the helper's container: its own for a drain that was not confirmed, and ECS's for one that it has killed
UNCONFIRMED, KILLED = 75, 137


@pytest.fixture(scope="module")
def template() -> Any:
    """The template, its functions in their long form."""
    import cfnlint.decode

    found, problems = cfnlint.decode.decode(str(TEMPLATE))
    assert not problems
    return found


@pytest.fixture(scope="module")
def dashboard(template: Any) -> Any:
    """The dashboard's body as CloudWatch gets it, for a service `orders`."""
    text = template["Resources"]["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    return json.loads(re.sub(r"\$\{([\w:.]+)}", lambda name: "orders" if name[1] == "Service" else name[1], text))


def of_type(template: Any, kind: str) -> dict[str, Any]:
    """The properties of the resources of this type, by their names."""
    return {name: each["Properties"] for name, each in template["Resources"].items() if each["Type"] == kind}


def emitted() -> set[str]:
    """The metrics of a life in which every figure is known, as the helper emits them."""
    fields = World().live([(100, "SIGTERM")], METRICS="emf").fields("summary")
    (directive,) = fields["_aws"]["CloudWatchMetrics"]
    assert None not in fields.values()
    assert ("ecs-task-helper", [["service"]]) == (directive["Namespace"], directive["Dimensions"])
    return {each["Name"] for each in directive["Metrics"]}


def shown(dashboard: Any) -> Iterator[list[str]]:
    """The metrics of all graphs: namespace, name, and its dimension's name and value."""
    for widget in dashboard["widgets"]:
        for metric in widget["properties"].get("metrics", ()):
            yield metric[:4]


def test_cfn_lint() -> None:
    """cfn-lint finds nothing in the template."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), str(TEMPLATE)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)

    assert "" == done.stdout + done.stderr


def test_alarms_watch_metrics_that_there_are(template: Any) -> None:
    """Each alarm on the helper's metrics names one that the helper emits, by the dimension that it emits it with."""
    alarms = [a for a in of_type(template, "AWS::CloudWatch::Alarm").values() if a["Namespace"] == "ecs-task-helper"]

    assert {"requests_in_flight_at_end", "drains_not_confirmed"} == {alarm["MetricName"] for alarm in alarms}
    assert {"requests_in_flight_at_end", "drains_not_confirmed"} <= emitted()
    assert all(alarm["Dimensions"] == [{"Name": "service", "Value": {"Ref": "Service"}}] for alarm in alarms)


def test_alarms_are_silent_without_data(template: Any) -> None:
    """One bad task is enough for any alarm, and no task at all is not. Each alarm notifies the topic."""
    for alarm in of_type(template, "AWS::CloudWatch::Alarm").values():
        assert ("GreaterThanThreshold", 0, "Sum") == (
            alarm["ComparisonOperator"],
            alarm["Threshold"],
            alarm["Statistic"],
        )
        assert "notBreaching" == alarm["TreatMissingData"]
        assert [{"Ref": "Topic"}] == alarm["AlarmActions"]


def test_rules_watch_exit_codes_that_there_are(template: Any) -> None:
    """Each rule takes stopped tasks whose helper, not any other container, has one exit code, and has an alarm."""
    rules = of_type(template, "AWS::Events::Rule")
    alarms = [a for a in of_type(template, "AWS::CloudWatch::Alarm").values() if a["Namespace"] == "AWS/Events"]
    patterns = [rule["EventPattern"]["detail"] for rule in rules.values()]

    assert f"| {UNCONFIRMED} | Envoy did not confirm" in README and f"| {KILLED} | the helper was killed" in README
    assert [[UNCONFIRMED], [KILLED]] == [pattern["containers"]["exitCode"] for pattern in patterns]
    assert all(pattern["containers"]["name"] == [{"Ref": "Container"}] for pattern in patterns)
    assert all(pattern["lastStatus"] == ["STOPPED"] for pattern in patterns)
    assert [[{"Name": "RuleName", "Value": {"Ref": name}}] for name in rules] == [a["Dimensions"] for a in alarms]


def test_dashboard_shows_every_metric(dashboard: Any) -> None:
    """The dashboard has all metrics that the helper emits, no other of its namespace, and each by its service."""
    own = [
        (name, dimension, value) for namespace, name, dimension, value in shown(dashboard) if namespace != "AWS/Events"
    ]

    assert emitted() == {name for name, _, _ in own}
    assert {("service", "orders")} == {(dimension, value) for _, dimension, value in own}


def test_dashboard_shows_every_alarm_and_rule(template: Any, dashboard: Any) -> None:
    """The state of each alarm is on the dashboard, and how often each rule has matched."""
    (alarms,) = [widget["properties"]["alarms"] for widget in dashboard["widgets"] if widget["type"] == "alarm"]
    rules = [metric[3] for metric in shown(dashboard) if metric[:3] == ["AWS/Events", "TriggeredRules", "RuleName"]]

    assert {f"{name}.Arn" for name in of_type(template, "AWS::CloudWatch::Alarm")} == set(alarms)
    assert list(of_type(template, "AWS::Events::Rule")) == rules


def test_dashboard_asks_for_fields_of_the_summary(dashboard: Any) -> None:
    """The table of summaries asks for fields that a summary has."""
    (query,) = [widget["properties"]["query"] for widget in dashboard["widgets"] if widget["type"] == "log"]
    (columns,) = re.findall(r"\| fields (.*?) \|", query)
    fields = World().live([(100, "SIGTERM")]).fields("summary")

    assert "filter event = 'summary'" in query
    assert {column for column in columns.split(", ") if not column.startswith("@")} <= fields.keys()


def test_dashboard_fits_the_grid(dashboard: Any) -> None:
    """No widget leaves CloudWatch's 24 columns or lies upon another."""
    taken: set[tuple[int, int]] = set()
    for widget in dashboard["widgets"]:
        columns = range(widget["x"], widget["x"] + widget["width"])
        rows = range(widget["y"], widget["y"] + widget["height"])
        cells = {(x, y) for x in columns for y in rows}

        assert columns.stop <= 24
        assert not cells & taken
        taken |= cells


def test_docs_name_every_metric() -> None:
    """The page about the log has a row for each metric."""
    table = LOG[LOG.index("## Metrics") :].partition("|---|---|\n")[2].partition("\n\n")[0]

    assert emitted() == {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_terraform_gives_the_template_what_it_needs(template: Any) -> None:
    """Terraform's example makes a stack of this template, and gives it each parameter that has no default."""
    import hcl2

    code = hcl2.loads(
        (ROOT / "examples" / "terraform" / "monitoring" / "main.tf").read_text(encoding="utf-8"),
        serialization_options=hcl2.SerializationOptions(with_comments=False, strip_string_quotes=True),
    )
    (stack,) = (each["aws_cloudformation_stack"]["monitoring"] for each in code["resource"])
    needed = {name for name, each in template["Parameters"].items() if "Default" not in each}

    assert needed == set(stack["parameters"])
    assert '${file("${path.module}/../../cloudformation/monitoring.yaml")}' == stack["template_body"]
