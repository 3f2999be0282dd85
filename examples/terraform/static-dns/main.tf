# Two ECS services without a control plane: the Envoy of shop finds the tasks of orders by a DNS name of Cloud Map and checks
# their health itself. The task helper drains the Envoys of both before ECS stops them.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = { source = "hashicorp/aws", version = ">= 6.4" }
  }
}

variable "cluster_name" { type = string }
variable "vpc_id" { type = string }
variable "subnets" { type = list(string) }
variable "execution_role_arn" { type = string }
variable "helper_image" { type = string }
variable "orders_image" {
  type        = string
  description = "listens on port 3000, answers /health"
}
variable "shop_image" {
  type        = string
  description = "the same, and calls orders at ORDERS_URL"
}

resource "aws_service_discovery_private_dns_namespace" "mesh" {
  name = "mesh.internal"
  vpc  = var.vpc_id
}

# the tasks may call one another's Envoy; who else calls shop has to be added
resource "aws_security_group" "mesh" {
  name   = "mesh"
  vpc_id = var.vpc_id
}

resource "aws_vpc_security_group_ingress_rule" "envoy" {
  security_group_id            = aws_security_group.mesh.id
  referenced_security_group_id = aws_security_group.mesh.id
  ip_protocol                  = "tcp"
  from_port                    = 8080
  to_port                      = 8080
}

resource "aws_vpc_security_group_egress_rule" "all" {
  security_group_id = aws_security_group.mesh.id
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "-1"
}

locals {
  shared = {
    cluster_name       = var.cluster_name
    subnets            = var.subnets
    security_group     = aws_security_group.mesh.id
    namespace_id       = aws_service_discovery_private_dns_namespace.mesh.id
    execution_role_arn = var.execution_role_arn
    helper_image       = var.helper_image
  }
}

# the service that is called
module "orders" {
  source            = "./service"
  name              = "orders"
  application_image = var.orders_image
  environment       = [{ name = "PORT", value = "3000" }]
  shared            = local.shared
}

# the service that calls
module "shop" {
  source            = "./service"
  name              = "shop"
  application_image = var.shop_image
  environment = [
    { name = "PORT", value = "3000" },
    { name = "ORDERS_URL", value = "http://127.0.0.1:9001" },
  ]
  shared = local.shared
}
