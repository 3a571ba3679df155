"""A tiny open_clip model of random weights, exported as users name it."""

from __future__ import annotations

from pathlib import Path

import torch

from dist_erase.config.model import ModelConfig
from dist_erase.models.export import export_model
from dist_erase.models.preprocess import image_spec
from dist_erase.models.resolve import build, resolve


def new_model(architecture: str, folder: Path) -> Path:
    """Exports a model with fresh weights."""
    source = resolve(architecture, None)
    torch.manual_seed(0)
    model = build(source)
    export_model(
        folder,
        dict(model.state_dict()),
        scalar_names=[],
        model_cfg=source.model_cfg,
        spec=image_spec(model),
    )
    return folder


def export_tiny(root: Path, folder: Path) -> ModelConfig:
    """Writes the model of configs/models/tiny.json (in the repository `root`) to `folder`."""
    path = str(root / "configs/models/tiny.json")
    new_model(path, folder)
    return ModelConfig(architecture=path, pretrained=f"local-dir:{folder}")
