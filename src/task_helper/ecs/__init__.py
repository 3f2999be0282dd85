"""All knowledge about ECS and Cloud Map: task metadata, the API, and whether replacement tasks are in service."""
