"""A number for the content of a global batch, the same whatever the ranks that share it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dist_erase.batch import PairBatch, Samples
from dist_erase.data.draws import draw


def batch_digest(batch: PairBatch, *, rank: int) -> int:
    """This rank's share of the digest: shares of all ranks are summed modulo 2^64.

    Every pair counts with its place in the global batch, its position in the set, its image's
    content and its caption; the random view of an image does not.

    Returns:
        A signed 64-bit number.
    """
    total = np.zeros(1, np.uint64)
    for which, samples in enumerate((batch.retain, batch.forget)):
        if samples is not None:
            total += _share(which, samples, rank)
    return int(total.view(np.int64)[0])


def in_words(total: int) -> str:
    """The digest as 16 hexadecimal digits."""
    return f"{total % 2**64:016x}"


def _share(which: int, samples: Samples, rank: int) -> NDArray[np.uint64]:
    places = rank * len(samples) + np.arange(len(samples), dtype=np.int64)
    parts = (samples.positions, samples.image_ids, samples.caption_ids)
    drawn = draw(which, places, *(part.numpy() for part in parts))
    total: NDArray[np.uint64] = drawn.sum(keepdims=True, dtype=np.uint64)
    return total
