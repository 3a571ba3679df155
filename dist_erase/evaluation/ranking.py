"""The one rule by which zero-shot and retrieval count who comes first.

A rival that is not *below* the right answer counts as ahead of it: a tie is a miss. A collapsed
model, for which all answers are equally similar, and a diverged one, whose similarities are NaN,
so score zero, whatever the order of the items.

Legend of the shape suffixes: q queries of one chunk, M items to choose from.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

# fp32 embeddings of the same input differ by 2e-7 with the size of the forward's micro-batch, so
# equal captions tie only up to such noise.
TIE = 1e-6
_CHUNK_ELEMENTS = 2**21  # 8 MiB of float32: measured fastest, and any gallery fits in memory


def row_chunks(rows: int, columns: int) -> Iterator[slice]:
    """Cuts `rows` so that a chunk times `columns` stays within a fixed budget of memory."""
    size = max(1, _CHUNK_ELEMENTS // max(columns, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def rivals_ahead(similarity_qM: Tensor, right_qM: Tensor) -> Tensor:
    """How many wrong items are at least as similar as the best right one: int64 [q].

    Args:
        similarity_qM: float32 [q, M].
        right_qM: bool [q, M], the right items of each query.
    """
    best_q1 = similarity_qM.masked_fill(~right_qM, -torch.inf).amax(dim=1, keepdim=True)
    below_qM = similarity_qM < best_q1 - TIE
    return (~below_qM & ~right_qM).sum(dim=1)


def hit_rate(rivals_n: Tensor, k: int, choices: int) -> float | None:
    """Share of queries with the right answer among the top k of `choices` items.

    None where k items are all there are: then every answer would be a hit.
    """
    if choices <= k:
        return None
    return float((rivals_n < k).double().mean())
