from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from dist_erase.config.train import AugmentConfig
from dist_erase.data.augment import ViewParameters, apply_view, view_parameters

IMAGE = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)


def augment(
    image: NDArray[np.uint8], config: AugmentConfig, *, row: int, column: int, flip: int
) -> NDArray[np.uint8]:
    return apply_view(image, view_parameters(config, row=row, column=column, flip=flip))


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


def test_a_recorded_view_is_replayed() -> None:
    config = AugmentConfig(crop=3, flip=True)
    for row, column, flip in [(0, 5, 1), (3, 3, 0), (2**64 - 1, 10**18, 2**63 + 1)]:
        view = view_parameters(config, row=row, column=column, flip=flip)
        record = json.loads(json.dumps(asdict(view)))
        again = apply_view(IMAGE, ViewParameters(**record))
        assert np.array_equal(again, augment(IMAGE, config, row=row, column=column, flip=flip))
    # 1 down and 2 left of its place, mirrored.
    assert view_parameters(config, row=4, column=1, flip=7) == ViewParameters(
        down=1, right=-2, mirrored=True
    )


def test_without_augmentation_the_view_is_the_image() -> None:
    view = view_parameters(AugmentConfig(), row=5, column=6, flip=7)
    assert view == ViewParameters()
    assert apply_view(IMAGE, view) is IMAGE
