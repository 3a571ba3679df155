"""The teacher of a split: `data` may not import `models`, so they meet here."""

from __future__ import annotations

import torch

from dist_erase.config.model import ModelConfig
from dist_erase.data.split.embeddings import Teacher
from dist_erase.models.frozen import load_frozen

_MICRO_BATCH = 64


def load_teacher(model: ModelConfig, device: str) -> Teacher:
    """An open_clip model as `data.split` sees it, in fp32: a cut should not depend on rounding.

    Args:
        model: architecture and weights.
        device: `auto` = a GPU if there is one.

    Raises:
        UserError: architecture or weights are unknown, missing, or do not fit.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    frozen = load_frozen(model, dtype="fp32", device=device, micro_batch=_MICRO_BATCH)
    return Teacher(
        fingerprint=frozen.fingerprint,
        image=frozen.image_spec,
        embed_images=frozen.encode_images,
        embed_texts=lambda texts: frozen.encode_text(frozen.tokenizer(texts)),
    )
