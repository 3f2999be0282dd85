"""Everything the helper knows about Envoy: calls of its admin API, and readers of what it answers."""
