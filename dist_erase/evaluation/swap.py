"""The tower swap: does one new tower still find the forgotten pairs with the other, old one?

Whoever keeps cached vectors of one tower uses exactly this mixture. Forgetting tends to sit in one
tower, so that the new images were seen to find the forgotten captions among old text vectors in
85 to 100 % of cases while every other figure said forgotten.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from dist_erase.evaluation.embed import ModelEmbeddings
from dist_erase.evaluation.retrieval import retrieval
from dist_erase.evaluation.suite import gallery_of, zero_shot_of

Swap = dict[str, dict[str, dict[str, float | None]]]


def measure_swap(new: ModelEmbeddings, old: ModelEmbeddings) -> Swap:
    """Both swaps on the forget set.

    Args:
        new: the unlearned model's embeddings.
        old: the original's, of the same sets in the same order.

    Returns:
        `{"new_image_old_text" | "old_image_new_text": {"forget": {"top1", "r1"}}}`. `top1` is
        zero-shot accuracy, None where it cannot be measured; `r1` is recall at 1 with the new
        tower's vectors as queries and the old one's as gallery.

    Raises:
        ValueError: the two were not computed on the same pairs.
    """
    cached_text = _mix(image=new, text=old)
    cached_image = _mix(image=old, text=new)
    return {
        "new_image_old_text": {"forget": _figures(cached_text, "image_to_text")},
        "old_image_new_text": {"forget": _figures(cached_image, "text_to_image")},
    }


def _figures(mixed: ModelEmbeddings, direction: str) -> dict[str, float | None]:
    zero_shot = zero_shot_of(mixed, "forget")
    recalls = retrieval(mixed.sets["forget"], gallery_of(mixed, "forget"))
    return {
        "top1": None if zero_shot is None else zero_shot["top1"],
        "r1": recalls[direction]["r1"],
    }


def _mix(*, image: ModelEmbeddings, text: ModelEmbeddings) -> ModelEmbeddings:
    """Images as one model sees them, texts and classes as the other does."""
    mixed = {}
    for name, ours in image.sets.items():
        theirs = text.sets[name]
        same_images = torch.equal(ours.image_ids, theirs.image_ids)
        if not (same_images and torch.equal(ours.caption_ids, theirs.caption_ids)):
            raise ValueError(f"set {name!r} holds other pairs in the two models")
        mixed[name] = replace(ours, text=theirs.text)
    return ModelEmbeddings(sets=mixed, class_text=text.class_text)
