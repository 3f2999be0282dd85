"""The same scenario many times, and how sure the figures are; a change touches this folder only."""
