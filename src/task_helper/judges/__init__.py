"""How the helper judges what it was told. Pure: facts in, verdicts out; time is an argument."""
