"""The roles of containers, and findings that no example of a rule's page covers."""

from __future__ import annotations

from typing import Any

import pytest

from task_helper_taskdef.check import apply_rules
from task_helper_taskdef.definition import read
from task_helper_taskdef.envoy_admin import admin_api
from task_helper_taskdef.formats.tree import Unknown
from task_helper_taskdef.roles import Task, assign_roles, is_agent, shares_network
from task_helper_taskdef.rules import admin_address, spot_budget
from task_helper_taskdef.rules.envoy_stop_timeout import wait_of

HEALTHCHECK = {"command": ["CMD", "task-helper", "healthcheck"]}


def task(*containers: dict[str, Any], spot: bool = False, **fields: Any) -> Task:
    return assign_roles(read({"containerDefinitions": list(containers), **fields}), spot=spot)


@pytest.mark.parametrize(
    "container",
    [
        {"name": "task-helper"},
        {"name": "drain", "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/platform/ecs-task-helper:1@sha256:0"},
        {"name": "drain", "image": "registry.example:5000/ecs-appmesh-task-helper"},
        {"name": "drain", "image": "tools:7", "healthCheck": HEALTHCHECK},
        {"name": "drain", "image": "tools:7", "healthCheck": {"command": ["CMD-SHELL", "task-helper healthcheck"]}},
        {
            "name": "drain",
            "healthCheck": {"command": ["CMD-SHELL", "/usr/local/bin/task-helper healthcheck || exit 1"]},
        },
        {"name": "drain", "entryPoint": ["sh", "-c"], "command": ["exec task-helper run"]},
        {"name": "drain", "entryPoint": ["sh", "-c", "trap 'x; /opt/bin/task-helper run"]},
    ],
)
def test_helper_is_detected_by_name_image_health_check_and_command(container: dict[str, Any]) -> None:
    """A container that any of the four gives away is the helper, whatever the others are."""
    assert [container["name"]] == [helper.name for helper in task({"name": "app"}, container).helpers]


@pytest.mark.parametrize(
    "containers, fields, name",
    [
        ([{"name": "sidecar"}, {"name": "envoy"}], {"proxyConfiguration": {"containerName": "sidecar"}}, "sidecar"),
        ([{"name": "web"}, {"name": "proxy", "image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1"}], {}, "proxy"),
        ([{"name": "envoy-tools"}, {"name": "proxy", "image": "envoyproxy/envoy-distroless:v1.36.2"}], {}, "proxy"),
        ([{"name": "proxy", "image": "hashicorp/consul-dataplane:1.9"}], {}, "proxy"),
        ([{"name": "web"}, {"name": "front_envoy", "image": "shop/front:3"}], {}, "front_envoy"),
        ([{"name": "web"}, {"name": "myenvoy", "image": "shop/front:3"}], {}, "myenvoy"),
        ([{"name": "web"}, {"name": "sidecar-proxy", "image": "shop/front:3"}], {}, "sidecar-proxy"),
        ([{"name": "proxy", "image": "hashicorp/consul-dataplane-fips:1.9"}], {}, "proxy"),
        ([{"name": "web"}, {"name": "proxy", "image": "${AWS::AccountId}.example/envoy:1"}], {}, "proxy"),
        ([{"name": "web"}, {"name": "proxy", "image": "${EnvoyImage}"}], {}, "proxy"),
        ([{"name": "web"}, {"name": "envoy-control-plane"}], {}, None),
        ([{"name": "logs", "image": "logs-of-envoy:1", "firelensConfiguration": {"type": "fluentbit"}}], {}, None),
        ([{"name": "web"}, {"name": "task-helper", "image": "envoy-task-helper"}], {}, None),
    ],
)
def test_envoy_is_detected_by_the_surest_sign(
    containers: list[dict[str, Any]], fields: dict[str, Any], name: str | None
) -> None:
    """Where ECS sends the traffic, else an image that runs an Envoy, else a name; and never the helper."""
    assert ([name] if name else []) == [envoy.name for envoy in task(*containers, **fields).envoys]


@pytest.mark.parametrize(
    "image, agent",
    [
        ("public.ecr.aws/cloudwatch-agent/cloudwatch-agent:latest", True),
        ("amazon/amazon-ecs-sample", False),
        ("public.ecr.aws/xray/aws-xray-daemon:3", True),
        ("public.ecr.aws/aws-observability/aws-for-fluent-bit:stable", True),
        ("datadog/agent:7", True),
        ("otel/opentelemetry-collector-contrib:0.130", True),
        ("openpolicyagent/opa:1.9.0", False),
        ("shop:1", False),
    ],
)
def test_agent_is_detected_by_image(image: str, agent: bool) -> None:
    """What carries logs, metrics and traces is known by its image's name, whatever its own is."""
    (container,) = task({"name": "x", "image": image}).definition.container_definitions

    assert agent == is_agent(container)


@pytest.mark.parametrize(
    "container, agent",
    [
        ({"name": "cwagent", "image": Unknown("${Image}")}, True),
        ({"name": "x", "image": Unknown("${CWAgentImage}")}, True),
        ({"name": "cwagent", "image": "shop:1"}, False),
        ({"name": "app", "image": Unknown("${Image}")}, False),
        ({"name": "log_router", "image": "shop:1", "firelensConfiguration": {"type": "fluentbit"}}, True),
    ],
)
def test_agent_is_detected_by_name_only_where_the_image_is_unknown(container: dict[str, Any], agent: bool) -> None:
    """An image that a template leaves open says nothing, so its name and the container's do; else they do not."""
    (only,) = task(container).definition.container_definitions

    assert agent == is_agent(only)


@pytest.mark.parametrize(
    "fields, shared",
    [
        ({"networkMode": "awsvpc"}, True),
        ({"networkMode": "host"}, True),
        ({"networkMode": "bridge"}, False),
        ({"networkMode": "none"}, False),
        ({"requiresCompatibilities": ["FARGATE"]}, True),
        ({"requiresCompatibilities": ["MANAGED_INSTANCES"]}, True),
        ({"proxyConfiguration": {"containerName": "envoy"}}, True),
        ({"requiresCompatibilities": ["EC2"]}, None),
        ({}, None),
    ],
)
def test_network_is_shared_or_not_or_unknown(fields: dict[str, Any], shared: bool | None) -> None:
    """A definition that does not say its network mode, as a list of containers never does, leaves it open."""
    assert shared == shares_network(task({"name": "envoy"}, **fields))


def test_older_consul_modules_use_the_consul_admin_port() -> None:
    """The Envoy named sidecar-proxy that consul-ecs starts has its admin API at 19000."""
    envoy = {
        "name": "sidecar-proxy",
        "image": "envoyproxy/envoy-alpine:v1.21.2",
        "entryPoint": ["/consul/consul-ecs", "envoy-entrypoint"],
    }
    (finding,) = admin_address.check(task(envoy, {"name": "task-helper"}, networkMode="awsvpc"))

    assert "The admin API of sidecar-proxy is at http://127.0.0.1:19000" in finding.message


def test_kuma_socket_depends_on_version_and_work_directory() -> None:
    """Before 2.14 the admin API has a port; with a work directory, which gives it away, it may be the socket."""
    helper = {"name": "task-helper"}
    socket = [{"name": "ENVOY_ADMIN_URL", "value": "unix:///run/kuma/kuma-envoy-admin.sock"}]
    mount = [{"sourceVolume": "admin", "containerPath": "/run/kuma"}]
    old, latest = ({"name": "dp", "image": f"kumahq/kuma-dp:{tag}"} for tag in ("2.13.2", "latest"))
    with_folder = {**latest, "mountPoints": mount, "command": ["run", "--work-dir=/run/kuma"]}

    assert [] == list(admin_address.check(task(old, helper, networkMode="awsvpc")))
    assert [] == list(admin_address.check(task(latest, helper, networkMode="awsvpc")))
    assert [] == list(
        admin_address.check(
            task(with_folder, {**helper, "mountPoints": mount, "environment": socket}, networkMode="awsvpc")
        )
    )


@pytest.mark.parametrize(
    "fields, mesh",
    [
        ({"environment": [{"name": "KUMA_CONTROL_PLANE_URL", "value": "https://cp.example.internal:5678"}]}, "kuma"),
        ({"command": ["kuma-dp", "run"]}, "kuma"),
        ({"entryPoint": ["/consul/consul-ecs", "envoy-entrypoint"]}, "consul"),
        ({"environment": [{"name": "APPMESH_RESOURCE_ARN", "value": "mesh/shop/virtualNode/app"}]}, "app-mesh"),
        ({}, None),
    ],
)
def test_mesh_is_detected_by_the_envoy_container(fields: dict[str, Any], mesh: str | None) -> None:
    """Where the image does not say whose data plane it is, variables and command do."""
    assert mesh == task({"name": "envoy", "image": "proxy:1", **fields}).mesh


def test_socket_on_a_volume_from_envoy_is_reachable() -> None:
    """A helper that mounts all of Envoy's volumes reaches a socket in them."""
    helper = {
        "name": "task-helper",
        "volumesFrom": [{"sourceContainer": "envoy"}],
        "environment": [{"name": "ENVOY_ADMIN_URL", "value": "unix:///run/envoy/admin.sock"}],
    }

    assert list(admin_address.check(task({"name": "envoy"}, helper, networkMode="awsvpc"))) == []


def test_address_outside_the_task_is_not_checked() -> None:
    """An admin API at a name or another address may be anywhere: there is nothing to say."""
    helper = {"name": "task-helper", "environment": [{"name": "ENVOY_ADMIN_URL", "value": "http://10.0.0.7:9901"}]}

    assert list(admin_address.check(task({"name": "envoy"}, helper, networkMode="bridge"))) == []


def test_dependency_cycle_has_no_stop_schedule() -> None:
    """Where containers wait for each other only that is said: there are no times to add up."""
    circle = [
        {"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "START"}]},
        {"name": "envoy", "dependsOn": [{"containerName": "app", "condition": "START"}]},
    ]
    faulty = task(*circle, {"name": "task-helper"}, spot=True)

    assert list(spot_budget.check(faulty)) == []
    assert "depends-on-cycle" in [problem.rule for problem in apply_rules(faulty)]


@pytest.mark.parametrize(
    "fields, port",
    [
        ({"image": "kumahq/kuma-dp:1.0.8"}, 30001),
        ({"image": "kumahq/kuma-dp:1.4.1"}, 30001),
        ({"image": "kumahq/kuma-dp:1.5.0"}, 9901),
        ({"image": "kumahq/kuma-dp:2.13.2"}, 9901),
        ({"image": "kumahq/kuma-dp:1.0.8", "command": ["run", "--admin-port=9905"]}, 9905),
        ({"image": "kumahq/kuma-dp:1.0.8", "command": ["run", "--admin-port", "9906-9999"]}, 9906),
        (
            {
                "image": "kumahq/kuma-dp:1.0.8",
                "environment": [{"name": "KUMA_DATAPLANE_ADMIN_PORT", "value": "9907-9999"}],
            },
            9907,
        ),
        ({"image": "istio/proxyv2:1.24.1"}, 15000),
    ],
)
def test_port_of_the_admin_api_is_that_of_the_version(fields: dict[str, Any], port: int) -> None:
    """Kuma before 1.5 takes the first free port from 30001 on, or from what it is given; Istio has its own."""
    only = task({"name": "dp", **fields}, networkMode="awsvpc")
    admin = admin_api(only, only.envoys[0])

    assert admin and port == admin.port


def test_port_of_an_old_kong_mesh_is_unknown() -> None:
    """Kong Mesh counted its versions in its own way before 2.0, so nothing rests on them."""
    only = task({"name": "dp", "image": "kong/kuma-dp:1.2.0"}, networkMode="awsvpc")

    assert admin_api(only, only.envoys[0]) is None
    assert wait_of(only.envoys[0]) is None


@pytest.mark.parametrize(
    "fields, seconds",
    [
        ({"image": "kumahq/kuma-dp:1.6.1"}, None),
        ({"image": "kumahq/kuma-dp:1.7.0"}, 30),
        ({"image": "kumahq/kuma-dp:2.9.0", "command": ["run", "--drain-time", "12s"]}, 12),
        (
            {
                "image": "kumahq/kuma-dp:2.9.0",
                "command": ["run", "--drain-time=12s"],
                "environment": [{"name": "KUMA_DATAPLANE_DRAIN_TIME", "value": "7s"}],
            },
            7,
        ),
        ({"image": "kumahq/kuma-dp:2.9.0", "command": ["run", "--drain-time=1m30s"]}, 90),
        ({"image": "kumahq/kuma-dp:2.9.0", "command": ["run", "--drain-time=soon"]}, 30),
        ({"image": "hashicorp/consul-dataplane:2.0.1"}, 0),
        (
            {
                "image": "hashicorp/consul-dataplane:2.0.1",
                "environment": [{"name": "DP_SHUTDOWN_GRACE_PERIOD_SECONDS", "value": "9"}],
            },
            9,
        ),
        ({"image": "envoyproxy/envoy:v1.36.2"}, None),
    ],
)
def test_wait_of_the_agent_before_it_stops_envoy(fields: dict[str, Any], seconds: int | None) -> None:
    """Kuma's variable counts before its option, and Consul's option before its variable, as in their sources."""
    (envoy,) = task({"name": "dp", **fields}).definition.container_definitions
    wait = wait_of(envoy)

    assert seconds == (wait.seconds if wait else None)


@pytest.mark.parametrize(
    "command, starts",
    [
        (["envoy", "-c", "/etc/envoy.yaml"], True),
        (["/usr/local/bin/envoy -c /etc/envoy.yaml"], True),
        (["sh", "-c", "sleep 1; exec envoy -c x"], True),
        (["sh", "-c", "render && envoy -c x"], True),
        (["tini", "-g", "--", "envoy", "-c", "x"], True),
        (["/consul/consul-ecs", "envoy-entrypoint"], True),
        (["consul", "connect", "envoy", "-sidecar-for", "shop"], True),
        (["sh", "-c", "exec consul connect envoy -gateway mesh"], True),
        (["consul", "agent", "-node", "envoy"], False),
        (["wait-for", "envoy"], False),
        (["sh", "-c", "curl http://envoy:9901/ready"], False),
        (["sh", "-c", "unclosed 'quote envoy"], False),
        ([], False),
    ],
)
def test_envoy_is_recognised_by_what_is_started(command: list[str], starts: bool) -> None:
    """The program that a command line starts counts, and not a word that is its argument."""
    only = task({"name": "proxy", "image": "shop/base:7", "command": command})

    assert starts == bool(only.envoys)
