"""Random changes of training images: crops out of a reflected border, mirroring."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dist_erase.config.train import AugmentConfig


def augment(
    image: NDArray[np.uint8], config: AugmentConfig, *, row: int, column: int, flip: int
) -> NDArray[np.uint8]:
    """One view of an image.

    Args:
        image: uint8 [H, W, 3].
        config: pixels of border (as np.pad's `reflect`), whether half of the images are mirrored.
        row: draw that chooses the crop's top edge.
        column: draw that chooses its left edge.
        flip: draw that chooses whether it is mirrored.

    Returns:
        uint8 [H, W, 3].
    """
    if config.crop:
        places = 2 * config.crop + 1
        height, width = image.shape[:2]
        rows = _reflected(row % places - config.crop, height)
        columns = _reflected(column % places - config.crop, width)
        image = image[rows].take(columns, axis=1)
    if config.flip and flip % 2:
        image = image[:, ::-1]
    return image


@lru_cache(maxsize=1024)
def _reflected(shift: int, length: int) -> NDArray[np.int64]:
    """Indices of `length` pixels from `shift` on, mirrored at the first and the last pixel."""
    if length == 1:
        return np.zeros(1, np.int64)
    period = 2 * (length - 1)
    places = np.abs(np.arange(shift, shift + length)) % period
    return np.where(places < length, places, period - places)
