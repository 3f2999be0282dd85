"""Judges records and shows them; a change reads what is recorded already, and touches no run."""
