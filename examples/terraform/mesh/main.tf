# An ECS service of an Envoy mesh: Envoy, the application, and the task helper that drains Envoy before ECS stops them.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 6.4" }
  }
}

variable "cluster" { type = string }
variable "region" { type = string }
variable "subnets" { type = list(string) }
variable "security_group" { type = string }
variable "execution_role_arn" { type = string }
variable "application_image" { type = string }
variable "helper_image" { type = string }
variable "namespace_id" {
  type        = string
  description = "the Cloud Map namespace that the mesh's control plane reads"
}

locals {
  log_options = {
    awslogs-group         = "/ecs/orders"
    awslogs-region        = var.region
    awslogs-stream-prefix = "orders"
  }

  containers = [
    {
      name         = "envoy"
      image        = "envoyproxy/envoy:v1.36.2"
      essential    = true
      user         = "1337"
      command      = ["--disable-hot-restart", "--config-yaml", file("${path.module}/../../envoy/mesh.yaml")]
      portMappings = [{ containerPort = 15000 }]
      # passes while Envoy drains, too: an Envoy that drains is not sick
      healthCheck = {
        command = ["CMD", "bash", "-c", <<-EOT
          exec 3<>/dev/tcp/127.0.0.1/9901 &&
          printf 'GET /ready HTTP/1.1\r\nHost: envoy\r\nConnection: close\r\n\r\n' >&3 &&
          grep -Eq 'LIVE|DRAINING' <&3
        EOT
        ]
        interval    = 5
        timeout     = 2
        retries     = 3
        startPeriod = 30
      }
      stopTimeout      = 10
      logConfiguration = { logDriver = "awslogs", options = local.log_options }
    },
    {
      name             = "app"
      image            = var.application_image
      essential        = true
      environment      = [{ name = "PORT", value = "8080" }]
      dependsOn        = [{ containerName = "envoy", condition = "HEALTHY" }]
      stopTimeout      = 20
      logConfiguration = { logDriver = "awslogs", options = local.log_options }
    },
    {
      name          = "task-helper"
      image         = var.helper_image
      essential     = true
      restartPolicy = { enabled = true, restartAttemptPeriod = 60 }
      environment   = [{ name = "APP_HEALTH_URL", value = "http://127.0.0.1:8080/health" }]
      # ECS stops the helper first, and these only when it is gone
      dependsOn = [
        { containerName = "envoy", condition = "HEALTHY" },
        { containerName = "app", condition = "START" },
      ]
      stopTimeout = 120
      healthCheck = {
        command     = ["CMD", "task-helper", "healthcheck"]
        interval    = 10
        timeout     = 5
        retries     = 10
        startPeriod = 300
      }
      cpu                    = 32
      memory                 = 64
      user                   = "1337"
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { drop = ["ALL"] } }
      logConfiguration       = { logDriver = "awslogs", options = local.log_options }
    },
  ]
}

resource "aws_cloudwatch_log_group" "orders" {
  name              = "/ecs/orders"
  retention_in_days = 30
}

resource "aws_ecs_task_definition" "orders" {
  family                   = "orders"
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  cpu                      = 512
  memory                   = 1024
  execution_role_arn       = var.execution_role_arn
  container_definitions    = jsonencode(local.containers)

  proxy_configuration {
    type           = "APPMESH"
    container_name = "envoy"
    properties = {
      IgnoredUID       = "1337"
      AppPorts         = "8080"
      ProxyIngressPort = "15000"
      ProxyEgressPort  = "15001"
      # the metadata endpoint, which the helper asks about the other containers
      EgressIgnoredIPs = "169.254.170.2,169.254.169.254"
    }
  }
}

resource "aws_service_discovery_service" "orders" {
  name = "orders"

  dns_config {
    namespace_id = var.namespace_id
    dns_records {
      type = "A"
      ttl  = 10
    }
  }
}

resource "aws_ecs_service" "orders" {
  name            = "orders"
  cluster         = var.cluster
  task_definition = aws_ecs_task_definition.orders.arn
  launch_type     = "FARGATE"
  desired_count   = 2

  # new tasks come into service before old ones go
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets         = var.subnets
    security_groups = [var.security_group]
  }

  service_registries {
    registry_arn = aws_service_discovery_service.orders.arn
  }

  depends_on = [aws_cloudwatch_log_group.orders]
}
