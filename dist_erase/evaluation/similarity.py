"""Mean cosine of pairs that belong together, and of pairs that do not.

Legend of the shape suffixes: q pairs of one chunk, g pairs of the gallery, n pairs, D dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dist_erase.evaluation.embed import SetEmbeddings
from dist_erase.evaluation.ranking import row_chunks


def matched_similarities(pairs: SetEmbeddings) -> Tensor:
    """⟨v_i, t_i⟩ of every pair: float32 [n], in -1..1."""
    return (pairs.image * pairs.text).sum(dim=-1)


def mismatched_similarity(queries: SetEmbeddings, gallery: SetEmbeddings) -> float | None:
    """Mean over both directions of ⟨v_i, t_j⟩ and ⟨v_j, t_i⟩, i in the set, j in the gallery.

    Pairs i, j with an equal caption, of the same image or of an equal class are left out: they
    may well belong together. (The objective's floor leaves out equal captions only.)

    Returns:
        A mean in -1..1; None where no pair is left.
    """
    total, count = 0.0, 0
    for rows, foreign_qg in _foreign(queries, gallery):
        forward_qg = queries.image[rows] @ gallery.text.T
        backward_qg = queries.text[rows] @ gallery.image.T
        both_qg = (forward_qg + backward_qg).masked_fill(~foreign_qg, 0.0)
        total += float(both_qg.sum(dtype=torch.float64))
        count += 2 * int(foreign_qg.sum())
    return total / count if count else None


def mismatched_count(queries: SetEmbeddings, gallery: SetEmbeddings) -> int:
    """How many similarities `mismatched_similarity` is the mean of."""
    return sum(2 * int(foreign.sum()) for _, foreign in _foreign(queries, gallery))


def similarity(queries: SetEmbeddings, gallery: SetEmbeddings) -> dict[str, float | None]:
    """`matched` and `mismatched`, means of cosines in -1..1."""
    return {
        "matched": float(matched_similarities(queries).mean(dtype=torch.float64)),
        "mismatched": mismatched_similarity(queries, gallery),
    }


def _foreign(queries: SetEmbeddings, gallery: SetEmbeddings) -> Iterator[tuple[slice, Tensor]]:
    for rows in row_chunks(len(queries), len(gallery)):
        akin_qg = queries.caption_ids[rows, None] == gallery.caption_ids
        akin_qg |= queries.image_ids[rows, None] == gallery.image_ids
        # -1 is no class, so two of them are not an equal class.
        labels_q1 = queries.labels[rows, None]
        akin_qg |= (labels_q1 == gallery.labels) & (labels_q1 >= 0)
        yield rows, ~akin_qg
