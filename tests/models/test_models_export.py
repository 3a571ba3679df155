from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file

from dist_erase.config.model import ModelConfig
from dist_erase.models.export import export_model
from dist_erase.models.fingerprint import fingerprint
from dist_erase.models.frozen import load_frozen
from dist_erase.models.preprocess import image_spec, normalise
from dist_erase.models.resolve import resolve
from dist_erase.models.student import Student

ROOT = Path(__file__).parents[2]
MODELS = [
    ROOT / "configs" / "models" / "tiny.json",
    ROOT / "configs" / "models" / "tiny-bn.json",
    ROOT / "tests" / "training" / "tiny-siglip.json",
]


def make_student(path: Path) -> Student:
    torch.manual_seed(4)
    student = Student(resolve(str(path), None), precision="fp32", logit_scale="trained")
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.01 * torch.randn(parameter.shape))
    return student


def export(student: Student, folder: Path, **changed) -> Path:
    spec = replace(student.image_spec, **changed)
    export_model(
        folder,
        dict(student.clip.state_dict()),
        scalar_names=student.scalar_names,
        model_cfg=student.source.model_cfg,
        spec=spec,
    )
    return folder


@pytest.fixture
def pairs() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=draw)
    return images, torch.randint(1, 49408, (5, 16), generator=draw)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_open_clip_loads_what_was_exported_and_embeds_as_the_student(path, tmp_path, pairs):
    student = make_student(path)
    folder = export(student, tmp_path / "model")
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}", output_dict=True)

    stored = load_file(folder / "open_clip_model.safetensors")
    assert stored.keys() == model.state_dict().keys()
    assert {name for name, tensor in stored.items() if tensor.ndim == 0} >= set(
        student.scalar_names
    )
    for name, tensor in student.clip.state_dict().items():
        assert torch.equal(model.state_dict()[name].reshape(tensor.shape), tensor), name
    images, tokens = pairs
    out = model.eval()(normalise(images, image_spec(model), torch.device("cpu")), tokens)
    image, text, scale, bias = student.eval()(images, tokens)
    # 1e-6: the student embeds captions in another order.
    torch.testing.assert_close(out["image_features"], image, rtol=0, atol=1e-6)
    torch.testing.assert_close(out["text_features"], text, rtol=0, atol=1e-6)
    assert out["logit_scale"] == scale
    assert out.get("logit_bias", torch.zeros(())) == bias


def test_preprocessing_comes_back_as_it_was(tmp_path):
    student = make_student(MODELS[0])
    changed = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "resize_mode": "squash"}
    changed |= {"interpolation": "bilinear", "fill_color": 7}
    folder = export(student, tmp_path / "model", **changed)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    assert image_spec(model) == replace(student.image_spec, **changed)


def test_the_teacher_loads_it_and_has_the_same_fingerprint(tmp_path):
    student = make_student(MODELS[2])
    folder = export(student, tmp_path / "model")
    config = ModelConfig(architecture=str(MODELS[2]), pretrained=f"local-dir:{folder}")
    clip = load_frozen(config, dtype="fp32", device="cpu", micro_batch=4)
    expected = fingerprint(
        dict(student.clip.state_dict()), student.source.model_cfg, student.image_spec
    )
    assert clip.fingerprint == expected
    assert clip.logit_bias == student.clip.logit_bias.item()


def test_captions_that_repeat_get_their_own_embeddings_back(tmp_path):
    folder = export(make_student(MODELS[0]), tmp_path / "model")
    config = ModelConfig(architecture=str(MODELS[0]), pretrained=f"local-dir:{folder}")
    clip = load_frozen(config, dtype="fp32", device="cpu", micro_batch=4)
    model, _, _ = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    draw = torch.Generator().manual_seed(2)
    captions = torch.randint(1, 49408, (7, 16), generator=draw)
    tokens = captions[[3, 0, 3, 6, 1, 1, 5, 2, 4, 0, 6]]  # 7 distinct: two micro-batches
    with torch.no_grad():
        expected = [model.eval().encode_text(row[None], normalize=True)[0] for row in tokens]
    torch.testing.assert_close(clip.encode_text(tokens), torch.stack(expected), rtol=0, atol=1e-6)


def test_a_folder_is_replaced_whole(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "left-over.bin").write_bytes(b"old")
    export(make_student(MODELS[0]), folder)
    assert {path.name for path in folder.iterdir()} == {
        "open_clip_config.json",
        "open_clip_model.safetensors",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    written = json.loads((folder / "open_clip_config.json").read_text())
    assert written["model_cfg"] == json.loads(MODELS[0].read_text())
