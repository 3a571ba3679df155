"""A number for the content of a global batch, the same whatever the ranks that share it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dist_erase.batch import PairBatch, Samples
from dist_erase.data.draws import draw


def batch_digest(batch: PairBatch, *, rank: int, views: bool = True) -> int:
    """This rank's share of the digest: shares of all ranks are summed modulo 2^64.

    Every pair counts with its place in the global batch, its position in the set, its image's
    content and its caption, and with the view of its image where that is not the image itself.

    Args:
        batch: this rank's part.
        rank: of the process.
        views: False leaves them out, as older versions did.

    Returns:
        A signed 64-bit number.
    """
    total = np.zeros(1, np.uint64)
    for which, samples in enumerate((batch.retain, batch.forget)):
        if samples is not None:
            total += _share(which, samples, rank, views=views)
    return int(total.view(np.int64)[0])


def in_words(total: int) -> str:
    """The digest as 16 hexadecimal digits."""
    return f"{total % 2**64:016x}"


def _share(which: int, samples: Samples, rank: int, *, views: bool) -> NDArray[np.uint64]:
    places = rank * len(samples) + np.arange(len(samples), dtype=np.int64)
    parts = (samples.positions, samples.image_ids, samples.caption_ids)
    drawn = draw(which, places, *(part.numpy() for part in parts))
    if views and len(samples.views):
        made = samples.views.numpy()
        # A view that changes nothing leaves the number alone: so does a run without augmentation.
        drawn = np.where(made.any(axis=1), draw(drawn, *made.T), drawn)
    total: NDArray[np.uint64] = drawn.sum(keepdims=True, dtype=np.uint64)
    return total
