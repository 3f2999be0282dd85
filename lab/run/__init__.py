"""Runs scenarios and writes their records; a change may touch what a run does, and no verdict on it."""
