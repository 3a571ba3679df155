"""A score for each image by a teacher's prompts, and the cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dist_erase.data.split.embeddings import ImageEmbeddings, Teacher
from dist_erase.data.split.rules import ConceptRule
from dist_erase.errors import UserError


def score_units(
    rule: ConceptRule, embeddings: ImageEmbeddings, teacher: Teacher
) -> NDArray[np.float32]:
    """Highest cosine with a prompt, minus the highest with a contrast prompt if there are any.

    Returns:
        float32 [U]; -inf for an image that cannot be decoded.
    """
    wanted = teacher.embed_texts(list(rule.prompts)).numpy()
    against = teacher.embed_texts(list(rule.against)).numpy() if rule.against else None
    parts = []
    for _, block in embeddings.blocks():
        scores = (block @ wanted.T).max(axis=1)
        if against is not None:
            scores -= (block @ against.T).max(axis=1)
        parts.append(scores)
    scores = np.concatenate(parts)
    scores[list(embeddings.bad)] = -np.inf
    return scores


def cut_scores(rule: ConceptRule, scores: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which units are in, bool [U].

    Raises:
        UserError: none is, or there are fewer than `top_k`.
    """
    usable = np.isfinite(scores)
    if rule.threshold is not None:
        chosen = scores >= rule.threshold
        if not chosen.any():
            raise UserError(
                "--threshold",
                f"is {rule.threshold:g}, but the highest score is {scores.max():.4f}.",
                f"The best 1 % start at {np.quantile(scores[usable], 0.99):.4f}.",
            )
        return chosen
    if rule.top_k is None:
        raise ValueError("a concept needs a threshold or top_k")
    if rule.top_k > usable.sum():
        raise UserError(
            "--top-k",
            f"is {rule.top_k}, but the pool has {usable.sum()} images.",
            "Use a smaller one.",
        )
    chosen = np.zeros(len(scores), bool)
    chosen[np.argsort(-scores, kind="stable")[: rule.top_k]] = True
    return chosen
