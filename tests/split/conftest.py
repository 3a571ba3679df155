"""Teachers: a tiny CLIP of random weights, and one that compares pixels."""

from __future__ import annotations

import pytest
import torch
from support.tiny import export_tiny

from dist_erase.batch import ImageSpec
from dist_erase.config.model import ModelConfig
from dist_erase.data.split.embeddings import Teacher
from dist_erase.orchestration.split_teacher import load_teacher


@pytest.fixture(scope="session")
def tiny(tmp_path_factory, request) -> ModelConfig:
    return export_tiny(request.config.rootpath, tmp_path_factory.mktemp("tiny") / "model")


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
