"""What the losses work on: one rank's rows beside the global batch, for student and teacher.

Legend of the shape suffixes: b rows of this rank, B rows of the global batch, D components.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from torch import Tensor

Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True)
class Rows:
    """One set (forget or retain) as one rank sees it.

    Attributes:
        image_bD: float [b, D], L2-normalised image embeddings of this rank's pairs.
        text_bD: float [b, D], L2-normalised text embeddings of the same pairs.
        image_BD: float [B, D], those of all ranks in rank order; with gradient for the student.
        text_BD: float [B, D], likewise.
        captions_B: int64 [B]; equal numbers mean equal captions.
        offset: local row i is global row offset + i.
    """

    image_bD: Tensor
    text_bD: Tensor
    image_BD: Tensor
    text_BD: Tensor
    captions_B: Tensor
    offset: int

    @property
    def captions_b(self) -> Tensor:
        """int64 [b]: the captions of the local rows."""
        return self.captions_B[self.offset : self.offset + len(self.image_bD)]

    @property
    def directions(self) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """Image to text, then text to image, each as (local queries, global candidates)."""
        return (self.image_bD, self.text_BD), (self.text_bD, self.image_BD)


@dataclass(frozen=True, kw_only=True)
class Model:
    """What one model says about a step's batch.

    Attributes:
        forget: its forget pairs; None where there are none or nobody needs them.
        retain: its retain pairs; likewise.
        scale: float [], exp(logit_scale).
        bias: float [], logit_bias of a sigmoid (SigLIP) model, else None.
    """

    forget: Rows | None
    retain: Rows | None
    scale: Tensor
    bias: Tensor | None


def present(part: Part | None, what: str) -> Part:
    """The part itself; ValueError naming `what` where the caller left it out."""
    if part is None:
        raise ValueError(f"this objective needs {what}")
    return part
