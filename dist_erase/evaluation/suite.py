"""Which tasks are run on which sets: all figures of one model."""

from __future__ import annotations

from typing import Any

import torch

from dist_erase.errors import UserError
from dist_erase.evaluation.embed import ModelEmbeddings, SetEmbeddings, join
from dist_erase.evaluation.retrieval import retrieval
from dist_erase.evaluation.similarity import mismatched_count, similarity
from dist_erase.evaluation.zeroshot import zero_shot

# Sets named untouched/NAME are other data sets: each has a gallery of its own, and its class
# numbers are not numbers of our classes. All others together are the held-out set.
UNTOUCHED = "untouched/"

Figures = dict[str, Any]


def measure(model: ModelEmbeddings) -> dict[str, Figures]:
    """Every task on every set.

    Returns:
        `{"zero_shot" | "retrieval" | "similarity": {SET: figures}}`; the figures of zero_shot
        are None for a set that has no classes (`class_count`).

    Raises:
        UserError: a set holds a class number without a name.
    """
    galleries = {name: gallery_of(model, name) for name in model.sets}
    pairs = model.sets
    return {
        "zero_shot": {name: zero_shot_of(model, name) for name in pairs},
        "retrieval": {name: retrieval(pairs[name], galleries[name]) for name in pairs},
        "similarity": {name: similarity(pairs[name], galleries[name]) for name in pairs},
    }


def count(model: ModelEmbeddings) -> dict[str, dict[str, int | None]]:
    """What each set's figures are computed over.

    Returns:
        `{SET: {"pairs", "images", "captions", "mismatched", "gallery_images",
        "gallery_captions", "classes"}}`: pairs of the set (the n of accuracies and matched
        similarity), its distinct images and captions (the n of recalls: equal queries have equal
        answers), similarities behind its mismatched mean, distinct items of its gallery, and
        classes to choose from.
    """
    counts: dict[str, dict[str, int | None]] = {}
    for name, pairs in model.sets.items():
        gallery = gallery_of(model, name)
        counts[name] = {
            "pairs": len(pairs),
            "images": len(torch.unique(pairs.image_ids)),
            "captions": len(torch.unique(pairs.caption_ids)),
            "mismatched": mismatched_count(pairs, gallery),
            "gallery_images": len(torch.unique(gallery.image_ids)),
            "gallery_captions": len(torch.unique(gallery.caption_ids)),
            "classes": class_count(model, name),
        }
    return counts


def gallery_of(model: ModelEmbeddings, name: str) -> SetEmbeddings:
    """What the queries of a set choose from: the whole held-out set, or an untouched one."""
    if name.startswith(UNTOUCHED):
        return model.sets[name]
    return join([pairs for other, pairs in model.sets.items() if not other.startswith(UNTOUCHED)])


def class_count(model: ModelEmbeddings, name: str) -> int | None:
    """Classes that a set is told apart by.

    None for an untouched set, without class names, and where some pair has no class.
    """
    untouched = name.startswith(UNTOUCHED)
    if untouched or model.class_text is None or not model.sets[name].has_labels:
        return None
    return len(model.class_text)


def zero_shot_of(model: ModelEmbeddings, name: str) -> dict[str, float | None] | None:
    """Zero-shot figures of a set; None where it has no classes.

    Raises:
        UserError: the set holds a class number without a name.
    """
    pairs, classes = model.sets[name], class_count(model, name)
    if classes is None or model.class_text is None:
        return None
    if (highest := int(pairs.labels.max())) >= classes:
        raise UserError(
            "data.classes",
            f"the held-out set {name!r} holds class number {highest}, but only {classes} class "
            "names are given.",
            "Name every class, in the order of the .cls numbers.",
        )
    return zero_shot(pairs.image, pairs.labels, model.class_text)
