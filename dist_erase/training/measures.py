"""What a step measures beside its gradient, brought together over all ranks at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dist_erase.distributed.context import RankContext
from dist_erase.losses.levels import mismatched_sum, similarity_counts
from dist_erase.losses.objective import Terms, diagnostics
from dist_erase.losses.rows import Model
from dist_erase.observability.metrics import COSINE_BUCKETS


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Cosines of single pairs: how many in each of COSINE_BUCKETS (and above), and their sum."""

    counts: list[int]
    total: float


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Of the global batch, the same on every rank.

    Attributes:
        losses: each term unweighted, and `total`.
        figures: see `losses.objective.diagnostics`.
        mismatched: stream → mean cosine with retain rows of other captions; a stream without
            such rows is left out.
        spread: stream → cosines of matching pairs.
    """

    losses: dict[str, float]
    figures: dict[str, float]
    mismatched: dict[str, float]
    spread: dict[str, Spread]


def measure_batch(
    terms: Terms, student: Model, *, floor_b: Tensor | None, context: RankContext
) -> Measures:
    """One all-reduce for all that is told: local numbers are never shown as global ones."""
    losses = {**terms.named, "total": terms.total}
    figures = diagnostics(student, floor_b=floor_b)
    streams = {"forget": student.forget, "retain": student.retain}
    rows = {name: one for name, one in streams.items() if one is not None}
    bounds = torch.tensor(COSINE_BUCKETS, dtype=torch.float64)
    parts = {
        **{f"loss {name}": value for name, value in losses.items()},
        **{f"figure {name}": value for name, value in figures.items()},
        **{f"spread {name}": similarity_counts(one, bounds) for name, one in rows.items()},
    }
    if student.retain is not None:
        parts |= {f"other {n}": mismatched_sum(one, student.retain) for n, one in rows.items()}
    flat = [value.detach().double().reshape(-1) for value in parts.values()]
    means = torch.split(context.mean(torch.cat(flat)), [len(value) for value in flat])
    found = dict(zip(parts, means, strict=True))
    sums = {name: found.get(f"other {name}") for name in rows}
    return Measures(
        losses={name: found[f"loss {name}"].item() for name in losses},
        figures={name: found[f"figure {name}"].item() for name in figures},
        mismatched={
            name: float(both[0] / both[1])
            for name, both in sums.items()
            if both is not None and both[1] > 0
        },
        spread={name: _spread(found[f"spread {name}"] * context.world) for name in rows},
    )


def _spread(total: Tensor) -> Spread:
    return Spread(counts=[round(n) for n in total[:-1].tolist()], total=float(total[-1]))
