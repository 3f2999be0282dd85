[
  {
    "name": "${name}",
    "image": "${image}:${tag}",
    "essential": true,
    "cpu": ${cpu},
    "portMappings": [{"containerPort": ${port}, "hostPort": ${port}}]
  },
  {
    "name": "cwagent",
    "image": "${agent_image}",
    "essential": true
  },
  {
    "name": "envoy",
    "image": "840364872350.dkr.ecr.${region}.amazonaws.com/aws-appmesh-envoy:v1.34.13.0-prod",
    "essential": true,
    "memory": 500
  }
]
