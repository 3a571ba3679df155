"""How similar pairs are, one by one, and those that are no pairs: for people to watch, no gradient.

Legend of the shape suffixes: b rows of this rank, B rows of the global batch, K bounds.
"""

from __future__ import annotations

import torch
from torch import Tensor

from dist_erase.losses.rows import Rows
from dist_erase.losses.similarity import matched, pairwise


@torch.no_grad()
def similarity_counts(rows: Rows, bounds_K: Tensor) -> Tensor:
    """How many matched pairs of this rank have a cosine in each interval: float64 [K + 2].

    Entry k counts cosines in (bounds[k-1], bounds[k]], entry K those above the last bound; the
    last entry is the sum of the cosines.
    """
    similarity_b = matched(rows.image_bD, rows.text_bD).double()
    counts = similarity_b.new_zeros(len(bounds_K) + 2)
    place_b = torch.bucketize(similarity_b, bounds_K.to(similarity_b))
    counts.scatter_add_(0, place_b, torch.ones_like(similarity_b))
    counts[-1] = similarity_b.sum()
    return counts


@torch.no_grad()
def mismatched_sum(rows: Rows, retain: Rows) -> Tensor:
    """Sum and number of the cosines of this rank's rows with retain rows of other captions.

    Both directions: images with retain texts, texts with retain images.

    Returns:
        float64 [2]; sums over ranks can be divided to the mean over the global batch.
    """
    differs_bB = rows.captions_b[:, None] != retain.captions_B[None, :]
    both = pairwise(rows.image_bD, retain.text_BD) + pairwise(rows.text_bD, retain.image_BD)
    return torch.stack([both.where(differs_bB, 0).double().sum(), 2 * differs_bB.double().sum()])
