from itertools import pairwise

import pytest

from dist_erase.training.schedule import lr_factor


def factors(**options) -> list[float]:
    return [lr_factor(step, **options) for step in range(options["steps"])]


def test_warm_up_rises_in_equal_parts_to_the_peak():
    made = factors(steps=6, warmup_steps=4, schedule="constant")
    assert made == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_cosine_falls_from_the_peak_through_a_half_towards_zero():
    made = factors(steps=14, warmup_steps=2, schedule="cosine")
    assert made[:3] == [0.5, 1.0, 1.0]
    assert made[2 + 6] == pytest.approx(0.5)  # the middle of the 12 steps after warm-up
    assert made[2 + 3] == pytest.approx(0.5 + 0.5**1.5)  # cos 45 degrees
    assert all(late < early for early, late in pairwise(made[2:]))
    assert 0 < made[-1] < 0.02


def test_without_warm_up_the_first_step_is_at_the_peak():
    assert factors(steps=3, warmup_steps=0, schedule="constant") == [1.0, 1.0, 1.0]
    assert factors(steps=3, warmup_steps=0, schedule="cosine")[0] == 1.0


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_a_run_shorter_than_its_warm_up_never_reaches_the_peak(schedule):
    assert factors(steps=2, warmup_steps=4, schedule=schedule) == [0.25, 0.5]


def test_beyond_the_last_step_cosine_stays_at_zero():
    assert lr_factor(12, steps=10, warmup_steps=0, schedule="cosine") == pytest.approx(0)
