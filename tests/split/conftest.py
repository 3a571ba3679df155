"""Teachers: a tiny CLIP of random weights, and one that compares pixels."""

from __future__ import annotations

import pytest
import torch

from dist_erase.batch import ImageSpec
from dist_erase.config.model import ModelConfig
from dist_erase.data.split.embeddings import Teacher
from dist_erase.models.export import export_model
from dist_erase.models.preprocess import image_spec
from dist_erase.models.resolve import build, resolve
from dist_erase.orchestration.split_teacher import load_teacher

TINY = "configs/models/tiny.json"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, request) -> ModelConfig:
    """A model of random weights."""
    path = str(request.config.rootpath / TINY)
    source = resolve(path, None)
    torch.manual_seed(0)
    model = build(source)
    folder = tmp_path_factory.mktemp("tiny") / "model"
    export_model(
        folder,
        dict(model.state_dict()),
        scalar_names=[],
        model_cfg=source.model_cfg,
        spec=image_spec(model),
    )
    return ModelConfig(architecture=path, pretrained=f"local-dir:{folder}")


@pytest.fixture(scope="session")
def teacher(tiny) -> Teacher:
    return load_teacher(tiny, "cpu")


@pytest.fixture(scope="session")
def pixels() -> Teacher:
    """A teacher that sees pixels: what looks alike is near, what differs is far. No text."""

    def embed(images: torch.Tensor) -> torch.Tensor:
        flat = images.flatten(1).float()
        return torch.nn.functional.normalize(flat - flat.mean(1, keepdim=True), dim=1)

    spec = ImageSpec(height=8, width=8, mean=(0.5,) * 3, std=(0.5,) * 3)
    return Teacher(fingerprint="pixels", image=spec, embed_images=embed, embed_texts=lambda t: t)
