import pytest

from dist_erase.evaluation.intervals import wilson


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [
        (0.0, 100, 0.0, 0.0370),  # METHOD: 0 of 100 images is [0, 3.7] %
        (1.0, 100, 0.9630, 1.0),
        (0.5, 10, 0.2366, 0.7634),
    ],
)
def test_known_values(share, n, low, high):
    assert wilson(share, n) == pytest.approx((low, high), abs=1e-4)


def test_never_leaves_the_unit_interval():
    for n in (1, 3, 1000):
        for hits in range(n + 1):
            low, high = wilson(hits / n, n)
            assert 0.0 <= low <= hits / n <= high <= 1.0
