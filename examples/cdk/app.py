"""ECS services with Envoy, the application and the task helper that drains Envoy before ECS stops them.

`MeshService` has the Envoy of a mesh, configured by a control plane; `LoadBalancedService` has an Envoy
of its own behind a load balancer; in `StaticDnsServices` one service calls another, whose tasks its Envoy finds by
DNS and checks, without a control plane. `add_task_helper` is all there is to do for a task definition that has the other
two, `add_monitoring` adds alarms and a dashboard. The images come as context: `cdk synth -c application_image=... -c helper_image=...`.
"""

from pathlib import Path

from aws_cdk import App, Duration, Stack, aws_ec2, aws_ecs, aws_ecs_patterns, aws_iam, aws_servicediscovery, aws_sns
from aws_cdk.cloudformation_include import CfnInclude
from constructs import Construct

ENVOY = Path(__file__).parents[1] / "envoy"
MONITORING = Path(__file__).parents[1] / "cloudformation" / "monitoring.yaml"
# passes while Envoy drains, too: an Envoy that drains is not sick
READY = (
    "exec 3<>/dev/tcp/127.0.0.1/9901 &&"
    r" printf 'GET /ready HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n' >&3 &&"
    " grep -Eq 'LIVE|DRAINING' <&3"
)


def add_task_helper(
    task: aws_ecs.TaskDefinition,
    image: aws_ecs.ContainerImage,
    envoy: aws_ecs.ContainerDefinition,
    applications: list[aws_ecs.ContainerDefinition],
    user: str = "65532",
    environment: dict[str, str] | None = None,
    stop_timeout: Duration = Duration.seconds(120),
    cpu: int = 32,
    memory: int = 64,
) -> aws_ecs.ContainerDefinition:
    """Add the container that is stopped first and holds `envoy` and `applications` up until the drain is over."""
    linux = aws_ecs.LinuxParameters(task, "TaskHelperLinux")
    linux.drop_capabilities(aws_ecs.Capability.ALL)
    helper = task.add_container(
        "task-helper",
        image=image,
        essential=True,
        enable_restart_policy=True,
        restart_attempt_period=Duration.seconds(60),
        environment=environment,
        stop_timeout=stop_timeout,
        health_check=aws_ecs.HealthCheck(
            command=["CMD", "task-helper", "healthcheck"],
            interval=Duration.seconds(10),
            timeout=Duration.seconds(5),
            retries=10,
            start_period=Duration.seconds(300),
        ),
        cpu=cpu,
        memory_limit_mib=memory,
        user=user,
        readonly_root_filesystem=True,
        linux_parameters=linux,
        logging=aws_ecs.LogDrivers.aws_logs(stream_prefix="task-helper"),
    )
    dependencies = [(envoy, aws_ecs.ContainerDependencyCondition.HEALTHY)]
    # not HEALTHY: beside a sick application the helper would never start, and nothing would drain the task
    dependencies += [(application, aws_ecs.ContainerDependencyCondition.START) for application in applications]
    helper.add_container_dependencies(
        *(
            aws_ecs.ContainerDependency(container=container, condition=condition)
            for container, condition in dependencies
        )
    )
    return helper


def add_monitoring(
    stack: Stack, service: aws_ecs.BaseService, helper: aws_ecs.ContainerDefinition, topic: aws_sns.ITopic
) -> None:
    """Tell `topic` when a deployment has lost requests; the helper needs METRICS=emf, and logs with awslogs."""
    logs = helper.log_driver_config
    assert logs and logs.options
    CfnInclude(
        stack,
        "Monitoring",
        template_file=str(MONITORING),
        parameters={
            "Service": service.service_name,
            "ClusterArn": service.cluster.cluster_arn,
            "Container": helper.container_name,
            "HelperLogs": logs.options["awslogs-group"],
            "Topic": topic.topic_arn,
        },
    )


def add_cluster(stack: Stack) -> aws_ecs.Cluster:
    """A cluster whose services find each other by name."""
    cluster = aws_ecs.Cluster(stack, "Cluster", vpc=aws_ec2.Vpc(stack, "Vpc", max_azs=2))
    cluster.add_default_cloud_map_namespace(name="mesh.internal", type=aws_servicediscovery.NamespaceType.DNS_PRIVATE)
    return cluster


def add_envoy_and_application(
    stack: Stack, task: aws_ecs.TaskDefinition, configuration: Path, user: str, ports: tuple[int, int]
) -> tuple[aws_ecs.ContainerDefinition, aws_ecs.ContainerDefinition]:
    """Envoy and the application as they may be there already; `ports` are Envoy's and the application's."""
    envoy = task.add_container(
        "envoy",
        image=aws_ecs.ContainerImage.from_registry("envoyproxy/envoy:v1.36.2"),
        user=user,
        command=["--disable-hot-restart", "--config-yaml", configuration.read_text(encoding="utf-8")],
        port_mappings=[aws_ecs.PortMapping(container_port=ports[0])],
        health_check=aws_ecs.HealthCheck(
            command=["CMD", "bash", "-c", READY],
            interval=Duration.seconds(5),
            timeout=Duration.seconds(2),
            retries=3,
            start_period=Duration.seconds(30),
        ),
        stop_timeout=Duration.seconds(10),
        logging=aws_ecs.LogDrivers.aws_logs(stream_prefix="envoy"),
    )
    application = task.add_container(
        "app",
        image=aws_ecs.ContainerImage.from_registry(stack.node.get_context("application_image")),
        environment={"PORT": str(ports[1])},
        stop_timeout=Duration.seconds(20),
        logging=aws_ecs.LogDrivers.aws_logs(stream_prefix="app"),
    )
    application.add_container_dependencies(
        aws_ecs.ContainerDependency(container=envoy, condition=aws_ecs.ContainerDependencyCondition.HEALTHY)
    )
    return envoy, application


class MeshService(Stack):
    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name)
        cluster = add_cluster(self)
        task = aws_ecs.FargateTaskDefinition(
            self,
            "Task",
            cpu=512,
            memory_limit_mib=1024,
            proxy_configuration=aws_ecs.AppMeshProxyConfiguration(
                container_name="envoy",
                properties=aws_ecs.AppMeshProxyConfigurationProps(
                    ignored_uid=1337,
                    app_ports=[8080],
                    proxy_ingress_port=15000,
                    proxy_egress_port=15001,
                    # the metadata endpoint, which the helper asks about the other containers
                    egress_ignored_i_ps=["169.254.170.2", "169.254.169.254"],
                ),
            ),
        )
        envoy, application = add_envoy_and_application(self, task, ENVOY / "mesh.yaml", "1337", (15000, 8080))
        add_task_helper(
            task,
            aws_ecs.ContainerImage.from_registry(self.node.get_context("helper_image")),
            envoy,
            [application],
            user="1337",
            environment={"APP_HEALTH_URL": "http://127.0.0.1:8080/health"},
        )
        aws_ecs.FargateService(
            self,
            "Service",
            cluster=cluster,
            task_definition=task,
            desired_count=2,
            # new tasks come into service before old ones go
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=aws_ecs.DeploymentCircuitBreaker(rollback=True),
            cloud_map_options=aws_ecs.CloudMapOptions(name="orders"),
        )


class LoadBalancedService(Stack):
    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name)
        task = aws_ecs.FargateTaskDefinition(self, "Task", cpu=512, memory_limit_mib=1024)
        envoy, application = add_envoy_and_application(self, task, ENVOY / "load-balancer.yaml", "65532", (8080, 3000))
        helper = add_task_helper(
            task,
            aws_ecs.ContainerImage.from_registry(self.node.get_context("helper_image")),
            envoy,
            [application],
            environment={
                "APP_HEALTH_URL": "http://127.0.0.1:3000/health",
                "METRICS": "emf",
                # ECS has taken the task out of the load balancer when it stops it, or does so at that moment
                "DRAIN_DELAY": "0",
                # until requests have ended, and in no more time than Spot leaves it
                "DRAIN_TIMEOUT": "auto",
                "HEALTH_CHECK_INTERVAL": "10",
                "STOP_TIMEOUT": "90",
            },
            stop_timeout=Duration.seconds(90),
        )
        service = aws_ecs_patterns.ApplicationLoadBalancedFargateService(
            self,
            "Service",
            vpc=aws_ec2.Vpc(self, "Vpc", max_azs=2),
            task_definition=task,
            desired_count=2,
            # new tasks come into service before old ones go
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=aws_ecs.DeploymentCircuitBreaker(rollback=True),
        )
        service.target_group.configure_health_check(
            path="/health", interval=Duration.seconds(10), unhealthy_threshold_count=2
        )
        add_monitoring(self, service.service, helper, aws_sns.Topic(self, "Alarms"))


class StaticDnsServices(Stack):
    """`orders`, and `shop`, whose application calls it at 127.0.0.1:9001, where its Envoy listens."""

    def __init__(self, scope: Construct, name: str) -> None:
        super().__init__(scope, name)
        cluster = add_cluster(self)
        # the tasks may call one another's Envoy; who else calls shop has to be added
        group = aws_ec2.SecurityGroup(self, "SecurityGroup", vpc=cluster.vpc)
        group.add_ingress_rule(group, aws_ec2.Port.tcp(8080))
        for service, environment in {"orders": {}, "shop": {"ORDERS_URL": "http://127.0.0.1:9001"}}.items():
            self.add_service(service, environment, cluster, group)

    def add_service(
        self, name: str, environment: dict[str, str], cluster: aws_ecs.Cluster, group: aws_ec2.SecurityGroup
    ) -> None:
        task = aws_ecs.FargateTaskDefinition(self, f"{name}Task", family=name, cpu=512, memory_limit_mib=1024)
        configuration = ENVOY / f"static-dns-{name}.yaml"
        envoy, application = add_envoy_and_application(self, task, configuration, "65532", (8080, 3000))
        for key, value in environment.items():
            application.add_environment(key, value)
        add_task_helper(
            task,
            aws_ecs.ContainerImage.from_registry(self.node.get_context("helper_image")),
            envoy,
            [application],
            environment={
                "APP_HEALTH_URL": "http://127.0.0.1:3000/health",
                # by what happens, and in no more time than Spot leaves it
                "DRAIN_DELAY": "auto",
                "DRAIN_TIMEOUT": "auto",
                # the interval at which the Envoys that call this service check it
                "HEALTH_CHECK_INTERVAL": "5",
                "STOP_TIMEOUT": "90",
                "CLOUD_MAP_SERVICE": f"mesh.internal/{name}",
            },
            stop_timeout=Duration.seconds(90),
            # DRAIN_DELAY=auto brings botocore
            cpu=64,
            memory=96,
        )
        self.allow_looking(task, cluster, name)
        aws_ecs.FargateService(
            self,
            f"{name}Service",
            service_name=name,
            cluster=cluster,
            security_groups=[group],
            task_definition=task,
            desired_count=2,
            # new tasks come into service before old ones go
            min_healthy_percent=100,
            max_healthy_percent=200,
            circuit_breaker=aws_ecs.DeploymentCircuitBreaker(rollback=True),
            # up to eight healthy tasks in each answer; ECS says which are healthy
            cloud_map_options=aws_ecs.CloudMapOptions(
                name=name, dns_record_type=aws_servicediscovery.DnsRecordType.A, dns_ttl=Duration.seconds(5)
            ),
        )

    def allow_looking(self, task: aws_ecs.TaskDefinition, cluster: aws_ecs.Cluster, name: str) -> None:
        """What DRAIN_DELAY=auto asks about this service, and no more."""
        service = self.format_arn(service="ecs", resource="service", resource_name=f"{cluster.cluster_name}/{name}")
        statements = [
            aws_iam.PolicyStatement(
                actions=["ecs:DescribeServices", "ecs:DescribeTasks"],
                resources=[service, cluster.arn_for_tasks("*")],
            ),
            aws_iam.PolicyStatement(
                actions=["ecs:ListTasks"],
                resources=["*"],
                conditions={"ArnEquals": {"ecs:cluster": cluster.cluster_arn}},
            ),
            aws_iam.PolicyStatement(
                actions=["servicediscovery:DiscoverInstances"],
                resources=["*"],
                conditions={
                    "StringEquals": {
                        "servicediscovery:NamespaceName": "mesh.internal",
                        "servicediscovery:ServiceName": name,
                    }
                },
            ),
        ]
        for statement in statements:
            task.add_to_task_role_policy(statement)


app = App()
MeshService(app, "MeshService")
LoadBalancedService(app, "LoadBalancedService")
StaticDnsServices(app, "StaticDnsServices")
app.synth()
