"""The order of the tests for several workers: none is lost, and those that take long are spread."""

from hypothesis import given
from hypothesis import strategies as st

from tests.spreading import spread


@given(st.lists(st.sampled_from([None, None, None, "a", "b", "c"])), st.integers(1, 5))
def test_no_test_is_lost(names: list[str | None], workers: int) -> None:
    """Each test is there once, and those of one name follow each other in their order."""
    tests = list(enumerate(names))
    order = spread(tests, workers)

    assert sorted(order) == list(range(len(tests)))
    for name in {"a", "b", "c"} & set(names):
        places = [order.index(number) for number, each in tests if each == name]
        assert places == list(range(places[0], places[0] + len(places)))


def test_each_worker_begins_with_what_takes_long() -> None:
    """Of two workers each has half of the tests that take long at the begin of its half."""
    tests = [(number, str(number) if number < 4 else None) for number in range(10)]

    assert [0, 2, 4, 5, 6, 1, 3, 7, 8, 9] == spread(tests, 2)
