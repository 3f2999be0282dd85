"""Everything the helper knows about ECS and Cloud Map: task metadata, the API, whether replacements are in service."""
