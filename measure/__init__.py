"""What the helper weighs, and how its calls scale. A change affects docs/evidence/weight.md and scale.md only."""
