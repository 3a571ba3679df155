"""The only place where a configuration becomes the plain objects of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.config.train import AugmentConfig, OptimizerConfig
from dist_erase.imports import quick_imports
from dist_erase.losses.objective import ObjectiveSpec
from dist_erase.training.data_plan import DataPlan
from dist_erase.training.deepspeed_config import deepspeed_json

if TYPE_CHECKING:
    from dist_erase.models.resolve import ModelSource


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What to train, on what, and how; the same for erasing and pretraining.

    Attributes:
        run: its name, a metric label.
        seed: of initial weights, order, captions and augmentation.
        source: the model to start from.
        data: the plan of the data.
        train: optimiser, batches, checkpoints.
        towers: which of them changes.
        weights: the fields of `ObjectiveSpec` but the family, which the model decides.
        floor: `mismatched`, `per_pair`, `none` or a number.
        prefetch: batches asked of the teacher ahead of the step.
        freeze_statistics: BatchNorm keeps its statistics, dropout is off.
        augment: random changes of training images.
        workers: decoding processes per rank.
        cache_bytes: shard bytes kept per data worker.
        scaled: training images are decoded at a smaller scale where that keeps embeddings.
        max_pixels: larger images are unusable.
        watchdog_seconds: of waiting for a batch, after which data workers write their stacks.
        gradients_every: steps between measurements of each term's gradient; 0 = never.
        evaluate_every: live evaluation; None = never.
        evaluate_batch: pairs per forward of an evaluation.
        templates: zero-shot prompts.
        stop: goals and budget by name.
        deepspeed: raw JSON of the user.
        rank_timeout_seconds: how long ranks wait for each other; None = as torch does.
    """

    run: str
    seed: int
    source: ModelSource
    data: DataPlan
    train: OptimizerConfig
    towers: Literal["both", "image", "text"]
    weights: dict[str, Any]
    floor: Literal["mismatched", "per_pair", "none"] | float
    prefetch: int
    freeze_statistics: bool
    augment: AugmentConfig | None
    workers: int
    cache_bytes: int
    scaled: bool
    max_pixels: int
    watchdog_seconds: float
    gradients_every: int
    evaluate_every: int | None
    evaluate_batch: int
    templates: tuple[str, ...]
    stop: dict[str, float | None]
    deepspeed: dict[str, Any]
    rank_timeout_seconds: float | None = None

    def check(self) -> None:
        """Raises UserError for what only a rank would find out otherwise."""
        self.objective("sigmoid" if "init_logit_bias" in self.source.model_cfg else "softmax")
        deepspeed_json(zero_stage=self.train.zero_stage, grad_clip=0.0, extra=self.deepspeed)

    def objective(self, family: Literal["softmax", "sigmoid"]) -> ObjectiveSpec:
        """The objective for a model of this family; UserError for what it has no form of."""
        spec = ObjectiveSpec(family=family, **self.weights)
        spec.check()
        return spec


def recipe_for_run(config: RunConfig, data: DataPlan) -> Recipe:
    """Erasing, as configured; raises UserError for an unknown model."""
    with quick_imports():
        from dist_erase.models.resolve import resolve  # open_clip takes seconds

    objective = config.objective
    return Recipe(
        run=config.run.name,
        seed=config.seed,
        source=resolve(config.model.architecture, config.model.pretrained),
        data=data,
        train=config.train,
        towers=config.train.trainable.towers,
        weights={
            "forget_weight": objective.forget.weight,
            "forget_loss": objective.forget.loss,
            "side": objective.forget.side,
            "towers": objective.forget.towers,
            "retain_weight": objective.retain.weight,
            "soft_targets": objective.retain.soft_targets,
            "consistency_weight": objective.consistency.weight,
            "consistency_loss": objective.consistency.loss,
            "anchor_weight": objective.consistency.anchor,
        },
        floor=objective.forget.floor,
        prefetch=config.teacher.prefetch,
        freeze_statistics=True,
        augment=config.train.augment,
        workers=config.data.workers,
        cache_bytes=config.data.cache_bytes,
        scaled=config.data.decode == "scaled",
        max_pixels=config.data.max_pixels,
        watchdog_seconds=config.data.watchdog_seconds,
        gradients_every=config.observe.gradients_every,
        evaluate_every=config.evaluate.every_steps,
        evaluate_batch=config.evaluate.batch,
        templates=tuple(config.evaluate.templates),
        stop=config.stop.model_dump(),
        deepspeed=config.deepspeed,
        rank_timeout_seconds=config.train.rank_timeout_seconds,
    )


def recipe_for_pretrain(config: PretrainConfig, data: DataPlan) -> Recipe:
    """Contrastive training: the Retention Module alone, everything trainable."""
    with quick_imports():
        from dist_erase.models.resolve import resolve

    return Recipe(
        run=config.run.name,
        seed=config.seed,
        source=resolve(config.model.architecture, config.model.pretrained),
        data=data,
        train=config.train,
        towers="both",
        weights={
            "forget_weight": 0.0,
            "forget_loss": "cosine",
            "side": "both",
            "towers": "joint",
            "retain_weight": 1.0,
            "soft_targets": True,
            "consistency_weight": 0.0,
            "consistency_loss": "kl_logits",
            "anchor_weight": 0.0,
        },
        floor="none",
        prefetch=1,
        freeze_statistics=False,
        augment=config.train.augment,
        workers=config.data.workers,
        cache_bytes=config.data.cache_bytes,
        scaled=config.data.decode == "scaled",
        max_pixels=config.data.max_pixels,
        watchdog_seconds=config.data.watchdog_seconds,
        gradients_every=0,
        evaluate_every=None,
        evaluate_batch=config.evaluate.batch,
        templates=tuple(config.evaluate.templates),
        stop={},
        deepspeed={},
    )
