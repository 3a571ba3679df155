"""Retention Module (CLIPErase, L_R): the model's own contrastive loss on the retain pairs."""

from __future__ import annotations

from torch import Tensor

from dist_erase.losses.contrastive import Family, sigmoid_contrastive, softmax_contrastive
from dist_erase.losses.rows import Model, present


def retention(student: Model, *, family: Family, soft_targets: bool) -> Tensor:
    """The contrastive loss of `family` over the global retain batch: a scalar ≥ 0.

    Mean over the rank's own rows (see `contrastive`). `soft_targets`: pairs whose captions are
    equal are positives of each other.
    """
    retain = present(student.retain, "retain pairs")
    if family == "softmax":
        return softmax_contrastive(retain, scale=student.scale, soft_targets=soft_targets)
    return sigmoid_contrastive(
        retain, scale=student.scale, bias=student.bias, soft_targets=soft_targets
    )
