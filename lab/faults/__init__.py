"""Random faults, the same for the helper and the shell trap; a change touches this folder only."""
