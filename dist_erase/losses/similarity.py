"""Similarities and logits: the one place where precision is raised and the scale is applied.

Legend of the shape suffixes: b, B rows, D components; `_b` one number for each row.
"""

from __future__ import annotations

import torch
from torch import Tensor


def upcast(x: Tensor) -> Tensor:
    """The same numbers in float32; float64 stays float64."""
    return x if x.dtype == torch.float64 else x.float()


def matched(x_bD: Tensor, y_bD: Tensor) -> Tensor:
    """⟨x_i, y_i⟩ for each row: [b], in [-1, 1] for L2-normalised rows."""
    return (upcast(x_bD) * upcast(y_bD)).sum(dim=-1)


def pairwise(x_bD: Tensor, y_BD: Tensor) -> Tensor:
    """⟨x_i, y_j⟩ for all i and j: [b, B], in float32 or better also under autocast."""
    with torch.autocast(x_bD.device.type, enabled=False):
        return upcast(x_bD) @ upcast(y_BD).T


def logits(similarity: Tensor, *, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Logits scale · similarity (+ bias), of any shape; a softmax needs no bias."""
    scaled = upcast(scale) * similarity
    return scaled if bias is None else scaled + upcast(bias)
