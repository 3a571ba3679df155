"""Bad input: one message that names what is wrong and the mend; nothing is left behind."""

import shutil
import tarfile
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from dist_erase.config.run import RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.ray_job import run_on_ray
from dist_erase.orchestration.run_folder import claim


def refusal(config) -> str:
    """The message of a run that does not start; asserts that it leaves no run folder."""
    with pytest.raises(UserError) as caught:
        run_on_ray(RunConfig.model_validate(config), resume=False, overwrite=False)
    assert not (Path(config["run"]["dir"]) / "spoilt").exists()
    return str(caught.value)


def test_missing_shards(config, digits):
    config["data"]["forget"]["shards"] = f"{digits}/train/forgot-*.tar"
    message = refusal(config)
    assert message.startswith("data.forget.shards: ")
    assert "forgot-*.tar" in message
    assert "forget-000000.tar" in message  # the similar names nearby


def test_an_empty_shard(config, tmp_path):
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    config["data"]["forget"]["shards"] = str(tmp_path / "empty.tar")
    assert "empty.tar" in refusal(config)


def test_a_shard_without_captions(config, digits, spoil):
    shard = spoil(
        digits / "train/forget-000000.tar",
        lambda name, data: None if name.endswith(".txt") else data,
    )
    config["data"]["forget"]["shards"] = str(shard)
    message = refusal(config)
    assert str(shard) in message
    assert "no .txt member" in message


def test_a_truncated_tar(config, digits, tmp_path):
    whole = (digits / "train/forget-000000.tar").read_bytes()
    (tmp_path / "cut.tar").write_bytes(whole[: len(whole) // 2 + 100])
    config["data"]["forget"]["shards"] = str(tmp_path / "cut.tar")
    message = refusal(config)
    assert "cut.tar" in message
    assert "truncated" in message


def test_an_unknown_architecture(config):
    config["model"]["architecture"] = "ViT-B-23"
    message = refusal(config)
    assert message.startswith("model.architecture: ")
    assert "ViT-B-32" in message


def test_a_checkpoint_that_does_not_fit(config, request):
    config["model"]["architecture"] = str(request.config.rootpath / "configs/models/tiny-bn.json")
    message = refusal(config)
    assert message.startswith("model.pretrained: ")
    assert "vision_cfg" in message


def test_weights_of_another_shape(config, tiny, tmp_path, ray_cluster):
    folder = tmp_path / "model"
    shutil.copytree(tiny[1], folder)
    weights = load_file(folder / "open_clip_model.safetensors")
    weights["text_projection"] = weights["text_projection"][:, :5].contiguous()
    save_file(weights, folder / "open_clip_model.safetensors")
    config["model"]["pretrained"] = f"local-dir:{folder}"
    assert "text_projection" in refusal(config)


def test_the_original_model_is_not_there_yet(config, tmp_path):
    config["model"]["pretrained"] = f"local-dir:{tmp_path}/runs/original/model"
    message = refusal(config)
    assert f"dist-erase pretrain CONFIG run.dir={tmp_path}/runs run.name=original" in message


@pytest.mark.parametrize(
    ("pretrained", "config_of_it"),
    [
        ("local-dir:runs/digits-original/model", "configs/quickstart/pretrain.yaml"),
        (
            "runs/cifar100-32px/model/open_clip_model.safetensors",
            "configs/cifar100/pretrain-32px.yaml",
        ),
    ],
)
def test_of_ours_the_command_that_makes_it_is_named(
    config, request, tmp_path, monkeypatch, pretrained, config_of_it
):
    (tmp_path / "configs").symlink_to(request.config.rootpath / "configs")
    monkeypatch.chdir(tmp_path)
    config["model"]["pretrained"] = pretrained
    message = refusal(config)
    assert message.endswith(
        f"If it is to be trained here first: dist-erase pretrain {config_of_it}"
    )


def test_shared_images(config, digits):
    config["data"]["retain"]["shards"] = [
        f"{digits}/train/retain-*.tar",
        f"{digits}/train/forget-000000.tar",
    ]
    message = refusal(config)
    assert "63 retain samples have images of the forget set" in message
    assert "forget-000000.tar/" in message
    assert "data.allow_overlap=true" in message


def test_a_set_smaller_than_its_batch(config):
    config["train"]["forget_batch"] = 126
    message = refusal(config)
    assert message.startswith("train.forget_batch: ")
    assert "125 or less" in message


def test_a_world_size_that_does_not_fit(config):
    config["ray"]["workers"] = 3
    message = refusal(config)
    assert message.startswith("ray.workers: ")
    assert "1, 2, 4, 8" in message


def test_too_small_a_cluster(config, ray_cluster):
    config["ray"] = {"workers": 4, "resources_per_worker": {"CPU": 40.0}}
    message = refusal(config)
    assert "4 of 4 workers" in message
    assert "CPU: 160 asked, 4 in the cluster" in message


def test_a_corrupt_evaluation_image(config, digits, spoil, ray_cluster):
    shard = spoil(
        digits / "eval/forget-000000.tar",
        lambda name, data: b"\xff\xd8 no image" if name.endswith(".jpg") else data,
    )
    config["data"]["eval"]["forget"]["shards"] = str(shard)
    message = refusal(config)
    assert shard.name in message
    assert "unusable" in message


def test_a_folder_with_another_run(config):
    chosen = RunConfig.model_validate(config)
    claim(chosen)
    with pytest.raises(UserError, match="already holds a run") as caught:
        claim(chosen)
    assert "--resume" in str(caught.value)
    assert "--overwrite" in str(caught.value)
    claim(chosen, resume=True)
    claim(chosen, overwrite=True)


@pytest.mark.parametrize("how", ["resume", "overwrite"])
def test_addresses_that_a_killed_driver_left_announced_are_removed(config, how):
    """Prometheus would ask them for ever, and `watch` would find them."""
    chosen = RunConfig.model_validate(config)
    folder = claim(chosen)
    files = folder.parent / ".file_sd"
    files.mkdir()
    others = {f"{folder.name}2.json", f"{folder.name}2@b.json"}
    for name in (f"{folder.name}.json", f"{folder.name}@b.json", *others):
        (files / name).write_text("[]")
    claim(chosen, **{how: True})
    assert {path.name for path in files.iterdir()} == others


def test_a_folder_that_is_no_run_is_never_replaced(config):
    folder = Path(config["run"]["dir"]) / "spoilt"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="no run folder"):
        claim(RunConfig.model_validate(config), overwrite=True)
    assert (folder / "thesis.tex").exists()


def test_resuming_with_another_objective(config):
    claim(RunConfig.model_validate(config))
    config["train"]["lr"] = 0.5
    with pytest.raises(UserError, match=r"train\.lr: 1e-05 before, 0\.5 now"):
        claim(RunConfig.model_validate(config), resume=True)


def test_resuming_what_is_not_there(config):
    with pytest.raises(UserError, match="holds no run"):
        claim(RunConfig.model_validate(config), resume=True)
