"""A model on its held-out sets: from a model folder to embeddings and figures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import product
from pathlib import Path
from typing import Literal

from torch import Tensor

from dist_erase.batch import Samples
from dist_erase.config.model import LOCAL_DIR, ModelConfig
from dist_erase.config.run import RunConfig
from dist_erase.evaluation.embed import Measured, ModelEmbeddings, embed_model
from dist_erase.models.frozen import FrozenClip, load_frozen
from dist_erase.observability.emit import Metrics
from dist_erase.observability.snapshot import SnapshotWriter
from dist_erase.training.data_plan import DataPlan

Model = Literal["original", "erased"]


@contextmanager
def told(run: str, metrics_at: Path, data: DataPlan, *models: Model) -> Iterator[Metrics]:
    """Metrics of the process that measures `models`, shown with those of the run's others."""
    metrics = Metrics(run=run, role="evaluation", rank=0)
    for model, (name, held_out) in product(models, data.evaluation.items()):
        metrics.evaluation_pairs_planned.set(len(held_out.index), model, name)
        metrics.evaluation_pairs_total.inc(0, model, name)
    with closing(SnapshotWriter(metrics, metrics_at)):
        yield metrics


def measure_original(
    config: RunConfig, data: DataPlan, device: str, metrics: Metrics | None
) -> Measured:
    """The model before."""
    return _measure(config, config.model, data, device, metrics, "original")


def measure_erased(
    config: RunConfig, data: DataPlan, folder: Path, device: str, metrics: Metrics | None
) -> Measured:
    """The exported model of a run, loaded as every consumer loads it."""
    exported = ModelConfig(
        architecture=config.model.architecture, pretrained=f"{LOCAL_DIR}{folder / 'model'}"
    )
    return _measure(config, exported, data, device, metrics, "erased")


def _measure(
    config: RunConfig,
    model: ModelConfig,
    data: DataPlan,
    device: str,
    metrics: Metrics | None,
    which: Model,
) -> Measured:
    embeddings, fingerprint = embed_held_out(
        model,
        data,
        templates=config.evaluate.templates,
        batch=config.evaluate.batch,
        device=device,
        metrics=metrics,
        which=which,
    )
    return Measured(embeddings=embeddings, fingerprint=fingerprint)


def embed_held_out(
    model: ModelConfig,
    data: DataPlan,
    *,
    templates: Sequence[str],
    batch: int,
    device: str,
    metrics: Metrics | None,
    which: Model,
) -> tuple[ModelEmbeddings, str]:
    """Embeds every held-out set with `model` in float32; `metrics` say how far it is.

    Returns:
        The embeddings and the model's fingerprint.
    """
    clip = load_frozen(model, dtype="fp32", device=device, micro_batch=batch)
    sets = {
        name: _counted(
            held_out.read(clip.image_spec, clip.tokenizer, batch=batch), metrics, which, name
        )
        for name, held_out in data.evaluation.items()
    }
    return embed_model(clip, sets, _prompts(clip, data.classes, templates)), clip.fingerprint


def _counted(
    batches: Iterable[Samples], metrics: Metrics | None, which: Model, name: str
) -> Iterator[Samples]:
    for batch in batches:
        yield batch
        if metrics is not None:  # the next one is asked for: this one is embedded
            metrics.evaluation_pairs_total.inc(len(batch.images), which, name)


def _prompts(
    clip: FrozenClip, classes: Sequence[str], templates: Sequence[str]
) -> list[Tensor] | None:
    if not classes:
        return None
    return [clip.tokenizer([t.format(name) for t in templates]) for name in classes]
