"""Whom the helper asks: Envoy, the application, the task metadata endpoint, ECS and Cloud Map. Each call is bounded."""
