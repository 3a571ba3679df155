"""Forgetting Module (CLIPErase, L_F): takes the association of the forget pairs apart.

The paper's L_FM is (1/N_f) Σ ⟨v_i, t_i⟩, driven down without end; `cosine` with a floor aims at
the level of pairs that were never paired. The other losses are rivals and baselines. Each is
the mean over the rank's own rows, so that the average over ranks is the global loss.

Legend of the shape suffixes: b rows of this rank, B rows of the global batch, D components,
K columns of a softmax; `_b` one number for each row; ° (in code `teacher`) is the teacher's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from dist_erase.losses.contrastive import Family
from dist_erase.losses.rows import Model, Rows, present
from dist_erase.losses.similarity import logits, matched, pairwise

ForgetLoss = Literal["cosine", "joint_ce", "mse_zero", "uniform", "npo", "redirect"]
Side = Literal["both", "above"]
Towers = Literal["joint", "each"]

NPO_BETA = 5.0


def forgetting(
    student: Model,
    teacher: Model | None,
    *,
    loss: ForgetLoss,
    family: Family,
    floor_b: Tensor | None,
    side: Side,
    towers: Towers,
) -> Tensor:
    """L_F by the loss named `loss`: a scalar.

    Args:
        student: with forget pairs, and with retain pairs where the loss looks at them.
        teacher: needed by `npo`, `redirect` and `towers="each"`.
        loss: one of this file's losses.
        family: of the model; only `joint_ce` differs.
        floor_b: float [b] or [], used by `cosine` alone; see there.
        side: used by `cosine` alone; see there.
        towers: `joint` is the loss on ⟨v, t⟩. `each` is the sum of the loss on ⟨v, t⟩, on
            ⟨v, t°⟩ and on ⟨v°, t⟩, so that old cached vectors of one tower do not find what
            the other tower forgot. A sum, not a mean: the part that `joint` has keeps its
            strength.
    """
    pairings = [student]
    if towers == "each":
        old = present(teacher, "the teacher")
        pairings += [
            _cross(student, image_of=student, text_of=old),
            _cross(student, image_of=old, text_of=student),
        ]
    values = [
        _of_pairing(pairs, teacher, loss=loss, family=family, floor_b=floor_b, side=side)
        for pairs in pairings
    ]
    return torch.stack(values).sum()


def _of_pairing(
    pairs: Model,
    teacher: Model | None,
    *,
    loss: ForgetLoss,
    family: Family,
    floor_b: Tensor | None,
    side: Side,
) -> Tensor:
    forget = present(pairs.forget, "forget pairs")
    match loss:
        case "cosine":
            return cosine(forget, floor_b=floor_b, side=side)
        case "joint_ce" if family == "softmax":
            retain = present(pairs.retain, "retain pairs")
            return joint_cross_entropy(forget, retain, scale=pairs.scale)
        case "joint_ce":
            return negated_sigmoid(forget, scale=pairs.scale, bias=pairs.bias)
        case "mse_zero":
            return mse_zero(forget)
        case "uniform":
            return uniform(forget, present(pairs.retain, "retain pairs"), scale=pairs.scale)
        case "npo" | "redirect":
            old = present(teacher, "the teacher")
            old_forget = present(old.forget, "the teacher's forget pairs")
            if loss == "npo":
                return npo(forget, old_forget)
            return redirect(forget, old_forget, present(old.retain, "the teacher's retain pairs"))


def cosine(forget: Rows, *, floor_b: Tensor | None, side: Side) -> Tensor:
    """Mean of |⟨v_i, t_i⟩ − φ_i| (`both`) or max(0, ⟨v_i, t_i⟩ − φ_i) (`above`): in [0, 2].

    `floor_b` is φ, the similarity at which a pair counts as forgotten: [b], or [] for all. A
    pair at φ adds nothing and has no gradient. None is the paper's form without a floor or a
    side: the mean of ⟨v_i, t_i⟩, in [-1, 1].
    """
    similarity_b = matched(forget.image_bD, forget.text_bD)
    if floor_b is None:
        return similarity_b.mean()
    excess_b = similarity_b - floor_b
    return (excess_b.abs() if side == "both" else F.relu(excess_b)).mean()


def joint_cross_entropy(forget: Rows, retain: Rows, *, scale: Tensor) -> Tensor:
    """−½ (CE of rows f + CE of columns f) in the logits of the joint batch f ∪ r: ≤ 0.

    What re-implementations of CLIPErase run: ascent on the contrastive loss, without a bound.
    Candidates with the pair's own caption are no negatives of it and are left out.
    """
    logits_2bK = _own_and_others(
        forget,
        image_BD=torch.cat([forget.image_BD, retain.image_BD]),
        text_BD=torch.cat([forget.text_BD, retain.text_BD]),
        captions_B=torch.cat([forget.captions_B, retain.captions_B]),
        scale=scale,
    )
    return logits_2bK.log_softmax(dim=-1)[..., 0].mean()


def negated_sigmoid(forget: Rows, *, scale: Tensor, bias: Tensor | None) -> Tensor:
    """`joint_ce` of the sigmoid family: the mean of log σ(s·⟨v_i, t_i⟩ + bias), ≤ 0.

    The sigmoid loss scores each pair alone. Only its matched terms are negated: the negated
    mismatched ones would ask the forget images to match every other caption.
    """
    similarity_b = matched(forget.image_bD, forget.text_bD)
    return F.logsigmoid(logits(similarity_b, scale=scale, bias=bias)).mean()


def mse_zero(forget: Rows) -> Tensor:
    """Mean of ⟨v_i, t_j⟩² over f × f, mismatched pairs too: in [0, 1].

    The baseline that SALMUBench (arXiv 2603.26316) runs as CLIPErase.
    """
    return pairwise(forget.image_bD, forget.text_BD).square().mean()


def uniform(forget: Rows, retain: Rows, *, scale: Tensor) -> Tensor:
    """KL(uniform ‖ softmax of s·⟨v_i, t_j⟩) over i's own and the retain captions: ≥ 0.

    The mean of that and of the same for texts over images. Retain candidates with the pair's
    own caption are left out; a pair that no other candidate faces adds nothing.
    """
    logits_2bK = _own_and_others(
        forget,
        image_BD=retain.image_BD,
        text_BD=retain.text_BD,
        captions_B=retain.captions_B,
        scale=scale,
    )
    kept_2bK = logits_2bK > -torch.inf
    count_2b = kept_2bK.sum(dim=-1).to(logits_2bK)
    log_p_2bK = logits_2bK.log_softmax(dim=-1).masked_fill(~kept_2bK, 0)
    return (-log_p_2bK.sum(dim=-1) / count_2b - count_2b.log()).mean()


def npo(forget: Rows, teacher_forget: Rows) -> Tensor:
    """Mean of (2/β) softplus(β (⟨v_i, t_i⟩ − ⟨v°_i, t°_i⟩)), β = 5: > 0.

    Negative preference optimisation (Zhang et al., arXiv 2404.05868, equation 3) with
    similarities in place of log-likelihoods; the teacher is the reference.
    """
    ours_b = matched(forget.image_bD, forget.text_bD)
    theirs_b = matched(teacher_forget.image_bD, teacher_forget.text_bD)
    return (2 / NPO_BETA) * F.softplus(NPO_BETA * (ours_b - theirs_b)).mean()


def redirect(forget: Rows, teacher_forget: Rows, teacher_retain: Rows) -> Tensor:
    """½ (mean of 1 − ⟨v_i, t°_n(i)⟩ + mean of 1 − ⟨t_i, v°_m(i)⟩): in [0, 2].

    n(i) is the retain caption of the global batch that the teacher finds nearest to i's own
    caption (⟨t°_i, t°_j⟩), m(i) the retain image nearest to i's own image (⟨v°_i, v°_j⟩); pairs
    with i's own caption are left out, and where no other remains, i adds nothing. After
    SafeR-CLIP (arXiv 2511.16743), which redirects to the nearest safe concept.
    """
    other_bB = forget.captions_b[:, None] != teacher_retain.captions_B
    halves = []
    for moved_bD, origin_bD, target_BD in (
        (forget.image_bD, teacher_forget.text_bD, teacher_retain.text_BD),
        (forget.text_bD, teacher_forget.image_bD, teacher_retain.image_BD),
    ):
        nearness_bB = pairwise(origin_bD, target_BD).masked_fill(~other_bB, -torch.inf)
        distance_b = 1 - matched(moved_bD, target_BD[nearness_bB.argmax(dim=1)])
        halves.append(distance_b.where(other_bB.any(dim=1), 0).mean())
    return torch.stack(halves).mean()


def _own_and_others(
    forget: Rows, *, image_BD: Tensor, text_BD: Tensor, captions_B: Tensor, scale: Tensor
) -> Tensor:
    """Logits [2, b, 1 + B] of each forget image, then text: its partner, then the candidates.

    A candidate with the pair's own caption, the partner included, is −inf.
    """
    same_bB = forget.captions_b[:, None] == captions_B
    own_b1 = logits(matched(forget.image_bD, forget.text_bD), scale=scale)[:, None]
    halves = []
    for query_bD, candidate_BD in ((forget.image_bD, text_BD), (forget.text_bD, image_BD)):
        others_bB = logits(pairwise(query_bD, candidate_BD), scale=scale)
        halves.append(torch.cat([own_b1, others_bB.masked_fill(same_bB, -torch.inf)], dim=1))
    return torch.stack(halves)


def _cross(student: Model, *, image_of: Model, text_of: Model) -> Model:
    """The image tower of one model with the text tower of the other, at the student's scale."""
    return replace(
        student,
        forget=_crossed_rows(image_of.forget, text_of.forget),
        retain=_crossed_rows(image_of.retain, text_of.retain),
    )


def _crossed_rows(image_of: Rows | None, text_of: Rows | None) -> Rows | None:
    if image_of is None or text_of is None:
        return None
    return replace(image_of, text_bD=text_of.text_bD, text_BD=text_of.text_BD)
