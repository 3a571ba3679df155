"""Images that a teacher cannot tell from forget images: near-duplicates, crops, re-encodings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.split.embeddings import ImageEmbeddings

_ROWS = 4096  # of each side of a product: 64 MB


@dataclass(frozen=True)
class NearDuplicate:
    """An image outside the forget set and the forget image that it resembles most.

    Attributes:
        unit: the image.
        anchor: a forget image, or a near-duplicate found in an earlier round.
        cosine: of their embeddings.
        kept_apart: a reviewer said that it stays where it is.
    """

    unit: int
    anchor: int
    cosine: float
    kept_apart: bool


def find_near(
    embeddings: ImageEmbeddings,
    forget: NDArray[np.bool_],
    *,
    at_least: float,
    kept_apart: NDArray[np.bool_],
) -> list[NearDuplicate]:
    """Looks round by round: what resembles a near-duplicate is one too, until none is left.

    So afterwards no image resembles one of the forget set, but those that a reviewer kept apart.

    Args:
        embeddings: of all units.
        forget: bool [U], the forget set.
        at_least: cosine.
        kept_apart: bool [U], units that stay where they are; listed in the answer, not followed.
    """
    found: list[NearDuplicate] = []
    open_units = ~forget
    open_units[list(embeddings.bad)] = False
    frontier = np.flatnonzero(forget)
    frontier = frontier[~np.isin(frontier, list(embeddings.bad))]
    while len(frontier):
        anchors = embeddings.gather(frontier)
        following = []
        for units, block in _open_blocks(embeddings, open_units):
            cosines, nearest = _nearest(block, anchors)
            for row in np.flatnonzero(cosines >= at_least):
                unit = int(units[row])
                apart = bool(kept_apart[unit])
                anchor = int(frontier[nearest[row]])
                found.append(NearDuplicate(unit, anchor, float(cosines[row]), apart))
                open_units[unit] = False
                if not apart:
                    following.append(unit)
        frontier = np.array(following, np.int64)
    return found


def _open_blocks(
    embeddings: ImageEmbeddings, open_units: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    for first, block in embeddings.blocks():
        rows = np.flatnonzero(open_units[first : first + len(block)])
        for start in range(0, len(rows), _ROWS):
            some = rows[start : start + _ROWS]
            yield some + first, block[some]


def _nearest(
    block: NDArray[np.float32], anchors: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Highest cosine of each row with an anchor, and which one: the first of equal ones."""
    best = np.full(len(block), -np.inf, np.float32)
    where = np.zeros(len(block), np.int64)
    for start in range(0, len(anchors), _ROWS):
        cosines = block @ anchors[start : start + _ROWS].T
        nearest = cosines.argmax(axis=1)
        highest = cosines[np.arange(len(block)), nearest]
        better = highest > best
        best[better], where[better] = highest[better], nearest[better] + start
    return best, where
