"""The lab's own addresses and ports."""

import random

from lab.parts.processes import free_address, free_port


def test_addresses_do_not_depend_on_a_seed() -> None:
    """Two processes that seed their random numbers alike, as tests do, draw different addresses and ports."""
    drawn = []
    for _ in range(2):
        random.seed(0)
        drawn.append((free_address(), free_address(), free_port(), free_port()))

    assert drawn[0][:2] != drawn[1][:2]
    assert drawn[0][2:] != drawn[1][2:]
