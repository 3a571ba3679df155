"""Random changes of training images: crops out of a reflected border, mirroring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dist_erase.config.train import AugmentConfig
from dist_erase.data.draws import CROP_COLUMN, CROP_ROW, FLIP, draw

_PURPOSES = np.array([[CROP_ROW], [CROP_COLUMN], [FLIP]])


@dataclass(frozen=True, kw_only=True)
class ViewParameters:
    """How a view was made of its image, to be recorded (`dataclasses.asdict`) and replayed.

    Attributes:
        down, right: pixels that the crop lies off the image's own place; negative = up, left.
        mirrored: whether left and right are exchanged, after the crop.
    """

    down: int = 0
    right: int = 0
    mirrored: bool = False


def view_parameters(config: AugmentConfig, *, row: int, column: int, flip: int) -> ViewParameters:
    """The view that three draws choose.

    Args:
        config: pixels of border (as np.pad's `reflect`), whether half of the images are mirrored.
        row: draw that chooses the crop's top edge.
        column: draw that chooses its left edge.
        flip: draw that chooses whether it is mirrored.
    """
    places = 2 * config.crop + 1
    return ViewParameters(
        down=row % places - config.crop,
        right=column % places - config.crop,
        mirrored=config.flip and flip % 2 == 1,
    )


def drawn_views(
    config: AugmentConfig, *, seed: int, passes: NDArray[np.int64], positions: NDArray[np.int64]
) -> list[ViewParameters]:
    """The views of n samples, each in one pass over its set.

    Args:
        config: see `view_parameters`.
        seed: the run's.
        passes: int64 [n], see `order.Slots`.
        positions: int64 [n], of the samples in their set.
    """
    drawn = draw(seed, _PURPOSES, passes, positions).T.tolist()
    return [
        view_parameters(config, row=row, column=column, flip=flip) for row, column, flip in drawn
    ]


def apply_view(image: NDArray[np.uint8], view: ViewParameters) -> NDArray[np.uint8]:
    """The view of an image, uint8 [H, W, 3] → [H, W, 3]."""
    if view.down or view.right:
        height, width = image.shape[:2]
        image = image[_reflected(view.down, height)].take(_reflected(view.right, width), axis=1)
    return image[:, ::-1] if view.mirrored else image


@lru_cache(maxsize=1024)
def _reflected(shift: int, length: int) -> NDArray[np.int64]:
    """Indices of `length` pixels from `shift` on, mirrored at the first and the last pixel."""
    if length == 1:
        return np.zeros(1, np.int64)
    period = 2 * (length - 1)
    places = np.abs(np.arange(shift, shift + length)) % period
    return np.where(places < length, places, period - places)
