"""The reference: one process, the whole batch, plain open_clip, the formulas, torch's own SGD.

Nothing of ours is used but the batches and, to find a model's file, `models.resolve`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F
from training_cases import CONSTANTS, FLOOR, RATES, WEIGHTS, Case, draw_batch_norms, whole_set

from dist_erase.batch import Samples
from dist_erase.models.resolve import resolve


@dataclass(kw_only=True)
class Trained:
    """What three steps left; gradient norms before clipping, and losses, by step."""

    weights: dict[str, Tensor] = field(default_factory=dict)
    norms: list[float] = field(default_factory=list)
    losses: list[dict[str, float]] = field(default_factory=list)


def plain_model(path: str) -> Any:
    """As open_clip builds it, with the weights of `training_cases.make_student`."""
    name = resolve(path, None).name
    torch.manual_seed(0)
    model = open_clip.create_model(name, output_dict=True).eval()
    draw_batch_norms(model)
    return model


@cache
def train_plainly(
    model_path: str, logit_scale: str, grad_clip: float, per_pair_floor: bool
) -> Trained:
    """Three SGD steps."""
    model = plain_model(model_path)
    for name in ("logit_scale", "logit_bias"):
        if getattr(model, name, None) is not None:
            getattr(model, name).requires_grad_(logit_scale == "trained")
    changing = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(changing, lr=1.0)
    trained = Trained()
    for step, lr in enumerate(RATES):
        losses = objective(model, step, per_pair_floor=per_pair_floor)
        optimizer.zero_grad()
        losses["total"].backward()
        norm = torch.nn.utils.clip_grad_norm_(changing, grad_clip or float("inf"))
        trained.norms.append(float(norm))
        trained.losses.append({name: float(value.detach()) for name, value in losses.items()})
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    trained.weights = {name: t.detach().clone() for name, t in model.state_dict().items()}
    return trained


def reference_of(case: Case) -> Trained:
    """What `case` must give."""
    return train_plainly(case.model, case.logit_scale, case.grad_clip, case.per_pair_floor)


def objective(model: Any, step: int, *, per_pair_floor: bool) -> dict[str, Tensor]:
    """The default objective on the whole batch of `step`: each term and the total."""
    forget, retain = whole_set("forget", step), whole_set("retain", step)
    v, t, scale, bias = _embed(model, forget.samples)
    aim = forget.floor if per_pair_floor else FLOOR
    losses = {"forgetting": ((v * t).sum(1) - aim).abs().mean()}

    v, t, scale, bias = _embed(model, retain.samples)
    old_v, old_t = retain.teacher.image, retain.teacher.text
    n = len(v)
    same = (retain.samples.caption_ids[:, None] == retain.samples.caption_ids).float()
    if bias is None:
        ours, theirs = scale * v @ t.T, CONSTANTS.scale * old_v @ old_t.T
        target = same / same.sum(1, keepdim=True)
        rows, columns = (-(target * x.log_softmax(1)).sum() / n for x in (ours, ours.T))
        losses["retention"] = (rows + columns) / 2
        rows, columns = (
            (old.softmax(1) * (old.log_softmax(1) - new.log_softmax(1))).sum() / n
            for old, new in ((theirs, ours), (theirs.T, ours.T))
        )
        losses["consistency"] = rows + columns
    else:
        ours = scale * v @ t.T + bias
        old = (CONSTANTS.scale * old_v @ old_t.T + CONSTANTS.bias).sigmoid()
        losses["retention"] = -F.logsigmoid((2 * same - 1) * ours).sum() / n
        cross_entropy = F.binary_cross_entropy_with_logits(ours, old, reduction="sum")
        entropy = F.binary_cross_entropy(old, old, reduction="sum")
        losses["consistency"] = (cross_entropy - entropy) / n
    losses["anchor"] = ((v - old_v).square().sum() + (t - old_t).square().sum()) / n
    losses["total"] = sum((WEIGHTS[k] * v for k, v in losses.items()), torch.zeros(()))
    return losses


def _embed(model: Any, samples: Samples) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    config = model.visual.preprocess_cfg
    mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
    out = model((samples.images / 255 - mean) / std, samples.tokens)
    return out["image_features"], out["text_features"], out["logit_scale"], out.get("logit_bias")
