"""A model on its held-out sets: from a model folder to embeddings and figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from dist_erase.config.model import ModelConfig
from dist_erase.config.run import RunConfig
from dist_erase.evaluation.embed import ModelEmbeddings, embed_model
from dist_erase.models.frozen import FrozenClip, load_frozen
from dist_erase.models.resolve import LOCAL_DIR
from dist_erase.training.data_plan import DataPlan


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model on the held-out sets."""

    embeddings: ModelEmbeddings
    fingerprint: str


def measure_original(config: RunConfig, data: DataPlan, device: str) -> Measured:
    """The model before."""
    return _measure(config, config.model, data, device)


def measure_erased(config: RunConfig, data: DataPlan, folder: Path, device: str) -> Measured:
    """The exported model of a run, loaded as every consumer loads it."""
    exported = ModelConfig(
        architecture=config.model.architecture, pretrained=f"{LOCAL_DIR}{folder / 'model'}"
    )
    return _measure(config, exported, data, device)


def _measure(config: RunConfig, model: ModelConfig, data: DataPlan, device: str) -> Measured:
    embeddings, fingerprint = embed_held_out(
        model,
        data,
        templates=config.evaluate.templates,
        batch=config.evaluate.batch,
        device=device,
    )
    return Measured(embeddings=embeddings, fingerprint=fingerprint)


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
