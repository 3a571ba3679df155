"""Learning rate: linear warm-up, then cosine to zero or constant."""

from __future__ import annotations

import math
from typing import Literal


def lr_factor(
    step: int, *, steps: int, warmup_steps: int, schedule: Literal["cosine", "constant"]
) -> float:
    """The factor of the peak rate for `step` (0-based) of `steps`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    if schedule == "constant":
        return 1.0
    progress = (step - warmup_steps) / max(1, steps - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
