from __future__ import annotations

import pickle
from multiprocessing.reduction import ForkingPickler

import pytest

from dist_erase.batch import ImageSpec
from dist_erase.data.handover import PREFETCH, ImageSlots

SPEC = ImageSpec(height=2, width=3, mean=(0.5,) * 3, std=(0.5,) * 3)


@pytest.fixture
def slots() -> ImageSlots:
    return ImageSlots({"retain": 2, "forget": 1}, SPEC)


def test_parts_made_ahead_do_not_touch_each_other(slots: ImageSlots) -> None:
    for step in range(7, 8 + PREFETCH):
        for images in slots.begin(step).values():
            images.fill_(step)
    for step in range(7, 8 + PREFETCH):
        images = slots.images(step)
        assert images["retain"].shape == (2, 3, 2, 3)
        assert images["forget"].shape == (1, 3, 2, 3)
        assert all(bool((view == step).all()) for view in images.values())
        slots.check(step)


def test_images_that_were_written_over_are_never_used(slots: ImageSlots) -> None:
    slots.begin(7)
    slots.begin(8 + PREFETCH)
    with pytest.raises(AssertionError, match="step 7 were overwritten by those of step 10"):
        slots.check(7)


def test_the_other_side_of_a_pickle_is_the_same_memory(slots: ImageSlots) -> None:
    other = pickle.loads(ForkingPickler.dumps(slots))
    other.begin(3)["retain"].fill_(9)
    slots.check(3)
    assert bool((slots.images(3)["retain"] == 9).all())
