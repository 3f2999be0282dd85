"""Envoy's --drain-time-s, read from a task definition."""

from typing import Any

import pytest

from task_helper_taskdef.definition import read
from task_helper_taskdef.findings import Edit
from task_helper_taskdef.roles import assign_roles
from task_helper_taskdef.rules import drain_time

GRACEFUL = [{"name": "DRAIN_LISTENERS", "value": "graceful"}]
ENVOY = "envoyproxy/envoy:v1.40.0"


def variable(name: str, value: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value}]


@pytest.mark.parametrize(
    ("envoy", "seconds"),
    [
        ({"image": ENVOY}, 600),
        ({"image": ENVOY, "command": ["-c", "/etc/envoy.yaml"]}, 600),
        ({"image": ENVOY, "command": ["--drain-time-s=25"]}, 25),
        ({"image": ENVOY, "command": ["sh", "-c", "exec envoy -c /e.yaml --drain-time-s 20"]}, 20),
        ({"image": ENVOY, "command": ["/start.sh"]}, None),
        ({"image": "our/envoy", "command": ["/usr/local/bin/envoy", "--drain-time-s", "$TIME"]}, None),
        ({"image": "our/envoy", "command": ["/usr/local/bin/envoy", "-c", "/etc/envoy.yaml"]}, 600),
        ({"image": "hashicorp/consul-dataplane:2.0.1", "command": ["consul-dataplane", "-config-file", "/c.json"]}, 30),
        ({"image": "our/dp", "command": ["consul-dataplane", "-envoy-drain-time-seconds=20"]}, 20),
        ({"image": "hashicorp/consul-dataplane:2.0.1", "environment": variable("DP_ENVOY_DRAIN_TIME", "90")}, 90),
        ({"image": "hashicorp/consul-dataplane:1.6", "command": ["consul-dataplane", "--drain-time-s", "30"]}, 30),
        ({"image": "kumahq/kuma-dp:2.14.3"}, 30),
        ({"image": "kumahq/kuma-dp:2.14.3", "environment": variable("KUMA_DATAPLANE_DRAIN_TIME", "20s")}, 20),
        ({"image": "kumahq/kuma-dp:2.14.3", "environment": variable("KUMA_DATAPLANE_DRAIN_TIME", "1m")}, None),
        ({"image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.34"}, 20),
        ({"image": "our/envoy", "environment": variable("LISTENER_DRAIN_WAIT_TIME_S", "5")}, 5),
        ({"image": "our/envoy"}, None),
    ],
)
def test_drain_time(envoy: dict[str, Any], seconds: float | None) -> None:
    """It is what the command line says, or what the agent before Envoy makes of its variable, else 600 s."""
    (container,) = read({"containerDefinitions": [{"name": "envoy", **envoy}]}).container_definitions
    found = drain_time.drain_time_of(container)

    assert seconds == (found and found.seconds)


def test_fix() -> None:
    """What a variable gives is set so that it fits."""
    envoy = {
        "name": "envoy",
        "image": "kumahq/kuma-dp:2.14.3",
        "environment": variable("KUMA_DATAPLANE_DRAIN_TIME", "9s"),
    }
    containers = [{"name": "task-helper", "environment": GRACEFUL}, envoy]
    (finding,) = drain_time.check(assign_roles(read({"containerDefinitions": containers})))

    assert (Edit("$.containerDefinitions[1].environment[0].value", "30s"),) == finding.fix


def test_without_graceful() -> None:
    """Where idle connections are not to be closed, --drain-time-s does not matter."""
    containers = [{"name": "task-helper"}, {"name": "envoy", "image": ENVOY}]

    assert [] == list(drain_time.check(assign_roles(read({"containerDefinitions": containers}))))


def test_auto_that_leaves_no_time() -> None:
    """Where the delay of `auto` leaves too little of STOP_TIMEOUT, the finding says by how much to raise it."""
    times = {"DRAIN_DELAY": "auto", "DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "5", "STOP_TIMEOUT": "60"}
    helper = {"name": "task-helper", "environment": [*GRACEFUL, *(variable(*each)[0] for each in times.items())]}
    containers = [helper, {"name": "envoy", "image": ENVOY}]
    (finding,) = drain_time.check(assign_roles(read({"containerDefinitions": containers})))

    assert finding.message.endswith("is 600 s, and the drain 15 s.")
    assert finding.remedy.startswith("Raise STOP_TIMEOUT by 6 or more, and ")
