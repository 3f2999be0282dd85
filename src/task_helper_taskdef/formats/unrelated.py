"""Recognising files that are not task definitions, and the file to give instead."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any, Final

PLAN: Final = "run `terraform plan -out PLAN`, and give the output of `terraform show -json PLAN`"
SYNTH: Final = "give the template that `cdk synth` writes, cdk.out/STACK.template.json"
DESCRIBE: Final = "give the output of `aws ecs describe-task-definition --task-definition NAME`"
_CODE: Final = {
    ".tf": f"this is Terraform code: {PLAN}",
    ".tfvars": f"this is Terraform code: {PLAN}",
    ".hcl": f"this is HCL: {PLAN}",
    ".jsonnet": "this is Jsonnet: give the output of `jsonnet FILE`",
    ".libsonnet": "this is Jsonnet: give the output of `jsonnet FILE`",
    ".ts": f"this is program code: {SYNTH}",
    ".js": f"this is program code: {SYNTH}",
    ".py": f"this is program code: {SYNTH}",
    ".java": f"this is program code: {SYNTH}",
    ".go": f"this is program code: {SYNTH}",
    ".cs": f"this is program code: {SYNTH}",
    ".md": f"this is a page of text: {DESCRIBE}",
}
_HCL: Final = re.compile(r"^\s*(resource|module|variable|data|provider|locals|terraform)\b[^\n{:=]*\{", re.M)


def by_name(name: str) -> str | None:
    """The kind of a file with this name, if the linter does not read that format."""
    return _CODE.get(PurePath(name).suffix.lower())


def by_bytes(raw: bytes) -> str | None:
    """The kind of these bytes, if they are not text."""
    if raw[:4] == b"PK\x03\x04":
        return f"this is an archive, as `terraform plan -out` writes it: {PLAN}"
    return "this is compressed: unpack it first" if raw[:2] == b"\x1f\x8b" else None


def by_text(text: str) -> str | None:
    """The kind of this text, if it is not JSON and not YAML."""
    return f"this is Terraform code: {PLAN}" if _HCL.search(text) else None


def by_value(value: Any) -> str | None:
    """The kind of this value, if its keys show that it is something else."""
    if isinstance(value, list):
        return None
    if not isinstance(value, dict):
        return f"a single value; {DESCRIBE}"
    has = value.keys()
    if {"apiVersion", "kind"} <= has:
        return "this is a Kubernetes manifest, not an ECS task definition"
    if "terraform_version" in has and ("lineage" in has or "serial" in has):
        return "this is Terraform's state: give the output of `terraform show -json`"
    if isinstance(value.get("resource"), dict) or (isinstance(value.get("module"), dict) and "source" in str(value)):
        return f"this is Terraform code: {PLAN}"
    if isinstance(value.get("Resources"), dict):
        return "a CloudFormation template without an AWS::ECS::TaskDefinition"
    if isinstance(value.get("Resources"), list) and "TargetService" in str(value):
        return f"this is a CodeDeploy AppSpec: {DESCRIBE}"
    if {"version", "artifacts"} <= has and "phases" not in has:
        return f"this is the CDK's manifest: {SYNTH}"
    if isinstance(value.get("services"), dict):
        return f"this is a Compose file: {DESCRIBE}"
    if isinstance(value.get("services"), list) or isinstance(value.get("tasks"), list) or "taskDefinitionArns" in has:
        return f"this is ECS's description of services or tasks: {DESCRIBE}"
    if str(value.get("type", "")).endswith((" Service", " Job", " Site")) and "name" in has:
        return "this is a Copilot manifest: give the template that `copilot svc package` prints"
    if "virtualNode" in has or "virtualNodeName" in has:
        return "this is a virtual node: give it with --virtual-node, beside the task definition"
    if "serviceName" in has or {"desiredCount", "deploymentConfiguration"} & has:
        return f"this is a service: give the task definition that it runs; {DESCRIBE}"
    if "image" in has and "name" in has:
        return 'this is one container: put it into {"containerDefinitions": [...]}'
    return None
