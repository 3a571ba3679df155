"""Steps, passes and world sizes of small real shards; nothing is decoded."""

from __future__ import annotations

from pathlib import Path

import pytest

from dist_erase.config.run import PretrainConfig, RunConfig
from dist_erase.errors import UserError
from dist_erase.training.data_plan import DataPlan, plan_pretrain, plan_run

FORGET, RETAIN = 10, 30  # pairs


@pytest.fixture(scope="module")
def folder(tmp_path_factory, write_shards) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_shards(folder / "forget", [6, 4], captions=["a seven"], first=0)
    write_shards(folder / "retain", [10, 20], captions=["a one", "a two"], first=100)
    write_shards(folder / "shared", [5, 25], captions=["a one"], first=8)
    write_shards(folder / "eval", [3], captions=["a one"], first=200)
    return folder


@pytest.fixture
def plan(folder, tmp_path):
    """Plans with `data` and `train` keys changed."""

    def make(*, look_for_overlap: bool = False, data: dict | None = None, **train) -> DataPlan:
        config = RunConfig.model_validate(
            {
                "data": {
                    "forget": {"shards": f"{folder}/forget/*.tar"},
                    "retain": {"shards": f"{folder}/retain/*.tar"},
                    "eval": {
                        "forget": {"shards": f"{folder}/eval/*.tar"},
                        "retain": {"shards": f"{folder}/retain/*.tar", "max_samples": 7},
                    },
                }
                | (data or {}),
                "train": {"forget_batch": 4, "retain_batch": 6} | train,
            }
        )
        return plan_run(config, tmp_path / "index", look_for_overlap=look_for_overlap)

    return make


def test_epochs_count_passes_over_the_retain_set(plan):
    # 6 streams of 5 samples each; a step takes one of each.
    assert plan(epochs=1).steps == 5
    assert plan(epochs=2).steps == 10
    assert plan(epochs=1.5).steps == 8  # 7.5 rounded up


def test_epochs_count_passes_over_the_forget_set_if_asked(plan):
    # 4 streams of 2 samples each; two of the ten samples are left out of each pass.
    assert plan(epochs=3, data={"epoch_of": "forget"}).steps == 6


def test_the_smallest_limit_decides(plan):
    assert plan(epochs=10, max_steps=7).steps == 7
    assert plan(epochs=1, max_steps=7).steps == 5
    assert plan(epochs=10, max_steps=7, max_forget_passes=1.5).steps == 3
    assert plan(epochs=10, max_steps=2, max_forget_passes=1.5).steps == 2


def test_passes_after_some_steps(plan):
    made = plan()
    assert (made.epoch(5), made.forget_passes(5)) == (1.0, 2.5)
    by_forget = plan(data={"epoch_of": "forget"})
    assert (by_forget.epoch(5), by_forget.forget_passes(5)) == (2.5, 2.5)


def test_worlds_divide_the_streams_of_both_sets(plan):
    assert plan().worlds() == [1, 2]
    assert plan(retain_batch=8).worlds() == [1, 2, 4]
    assert plan(retain_batch=7).worlds() == [1]
    assert plan(retain_batch=8, data={"streams": 2}).worlds() == [1, 2]


def test_a_world_that_does_not_fit_is_answered_with_those_that_do(plan):
    made = plan()
    made.check_world(2, where="ray.workers")
    with pytest.raises(UserError) as refused:
        made.check_world(3, where="ray.workers")
    assert str(refused.value) == (
        "ray.workers: 3 ranks cannot share the data streams equally (4 of train.forget_batch and "
        "6 of train.retain_batch). Choose one of 1, 2."
    )


def test_a_set_smaller_than_its_batch_is_answered_with_the_largest_that_fits(plan):
    with pytest.raises(UserError, match=r"^train\.forget_batch: .*Set train.forget_batch to 10"):
        plan(forget_batch=16)


def test_streams_must_divide_the_batch(plan):
    with pytest.raises(UserError, match=r"^data\.streams: 3 streams do not divide train\.forget"):
        plan(data={"streams": 3})


def test_evaluation_sets_have_their_names(plan, folder):
    source = {"shards": f"{folder}/eval/*.tar"}
    more = {"holdout_identity": source, "untouched": {"birds": source}}
    made = plan(data={"eval": {"forget": source, "retain": source} | more})
    assert set(made.evaluation) == {"forget", "retain", "holdout_identity", "untouched/birds"}
    assert len(plan().evaluation["retain"].index) == 7


def test_the_floor_is_made_from_all_forget_pairs_and_a_draw_of_retain_pairs(plan, folder):
    forget, retain = plan().floor_sets
    assert (len(forget.index), len(retain.index)) == (FORGET, RETAIN)
    fewer = {"retain": {"shards": f"{folder}/retain/*.tar", "max_samples": 12}}
    assert len(plan(data=fewer).floor_sets[1].index) == 12


def test_shared_images_are_refused_with_count_and_examples(plan, folder):
    shared = {"retain": {"shards": f"{folder}/shared/*.tar"}}
    with pytest.raises(UserError, match="2 ") as refused:
        plan(look_for_overlap=True, data=shared)
    assert "forget/001.tar" in str(refused.value)
    assert "shared/000.tar" in str(refused.value)
    allowed = plan(look_for_overlap=True, data=shared | {"allow_overlap": True})
    assert allowed.overlap["count"] is None
    assert "allow_overlap" in allowed.overlap["method"]


def test_disjoint_sets_are_recorded_as_such(plan):
    made = plan(look_for_overlap=True)
    assert made.overlap["count"] == 0
    assert not made.retain.forbidden_images


def test_large_sets_are_watched_while_training_by_every_rank(plan):
    for look in (True, False):
        made = plan(look_for_overlap=look, data={"overlap_scan_max": "1B"})
        assert made.overlap["count"] is None
        assert len(made.retain.forbidden_images) == FORGET


def test_pretraining_has_one_stream_and_its_own_limits(folder, tmp_path):
    def make(**train) -> DataPlan:
        config = PretrainConfig.model_validate(
            {
                "model": {"architecture": "ViT-B-32"},
                "data": {
                    "train": {"shards": f"{folder}/retain/*.tar"},
                    "eval": {"shards": f"{folder}/eval/*.tar"},
                },
                "train": {"batch": 8} | train,
            }
        )
        return plan_pretrain(config, tmp_path / "index")

    made = make(epochs=4)
    assert made.steps == 12  # 8 streams of 3 samples each
    assert (made.forget, made.floor_sets, made.forget_passes(5)) == (None, None, 0.0)
    assert made.epoch(3) == 1.0
    assert made.worlds() == [1, 2, 4, 8]
    assert make(epochs=4, max_steps=5).steps == 5
    with pytest.raises(UserError, match=r"^train\.batch: "):
        make(batch=64)
