"""Drains Envoy before ECS stops the task."""
