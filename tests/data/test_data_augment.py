from __future__ import annotations

import numpy as np

from dist_erase.config.train import AugmentConfig
from dist_erase.data.augment import augment

IMAGE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def test_crops_are_those_of_the_image_padded_by_reflection() -> None:
    padded = np.pad(IMAGE, ((3, 3), (3, 3), (0, 0)), mode="reflect")
    config = AugmentConfig(crop=3)
    for row in range(7):
        for column in range(7):
            view = augment(IMAGE, config, row=row + 70, column=column, flip=1)
            assert np.array_equal(view, padded[row : row + 5, column : column + 7])


def test_a_border_wider_than_the_image_is_reflected_again() -> None:
    padded = np.pad(IMAGE, ((20, 20), (20, 20), (0, 0)), mode="reflect")
    view = augment(IMAGE, AugmentConfig(crop=20), row=0, column=40, flip=0)
    assert np.array_equal(view, padded[0:5, 40:47])


def test_odd_draws_mirror() -> None:
    config = AugmentConfig(flip=True)
    assert np.array_equal(augment(IMAGE, config, row=0, column=0, flip=3), IMAGE[:, ::-1])
    assert np.array_equal(augment(IMAGE, config, row=0, column=0, flip=2), IMAGE)


def test_a_single_pixel_has_nothing_to_reflect() -> None:
    pixel = IMAGE[:1, :1]
    assert np.array_equal(augment(pixel, AugmentConfig(crop=2), row=0, column=4, flip=0), pixel)
