"""The `model` section: which open_clip model is changed."""

from __future__ import annotations

from pydantic import Field

from dist_erase.config.section import Section

LOCAL_DIR = "local-dir:"  # how `pretrained` names the folder of an exported model


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


class ScratchModelConfig(Section):
    """The model that `pretrain` makes."""

    architecture: str = Field(
        description="An open_clip architecture name, or the path of a model JSON."
    )
