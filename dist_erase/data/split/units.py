"""The unit of a split is an image: samples with equal image bytes go the same way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.split.survey import Survey


@dataclass(frozen=True, eq=False, kw_only=True)
class Units:
    """The distinct images of a pool, in order of their first sample; U of them in N samples.

    Attributes:
        image_ids: int64 [U].
        firsts: int64 [U], position of the first sample with this image; ascending.
        bits: uint8 [U]: what any of the samples matched.
        copies: int64 [U], samples with this image.
        of_sample: int64 [N], -1 for a dropped sample.
    """

    image_ids: NDArray[np.int64]
    firsts: NDArray[np.int64]
    bits: NDArray[np.uint8]
    copies: NDArray[np.int64]
    of_sample: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.firsts)


def find_units(survey: Survey) -> Units:
    """Groups the samples that were not dropped by their image."""
    usable = np.ones(len(survey.image_ids), bool)
    usable[list(survey.dropped)] = False
    positions = np.flatnonzero(usable)
    ids, firsts, inverse, copies = np.unique(
        survey.image_ids[positions], return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(firsts)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    units = rank[inverse.reshape(-1)]
    bits = np.zeros(len(order), np.uint8)
    np.bitwise_or.at(bits, units, survey.bits[positions])
    of_sample = np.full(len(usable), -1, np.int64)
    of_sample[positions] = units
    return Units(
        image_ids=ids[order],
        firsts=positions[firsts[order]],
        bits=bits,
        copies=copies[order],
        of_sample=of_sample,
    )
