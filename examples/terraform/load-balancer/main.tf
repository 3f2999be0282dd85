# An ECS service with an Envoy of its own behind a load balancer: Envoy, the application, and the task helper that drains
# Envoy before ECS stops them. With the module terraform-aws-modules/ecs, which makes the task definition of a map.

terraform {
  required_version = ">= 1.5.7"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 6.4" }
  }
}

variable "cluster_arn" { type = string }
variable "subnets" { type = list(string) }
variable "security_group" { type = string }
variable "application_image" { type = string }
variable "helper_image" { type = string }
variable "target_group_arn" {
  type        = string
  description = "of an Application Load Balancer: type ip, health check /health every 10 s, unhealthy after 2"
}

module "orders" {
  source  = "terraform-aws-modules/ecs/aws//modules/service"
  version = "~> 7.0"

  name        = "orders"
  cluster_arn = var.cluster_arn
  cpu         = 512
  memory      = 1024

  desired_count = 2
  # new tasks come into service before old ones go
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  container_definitions = {
    envoy = {
      image                  = "envoyproxy/envoy:v1.36.2"
      essential              = true
      user                   = "65532"
      readonlyRootFilesystem = false
      command                = ["--disable-hot-restart", "--config-yaml", file("${path.module}/../../envoy/load-balancer.yaml")]
      portMappings           = [{ containerPort = 8080 }]
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
      stopTimeout = 10
    }

    app = {
      image       = var.application_image
      essential   = true
      environment = [{ name = "PORT", value = "3000" }]
      dependsOn   = [{ containerName = "envoy", condition = "HEALTHY" }]
      stopTimeout = 20
    }

    task-helper = {
      image         = var.helper_image
      essential     = true
      restartPolicy = { enabled = true, restartAttemptPeriod = 60 }
      environment = [
        { name = "APP_HEALTH_URL", value = "http://127.0.0.1:3000/health" },
        # ECS has taken the task out of the load balancer when it stops it, or does so at that moment
        { name = "DRAIN_DELAY", value = "0" },
        # until requests have ended, and in no more time than Spot leaves it
        { name = "DRAIN_TIMEOUT", value = "auto" },
        { name = "HEALTH_CHECK_INTERVAL", value = "10" },
        { name = "STOP_TIMEOUT", value = "90" },
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
      cpu                    = 32
      memory                 = 64
      user                   = "65532"
      readonlyRootFilesystem = true
      linuxParameters        = { capabilities = { drop = ["ALL"] } }
    }
  }

  load_balancer = {
    orders = { target_group_arn = var.target_group_arn, container_name = "envoy", container_port = 8080 }
  }

  subnet_ids            = var.subnets
  create_security_group = false
  security_group_ids    = [var.security_group]
}
