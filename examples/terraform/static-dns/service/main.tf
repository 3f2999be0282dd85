# A service of the namespace mesh.internal: Envoy, the application, and the task helper that drains Envoy before ECS stops them.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 6.4" }
  }
}

variable "name" { type = string }
variable "application_image" { type = string }
variable "environment" {
  type        = list(object({ name = string, value = string }))
  description = "of the application"
}
variable "shared" {
  type = object({
    cluster_name       = string
    subnets            = list(string)
    security_group     = string
    namespace_id       = string
    execution_role_arn = string
    helper_image       = string
  })
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  arn = "arn:${data.aws_partition.current.partition}:ecs:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}"
  log_options = {
    awslogs-group         = "/ecs/${var.name}"
    awslogs-region        = data.aws_region.current.region
    awslogs-stream-prefix = var.name
  }

  containers = [
    {
      name         = "envoy"
      image        = "envoyproxy/envoy:v1.36.2"
      essential    = true
      user         = "65532"
      command      = ["--disable-hot-restart", "--config-yaml", file("${path.module}/../../../envoy/static-dns-${var.name}.yaml")]
      portMappings = [{ containerPort = 8080 }]
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
      environment      = var.environment
      dependsOn        = [{ containerName = "envoy", condition = "HEALTHY" }]
      stopTimeout      = 20
      logConfiguration = { logDriver = "awslogs", options = local.log_options }
    },
    {
      name          = "task-helper"
      image         = var.shared.helper_image
      essential     = true
      restartPolicy = { enabled = true, restartAttemptPeriod = 60 }
      environment = [
        { name = "APP_HEALTH_URL", value = "http://127.0.0.1:3000/health" },
        # by what happens, and in no more time than Spot leaves it
        { name = "DRAIN_DELAY", value = "auto" },
        { name = "DRAIN_TIMEOUT", value = "auto" },
        # the interval at which the Envoys that call this service check it
        { name = "HEALTH_CHECK_INTERVAL", value = "5" },
        { name = "STOP_TIMEOUT", value = "90" },
        { name = "CLOUD_MAP_SERVICE", value = "mesh.internal/${var.name}" },
      ]
      # ECS stops the helper first, and these only when it is gone
      dependsOn = [
        { containerName = "envoy", condition = "HEALTHY" },
        { containerName = "app", condition = "START" },
      ]
      stopTimeout = 90
      healthCheck = {
        command     = ["CMD", "task-helper", "healthcheck"]
        interval    = 10
        timeout     = 5
        retries     = 10
        startPeriod = 300
      }
      cpu                    = 64
      memory                 = 96
      user                   = "65532"
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { drop = ["ALL"] } }
      logConfiguration       = { logDriver = "awslogs", options = local.log_options }
    },
  ]
}

resource "aws_cloudwatch_log_group" "service" {
  name              = "/ecs/${var.name}"
  retention_in_days = 30
}

resource "aws_iam_role" "task" {
  name = "${var.name}-task"
  assume_role_policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Principal = { Service = "ecs-tasks.amazonaws.com" }, Action = "sts:AssumeRole" }]
  })
}

# what DRAIN_DELAY=auto asks about this service, and no more
resource "aws_iam_role_policy" "task_helper" {
  name = "task-helper"
  role = aws_iam_role.task.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["ecs:DescribeServices", "ecs:DescribeTasks"]
        Resource = ["${local.arn}:service/${var.shared.cluster_name}/${var.name}", "${local.arn}:task/${var.shared.cluster_name}/*"]
      },
      {
        Effect    = "Allow"
        Action    = "ecs:ListTasks"
        Resource  = "*"
        Condition = { ArnEquals = { "ecs:cluster" = "${local.arn}:cluster/${var.shared.cluster_name}" } }
      },
      {
        Effect   = "Allow"
        Action   = "servicediscovery:DiscoverInstances"
        Resource = "*"
        Condition = {
          StringEquals = {
            "servicediscovery:NamespaceName" = "mesh.internal"
            "servicediscovery:ServiceName"   = var.name
          }
        }
      },
    ]
  })
}

resource "aws_ecs_task_definition" "service" {
  family                   = var.name
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  cpu                      = 512
  memory                   = 1024
  execution_role_arn       = var.shared.execution_role_arn
  task_role_arn            = aws_iam_role.task.arn
  container_definitions    = jsonencode(local.containers)
}

resource "aws_service_discovery_service" "service" {
  name = var.name

  dns_config {
    namespace_id = var.shared.namespace_id
    # up to eight healthy tasks in each answer
    routing_policy = "MULTIVALUE"
    dns_records {
      type = "A"
      ttl  = 5
    }
  }

  # ECS says which tasks are healthy
  health_check_custom_config {
    failure_threshold = 1
  }
}

resource "aws_ecs_service" "service" {
  name            = var.name
  cluster         = var.shared.cluster_name
  task_definition = aws_ecs_task_definition.service.arn
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
    subnets         = var.shared.subnets
    security_groups = [var.shared.security_group]
  }

  service_registries {
    registry_arn = aws_service_discovery_service.service.arn
  }

  depends_on = [aws_cloudwatch_log_group.service, aws_iam_role_policy.task_helper]
}
