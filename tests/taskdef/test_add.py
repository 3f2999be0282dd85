"""What `add` makes of each kind of task: the wiring of its mesh, and nothing that is not known."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from task_helper_taskdef.add import FOLDER_INIT, SPOT, BadSetting, add, edits
from task_helper_taskdef.check import apply_rules
from task_helper_taskdef.definition import read, read_virtual_node
from task_helper_taskdef.formats import load
from task_helper_taskdef.formats.editing import NotEditable, changed
from task_helper_taskdef.formats.tree import Unknown
from task_helper_taskdef.roles import Mesh, assign_roles

IMAGE = "registry.example/ecs-task-helper:1.0.0"
KUMA = {"name": "kuma-dp", "image": "kumahq/kuma-dp:2.14.0", "stopTimeout": 60}
KUMA_SETTINGS = {"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "7"}
CONSUL_SETTINGS = {
    "ENVOY_ADMIN_URL": "http://127.0.0.1:19000",
    "DRAIN_DELAY": "0",
    "DRAIN_TIMEOUT": "auto",
    "HEALTH_CHECK_INTERVAL": "5",
}
CONFIGURED = "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9903}}}"
CALLS_BY_DNS = """{"static_resources": {
  "listeners": [{"traffic_direction": "OUTBOUND", "drain_type": "MODIFY_ONLY", "route": {"cluster": "orders"}}],
  "clusters": [{"name": "orders", "type": "STRICT_DNS", "health_checks": [{}]}]}}"""
SOCKET = "unix:///run/kuma/kuma-envoy-admin.sock"
MOUNT = {"sourceVolume": "kuma-admin", "containerPath": "/run/kuma"}


def with_envoy(envoy: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A task of `envoy` and an application that is fine but for the helper that it lacks."""
    app = {
        "name": "app",
        "image": "shop:1",
        "dependsOn": [{"containerName": envoy["name"], "condition": "START"}],
        "healthCheck": {"command": ["CMD", "/ready"]},
    }
    return {"networkMode": "awsvpc", "containerDefinitions": [envoy, app], **fields}


def with_helper(document: Any, **options: Any) -> Any:
    """`document` with the edits that `add` makes."""
    return changed(document, edits(document, IMAGE, **options))


def helper_of(document: Any) -> Any:
    (helper,) = (c for c in document["containerDefinitions"] if c["name"] == "task-helper")
    return helper


def settings_of(document: Any) -> dict[str, str]:
    return {variable["name"]: variable["value"] for variable in helper_of(document).get("environment", [])}


def findings(document: Any, mesh: Mesh | None = None) -> list[str]:
    return [problem.rule for problem in apply_rules(assign_roles(read(document), mesh=mesh))]


@pytest.mark.parametrize(
    "envoy, fields, settings",
    [
        ({"name": "envoy", "image": "envoyproxy/envoy:v1"}, {}, {}),
        (
            {"name": "envoy", "environment": [{"name": "ENVOY_ADMIN_ACCESS_PORT", "value": "9902"}]},
            {},
            {"ENVOY_ADMIN_URL": "http://127.0.0.1:9902"},
        ),
        ({"name": "envoy"}, {"networkMode": "bridge"}, {"ENVOY_ADMIN_URL": "http://envoy:9901"}),
        # what the definition does not say is not guessed: it may be awsvpc
        ({"name": "envoy"}, {"networkMode": None}, {}),
        ({"name": "envoy", "environment": [{"name": "ENVOY_ADMIN_ACCESS_PORT", "value": Unknown("${Port}")}]}, {}, {}),
        ({"name": "x", "image": "hashicorp/consul-dataplane:2.0.1"}, {}, CONSUL_SETTINGS),
        ({"name": "x", "image": "kumahq/kuma-dp:2.13.1", "stopTimeout": 60}, {}, KUMA_SETTINGS),
        ({"name": "envoy", "command": ["--config-yaml", CONFIGURED]}, {}, {"ENVOY_ADMIN_URL": "http://127.0.0.1:9903"}),
        ({"name": "envoy", "command": ["--config-yaml", CALLS_BY_DNS]}, {}, {"DRAIN_TIMEOUT": "auto"}),
    ],
)
def test_helper_gets_the_address_of_the_admin_api(
    envoy: dict[str, Any], fields: dict[str, Any], settings: dict[str, str]
) -> None:
    """Each mesh has its own address, and only what is not the default is written."""
    document = with_helper(with_envoy(envoy, **fields))

    assert settings == settings_of(document)
    assert (["envoy"] if fields.get("networkMode") == "bridge" else None) == helper_of(document).get("links")
    # the definition does not show the interval of the downstreams' health checks
    assert (["mesh-settings"] if settings == {"DRAIN_TIMEOUT": "auto"} else []) == findings(document)


@pytest.mark.parametrize(
    "envoy, added, user",
    [
        (KUMA, ["KUMA_DATAPLANE_RUNTIME_WORK_DIR"], "65532"),
        ({**KUMA, "environment": [{"name": "KUMA_DATAPLANE_RUNTIME_WORK_DIR", "value": "/run/kuma"}]}, [], "65532"),
        ({**KUMA, "command": ["run", "--work-dir", "/run/kuma"], "user": "5678"}, [], "5678"),
    ],
)
def test_kuma_socket_is_on_a_volume_that_the_helper_can_open(
    envoy: dict[str, Any], added: list[str], user: str
) -> None:
    """Kuma's work directory is on a volume of both, which one more container has opened, and both are one user."""
    before = with_envoy(envoy)
    document = with_helper(before)
    now, _, opener, helper = document["containerDefinitions"]
    known = [variable["name"] for variable in envoy.get("environment", [])]
    added = [*added, "KUMA_DATAPLANE_DRAIN_TIME"]

    assert [{"name": "kuma-admin"}] == document["volumes"]
    assert [MOUNT] == now["mountPoints"] == helper["mountPoints"] == opener["mountPoints"]
    assert [{"containerName": FOLDER_INIT, "condition": "SUCCESS"}] == now["dependsOn"]
    assert known + added == [variable["name"] for variable in now.get("environment", [])]
    assert (FOLDER_INIT, False, "0") == (opener["name"], opener["essential"], opener["user"])
    assert SOCKET == settings_of(document)["ENVOY_ADMIN_URL"]
    assert user == helper["user"] == now["user"], "whose the socket is must not be up to the image"
    assert ["kuma-dp", "app"] == [dependency["containerName"] for dependency in helper["dependsOn"]]
    assert [] == findings(document)
    assert document == with_helper(document)


def test_init_container_makes_the_kuma_volume_writable(tmp_path: Path) -> None:
    """The container lets any user write into the folder, and no user remove another user's files."""
    opener = with_helper(with_envoy(KUMA))["containerDefinitions"][2]
    command = [*opener["entryPoint"], *opener["command"]]
    subprocess.run([word.replace("/run/kuma", str(tmp_path)) for word in command], check=True, timeout=60)

    assert 0o1777 == tmp_path.stat().st_mode & 0o7777


def test_existing_kuma_volume_is_used() -> None:
    """A work directory that is on a volume already is mounted by the helper, and the rest stays as it is."""
    mount = {"sourceVolume": "run", "containerPath": "/var/run/kuma"}
    work = [
        {"name": "KUMA_DATAPLANE_RUNTIME_WORK_DIR", "value": "/var/run/kuma/dp"},
        {"name": "KUMA_DATAPLANE_DRAIN_TIME", "value": "5s"},
    ]
    envoy = {**KUMA, "user": "1000", "environment": work, "mountPoints": [mount]}
    document = with_helper(with_envoy(envoy))

    assert [envoy, *with_envoy(envoy)["containerDefinitions"][1:]] == document["containerDefinitions"][:-1]
    assert ("1000", [mount]) == (helper_of(document)["user"], helper_of(document)["mountPoints"])
    assert "unix:///var/run/kuma/dp/kuma-envoy-admin.sock" == settings_of(document)["ENVOY_ADMIN_URL"]
    assert [] == findings(document)


@pytest.mark.parametrize(
    "mesh, settings",
    [
        ("consul", CONSUL_SETTINGS),
        ("kuma", {"ENVOY_ADMIN_URL": SOCKET} | KUMA_SETTINGS),
        ("app-mesh", {"DRAIN_TIMEOUT": "auto"}),
        ("static-dns", {"DRAIN_TIMEOUT": "auto"}),
        ("alb", {"DRAIN_DELAY": "0", "DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "10"}),
        ("nlb", {"DRAIN_DELAY": "0", "DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "110"}),
    ],
)
def test_option_names_the_mesh(mesh: Mesh, settings: dict[str, str]) -> None:
    """Where image and variables do not give the mesh away, --mesh does, to add and to check."""
    envoy = {"name": "envoy", "image": Unknown("${SidecarImage}"), "stopTimeout": 60}
    document = with_helper(with_envoy(envoy), mesh=mesh)

    assert settings == settings_of(document)
    # in these two the interval of the downstreams' health checks is not to be seen
    assert (["mesh-settings"] if mesh in ("app-mesh", "static-dns") else []) == findings(document, mesh)


def test_times_on_spot_fit_two_minutes() -> None:
    """Two minutes for all containers leave a mesh's own times no room."""
    document = with_helper(with_envoy({"name": "envoy", "image": "envoy:1"}), spot=True, mesh="alb")

    assert SPOT == settings_of(document)


def test_settings_written_by_hand_are_kept() -> None:
    """A helper that has a setting keeps it, and gets only what it lacks of the mesh's."""
    helper = {"name": "task-helper", "environment": [{"name": "DRAIN_DELAY", "value": "5"}]}
    document = with_envoy({"name": "envoy", "image": "envoy:1"})
    document["containerDefinitions"].append(helper)

    assert {"DRAIN_DELAY": "5", "DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "10"} == settings_of(
        with_helper(document, mesh="alb")
    )


def test_discovery_lag_is_only_for_delay_auto() -> None:
    """Kuma's DISCOVERY_LAG is written, and asked for, only where DRAIN_DELAY is auto: elsewhere nothing uses it."""
    document = with_envoy({"name": "kuma-dp", "image": "kumahq/kuma-dp:2.13.1", "stopTimeout": 60})
    document["containerDefinitions"].append(
        {"name": "task-helper", "environment": [{"name": "DRAIN_DELAY", "value": "auto"}]}
    )

    assert {"DRAIN_DELAY": "auto", "DISCOVERY_LAG": "10"} | KUMA_SETTINGS == settings_of(with_helper(document))


def test_stop_timeout_follows_its_variable_where_other_settings_are_unknown() -> None:
    """What a template leaves open of other settings does not make add write a stopTimeout that STOP_TIMEOUT denies."""
    settings = [{"name": "STOP_TIMEOUT", "value": "90s"}, {"name": "CLOUD_MAP_SERVICE", "value": Unknown("${Service}")}]
    document = with_envoy({"name": "envoy", "image": "envoy:1"})
    document["containerDefinitions"].append({"name": "task-helper", "environment": settings})

    assert 90 == helper_of(with_helper(document))["stopTimeout"]


HEALTH_SYNC = {"name": "consul-ecs-health-sync", "image": "hashicorp/consul-ecs:0.10.0", "command": ["health-sync"]}


@pytest.mark.parametrize(
    ("written", "options", "seconds", "variable"),
    [
        ({}, {}, 120, "120"),
        ({}, {"spot": True}, 60, "60"),
        ({"stopTimeout": 90}, {}, 90, "90"),
        ({"stopTimeout": 30}, {}, 30, None),
        ({"stopTimeout": Unknown("${Seconds}")}, {}, Unknown("${Seconds}"), None),
    ],
)
def test_consuls_health_sync_lives_as_long_as_the_helper(
    written: dict[str, Any], options: dict[str, Any], seconds: Any, variable: str | None
) -> None:
    """It deregisters the task when Envoy has stopped; a time that was written by hand stays, and the helper gets it."""
    document = with_envoy({"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:2.0.1"})
    document["containerDefinitions"].append({**HEALTH_SYNC, **written})

    added = with_helper(document, **options)

    assert seconds == added["containerDefinitions"][2]["stopTimeout"]
    assert variable == settings_of(added).get("HEALTH_SYNC_STOP_TIMEOUT")
    assert added == with_helper(added, **options)


def test_consuls_module_does_not_follow_the_helpers_health() -> None:
    """It follows the containers that have the key `essential`; ECS takes the helper for essential without it."""
    document = with_envoy({"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:2.0.1"})

    assert "essential" not in helper_of(with_helper(document))


def test_container_that_deregisters_the_task_is_no_dependency() -> None:
    """Consul's health-sync is no dependency of the helper that add writes."""
    document = with_envoy({"name": "consul-dataplane", "image": "hashicorp/consul-dataplane:2.0.1"})
    document["containerDefinitions"].append(HEALTH_SYNC)
    added = with_helper(document)

    assert ["consul-dataplane", "app"] == [d["containerName"] for d in helper_of(added)["dependsOn"]]
    assert [] == findings(added)


def test_agent_that_starts_envoy_does_not_wait_after_the_drain() -> None:
    """AWS's agent gets the least time to wait, and one that is set stays."""
    image = "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.34.13.0-prod"
    added = with_helper(with_envoy({"name": "envoy", "image": image}))
    kept = {"name": "envoy", "image": image, "environment": [{"name": "LISTENER_DRAIN_WAIT_TIME_S", "value": "15"}]}

    assert [{"name": "LISTENER_DRAIN_WAIT_TIME_S", "value": "5"}] == added["containerDefinitions"][0]["environment"]
    assert {"DRAIN_TIMEOUT": "auto"} == settings_of(added)
    assert kept == with_helper(with_envoy(kept))["containerDefinitions"][0]


def test_agent_is_not_asked_for_where_the_image_has_none() -> None:
    """An Envoy of its makers, in a mesh of App Mesh's kind, has no agent to set anything at."""
    envoy = {"name": "envoy", "image": "envoyproxy/envoy:v1.36.2"}

    assert envoy == with_helper(with_envoy(envoy), mesh="app-mesh")["containerDefinitions"][0]


def test_interval_comes_from_the_virtual_node() -> None:
    """With the virtual node, HEALTH_CHECK_INTERVAL covers interval and timeout of one health check."""
    policy = {"protocol": "http", "intervalMillis": 5000, "timeoutMillis": 1500, "unhealthyThreshold": 2}
    node = read_virtual_node({"spec": {"listeners": [{"healthCheck": policy}]}})
    document = with_helper(with_envoy({"name": "envoy"}), mesh="app-mesh", virtual_node=node)

    assert {"DRAIN_TIMEOUT": "auto", "HEALTH_CHECK_INTERVAL": "7"} == settings_of(document)


@pytest.mark.parametrize(
    "command, url",
    [
        (["CMD-SHELL", "curl -f http://localhost:8080/health || exit 1"], "http://localhost:8080/health"),
        (["CMD", "curl", "-fsS", "http://127.0.0.1:8080/"], "http://127.0.0.1:8080/"),
        (["CMD-SHELL", "wget -q -O- http://localhost:8080/ready"], "http://localhost:8080/ready"),
        (["CMD-SHELL", "wget -qO /dev/null http://localhost/ready || exit 1"], None),
        # any answer passes these, or another request is made than the helper's, or one elsewhere
        (["CMD-SHELL", "curl http://localhost:8080/health || exit 1"], None),
        (["CMD-SHELL", "curl -f -H 'Host: shop' http://localhost:8080/health"], None),
        (["CMD-SHELL", "curl -f -X POST http://localhost:8080/health"], None),
        (["CMD-SHELL", "curl -f http://localhost:8080/health || true"], None),
        (["CMD-SHELL", "curl -f http://localhost:8080/health | grep ok"], None),
        (["CMD-SHELL", "curl -f https://localhost:8443/health"], None),
        (["CMD-SHELL", "curl -f http://shop.internal/health"], None),
        (["CMD", "/ready"], None),
    ],
)
def test_application_url_is_that_of_its_own_health_check(command: list[str], url: str | None) -> None:
    """A health check that asks a plain GET on loopback shows APP_HEALTH_URL; all else leaves it unset."""
    document = with_envoy({"name": "envoy", "image": "envoy:1"})
    document["containerDefinitions"][1]["healthCheck"] = {"command": command}

    assert url == settings_of(with_helper(document)).get("APP_HEALTH_URL")


def test_given_settings_replace_what_is_set() -> None:
    """A setting that the user gives is written, also where the helper has another value."""
    document = with_envoy({"name": "envoy", "image": "envoy:1"})
    helper = {"name": "task-helper", "environment": [{"name": "DRAIN_DELAY", "value": "5"}]}
    document["containerDefinitions"].append(helper)
    given = {"DRAIN_DELAY": "7", "STOP_TIMEOUT": "100"}

    assert given == settings_of(with_helper(document, settings=given))
    assert 100 == helper_of(with_helper(document, settings=given))["stopTimeout"]


@pytest.mark.parametrize("setting", [{"DRAIN_DELY": "5"}, {"DRAIN_DELAY": "soon"}, {"DRAIN_DELAY": "115"}])
def test_settings_that_the_helper_refuses_are_not_written(setting: dict[str, str]) -> None:
    """What is no setting, no value of it, or no plan that fits is refused."""
    with pytest.raises(BadSetting):
        with_helper(with_envoy({"name": "envoy", "image": "envoy:1"}), settings=setting)


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"containerDefinitions": [{"name": "app", "image": "shop:1"}]}, "no container is an Envoy"),
        ({"runtimePlatform": {"operatingSystemFamily": "WINDOWS_SERVER_2022_CORE"}}, "runs on Windows"),
    ],
)
def test_add_refuses_a_task_that_the_helper_cannot_serve(fields: dict[str, Any], reason: str) -> None:
    """Without an Envoy, and on Windows, nothing is written."""
    document = {**with_envoy({"name": "envoy", "image": "envoy:1"}), **fields}
    (source,) = load("task.json", json.dumps(document))

    with pytest.raises(NotEditable, match=reason):
        add(source, IMAGE)


def test_agent_keeps_its_time_where_idle_connections_are_closed() -> None:
    """With DRAIN_LISTENERS=graceful the agent's time is Envoy's drain time, and 5 s would close no connection."""
    envoy = {"name": "envoy", "image": "public.ecr.aws/appmesh/aws-appmesh-envoy:v1.34.13.0-prod"}
    document = with_helper(with_envoy(envoy), settings={"DRAIN_LISTENERS": "graceful"})

    assert envoy == document["containerDefinitions"][0]
    assert {"mesh-settings"} == set(findings(document)) and document == with_helper(document)
