"""Consistency Module (CLIPErase, L_C) and the anchor: the student stays like the teacher.

On retain pairs only: keeping the forget pairs' similarities would revive the association.
Each loss is the mean over the rank's own rows of an image part plus a text part, as in the
paper's L_CM = (1/N_r) Σ KL(p°_img ‖ p_img) + KL(p°_txt ‖ p_txt).

Legend of the shape suffixes: b rows of this rank, B rows of the global batch, D components;
° (in code `teacher`, `theirs`) marks the teacher's.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dist_erase.losses.contrastive import Family
from dist_erase.losses.rows import Model, Rows, present
from dist_erase.losses.similarity import logits, matched, pairwise, upcast

ConsistencyLoss = Literal["kl_logits", "kl_features", "l2", "cosine"]


def consistency(student: Model, teacher: Model, *, loss: ConsistencyLoss, family: Family) -> Tensor:
    """L_C on the retain pairs by the variant named `loss`: a scalar ≥ 0."""
    ours = present(student.retain, "retain pairs")
    theirs = present(teacher.retain, "the teacher's retain pairs")
    match loss:
        case "kl_logits" if family == "softmax":
            return softmax_kl(ours, theirs, scale=student.scale, teacher_scale=teacher.scale)
        case "kl_logits":
            return bernoulli_kl(_sigmoid_logits(student, ours), _sigmoid_logits(teacher, theirs))
        case "kl_features":
            return feature_kl(ours, theirs)
        case "l2":
            return squared_distance(ours, theirs)
        case "cosine":
            return cosine_distance(ours, theirs)


def softmax_kl(ours: Rows, theirs: Rows, *, scale: Tensor, teacher_scale: Tensor) -> Tensor:
    """KL(teacher ‖ student) of the softmax of rows plus that of columns of the logits.

    Rows: a local image over the B texts; columns: a local text over the B images; each model
    with its own scale. Mean over the local rows, and over the local columns.
    """
    parts = []
    for our, their in zip(ours.directions, theirs.directions, strict=True):
        our_bB = logits(pairwise(*our), scale=scale)
        their_bB = logits(pairwise(*their), scale=teacher_scale)
        parts.append(_categorical_kl(our_bB, their_bB))
    return torch.stack(parts).sum()


def bernoulli_kl(our_bB: Tensor, their_bB: Tensor) -> Tensor:
    """KL(teacher ‖ student) of σ(logit), element by element, for the sigmoid family.

    That family scores each pair alone, so rows and columns hold the same elements, counted
    once. Sum over the B columns, mean over the local rows, as in the sigmoid loss itself.
    """
    match_bB = F.logsigmoid(their_bB) - F.logsigmoid(our_bB)
    mismatch_bB = F.logsigmoid(-their_bB) - F.logsigmoid(-our_bB)
    kl_bB = torch.sigmoid(their_bB) * match_bB + torch.sigmoid(-their_bB) * mismatch_bB
    return kl_bB.sum(dim=1).mean()


def feature_kl(ours: Rows, theirs: Rows) -> Tensor:
    """KL(teacher ‖ student) of the softmax over an embedding's components, images plus texts.

    Unit vectors have components near zero, so both softmaxes are almost uniform and the value
    is small, about ‖v − v°‖² / 2D: give it a large weight.
    """
    return _categorical_kl(upcast(ours.image_bD), upcast(theirs.image_bD)) + _categorical_kl(
        upcast(ours.text_bD), upcast(theirs.text_bD)
    )


def squared_distance(ours: Rows, theirs: Rows) -> Tensor:
    """Mean over rows of ‖v − v°‖² + ‖t − t°‖²: in [0, 8]; the variant `l2` and the anchor."""
    image_bD = upcast(ours.image_bD) - upcast(theirs.image_bD)
    text_bD = upcast(ours.text_bD) - upcast(theirs.text_bD)
    return (image_bD.square().sum(dim=1) + text_bD.square().sum(dim=1)).mean()


def cosine_distance(ours: Rows, theirs: Rows) -> Tensor:
    """Mean over rows of (1 − ⟨v, v°⟩) + (1 − ⟨t, t°⟩): in [0, 4]."""
    image_b = 1 - matched(ours.image_bD, theirs.image_bD)
    text_b = 1 - matched(ours.text_bD, theirs.text_bD)
    return (image_b + text_b).mean()


def anchor(student: Model, teacher: Model) -> Tensor:
    """`squared_distance` on the retain pairs, a term with a weight of its own.

    It keeps what the forgetting module changes by the way: the best figures so far come from a
    two-sided floor together with an anchor.
    """
    ours = present(student.retain, "retain pairs")
    return squared_distance(ours, present(teacher.retain, "the teacher's retain pairs"))


def _sigmoid_logits(model: Model, rows: Rows) -> Tensor:
    similarity_bB = pairwise(rows.image_bD, rows.text_BD)
    return logits(similarity_bB, scale=model.scale, bias=model.bias)


def _categorical_kl(our_bK: Tensor, their_bK: Tensor) -> Tensor:
    """KL of softmax(theirs) from softmax(ours) over the last axis, mean over rows."""
    return F.kl_div(
        F.log_softmax(our_bK, dim=1),
        F.log_softmax(their_bK, dim=1),
        reduction="batchmean",
        log_target=True,
    )
