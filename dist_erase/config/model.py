"""The `model` section: which open_clip model is changed."""

from __future__ import annotations

from pydantic import Field

from dist_erase.config.section import Section

LOCAL_DIR = "local-dir:"  # before the folder of an exported model


class ModelConfig(Section):
    """The original model: architecture and weights."""

    architecture: str = Field(
        "ViT-B-32",
        description="An open_clip architecture name, or the path of a model JSON "
        "(configs/models/NAME.json).",
    )
    pretrained: str | None = Field(
        "laion2b_s34b_b79k",
        description="An open_clip weights tag, a checkpoint file, or local-dir:PATH of an "
        "exported model.",
    )


class PretrainModelConfig(Section):
    """The model that `pretrain` makes."""

    architecture: str = Field(
        description="An open_clip architecture name, or the path of a model JSON."
    )
    pretrained: str | None = Field(
        None,
        description="Weights to begin with, as for `run`; null = from scratch. A checkpoint file "
        "may come from the same model at another image size.",
    )
