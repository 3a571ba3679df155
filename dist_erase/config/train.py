"""The `train` sections: batches, optimiser, precision, checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dist_erase.config.section import Section


class CheckpointConfig(Section):
    """When checkpoints are written and how many are kept."""

    every_steps: int = Field(100, ge=1)
    keep_last: int = Field(2, ge=1)
    keep_best: bool = Field(
        True, description="Also keep the best one by live evaluation; no effect without one."
    )


class TrainableConfig(Section):
    """Which parameters are changed."""

    towers: Literal["both", "image", "text"] = "both"
    layers: Literal["all"] = "all"


class OptimizerConfig(Section):
    """What `train` of erasing and of pretraining share."""

    epochs: float = Field(1.0, gt=0, description="Passes over the set named by data.epoch_of.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many steps.")
    micro_batch: int | None = Field(
        None, ge=1, description="Pairs per rank and forward; null = all at once."
    )
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(1.0e-5, gt=0)
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = Field(0.0, ge=0)
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup_steps: int = Field(10, ge=0)
    grad_clip: float = Field(1.0, ge=0, description="Global gradient norm limit; 0 = none.")
    precision: Literal["bf16", "fp32"] = Field(
        "bf16", description="Of the forward; master weights and gradients are fp32 always."
    )
    zero_stage: Literal[0, 1, 2, 3] = 2
    logit_scale: Literal["frozen", "trained"] = "frozen"
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)


class TrainConfig(OptimizerConfig):
    """Erasing."""

    forget_batch: int = Field(32, ge=1, description="Forget pairs per step, over all ranks.")
    retain_batch: int = Field(96, ge=2, description="Retain pairs per step, over all ranks.")
    max_forget_passes: float | None = Field(
        None, gt=0, description="Stop once each forget pair has been seen this often."
    )
    trainable: TrainableConfig = Field(default_factory=TrainableConfig)


class AugmentConfig(Section):
    """Random changes of training images, drawn from (seed, pass, sample)."""

    crop: int = Field(0, ge=0, description="Pixels of reflected border for random crops; 0 = off.")
    flip: bool = Field(False, description="Mirror half of the images.")


class PretrainTrainConfig(OptimizerConfig):
    """Contrastive training from scratch, one process."""

    batch: int = Field(128, ge=2, description="Pairs per step.")
    lr: float = Field(1.0e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    warmup_steps: int = Field(50, ge=0)
    precision: Literal["bf16", "fp32"] = "fp32"
    zero_stage: Literal[0] = 0
    logit_scale: Literal["frozen", "trained"] = "trained"
    augment: AugmentConfig = Field(default_factory=AugmentConfig)

    @model_validator(mode="after")
    def batch_statistics_need_the_whole_batch(self) -> PretrainTrainConfig:
        """BatchNorm trains its statistics here, so a batch is not cut."""
        if self.micro_batch is not None:
            raise ValueError("micro_batch must be null when pretraining")
        return self
