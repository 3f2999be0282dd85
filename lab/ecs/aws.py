"""What a task hears from AWS: the task metadata endpoint v4, and the calls of ECS and Cloud Map that the helper makes.

JSON 1.1 protocol, as botocore speaks it. An unknown call is an error, never an empty answer.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from aiohttp import web

from lab.ecs.cloud_map import Instance
from lab.ecs.runtime import Runtime
from lab.ecs.state import ContainerState, TaskState
from lab.parts.history import Recorder

REGION, ACCOUNT, CLUSTER, SERVICE = "eu-west-2", "123456789012", "lab", "shop"
NAMESPACE, NAMESPACE_ID, REGISTRY_ID = "lab.local", "ns-lab", "srv-shop"
PORT = 8000
HOUR = 3600
# throttled, denied: the error of that name; hanging: no answer ever
ApiFault = Literal["throttled", "denied", "hanging"]
Api = Literal["ecs", "servicediscovery"]
Json = dict[str, Any]

_TOO_FAST = {"ecs": "ThrottlingException", "servicediscovery": "RequestLimitExceeded"}


def arn(service: str, resource: str) -> str:
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{resource}"


def task_arn(id: str) -> str:
    return arn("ecs", f"task/{CLUSTER}/{id}")


def environment(url: str) -> dict[str, str]:
    """The variables with which botocore asks the API at `url`, with credentials that it does not look at."""
    credentials = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "lab")
    endpoints = dict.fromkeys(("AWS_ENDPOINT_URL_ECS", "AWS_ENDPOINT_URL_SERVICEDISCOVERY"), url)
    return {**endpoints, "AWS_DISABLE_HOST_PREFIX_INJECTION": "true", **credentials}


def task_metadata(task: TaskState, time: Callable[[float], str]) -> Json:
    """What the task metadata endpoint v4 says of a task; `time` gives the text of a time.

    Keys and statuses are those of the agent 1.105.1: `tests/recorded/metadata` has what it said.
    """
    essential = [each.noticed_at for each in task.containers.values() if each.essential and each.noticed_at is not None]
    return {
        "Cluster": arn("ecs", f"cluster/{CLUSTER}"),
        "TaskARN": task_arn(task.id),
        "Family": SERVICE,
        "Revision": _revision(task),
        "ServiceName": SERVICE,
        "DesiredStatus": "STOPPED" if task.stops else "RUNNING",
        # that of the container that is least far, and never PENDING
        "KnownStatus": "MANIFEST_PULLED" if task.status == "PENDING" else task.status,
        "AvailabilityZone": f"{REGION}a",
        "LaunchType": "FARGATE",
        "FaultInjectionEnabled": False,
        # there once an essential container has stopped
        **({"ExecutionStoppedAt": time(min(essential))} if essential else {}),
        "Containers": [
            container_metadata(task, name, time)
            for name, each in task.containers.items()
            if each.started_at is not None
        ],
    }


def container_metadata(task: TaskState, name: str, time: Callable[[float], str]) -> Json:
    """What the endpoint says of one container of a task."""
    container = task.containers[name]
    label = "com.amazonaws.ecs"
    answer: Json = {
        "DockerId": f"{task.id}-{container.name}",
        "Name": container.name,
        "DockerName": f"ecs-{SERVICE}-{_revision(task)}-{container.name}-{task.id[:20]}",
        "Image": container.name,
        "ImageID": "sha256:0",
        "Labels": {
            f"{label}.cluster": CLUSTER,
            f"{label}.container-name": container.name,
            f"{label}.task-arn": task_arn(task.id),
            f"{label}.task-definition-family": SERVICE,
            f"{label}.task-definition-version": _revision(task),
        },
        "DesiredStatus": "STOPPED" if task.stops else "RUNNING",
        "KnownStatus": container.status,
        "Limits": {"CPU": 10, "Memory": 128},
        "Type": "NORMAL",
        "LogDriver": "json-file",
        "Networks": [{"NetworkMode": "awsvpc", "IPv4Addresses": [task.address]}],
        "ContainerARN": arn("ecs", f"container/{CLUSTER}/{task.id}/{container.name}"),
    }
    if container.started_at is not None:
        answer |= {"CreatedAt": time(container.started_at), "StartedAt": time(container.started_at)}
    if container.finished_at is not None:
        # it stays where a restart policy has restarted the container
        answer["FinishedAt"] = time(container.finished_at)
    if container.exit_code is not None:
        answer["ExitCode"] = container.exit_code
    if container.restart_count is not None:
        answer["RestartCount"] = container.restart_count
    if container.checked:
        answer["Health"] = _health(container, time)
    return answer


def _health(container: ContainerState, time: Callable[[float], str]) -> Json:
    """Nothing before the first check, no status while it is UNKNOWN, and no exit code that is 0."""
    health: Json = {}
    if container.health != "UNKNOWN":
        health["status"] = container.health
    if container.health_since is not None:
        health["statusSince"] = time(container.health_since)
    if container.status == "STOPPED" and container.exit_code:
        health["exitCode"] = container.exit_code
    return health


class CallError(Exception):
    """The client gets it as this error of the API."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(kind, message)
        self.answer = {"__type": kind, "message": message}


class Aws:
    """Serves on one address: /v4/TASK/CONTAINER for metadata, / for API calls. `faults` are by API, on demand.

    ECS says of the tasks in `settled` that they have been running for an hour, as tasks have when a service changes.
    instances: what Cloud Map lists; None where the service does not register there
    """

    def __init__(self, runtime: Runtime, instances: dict[str, Instance] | None, record: Recorder) -> None:
        self.faults: dict[Api, ApiFault] = {}
        self.settled: frozenset[str] = frozenset()
        self.instances = instances
        self._runtime, self._record = runtime, record
        self._zero = datetime.fromisoformat(record.began)

    def application(self) -> web.Application:
        routes = web.Application()
        routes.router.add_get("/v4/{task}/{container}", self._container_metadata)
        routes.router.add_get("/v4/{task}/{container}/task", self._task_metadata)
        routes.router.add_post("/", self._call)
        return routes

    # the task metadata endpoint

    async def _container_metadata(self, request: web.Request) -> web.Response:
        task = self._find(request)
        return web.json_response(container_metadata(task, request.match_info["container"], self._time))

    async def _task_metadata(self, request: web.Request) -> web.Response:
        return web.json_response(task_metadata(self._find(request), self._time))

    def _find(self, request: web.Request) -> TaskState:
        task = self._runtime.tasks.get(request.match_info["task"])
        if task is None or request.match_info["container"] not in task.containers:
            raise web.HTTPNotFound(text="no such container")
        if not self._runtime.has_agent(task) and request.transport is not None:
            request.transport.abort()  # nothing answers
        return task

    # the API

    async def _call(self, request: web.Request) -> web.Response:
        target = request.headers.get("x-amz-target", "")
        prefix, _, name = target.partition(".")
        api: Api = "ecs" if "EC2Container" in prefix else "servicediscovery"
        try:
            fault = self.faults.get(api)
            self._record.event("api", name, fault=fault or "")
            if fault == "hanging":
                await asyncio.Event().wait()
            if fault == "throttled":
                raise CallError(_TOO_FAST[api], "Rate exceeded")
            if fault == "denied":
                raise CallError("AccessDeniedException", "not authorized")
            calls: dict[str, Callable[[Json], Json]] = {
                "AmazonEC2ContainerServiceV20141113.DescribeServices": self._describe_services,
                "AmazonEC2ContainerServiceV20141113.ListTasks": self._list_tasks,
                "AmazonEC2ContainerServiceV20141113.DescribeTasks": self._describe_tasks,
                "Route53AutoNaming_v20170314.DiscoverInstances": self._discover_instances,
                "Route53AutoNaming_v20170314.GetService": self._get_service,
                "Route53AutoNaming_v20170314.GetNamespace": self._get_namespace,
            }
            if target not in calls:
                raise CallError("UnknownOperationException", f"the lab does not know {target!r}")
            answer, status = calls[target](json.loads(await request.read())), 200
        except CallError as error:
            answer, status = error.answer, 400
        body = json.dumps(answer)
        return web.Response(status=status, text=body, content_type="application/x-amz-json-1.1")

    def _describe_services(self, asked: Json) -> Json:
        _check_cluster(asked)
        found = [name for name in asked["services"] if name.rpartition("/")[2] == SERVICE]
        missing = [name for name in asked["services"] if name not in found]
        return {
            "services": [self._service() for _ in found],
            "failures": [{"arn": arn("ecs", f"service/{CLUSTER}/{name}"), "reason": "MISSING"} for name in missing],
        }

    def _service(self) -> Json:
        tasks = [task for task in self._runtime.tasks.values() if task.desired == "RUNNING"]
        last = self._runtime.deployments[-1]

        def count(state: str, deployment: str | None = None) -> int:
            return sum(task.status == state and deployment in (None, task.deployment) for task in tasks)

        deployments = [
            {
                "id": id,
                "status": "PRIMARY" if id == last else "ACTIVE",
                "taskDefinition": _task_definition(id),
                "desiredCount": self._runtime.desired if id == last else count("RUNNING", id),
                "runningCount": count("RUNNING", id),
                "pendingCount": count("PENDING", id),
                "failedTasks": 0,
                "createdAt": self._zero.timestamp(),
                "updatedAt": self._zero.timestamp(),
                "rolloutState": "COMPLETED" if len(self._living(id)) == len(self._living()) else "IN_PROGRESS",
            }
            for id in reversed(self._runtime.deployments)
            # an old deployment is listed until the last of its tasks has stopped
            if id == last or self._living(id)
        ]
        return {
            "serviceArn": arn("ecs", f"service/{CLUSTER}/{SERVICE}"),
            "serviceName": SERVICE,
            "clusterArn": arn("ecs", f"cluster/{CLUSTER}"),
            "status": "ACTIVE",
            "schedulingStrategy": "REPLICA",
            "desiredCount": self._runtime.desired,
            "runningCount": count("RUNNING"),
            "pendingCount": count("PENDING"),
            "taskDefinition": _task_definition(last),
            "serviceRegistries": (
                [] if self.instances is None else [{"registryArn": arn("servicediscovery", f"service/{REGISTRY_ID}")}]
            ),
            "deployments": deployments,
        }

    def _living(self, deployment: str | None = None) -> list[TaskState]:
        return [
            task
            for task in self._runtime.tasks.values()
            if task.status != "STOPPED" and deployment in (None, task.deployment)
        ]

    def _list_tasks(self, asked: Json) -> Json:
        _check_cluster(asked)
        _check_known(asked, {"cluster", "serviceName", "desiredStatus", "maxResults", "nextToken"})
        if asked.get("serviceName", SERVICE).rpartition("/")[2] != SERVICE:
            raise CallError("ServiceNotFoundException", "Service not found.")
        desired = asked.get("desiredStatus", "RUNNING")
        ids = [task.id for task in self._runtime.tasks.values() if task.desired == desired]
        begin, size = int(asked.get("nextToken", 0)), asked.get("maxResults", 100)
        page = {"taskArns": [task_arn(id) for id in ids[begin : begin + size]]}
        return page | ({"nextToken": str(begin + size)} if begin + size < len(ids) else {})

    def _describe_tasks(self, asked: Json) -> Json:
        _check_cluster(asked)
        if not 1 <= len(asked["tasks"]) <= 100:
            raise CallError("InvalidParameterException", "Tasks: 1 to 100")
        ids = {name: name.rpartition("/")[2] for name in asked["tasks"]}
        tasks = self._runtime.tasks
        return {
            "tasks": [self._task(tasks[id]) for id in ids.values() if id in tasks],
            "failures": [{"arn": name, "reason": "MISSING"} for name, id in ids.items() if id not in tasks],
        }

    def _task(self, task: TaskState) -> Json:
        last = "DEACTIVATING" if task.status == "RUNNING" and task.desired == "STOPPED" else task.status
        answer = {
            "taskArn": task_arn(task.id),
            "clusterArn": arn("ecs", f"cluster/{CLUSTER}"),
            "taskDefinitionArn": _task_definition(task.deployment),
            "group": f"service:{SERVICE}",
            "startedBy": task.deployment,
            "desiredStatus": task.desired,
            "lastStatus": last,
            "healthStatus": task.health,
            "createdAt": self._seconds(task.created_at),
            "launchType": "FARGATE",
            "attachments": [
                {
                    "id": task.id,
                    "type": "ElasticNetworkInterface",
                    "status": "ATTACHED",
                    "details": [{"name": "privateIPv4Address", "value": task.address}],
                }
            ],
            "containers": [
                {
                    "name": each.name,
                    "lastStatus": each.reported_status,
                    "healthStatus": each.reported_health,
                    "networkInterfaces": [{"attachmentId": task.id, "privateIpv4Address": task.address}],
                    **({"exitCode": each.exit_code} if each.reported_status == "STOPPED" else {}),
                }
                for each in task.containers.values()
            ],
        }
        if task.running_since is not None:
            answer["startedAt"] = self._seconds(task.running_since) - (HOUR if task.id in self.settled else 0)
        if task.stopping_at is not None:
            answer |= {"stoppingAt": self._seconds(task.stopping_at), "stopCode": task.stop_code}
        return answer

    def _discover_instances(self, asked: Json) -> Json:
        if asked["NamespaceName"] != NAMESPACE or self.instances is None:
            raise CallError("NamespaceNotFound", asked["NamespaceName"])
        if asked["ServiceName"] != SERVICE:
            raise CallError("ServiceNotFound", asked["ServiceName"])
        wanted = asked.get("HealthStatus", "HEALTHY_OR_ELSE_ALL")
        instances = list(self.instances.values())
        healthy = [each for each in instances if each.healthy]
        sick = [each for each in instances if not each.healthy]
        chosen = {"ALL": instances, "HEALTHY": healthy, "UNHEALTHY": sick, "HEALTHY_OR_ELSE_ALL": healthy or instances}
        return {
            "Instances": [
                {
                    "InstanceId": each.id,
                    "NamespaceName": NAMESPACE,
                    "ServiceName": SERVICE,
                    "HealthStatus": "HEALTHY" if each.healthy else "UNHEALTHY",
                    "Attributes": {"AWS_INSTANCE_IPV4": each.address, "ECS_SERVICE_NAME": SERVICE},
                }
                for each in chosen[wanted][: asked.get("MaxResults", 100)]
            ],
            "InstancesRevision": 1,
        }

    def _get_service(self, asked: Json) -> Json:
        if asked["Id"] != REGISTRY_ID:
            raise CallError("ServiceNotFound", asked["Id"])
        service = {
            "Id": REGISTRY_ID,
            "Arn": arn("servicediscovery", f"service/{REGISTRY_ID}"),
            "Name": SERVICE,
            "NamespaceId": NAMESPACE_ID,
            "HealthCheckCustomConfig": {"FailureThreshold": 1},
        }
        return {"Service": service}

    def _get_namespace(self, asked: Json) -> Json:
        if asked["Id"] != NAMESPACE_ID:
            raise CallError("NamespaceNotFound", asked["Id"])
        place = arn("servicediscovery", f"namespace/{NAMESPACE_ID}")
        return {"Namespace": {"Id": NAMESPACE_ID, "Arn": place, "Name": NAMESPACE, "Type": "DNS_PRIVATE"}}

    def _time(self, seconds: float) -> str:
        return (self._zero + timedelta(seconds=seconds)).astimezone(UTC).isoformat().replace("+00:00", "Z")

    def _seconds(self, seconds: float) -> float:
        return self._zero.timestamp() + seconds


def _check_cluster(asked: Json) -> None:
    if asked.get("cluster", "default").rpartition("/")[2] != CLUSTER:
        raise CallError("ClusterNotFoundException", "Cluster not found.")


def _check_known(asked: Json, known: set[str]) -> None:
    if unknown := asked.keys() - known:
        raise CallError("InvalidParameterException", f"the lab does not know {sorted(unknown)}")


def _revision(task: TaskState) -> str:
    return task.deployment.rpartition("/")[2]


def _task_definition(deployment: str) -> str:
    return arn("ecs", f"task-definition/{SERVICE}:{deployment.rpartition('/')[2]}")
