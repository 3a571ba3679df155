"""What a model wants of its images is known without the model."""

from __future__ import annotations

import json
from pathlib import Path

import open_clip
import pytest

from dist_erase.models.export import export_model
from dist_erase.models.preprocess import image_spec, image_spec_of
from dist_erase.models.resolve import ModelSource, build, resolve

TINY = str(Path(__file__).parents[2] / "configs" / "models" / "tiny.json")


@pytest.mark.parametrize("name", ["RN50", "ViT-B-16-SigLIP-384", "convnext_base_w_320", TINY])
def test_the_spec_of_an_architecture_is_that_of_its_model(name):
    source = resolve(name, None)
    model = open_clip.create_model(source.name, load_weights=False, device="meta")
    assert image_spec_of(source) == image_spec(model)


def test_weights_bring_their_own_preprocessing():
    name, tag = "ViT-B-16-SigLIP", "webli"
    config = open_clip.get_model_config(name)
    spec = image_spec_of(ModelSource(name=name, pretrained=tag, model_cfg=config))
    assert (spec.mean, spec.resize_mode) == ((0.5, 0.5, 0.5), "squash")
    plain = image_spec_of(ModelSource(name=name, pretrained=None, model_cfg=config))
    assert plain.mean != spec.mean


def test_a_model_folder_brings_its_own_preprocessing(tmp_path):
    source = resolve(TINY, None)
    model = build(source)
    folder = tmp_path / "model"
    export_model(
        folder,
        dict(model.state_dict()),
        scalar_names=[],
        model_cfg=source.model_cfg,
        spec=image_spec(model),
    )
    stored = json.loads((folder / "open_clip_config.json").read_text())
    stored["preprocess_cfg"] |= {"mean": [0.1, 0.2, 0.3], "interpolation": "bilinear"}
    (folder / "open_clip_config.json").write_text(json.dumps(stored))
    exported = resolve(TINY, f"local-dir:{folder}")
    spec = image_spec_of(exported)
    assert spec == image_spec(build(exported))
    assert (spec.mean, spec.interpolation) == ((0.1, 0.2, 0.3), "bilinear")
