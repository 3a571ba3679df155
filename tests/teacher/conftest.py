from pathlib import Path

import pytest
import torch

from dist_erase.batch import ImageSpec, Samples
from dist_erase.config.model import ModelConfig
from dist_erase.models.export import export_model
from dist_erase.models.resolve import build, resolve

TINY = Path(__file__).parents[2] / "configs" / "models" / "tiny.json"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> ModelConfig:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    source = resolve(str(TINY), None)
    torch.manual_seed(0)
    spec = ImageSpec(height=32, width=32, mean=(0.5, 0.4, 0.3), std=(0.3, 0.3, 0.3))
    export_model(
        folder, build(source).state_dict(), scalar_names=[], model_cfg=source.model_cfg, spec=spec
    )
    return ModelConfig(architecture=str(TINY), pretrained=f"local-dir:{folder}")


@pytest.fixture(scope="session")
def make_samples():
    def make(n: int, seed: int) -> Samples:
        draw = torch.Generator().manual_seed(seed)
        ids = torch.arange(n)
        return Samples(
            images=torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=draw),
            tokens=torch.randint(1, 49408, (n, 16), generator=draw),
            caption_ids=ids,
            image_ids=ids,
            labels=ids,
            positions=ids,
        )

    return make
