"""Zero-shot classification: is the image's own class the nearest of all class prompts?"""

from __future__ import annotations

import torch
from torch import Tensor

from dist_erase.evaluation.ranking import hit_rate, rivals_ahead, row_chunks


def zero_shot(image: Tensor, labels: Tensor, class_text: Tensor) -> dict[str, float | None]:
    """`top1` and `top5` over all classes, ties counted as misses.

    Args:
        image: float32 [n, D], L2-normalised.
        labels: int64 [n], class numbers 0..C-1.
        class_text: float32 [C, D], L2-normalised.

    Returns:
        Fractions in 0..1; None for a top-k of k classes or fewer.
    """
    classes = torch.arange(len(class_text))
    rivals = torch.cat(
        [
            rivals_ahead(image[rows] @ class_text.T, labels[rows, None] == classes)
            for rows in row_chunks(len(image), len(class_text))
        ]
    )
    return {f"top{k}": hit_rate(rivals, k, len(class_text)) for k in (1, 5)}
