# Alarms and a dashboard for a service that the task helper drains: the stack of examples/cloudformation/monitoring.yaml,
# so that there is one list of metrics, thresholds and exit codes to keep true.

terraform {
  required_version = ">= 1.5.7"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 6.4" }
  }
}

variable "service" {
  type        = string
  description = "name of the ECS service"
}
variable "cluster_arn" { type = string }
variable "helper_logs" {
  type        = string
  description = "log group that the helper's container logs to"
}
variable "topic_arn" {
  type        = string
  description = "of the SNS topic that alarms are sent to"
}

resource "aws_cloudformation_stack" "monitoring" {
  name          = "${var.service}-task-helper"
  template_body = file("${path.module}/../../cloudformation/monitoring.yaml")
  parameters = {
    Service    = var.service
    ClusterArn = var.cluster_arn
    HelperLogs = var.helper_logs
    Topic      = var.topic_arn
  }
}
