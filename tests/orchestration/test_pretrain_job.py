"""`dist-erase pretrain` beside another one, and in the place of an earlier model."""

from __future__ import annotations

import hashlib
import json
import socket
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.runs import ROOT, tree

from dist_erase.config.model import PretrainModelConfig
from dist_erase.config.run import PretrainConfig
from dist_erase.errors import UserError
from dist_erase.models.preprocess import image_spec
from dist_erase.models.resolve import build, resolve
from dist_erase.orchestration.paths import absolute
from dist_erase.orchestration.pretrain_job import pretrain
from dist_erase.orchestration.run_folder import alone, claim, index_cache
from dist_erase.training.attempts import count_attempt
from dist_erase.training.data_plan import plan_pretrain
from dist_erase.training.recipe import recipe_for_pretrain


@pytest.fixture
def config(digits, tmp_path) -> PretrainConfig:
    return PretrainConfig.model_validate(
        {
            "run": {"name": "original", "dir": str(tmp_path / "runs")},
            "model": {"architecture": str(ROOT / "configs/models/tiny.json")},
            "data": {
                "train": {"shards": f"{digits}/train/*.tar"},
                "eval": {"shards": f"{digits}/eval/*.tar"},
                "classes": f"{digits}/classes.json",
                "workers": 0,
            },
            "train": {"batch": 16},
            "observe": {"grace_seconds": 0},
        }
    )


@pytest.fixture
def done(config) -> Path:
    """The folder of a pretraining that is done."""
    folder = claim(absolute(config))
    count_attempt(folder)
    (folder / "model").mkdir()
    (folder / "pretrain.json").write_text(
        json.dumps({"began_with": None, "figures": {"top1": 0.5}})
    )
    return folder


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_second_one_at_the_same_time_is_refused(config, overwrite):
    with alone(config), pytest.raises(UserError) as caught:
        pretrain(config, overwrite=overwrite)
    assert str(caught.value).startswith(
        "run.name: another process is at work on the run original. Wait for it or stop it"
    )
    assert not (Path(config.run.dir) / "original").exists()


def test_a_model_that_is_there_is_given_whoever_is_at_work(config, done):
    with alone(config):
        found = pretrain(config, overwrite=False)
    assert (found.model, found.figures, found.trained_now) == (
        done / "model",
        {"top1": 0.5},
        False,
    )


def test_a_model_is_not_lost_to_a_pretraining_that_cannot_begin(config, done):
    before = tree(done)
    with socket.create_server(("127.0.0.1", 0)) as server:
        observe = config.observe.model_copy(update={"port": server.getsockname()[1]})
        with pytest.raises(UserError, match="cannot listen on"):
            pretrain(config.model_copy(update={"observe": observe}), overwrite=True)
    assert tree(done) == before


def test_a_model_that_began_with_other_weights_is_not_taken_for_this_one(config, tmp_path):
    """As after the first part of a pretraining was done again."""
    weights = tmp_path / "first-part.safetensors"
    weights.write_bytes(b"old")
    model = config.model.model_copy(update={"pretrained": str(weights)})
    config = config.model_copy(update={"model": model})
    folder = claim(absolute(config))
    (folder / "model").mkdir()
    (folder / "checkpoints").mkdir()  # of one that was killed at its end
    result = {"began_with": hashlib.sha256(b"old").hexdigest(), "figures": {"top1": 0.5}}
    (folder / "pretrain.json").write_text(json.dumps(result))
    assert not pretrain(config, overwrite=False).trained_now
    assert not (folder / "checkpoints").exists()
    weights.write_bytes(b"new")
    with pytest.raises(UserError) as caught:
        pretrain(config, overwrite=False)
    assert str(caught.value) == (
        f"model.pretrained: {folder} began with other weights than those that lie there now. "
        "Train it again with --overwrite, or choose another run.name."
    )
    weights.unlink()  # the model is whole without it
    assert not pretrain(config, overwrite=False).trained_now


def test_what_an_interrupted_pretraining_may_not_change_is_named(config):
    claim(absolute(config))
    other = config.train.model_copy(update={"lr": 0.5})
    with pytest.raises(UserError) as caught:
        pretrain(config.model_copy(update={"train": other}), overwrite=False)
    assert str(caught.value) == (
        "run.name: the configuration differs from the run's own (train.lr: 0.001 before, 0.5 now). "
        "Put these back, or start another run under another run.name."
    )


def test_an_option_that_pretraining_does_not_have_is_not_advised(config, done):
    other = config.train.model_copy(update={"lr": 0.5})
    with pytest.raises(UserError, match=r"already holds a run\. Replace it with --overwrite, or"):
        pretrain(config.model_copy(update={"train": other}), overwrite=False)


def test_pretraining_may_begin_with_weights_of_another_image_size(config, tmp_path):
    tiny = json.loads((ROOT / "configs/models/tiny.json").read_text())
    tiny["vision_cfg"]["image_size"] *= 2
    larger = tmp_path / "larger.json"
    larger.write_text(json.dumps(tiny))
    given = build(resolve(config.model.architecture, None))
    save_file(given.state_dict(), tmp_path / "given.safetensors")

    model = PretrainModelConfig(
        architecture=str(larger), pretrained=str(tmp_path / "given.safetensors")
    )
    config = config.model_copy(update={"model": model})
    recipe = recipe_for_pretrain(config, plan_pretrain(config, index_cache(config)))

    begun = build(recipe.source)
    assert image_spec(begun).width == 2 * image_spec(given).width
    before = given.state_dict()
    changed = {n for n, weight in begun.state_dict().items() if not torch.equal(weight, before[n])}
    assert changed == {"visual.positional_embedding"}
