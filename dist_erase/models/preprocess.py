"""open_clip's preprocessing constants, and normalisation on the device."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, merge_preprocess_dict
from torch import Tensor, nn

from dist_erase.batch import ImageSpec
from dist_erase.config.model import LOCAL_DIR
from dist_erase.models.resolve import CONFIG_FILE, ModelSource

_IMAGE_SIZE = 224  # of open_clip's towers, where the model's configuration gives none


def image_spec(model: nn.Module) -> ImageSpec:
    """How `model` wants its images, from the configuration that open_clip attached to it."""
    config: dict[str, Any] = model.visual.preprocess_cfg  # type: ignore[union-attr,assignment]
    return _spec(config)


def image_spec_of(source: ModelSource) -> ImageSpec:
    """The same without the model: nothing is built, no weights are read or fetched."""
    config = asdict(PreprocessCfg())
    if source.name.startswith(LOCAL_DIR):
        stored = Path(source.name.removeprefix(LOCAL_DIR)) / CONFIG_FILE
        exported = json.loads(stored.read_text(encoding="utf-8"))
        config = merge_preprocess_dict(config, exported.get("preprocess_cfg", {}))
    elif source.pretrained is not None:
        of_weights = open_clip.get_pretrained_cfg(source.name, source.pretrained)
        config = merge_preprocess_dict(config, of_weights)
    # The tower's own size goes before everything else, as in `open_clip.create_model`.
    config["size"] = source.model_cfg["vision_cfg"].get("image_size", _IMAGE_SIZE)
    return _spec(config)


def _spec(config: dict[str, Any]) -> ImageSpec:
    size = config["size"]
    height, width = (size, size) if isinstance(size, int) else size
    return ImageSpec(
        height=height,
        width=width,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        resize_mode=config["resize_mode"],
        fill_color=config["fill_color"],
    )


def normalise(images_nCHW: Tensor, spec: ImageSpec, device: torch.device) -> Tensor:
    """uint8 [n, 3, H, W] to float32 on `device`: (x / 255 - mean) / std per channel.

    In memory the channels lie innermost (`torch.channels_last`): convolutions run up to twice as
    fast so, and ViTs do not mind. Weights stay as they are, because DeepSpeed's broadcast and
    flattening want them contiguous.
    """
    mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1)
    pixels = images_nCHW.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
    return (pixels.float() / 255 - mean) / std
