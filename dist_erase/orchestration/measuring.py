"""A model on its held-out sets: from a model folder to embeddings and figures."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dist_erase.config.model import ModelConfig
from dist_erase.evaluation.embed import ModelEmbeddings, embed_model
from dist_erase.models.frozen import FrozenClip, load_frozen
from dist_erase.training.data_plan import DataPlan


def embed_held_out(
    model: ModelConfig, data: DataPlan, *, templates: Sequence[str], batch: int, device: str
) -> tuple[ModelEmbeddings, str]:
    """Embeds every held-out set with `model` in float32.

    Returns:
        The embeddings and the model's fingerprint.
    """
    clip = load_frozen(model, dtype="fp32", device=device, micro_batch=batch)
    sets = {
        name: held_out.read(clip.image_spec, clip.tokenizer, batch=batch)
        for name, held_out in data.evaluation.items()
    }
    return embed_model(clip, sets, _prompts(clip, data.classes, templates)), clip.fingerprint


def _prompts(
    clip: FrozenClip, classes: Sequence[str], templates: Sequence[str]
) -> list[Tensor] | None:
    if not classes:
        return None
    return [clip.tokenizer([t.format(name) for t in templates]) for name in classes]
