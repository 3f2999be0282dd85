"""What the helper weighs, and how its calls scale; a change touches docs/weight.md and docs/scale.md only."""
