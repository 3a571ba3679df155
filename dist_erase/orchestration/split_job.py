"""A split with its teacher: `data` may not import `models`, so they meet here."""

from __future__ import annotations

from dataclasses import replace

import torch

from dist_erase.config.model import ModelConfig
from dist_erase.data.build.dataset import BuildSummary
from dist_erase.data.split.embeddings import Teacher
from dist_erase.data.split.job import split_pool
from dist_erase.data.split.request import ReviewNeeded, SplitRequest
from dist_erase.data.split.rules import check_options
from dist_erase.data.split.survey import Progress
from dist_erase.models.frozen import load_frozen

_MICRO_BATCH = 64


def split(
    request: SplitRequest,
    model: ModelConfig | None,
    *,
    device: str,
    workers: int,
    progress: Progress,
) -> BuildSummary | ReviewNeeded:
    """Loads the teacher, if one is named, and splits.

    Args:
        request: without its teacher.
        model: the teacher; None where no rule asks one.
        device: of the teacher; `auto` = a GPU if there is one.
        workers: processes that read and decode.
        progress: called with (what, done, planned).
    """
    check_options(request.options)  # before a model is loaded
    if model is not None:
        progress("loading the model", 0, 1)
        request = replace(request, teacher=load_teacher(model, device))
    return split_pool(request, workers=workers, progress=progress)


def load_teacher(model: ModelConfig, device: str) -> Teacher:
    """An open_clip model as `data.split` sees it, in fp32: a cut should not depend on rounding."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    frozen = load_frozen(model, dtype="fp32", device=device, micro_batch=_MICRO_BATCH)
    return Teacher(
        fingerprint=frozen.fingerprint,
        image=frozen.image_spec,
        embed_images=frozen.encode_images,
        embed_texts=lambda texts: frozen.encode_text(frozen.tokenizer(texts)),
    )
