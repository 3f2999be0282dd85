"""All knowledge about Envoy: calls of its admin API, and readers of its answers."""
