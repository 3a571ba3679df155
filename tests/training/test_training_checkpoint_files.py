"""The folder of checkpoints: what is in it, what is pruned, what is passed over."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from support.processes import run_ranks
from training_cases import Case, make_engine, make_student, one_step, start_rank

from dist_erase.distributed.context import RankContext
from dist_erase.training.checkpoint import Checkpoints, Progress
from dist_erase.training.manifest import write_manifest

pytestmark = pytest.mark.integration

ALONE = RankContext(rank=0, world=1, device=torch.device("cpu"))


def progress(step: int) -> Progress:
    return Progress(step=step, floor=[0.1, 0.2], order_version=1, optimizer_steps=float(step))


def fill_on_a_rank(rank: int, folder: Path) -> dict[str, list[str]]:
    """Five checkpoints, the second the best; then a second attempt after a broken sixth.

    Returns:
        The names in `folder` after each.
    """
    context = start_rank()
    engine = make_engine(make_student(Case()), Case(), "adamw")
    one_step(engine, Case(), 0, 1e-3)
    first = Checkpoints(folder, context, keep_last=2, attempt=1)
    for step in range(1, 6):
        first.save(engine, progress(step), is_best=step == 2)
    after_five = sorted(path.name for path in folder.iterdir())

    shutil.copytree(folder / "step-00000005-attempt-1", folder / "step-00000009-attempt-1")
    (folder / "step-00000009-attempt-1" / "manifest.json").unlink()
    (folder / ".step-00000010-attempt-1.tmp").mkdir()
    second = Checkpoints(folder, context, keep_last=1, attempt=2)
    assert second.newest().progress.step == 5
    second.save(engine, progress(6))
    assert second.newest().progress.step == 6
    return {"five": after_five, "second": sorted(path.name for path in folder.iterdir())}


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> tuple[Path, dict[str, list[str]]]:
    folder = tmp_path_factory.mktemp("run") / "checkpoints"
    return folder, run_ranks(fill_on_a_rank, 1, folder)[0]


@pytest.fixture
def two(filled, tmp_path) -> Path:
    """A folder with the steps 2 and 6, both whole."""
    folder = filled[0]
    for name in ("step-00000002-attempt-1", "step-00000006-attempt-2"):
        shutil.copytree(folder / name, tmp_path / name)
    return tmp_path


def newest_step(folder: Path) -> int | None:
    saved = Checkpoints(folder, ALONE, keep_last=1, attempt=1).newest()
    return None if saved is None else saved.progress.step


def test_the_last_and_the_best_are_kept(filled):
    assert filled[1]["five"] == [
        "best.json",
        "step-00000002-attempt-1",
        "step-00000004-attempt-1",
        "step-00000005-attempt-1",
    ]


def test_a_newer_broken_one_does_not_push_out_the_good_one_just_written(filled):
    names = filled[1]["second"]
    assert "step-00000006-attempt-2" in names
    assert "step-00000005-attempt-1" not in names
    assert not [name for name in names if name.endswith(".tmp")]


def test_only_safetensors_and_json_are_in_a_checkpoint(two):
    files = {path.name for path in (two / "step-00000006-attempt-2").iterdir()}
    assert files == {"part-00000-of-00001.safetensors", "state.json", "manifest.json"}


def test_progress_comes_back_as_it_was(two):
    saved = Checkpoints(two, ALONE, keep_last=1, attempt=1).newest()
    assert saved.progress == progress(6)
    assert "visual.proj" in saved.weights
    assert set(saved.optimizer["visual.proj"]) == {"exp_avg", "exp_avg_sq"}


def test_none_where_nothing_was_saved(tmp_path):
    assert newest_step(tmp_path) is None
    assert newest_step(tmp_path / "not made yet") is None


def remove_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def cut_manifest(path: Path) -> None:
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text()[:40])


def flip_one_bit(path: Path) -> None:
    part = path / "part-00000-of-00001.safetensors"
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)


def change_the_step(path: Path) -> None:
    state = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps(state | {"step": 7}))


def smuggle_a_part_in(path: Path) -> None:
    part = path / "part-00000-of-00001.safetensors"
    (path / "part-00001-of-00002.safetensors").write_bytes(part.read_bytes())


def list_in_the_manifest(path: Path) -> None:
    (path / "manifest.json").write_text("[]")


def remove_a_part(path: Path) -> None:
    (path / "part-00000-of-00001.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (remove_manifest, "manifest.json is missing (the writer was interrupted)"),
        (cut_manifest, "manifest.json is not JSON"),
        (flip_one_bit, "part-00000-of-00001.safetensors has changed"),
        (change_the_step, "state.json has changed"),
        (remove_a_part, "part-00000-of-00001.safetensors is missing"),
        (smuggle_a_part_in, "part-00001-of-00002.safetensors is not listed in manifest.json"),
        (list_in_the_manifest, "manifest.json lists no files"),
    ],
)
def test_a_damaged_one_is_passed_over_with_its_fault(two, caplog, damage, fault):
    assert newest_step(two) == 6
    damage(two / "step-00000006-attempt-2")
    with caplog.at_level(logging.WARNING):
        assert newest_step(two) == 2
    assert "step-00000006-attempt-2" in caplog.text
    assert fault in caplog.text
    remove_manifest(two / "step-00000002-attempt-1")
    assert newest_step(two) is None


def test_attempts_count_as_numbers(two):
    for attempt in (9, 10):
        shutil.copytree(two / "step-00000006-attempt-2", two / f"step-00000006-attempt-{attempt}")
    ninth = two / "step-00000006-attempt-9"
    change_the_step(ninth)  # to tell them apart
    write_manifest(ninth)
    assert newest_step(two) == 6
