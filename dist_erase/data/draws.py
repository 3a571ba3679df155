"""Random numbers that are pure functions of what they are for: no generator, no state.

numpy promises stable streams for its bit generators only, not for `Generator.permutation`, and a
run must continue in the same order under another numpy. So every draw is a 64-bit hash of its
arguments: the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), chained.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# The first argument after the seed: two purposes never see the same numbers.
# Append only: a number says which draws a run in flight sees.
(
    BLOCKS,
    SAMPLES,
    SUBSET,
    CAPTION,
    CROP_ROW,
    CROP_COLUMN,
    FLIP,
    REPLACEMENT,
    SHARE,
    SHARDS,
) = range(10)
HOLD_OUT, RESERVE = 100, 101  # of `data split`

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def draw(*parts: int | NDArray[np.int64] | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Uniform 64-bit numbers from non-negative integers.

    Args:
        parts: integers, or arrays that broadcast against each other.

    Returns:
        uint64 of the broadcast shape, at least one-dimensional.
    """
    state = np.zeros(1, np.uint64)
    for part in parts:
        state = _mix((state ^ np.asarray(part, np.uint64)) + _GOLDEN)
    return state


def permutation(n: int, *parts: int) -> NDArray[np.int64]:
    """A permutation of range(n); ties of the hash are broken by position."""
    keys = draw(*parts, np.arange(n, dtype=np.int64))
    return np.argsort(keys, kind="stable")


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
