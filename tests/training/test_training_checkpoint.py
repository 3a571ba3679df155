"""A checkpoint continues a run on any world size and ZeRO stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support.processes import run_ranks
from torch import Tensor
from training_cases import FLOOR, Case, digest, make_engine, make_student, one_step, start_rank

from dist_erase.training.checkpoint import Checkpoints, Progress
from dist_erase.training.engine import Engine

pytestmark = pytest.mark.integration

STAGES = (0, 1, 2, 3)
BEFORE, AFTER, LR = (0, 1), (2, 3), 1e-3  # steps before and after the checkpoint
SAVED = {  # optimizer and ZeRO stage, on two ranks: the stages that it is loaded into
    ("adamw", 2): STAGES,
    ("adamw", 3): (2, 3),
    ("sgd", 2): STAGES,
}
LOADED = [(*saved, world, stage) for saved in SAVED for world in (1, 2) for stage in SAVED[saved]]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What was in an engine when it was saved, or when it was loaded, and what came after.

    Attributes:
        tensors: a digest of each weight and optimizer state.
        optimizer_steps: its own count.
        losses: of the steps after.
        weights: after them; rank 0 alone sends them.
        weights_digest: of the same.
    """

    tensors: dict[str, str]
    optimizer_steps: float
    losses: list[dict[str, float]]
    weights: dict[str, Tensor]
    weights_digest: str


def case_of(stage: int) -> Case:
    """The scale is trained: a single number, which ranks cannot share out evenly."""
    return Case(stage=stage, micro_batch=5, logit_scale="trained")


def save_on_a_rank(rank: int, folder: Path) -> dict[tuple[str, int], Kept]:
    """Trains, saves, and goes on undisturbed."""
    context = start_rank()
    kept = {}
    for optimizer, stage in SAVED:
        case = case_of(stage)
        engine = make_engine(make_student(case), case, optimizer)
        for step in BEFORE:
            one_step(engine, case, step, LR)
        progress = Progress(
            step=len(BEFORE),
            floor=[FLOOR],
            order_version=1,
            optimizer_steps=engine.optimizer_steps(),
        )
        place = folder / f"{optimizer}-{stage}"
        Checkpoints(place, context, keep_last=1, attempt=1).save(engine, progress)
        kept[optimizer, stage] = keep_and_go_on(engine, case)
    return kept


def load_on_a_rank(rank: int, folder: Path) -> dict[tuple[str, int, int], Kept]:
    """Loads each checkpoint into engines of its stages, as `training.assemble` does."""
    context = start_rank()
    kept = {}
    for (optimizer, saved_stage), stages in SAVED.items():
        place = folder / f"{optimizer}-{saved_stage}"
        saved = Checkpoints(place, context, keep_last=1, attempt=2).newest()
        assert saved.progress.step == len(BEFORE)
        assert saved.progress.floor == [FLOOR]
        for stage in stages:
            student = make_student(case_of(stage))
            student.clip.load_state_dict(saved.weights)
            engine = make_engine(student, case_of(stage), optimizer)
            engine.restore_optimizer(saved.optimizer, saved.progress.optimizer_steps)
            kept[optimizer, saved_stage, stage] = keep_and_go_on(engine, case_of(stage))
    return kept


def keep_and_go_on(engine: Engine, case: Case) -> Kept:
    tensors = engine.checkpoint_tensors(part=0, parts=1)
    steps = engine.optimizer_steps()
    losses = [one_step(engine, case, step, LR).losses for step in AFTER]
    weights = engine.full_state()
    return Kept(
        tensors={name: digest({str(t.shape): t}) for name, t in tensors.items()},
        optimizer_steps=steps,
        losses=losses,
        weights=weights if torch.distributed.get_rank() == 0 else {},
        weights_digest=digest(weights),
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("checkpoints")


@pytest.fixture(scope="module")
def saved(folder) -> list[dict[tuple[str, int], Kept]]:
    return run_ranks(save_on_a_rank, 2, folder, timeout_seconds=300)


@pytest.fixture(scope="module")
def loaded(folder, saved) -> dict[int, list[dict[tuple[str, int, int], Kept]]]:
    return {
        world: run_ranks(load_on_a_rank, world, folder, timeout_seconds=300) for world in (1, 2)
    }


@pytest.mark.parametrize(("optimizer", "saved_stage", "world", "stage"), LOADED)
def test_what_is_loaded_is_what_was_saved_bit_for_bit(
    saved, loaded, optimizer, saved_stage, world, stage
):
    expected = saved[0][optimizer, saved_stage]
    kinds = {name.split("/")[1] for name in expected.tensors}
    assert kinds == ({"", "exp_avg", "exp_avg_sq"} if optimizer == "adamw" else {""})
    for rank in loaded[world]:
        kept = rank[optimizer, saved_stage, stage]
        assert kept.tensors == expected.tensors
        assert kept.optimizer_steps == (len(BEFORE) if optimizer == "adamw" else 0)


@pytest.mark.parametrize(("optimizer", "stage"), SAVED)
def test_on_the_same_ranks_and_stage_the_run_goes_on_bit_equal(saved, loaded, optimizer, stage):
    digests = {rank[optimizer, stage].weights_digest for rank in saved}
    digests |= {rank[optimizer, stage, stage].weights_digest for rank in loaded[2]}
    assert len(digests) == 1


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("world", [1, 2])
def test_with_sgd_any_ranks_and_stage_end_within_1e_6(saved, loaded, world, stage):
    expected = saved[0]["sgd", 2].weights
    for name, got in loaded[world][0]["sgd", 2, stage].weights.items():
        torch.testing.assert_close(got, expected[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("optimizer", "saved_stage", "world", "stage"), LOADED)
def test_any_ranks_and_stage_have_the_same_losses(
    saved, loaded, optimizer, saved_stage, world, stage
):
    # Adam makes steps of noise where a gradient is zero (key biases): its weights say less.
    for rank in loaded[world]:
        losses = rank[optimizer, saved_stage, stage].losses
        for got, want in zip(losses, saved[0][optimizer, saved_stage].losses, strict=True):
            assert got == pytest.approx(want, rel=1e-4)
