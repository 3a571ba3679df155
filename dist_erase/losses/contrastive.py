"""The contrastive losses that CLIP and SigLIP were trained with: local rows × global columns.

Each is the mean over the rank's own rows, so that the average over ranks, which hold equally
many rows, is the loss of the global batch. Memory is O(b·B), never O(B²).

Legend of the shape suffixes: b rows of this rank, B rows of the global batch.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dist_erase.losses.rows import Rows
from dist_erase.losses.similarity import logits, pairwise

Family = Literal["softmax", "sigmoid"]


def positives(rows: Rows, *, soft_targets: bool) -> Tensor:
    """Which global columns match each local row: bool [b, B].

    With `soft_targets` all pairs with an equal caption, else only the row's own partner.
    """
    if soft_targets:
        return rows.captions_b[:, None] == rows.captions_B
    columns_B = torch.arange(len(rows.captions_B), device=rows.captions_B.device)
    own_b = columns_B[rows.offset : rows.offset + len(rows.image_bD)]
    return own_b[:, None] == columns_B


def softmax_contrastive(rows: Rows, *, scale: Tensor, soft_targets: bool) -> Tensor:
    """½ (CE of images against all texts + CE of texts against all images): a scalar ≥ 0.

    Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
    2021, figure 3. With `soft_targets` a row's target is spread evenly over its positives
    (as in UniCL, Yang et al. 2022): captions that are equal cannot be told apart.
    """
    positive_bB = positives(rows, soft_targets=soft_targets)
    halves = []
    for query_bD, candidate_BD in rows.directions:
        logits_bB = logits(pairwise(query_bD, candidate_BD), scale=scale)
        target_bB = positive_bB.to(logits_bB) / positive_bB.sum(dim=1, keepdim=True)
        halves.append(F.cross_entropy(logits_bB, target_bB))
    return torch.stack(halves).mean()


def sigmoid_contrastive(
    rows: Rows, *, scale: Tensor, bias: Tensor | None, soft_targets: bool
) -> Tensor:
    """−(1/B) Σ_i Σ_j log σ(z_ij (s·⟨v_i, t_j⟩ + bias)), z = ±1: a scalar ≥ 0.

    Zhai et al., "Sigmoid Loss for Language Image Pre-Training", 2023, equation 1. With
    `soft_targets` z is +1 for all pairs with an equal caption.
    """
    logits_bB = logits(pairwise(rows.image_bD, rows.text_BD), scale=scale, bias=bias)
    signed_bB = torch.where(positives(rows, soft_targets=soft_targets), logits_bB, -logits_bB)
    return -F.logsigmoid(signed_bB).sum(dim=1).mean()
