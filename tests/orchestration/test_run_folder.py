"""A run that --overwrite replaces is gone when the new one has begun, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.runs import tree

from dist_erase.config.run import RunConfig
from dist_erase.errors import UserError
from dist_erase.orchestration.run_folder import alone, check_claim, claim, discard_unstarted
from dist_erase.training.attempts import count_attempt

SETS = {"forget": {"shards": "f.tar"}, "retain": {"shards": "r.tar"}}


@pytest.fixture
def config(tmp_path) -> RunConfig:
    return RunConfig.model_validate(
        {
            "run": {"name": "seven", "dir": str(tmp_path / "runs")},
            "model": {"architecture": "ViT-B-32", "pretrained": "openai"},
            "data": {**SETS, "eval": SETS},
            "train": {"forget_batch": 8, "retain_batch": 8},
        }
    )


@pytest.fixture
def old(config) -> Path:
    """A run that was done."""
    folder = claim(config)
    count_attempt(folder)
    (folder / "model").mkdir()
    (folder / "model" / "weights").write_text("of the old run")
    (folder / "end.json").write_text('{"exit_code": 0}')
    return folder


def beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock")


def test_a_new_run_that_never_begins_leaves_the_old_one(config, old):
    before = tree(old)
    assert claim(config, overwrite=True) == old
    assert not (old / "model").exists()
    (old / "end.json").write_text('{"exit_code": 2}')
    discard_unstarted(old)
    assert tree(old) == before
    assert beside(old) == ["seven"]


def test_once_the_new_run_has_begun_the_old_one_is_gone(config, old):
    claim(config, overwrite=True)
    assert count_attempt(old) == 1
    assert beside(old) == ["seven"]
    discard_unstarted(old)
    assert sorted(path.name for path in old.iterdir()) == ["attempts", "config.json"]


def test_the_old_run_is_back_if_the_driver_was_killed_before_the_new_one_began(config, old):
    before = tree(old)
    claim(config, overwrite=True)
    with alone(config):
        assert tree(old) == before
        with pytest.raises(UserError, match="already holds a run"):
            check_claim(config)
    assert beside(old) == ["seven"]


def test_the_old_run_is_back_if_the_driver_was_killed_between_two_renames(config, old):
    before = tree(old)
    old.rename(old.with_name(".seven.replaced"))
    with alone(config):
        assert check_claim(config, resume=True) == old
    assert tree(old) == before


def test_what_a_killed_driver_left_of_the_old_run_goes_once_the_new_one_has_begun(config, old):
    claim(config, overwrite=True)
    aside = old.with_name(".seven.replaced")
    aside.rename(old.with_name("kept"))
    count_attempt(old)
    old.with_name("kept").rename(aside)  # as if it was killed before this was removed
    with alone(config):
        pass
    assert beside(old) == ["seven"]
    assert not (old / "model").exists()


@pytest.mark.parametrize("begun", [True, False])
def test_a_killed_replacement_may_be_replaced(config, old, begun):
    before = tree(old)
    claim(config, overwrite=True)
    if begun:
        count_attempt(old)
        before = tree(old)
    claim(config, overwrite=True)
    discard_unstarted(old)
    assert tree(old) == before


def test_a_resumed_run_keeps_its_folder_though_it_never_begins(config, old):
    """Only what was claimed anew is discarded; the attempts of the earlier part are there."""
    claim(config, resume=True)
    discard_unstarted(old)
    assert (old / "model" / "weights").exists()


def test_a_link_is_not_replaced(config, old, tmp_path):
    old.rename(tmp_path / "elsewhere")
    old.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link, and the folder that it names is not replaced"):
        claim(config, overwrite=True)
    assert (old / "model" / "weights").exists()
