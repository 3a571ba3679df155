"""What a replayed batch tells of augmentation; the run folder is written by hand: no training."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from PIL import Image
from support.erasing import members

from dist_erase.config.run import PretrainConfig
from dist_erase.data.augment import ViewParameters, apply_view
from dist_erase.orchestration.replay import Replayed, refuse_difference, replay
from dist_erase.orchestration.replay_sheet import as_json, write_sheet

TINY = str(Path(__file__).parents[2] / "configs" / "models" / "tiny.json")


def digits(folder: Path) -> None:
    """Two shards of images at the model's size; the first sample cannot be read."""
    rng = np.random.default_rng(0)
    for shard in range(2):
        with wds.TarWriter(str(folder / f"{shard}.tar"), mtime=0) as writer:
            for row in range(12):
                pixels = io.BytesIO()
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(pixels, "png")
                image = pixels.getvalue() if shard or row else b"no image"
                writer.write({"__key__": f"{shard}{row:02d}", "png": image, "txt": f"number {row}"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run that has recorded nothing."""
    digits(tmp_path)
    config = PretrainConfig.model_validate(
        {
            "run": {"name": "tiny", "dir": str(tmp_path / "runs")},
            "model": {"architecture": TINY},
            "data": {
                "train": {"shards": f"{tmp_path}/*.tar"},
                "eval": {"shards": f"{tmp_path}/*.tar"},
                "max_corrupt_fraction": 0.5,
            },
            "train": {"batch": 24, "max_steps": 2, "augment": {"crop": 2, "flip": True}},
        }
    )
    run = tmp_path / "runs" / "tiny"
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"config": config.model_dump(mode="json")}))
    return run


def without_augmentation(folder: Path) -> None:
    stored = json.loads((folder / "config.json").read_text())
    stored["config"]["train"]["augment"] = {"crop": 0, "flip": False}
    (folder / "config.json").write_text(json.dumps(stored))


def record(folder: Path, digest: str) -> None:
    """As if the run had trained on that batch."""
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 1, "batch": digest}) + "\n")


def test_views_are_recorded_and_make_the_images_again(folder: Path, tmp_path: Path) -> None:
    replayed = replay(folder, 1)
    assert replayed.digest != replayed.without_views
    write_sheet(replayed, folder, tmp_path / "sheet")
    facts = json.loads((tmp_path / "sheet" / "batch.json").read_text())
    assert len({tuple(pair["view"].values()) for pair in facts["pairs"]}) > 10  # of 50
    assert any(pair["instead_of"] for pair in facts["pairs"])
    for pair, pixels in zip(facts["pairs"], replayed.images, strict=True):
        encoded = members(Path(pair["shard"]))[f"{pair['key']}.png"]
        original = np.asarray(Image.open(io.BytesIO(encoded)))
        assert np.array_equal(apply_view(original, ViewParameters(**pair["view"])), pixels)


def test_without_augmentation_views_are_the_images(folder: Path) -> None:
    without_augmentation(folder)
    replayed = replay(folder, 1)
    assert {place.view for place in replayed.places} == {ViewParameters()}
    assert replayed.digest == replayed.without_views
    record(folder, replayed.digest)
    assert replay(folder, 1).verdict == "identical"


def verdict(replayed: Replayed, recorded: str | None) -> str:
    compared = replace(replayed, recorded=recorded)
    assert as_json(compared)["verdict"] == compared.verdict
    return compared.verdict


def test_runs_of_versions_that_left_views_out_are_not_called_different(folder: Path) -> None:
    replayed = replay(folder, 1)
    assert verdict(replayed, replayed.digest) == "identical"
    assert verdict(replayed, replayed.without_views) == "identical, views not recorded"
    assert verdict(replayed, "0" * 16) == "DIFFERENT"
    assert verdict(replayed, None) == "not recorded"
    refuse_difference(replace(replayed, recorded=replayed.without_views))
