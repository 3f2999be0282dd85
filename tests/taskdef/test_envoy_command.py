"""What is read of an Envoy's own configuration on its command line."""

from __future__ import annotations

import builtins
import json
from typing import Any

import pytest

from task_helper_taskdef.envoy_command import read_bootstrap

ADMIN = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9903}}}
OUT = {"name": "out", "traffic_direction": "OUTBOUND", "filter_chains": [{"route": {"cluster": "orders"}}]}


def read(document: Any) -> Any:
    return read_bootstrap(["--config-yaml", json.dumps(document)])


@pytest.mark.parametrize("words", [["--config-yaml", "admin: {}"], ["-l", "info", "--config-yaml=admin: {}"]])
def test_configuration_is_the_word_behind_the_option_or_in_it(words: list[str]) -> None:
    """Both ways of writing an option are understood."""
    assert read_bootstrap(words) is not None


@pytest.mark.parametrize("words", [[], ["-c", "/etc/envoy.yaml"], ["--config-yaml"], ["--config-yaml", "${Config}"]])
def test_configuration_elsewhere_is_unknown(words: list[str]) -> None:
    """A file of the image, or what a template fills in, is not read as something that it is not."""
    assert read_bootstrap(words) is None


@pytest.mark.parametrize("text", ["{", "a: [", "- a", "{{.Values}}", "[" * 1000])
def test_invalid_configuration_is_none(text: str) -> None:
    """What cannot be parsed, or is no object, is no configuration, and no error either: Envoy judges it."""
    assert read_bootstrap(["--config-yaml", text]) is None


def test_json_is_read_without_pyyaml(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PyYAML, as in the image, JSON is read and YAML is not known."""
    real = builtins.__import__

    def without_yaml(name: str, *arguments: Any, **named: Any) -> Any:
        if name == "yaml":
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without_yaml)

    assert read({"admin": ADMIN, "node": {"id": "without-yaml"}}).admin == (9903, "")
    assert read_bootstrap(["--config-yaml", "node: {id: without-yaml}"]) is None


@pytest.mark.parametrize(
    "admin, expected",
    [
        (ADMIN, (9903, "")),
        ({"address": {"pipe": {"path": "/run/envoy/admin.sock"}}}, (None, "/run/envoy/admin.sock")),
        ({"address": {"socket_address": {"port_value": "${Port}"}}}, (None, "")),
        ({"address": 1}, (None, "")),
        (None, (None, "")),
    ],
)
def test_admin_api_is_at_a_port_or_a_socket(admin: Any, expected: tuple[int | None, str]) -> None:
    """Where the admin API is, as far as it is said."""
    assert read({"admin": admin}).admin == expected


@pytest.mark.parametrize(
    "cluster, found",
    [
        ({"name": "orders", "type": "STRICT_DNS"}, [("orders", False)]),
        ({"name": "orders", "type": "STRICT_DNS", "health_checks": [{}]}, [("orders", True)]),
        ({"name": "orders", "cluster_type": {"name": "envoy.clusters.dns"}}, [("orders", False)]),
        ({"name": "orders", "type": "STATIC"}, []),
        # such as a collector of traces: no listener routes to it
        ({"name": "collector", "type": "STRICT_DNS"}, []),
        ("orders", []),
    ],
)
def test_upstreams_by_dns_are_those_of_outbound_listeners(cluster: Any, found: list[tuple[str, bool]]) -> None:
    """Clusters count that are found by DNS and that an outbound listener sends to."""
    configured = read({"static_resources": {"listeners": [OUT, "?"], "clusters": [cluster]}})

    assert [(each.name, each.checked) for each in configured.upstreams] == found


@pytest.mark.parametrize(
    "direction, host, outbound",
    [
        ("OUTBOUND", "0.0.0.0", True),
        ("INBOUND", "127.0.0.1", False),
        (None, "127.0.0.1", True),
        (None, "0.0.0.0", False),
    ],
)
def test_listener_without_a_direction_is_classified_by_its_address(
    direction: str | None, host: str, outbound: bool
) -> None:
    """On loopback only the task's own application can call."""
    address = {"socket_address": {"address": host, "port_value": 1}}
    listener = {"address": address} | ({"traffic_direction": direction} if direction else {})

    assert read({"static_resources": {"listeners": [listener]}}).listeners[0].outbound is outbound


@pytest.mark.parametrize("document", [{}, {"dynamic_resources": {}, "static_resources": {}}])
def test_dynamic_resources_make_the_configuration_dynamic(document: Any) -> None:
    """Without static resources, or with dynamic ones, not all is known."""
    assert read(document).dynamic
