"""The objective: λ_R L_R + λ_F L_F + λ_C L_C + anchor, each term also alone and unweighted."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dist_erase.errors import UserError
from dist_erase.losses.consistency import ConsistencyLoss, anchor, consistency
from dist_erase.losses.contrastive import Family
from dist_erase.losses.forgetting import ForgetLoss, Side, Towers, forgetting
from dist_erase.losses.retention import retention
from dist_erase.losses.rows import Model, present
from dist_erase.losses.similarity import matched


@dataclass(frozen=True, kw_only=True)
class ObjectiveSpec:
    """What is minimised, in plain values; a weight of 0 switches its term off.

    Attributes:
        family: of the model: `softmax` (CLIP) or `sigmoid` (SigLIP).
        forget_weight: λ_F.
        forget_loss: see `forgetting`.
        side: of the floor, see `forgetting.cosine`.
        towers: see `forgetting.forgetting`.
        retain_weight: λ_R.
        soft_targets: retain pairs with equal captions are positives of each other.
        consistency_weight: λ_C.
        consistency_loss: see `consistency`.
        anchor_weight: of the L2 anchor on retain embeddings.
    """

    family: Family
    forget_weight: float
    forget_loss: ForgetLoss
    side: Side
    towers: Towers
    retain_weight: float
    soft_targets: bool
    consistency_weight: float
    consistency_loss: ConsistencyLoss
    anchor_weight: float

    @property
    def term_weights(self) -> dict[str, float]:
        """The weight of each term that is switched on."""
        weights = {
            "retention": self.retain_weight,
            "forgetting": self.forget_weight,
            "consistency": self.consistency_weight,
            "anchor": self.anchor_weight,
        }
        return {name: weight for name, weight in weights.items() if weight > 0}

    @property
    def needs_floor(self) -> bool:
        """Whether a floor, if one is configured, has any effect."""
        return self.forget_weight > 0 and self.forget_loss == "cosine"

    @property
    def needs_teacher_forget(self) -> bool:
        """Whether the teacher must embed the forget pairs."""
        return self.forget_weight > 0 and (
            self.towers == "each" or self.forget_loss in ("npo", "redirect")
        )

    @property
    def needs_teacher_retain(self) -> bool:
        """Whether the teacher must embed the retain pairs."""
        softmax_over_retain = self.family == "softmax" and self.forget_loss in (
            "joint_ce",
            "uniform",
        )
        crossed = self.towers == "each" and softmax_over_retain
        return (
            self.consistency_weight > 0
            or self.anchor_weight > 0
            or (self.forget_weight > 0 and (crossed or self.forget_loss == "redirect"))
        )

    def check(self) -> None:
        """Refuses what has no sensible form; UserError with the reason."""
        if self.forget_weight == 0:
            return
        if self.family == "sigmoid" and self.forget_loss == "uniform":
            raise UserError(
                "objective.forget.loss",
                "uniform levels a softmax over captions, and a sigmoid (SigLIP) model has none: "
                "it scores each pair alone.",
                "Choose cosine, joint_ce, mse_zero, npo or redirect.",
            )
        if self.forget_loss == "redirect" and self.towers == "each":
            raise UserError(
                "objective.forget.towers",
                "each has no meaning for the loss redirect, which already moves each tower "
                "against the teacher's embeddings.",
                "Set objective.forget.towers to joint, or choose another loss.",
            )


@dataclass(frozen=True)
class Terms:
    """The objective's value and its parts: scalars, with gradient.

    Attributes:
        total: the weighted sum.
        named: `retention`, `forgetting`, `consistency`, `anchor` (those switched on),
            unweighted.
    """

    total: Tensor
    named: dict[str, Tensor]


def objective(
    *, student: Model, teacher: Model | None, floor_b: Tensor | None, spec: ObjectiveSpec
) -> Terms:
    """λ_R L_R + λ_F L_F + λ_C L_C + anchor_weight · anchor on one rank's rows.

    Every term is the mean over the rank's own rows, and all ranks hold equally many, so the
    average over ranks is the objective of the global batch. Its gradient is right when the
    global columns carry gradient (`distributed.gather.gather_with_grad`) and parameter
    gradients are averaged over ranks.

    Args:
        student: its embeddings, with gradient.
        teacher: its embeddings, detached; the sets that `spec.needs_teacher_*` name.
        floor_b: float [b] of the rank's forget pairs, or [] for all; None = no floor.
        spec: see there; `spec.check()` has passed.

    Raises:
        ValueError: rows that `spec` needs are missing.
    """
    named: dict[str, Tensor] = {}
    if spec.retain_weight > 0:
        named["retention"] = retention(student, family=spec.family, soft_targets=spec.soft_targets)
    if spec.forget_weight > 0:
        named["forgetting"] = forgetting(
            student,
            teacher,
            loss=spec.forget_loss,
            family=spec.family,
            floor_b=floor_b,
            side=spec.side,
            towers=spec.towers,
        )
    if spec.consistency_weight > 0:
        named["consistency"] = consistency(
            student, present(teacher, "the teacher"), loss=spec.consistency_loss, family=spec.family
        )
    if spec.anchor_weight > 0:
        named["anchor"] = anchor(student, present(teacher, "the teacher"))
    weights = spec.term_weights
    weighted = [weights[name] * value for name, value in named.items()]
    return Terms(torch.stack(weighted).sum(), named)


@torch.no_grad()
def diagnostics(student: Model, *, floor_b: Tensor | None) -> dict[str, Tensor]:
    """What the step's own batch says, as detached scalars; means over the rank's own rows.

    `forget_similarity` and `retain_similarity`: mean ⟨v_i, t_i⟩ of matched pairs.
    `forget_at_floor`: share of forget pairs at or below their floor, in 0..1; only with a
    floor. Sets that the student lacks are left out. A similarity at its goal does not mean
    forgotten (a search may still find the pair first): judge by rank.
    """
    figures: dict[str, Tensor] = {}
    if student.forget is not None:
        similarity_b = matched(student.forget.image_bD, student.forget.text_bD)
        figures["forget_similarity"] = similarity_b.mean()
        if floor_b is not None:
            figures["forget_at_floor"] = (similarity_b <= floor_b).float().mean()
    if student.retain is not None:
        similarity_b = matched(student.retain.image_bD, student.retain.text_bD)
        figures["retain_similarity"] = similarity_b.mean()
    return figures
