"""DRAIN_DELAY=auto in the image: botocore, cut to a few service models, still makes every call of the helper."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lab.parts import envoy_process, processes
from tests.image.engine import HARDENED, Engine, environment

OWN, OTHER = (f"arn:aws:ecs:eu-west-1:123456789012:task/c/{name}" for name in ("own", "other"))
REGISTRY = "arn:aws:servicediscovery:eu-west-1:123456789012:service/srv-1"


def task(arn: str, address: str) -> dict[str, Any]:
    return {
        "taskArn": arn,
        "group": "service:shop",
        "lastStatus": "RUNNING",
        "desiredStatus": "RUNNING",
        "startedAt": 1_700_000_000,
        "attachments": [{"details": [{"name": "privateIPv4Address", "value": address}]}],
    }


TASKS = {OWN: task(OWN, "10.0.0.1"), OTHER: task(OTHER, "10.0.0.2")}

# a service whose one desired task is the other one, and which Cloud Map lists
ANSWERS: dict[str, dict[str, Any]] = {
    "DescribeServices": {
        "services": [{"desiredCount": 1, "runningCount": 2, "serviceRegistries": [{"registryArn": REGISTRY}]}]
    },
    "ListTasks": {"taskArns": [OTHER]},
    "GetService": {"Service": {"Name": "shop", "NamespaceId": "ns-1"}},
    "GetNamespace": {"Namespace": {"Name": "internal"}},
    "DiscoverInstances": {
        "Instances": [{"InstanceId": "other", "Attributes": {"AWS_INSTANCE_IPV4": "10.0.0.2"}}],
    },
}


class Aws(ThreadingHTTPServer):
    """What a task hears from AWS: its metadata, its role's credentials, and the API, which takes signed calls only."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), AwsHandler)
        self.calls: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class AwsHandler(BaseHTTPRequestHandler):
    server: Aws

    def do_GET(self) -> None:
        keys = {"AccessKeyId": "AKIDTEST", "SecretAccessKey": "test", "Token": "test"}
        self.answer(
            {
                "/credentials": keys | {"Expiration": "2099-01-01T00:00:00Z"},
                "/v4/own": {},
                "/v4/own/task": {"TaskARN": OWN, "Cluster": "c", "Containers": []},
            }[self.path]
        )

    def do_POST(self) -> None:
        assert "Credential=AKIDTEST/" in self.headers["Authorization"]
        call = self.headers["X-Amz-Target"].rpartition(".")[2]
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.calls.append(call)
        self.answer({"tasks": [TASKS[arn] for arn in asked["tasks"]]} if call == "DescribeTasks" else ANSWERS[call])

    def answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """No test reads it."""


@pytest.fixture
def aws() -> Iterator[Aws]:
    with Aws() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_auto(engine: Engine, image: str, aws: Aws, tmp_path: Path) -> None:
    """The helper sees that its replacement is in service, with the task role's credentials, and drains."""
    address = processes.free_address()
    options = envoy_process.EnvoyOptions(address, upstream=(address, envoy_process.APPLICATION_PORT))
    variables = {
        "DRAIN_DELAY": "auto",
        "DRAIN_TIMEOUT": "0.5",
        "ENVOY_ADMIN_URL": f"http://{address}:{envoy_process.ADMIN_PORT}",
        "ECS_CONTAINER_METADATA_URI_V4": f"{aws.url}/v4/own",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{aws.url}/credentials",
        "AWS_ENDPOINT_URL_ECS": f"http://aws.test:{aws.server_port}",
        "AWS_ENDPOINT_URL_SERVICEDISCOVERY": f"http://aws.test:{aws.server_port}",
    }
    # DiscoverInstances goes to a host with a prefix of its own
    hosts = ("--add-host", "aws.test:127.0.0.1", "--add-host", "data-aws.test:127.0.0.1")
    given = (*HARDENED, "--user", "1337", *hosts, *environment(variables))
    with envoy_process.running(options, tmp_path), engine.container(image, options=given) as container:
        container.wait_for_event("in_service")
        assert container.stop(120) == 0
        events = [each["event"] for each in container.events()]
    assert "replaced" in events
    assert not {"replacement_unknown", "cloud_map_denied"} & set(events)
    assert set(aws.calls) == {*ANSWERS, "DescribeTasks"}


# the hosts that botocore knows of itself, in each of AWS's partitions
ENDPOINTS = """
import botocore.session
for region in "eu-west-1", "us-gov-west-1", "cn-north-1":
    for service in "ecs", "servicediscovery", "sts":
        print(botocore.session.get_session().create_client(service, region_name=region).meta.endpoint_url)
"""


def test_endpoints(engine: Engine, image: str) -> None:
    """Without any address given, AWS's own are found, in each partition."""
    assert engine.output(image, "-c", ENDPOINTS, options=("--entrypoint", "python3")).split() == [
        f"https://{service}.{region}.amazonaws.com{'.cn' if region == 'cn-north-1' else ''}"
        for region in ("eu-west-1", "us-gov-west-1", "cn-north-1")
        for service in ("ecs", "servicediscovery", "sts")
    ]
