"""The scenarios as data: what happens, and what must come of it. A new row changes docs/evidence/lab.md, no code."""
