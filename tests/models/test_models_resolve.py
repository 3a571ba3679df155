from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import open_clip
import pytest
import torch

from dist_erase.errors import UserError
from dist_erase.models.export import export_model
from dist_erase.models.preprocess import image_spec
from dist_erase.models.resolve import (
    build,
    exp_scale,
    family_of,
    load_tokenizer,
    reshape_scalars,
    resolve,
)

MODELS = Path(__file__).parents[2] / "configs" / "models"
TINY = str(MODELS / "tiny.json")


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """An exported model with weights of its own."""
    folder = tmp_path_factory.mktemp("runs") / "original" / "model"
    folder.parent.mkdir()
    source = resolve(TINY, None)
    torch.manual_seed(3)
    model = build(source)
    export_model(
        folder,
        model.state_dict(),
        scalar_names=[],
        model_cfg=source.model_cfg,
        spec=image_spec(model),
    )
    return folder


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "original" / "model"))


def refusal(architecture: str, pretrained: str | None) -> str:
    with pytest.raises(UserError) as refused:
        resolve(architecture, pretrained)
    return str(refused.value)


def refusal_of_build(architecture: str, pretrained: str | None) -> str:
    with pytest.raises(UserError) as refused:
        build(resolve(architecture, pretrained))
    return str(refused.value)


def write_json(path: Path, content: object) -> str:
    path.write_text(json.dumps(content))
    return str(path)


def test_names_may_have_a_slash():
    source = resolve("ViT-B/32", "laion2b_s34b_b79k")
    assert (source.name, source.pretrained) == ("ViT-B-32", "laion2b_s34b_b79k")
    assert source.model_cfg == open_clip.get_model_config("ViT-B-32")


def test_an_unknown_architecture_is_answered_with_near_ones():
    said = refusal("ViT-B32", None)
    assert said.startswith("model.architecture: open_clip has no architecture 'ViT-B32'. Did you")
    assert "ViT-B-32" in said
    assert "a model JSON file" in refusal("nothing-like-it", None)


def test_a_place_on_the_network_is_no_architecture():
    assert "open_clip has no architecture 'hf-hub:some/model'" in refusal("hf-hub:some/model", None)


def test_an_unknown_tag_is_answered_with_near_ones():
    said = refusal("ViT-B-32", "laion2b_s34b")
    assert said.startswith("model.pretrained: 'laion2b_s34b' is neither a weights tag of ViT-B-32")
    assert "laion2b_s34b_b79k" in said
    assert "Give a checkpoint file or local-dir:PATH" in refusal(TINY, "laion2b_s34b_b79k")


def test_weights_made_with_quickgelu_need_the_architecture_that_has_it():
    said = refusal("ViT-B-32", "openai")
    assert said.startswith("model.architecture: the weights 'openai' were made with QuickGELU")
    assert said.endswith("Use ViT-B-32-quickgelu.")
    assert resolve("ViT-B-32-quickgelu", "openai").name == "ViT-B-32-quickgelu"


def test_a_missing_model_file_is_answered_with_those_beside_it():
    said = refusal(str(MODELS / "tinny.json"), None)
    assert f"there is no file {MODELS / 'tinny.json'}" in said
    assert TINY in said


def test_a_model_file_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "cut.json").write_text('{"embed_dim"')
    assert "is not JSON" in refusal(str(tmp_path / "cut.json"), None)
    partial = write_json(tmp_path / "partial.json", {"embed_dim": 8, "vision_cfg": {}})
    assert "lacks text_cfg" in refusal(partial, None)
    config = open_clip.get_model_config("RN50") | {"embed_dim": 8}
    assert "another open_clip architecture" in refusal(
        write_json(tmp_path / "RN50.json", config), None
    )


def test_a_model_that_open_clip_cannot_build_is_refused(tmp_path):
    config = json.loads(Path(TINY).read_text())
    config["vision_cfg"]["layers"] = "two"
    said = refusal_of_build(write_json(tmp_path / "two-layers.json", config), None)
    assert said.startswith("model.architecture: open_clip cannot build two-layers: ")


def test_captioning_models_are_refused(tmp_path):
    config = json.loads(Path(TINY).read_text())
    config |= {"multimodal_cfg": {"width": 16, "heads": 2, "layers": 1}, "custom_text": True}
    said = refusal_of_build(write_json(tmp_path / "captions.json", config), None)
    assert "captions is a CoCa model" in said


def test_an_exported_model_is_loaded_with_its_own_weights(exported):
    source = resolve(TINY, f"local-dir:{exported}")
    assert (source.name, source.pretrained) == (f"local-dir:{exported}", None)
    torch.manual_seed(9)
    model = build(source)
    torch.manual_seed(3)
    original = build(resolve(TINY, None))
    for name, tensor in original.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
    assert load_tokenizer(source)(["a photo of a seven"]).shape == (1, 16)


def test_a_model_not_trained_yet_is_answered_with_the_command(tmp_path):
    said = refusal(TINY, f"local-dir:{tmp_path}/runs/original/model")
    assert said.startswith("model.pretrained: there is no exported model in")
    assert f"dist-erase pretrain CONFIG run.dir={tmp_path}/runs run.name=original" in said


def test_another_architecture_is_named_with_what_differs(exported):
    said = refusal(str(MODELS / "tiny-bn.json"), f"local-dir:{exported}")
    assert f"{exported} holds another architecture than" in said
    assert "vision_cfg is {" in said


def test_a_folder_without_weights_is_refused_and_never_drawn_at_random(copied):
    (copied / "open_clip_model.safetensors").unlink()
    assert "but no weights. Copy the whole folder again." in refusal(TINY, f"local-dir:{copied}")


@pytest.mark.parametrize("content", ["{", "[]", '{"preprocess_cfg": {}}'])
def test_a_folder_with_a_broken_configuration_is_refused(copied, content):
    (copied / "open_clip_config.json").write_text(content)
    assert "is not one of open_clip's (no model_cfg)" in refusal(TINY, f"local-dir:{copied}")


def test_damaged_weights_of_a_folder_are_refused(copied):
    weights = copied / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "cannot be loaded" in refusal_of_build(TINY, f"local-dir:{copied}")


class Surprise:
    """What a pickle may hold: a call."""

    def __reduce__(self):
        return Path.touch, (Path("called"),)


def test_checkpoint_files_hold_tensors_alone_and_fit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(3)
    weights = build(resolve(TINY, None)).state_dict()
    torch.save(weights, "good.pt")
    assert torch.equal(
        build(resolve(TINY, "good.pt")).state_dict()["visual.proj"], weights["visual.proj"]
    )
    torch.save({"other": torch.zeros(2)}, "other.pt")
    said = refusal_of_build(TINY, "other.pt")
    assert said.startswith("model.pretrained: other.pt cannot be loaded: Error(s) in loading state")
    assert "\n" not in said
    torch.save({"state_dict": Surprise()}, "surprise.pt")
    Path("bare.pt").write_bytes(pickle.dumps(Surprise()))
    Path("empty.pt").write_bytes(b"")
    for name in ("surprise.pt", "bare.pt", "empty.pt"):
        assert "it is damaged, or holds more than tensors" in refusal_of_build(TINY, name)
    assert not Path("called").exists()


def test_families_and_scales():
    clip = build(resolve(TINY, None))
    assert family_of(clip) == "softmax"
    assert exp_scale(clip) == pytest.approx(1 / 0.07)
    siglip = build(resolve(str(Path(__file__).parents[1] / "training" / "tiny-siglip.json"), None))
    assert family_of(siglip) == "sigmoid"
    assert exp_scale(siglip) == pytest.approx(10)


def test_scalars_become_vectors_of_one_and_keep_value_and_requires_grad():
    model = build(resolve(str(Path(__file__).parents[1] / "training" / "tiny-siglip.json"), None))
    model.logit_bias.requires_grad_(False)
    before = model.logit_scale.item()
    assert reshape_scalars(model) == ["logit_scale", "logit_bias"]
    assert model.logit_scale.shape == model.logit_bias.shape == (1,)
    assert model.logit_scale.item() == before
    assert (model.logit_scale.requires_grad, model.logit_bias.requires_grad) == (True, False)
    assert reshape_scalars(model) == []
