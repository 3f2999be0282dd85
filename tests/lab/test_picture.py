"""The picture of runs side by side."""

import pytest

from lab.report.picture import label_rows


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        ([], []),
        ([(0, 3), (3, 3), (9, 3)], [0, 0, 0]),
        ([(0, 3), (2, 3), (4, 3)], [0, 1, 0]),
        ([(0, 3), (1, 3), (2, 3), (3, 3)], [0, 1, 2, 0]),
    ],
)
def test_labels_of_close_moments(labels: list[tuple[float, float]], rows: list[int]) -> None:
    """A label that would overlap the one before it stands in another row, however close two moments are."""
    assert rows == label_rows(labels)
