"""open_clip's preprocessing constants, and normalisation on the device."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dist_erase.batch import ImageSpec


def image_spec(model: nn.Module) -> ImageSpec:
    """How `model` wants its images, from the configuration that open_clip attached to it."""
    config: dict[str, Any] = model.visual.preprocess_cfg  # type: ignore[union-attr,assignment]
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
    """uint8 [n, 3, H, W] to float32 on `device`: (x / 255 - mean) / std per channel."""
    mean = torch.tensor(spec.mean, device=device).view(1, 3, 1, 1)
    std = torch.tensor(spec.std, device=device).view(1, 3, 1, 1)
    return (images_nCHW.to(device, non_blocking=True).float() / 255 - mean) / std
