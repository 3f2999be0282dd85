"""The scenarios as data: what happens, and what must come of it; a new row touches docs/lab.md, and no code."""
