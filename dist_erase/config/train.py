"""The `train` sections: batches, optimiser, precision, checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dist_erase.config.section import Section


class CheckpointConfig(Section):
    """When checkpoints are written and how many are kept."""

    every_steps: int = Field(
        100, ge=1, description="Steps between checkpoints; one is always written at the end."
    )
    keep_last: int = Field(2, ge=1, description="Older ones are deleted.")
    keep_best: bool = Field(
        True, description="Also keep the best one by live evaluation; no effect without one."
    )


class TrainableConfig(Section):
    """Which parameters are changed."""

    towers: Literal["both", "image", "text"] = Field(
        "both", description="The tower whose parameters are changed; the other stays as it was."
    )
    layers: Literal["all"] = Field("all", description="Only all layers are available yet.")


class AugmentConfig(Section):
    """Random changes of training images, drawn from (seed, pass, sample)."""

    crop: int = Field(0, ge=0, description="Pixels of reflected border for random crops; 0 = off.")
    flip: bool = Field(False, description="Mirror half of the images.")


class OptimizerConfig(Section):
    """What `train` of erasing and of pretraining share."""

    epochs: float = Field(1.0, gt=0, description="Passes over the set named by data.epoch_of.")
    max_steps: int | None = Field(None, ge=1, description="Stop after this many steps.")
    micro_batch: int | None = Field(
        None, ge=1, description="Pairs per rank and forward; null = all at once."
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        "adamw", description="PyTorch's own; sgd is without momentum."
    )
    lr: float = Field(1.0e-5, gt=0, description="Peak learning rate.")
    betas: tuple[float, float] = Field(
        (0.9, 0.98), description="Decay of Adam's moments; no effect with sgd."
    )
    weight_decay: float = Field(
        0.0, ge=0, description="Of matrices and filters; biases, norms and scalars never decay."
    )
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="After the warm-up: to zero at the last planned step, or not at all."
    )
    warmup_steps: int = Field(10, ge=0, description="Steps of linear increase from zero.")
    grad_clip: float = Field(1.0, ge=0, description="Global gradient norm limit; 0 = none.")
    precision: Literal["bf16", "fp32"] = Field(
        "bf16", description="Of the forward; master weights and gradients are fp32 always."
    )
    zero_stage: Literal[0, 1, 2, 3] = Field(
        2, description="What DeepSpeed partitions: 1 optimizer states, 2 gradients, 3 parameters."
    )
    logit_scale: Literal["frozen", "trained"] = Field(
        "frozen", description="Of the temperature and the bias; trained is clamped to 100."
    )
    checkpoint: CheckpointConfig = Field(default_factory=CheckpointConfig)
    augment: AugmentConfig = Field(default_factory=AugmentConfig)


class TrainConfig(OptimizerConfig):
    """Erasing."""

    forget_batch: int = Field(32, ge=1, description="Forget pairs per step, over all ranks.")
    retain_batch: int = Field(96, ge=2, description="Retain pairs per step, over all ranks.")
    max_forget_passes: float | None = Field(
        None, gt=0, description="Stop once each forget pair has been seen this often."
    )
    trainable: TrainableConfig = Field(default_factory=TrainableConfig)
    rank_timeout_seconds: float = Field(
        600.0,
        gt=0,
        description="How long a rank waits for the others before the run ends, to be resumed: more "
        "than the longest checkpoint takes.",
    )


class PretrainTrainConfig(OptimizerConfig):
    """Contrastive training in one process."""

    batch: int = Field(128, ge=2, description="Pairs per step.")
    lr: float = Field(1.0e-3, gt=0, description="Peak learning rate.")
    weight_decay: float = Field(0.05, ge=0, description="Of matrices and filters.")
    warmup_steps: int = Field(50, ge=0, description="Steps of linear increase from zero.")
    precision: Literal["bf16", "fp32"] = Field("fp32", description="Of the forward.")
    zero_stage: Literal[0] = Field(0, description="One process partitions nothing.")
    logit_scale: Literal["frozen", "trained"] = Field(
        "trained", description="Of the temperature and the bias; trained is clamped to 100."
    )

    @model_validator(mode="after")
    def batch_statistics_need_the_whole_batch(self) -> PretrainTrainConfig:
        """BatchNorm trains its statistics here, so a batch is not cut."""
        if self.micro_batch is not None:
            raise ValueError("micro_batch must be null when pretraining")
        return self
